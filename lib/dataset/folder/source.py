"""The images of DATASET.ROOT: those of class folders, of train, val and test folders, or of a CSV file."""
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lib.dataset.folder.layout import Keys
from lib.dataset.folder.listing import list_folder, look_alikes
from lib.dataset.folder.table import IGNORE, Table, read_table
from lib.utils.errors import InputError, MissingPathError
from lib.utils.text import count, name_some, plain_cell, readable_name

KEY = "DATASET.ROOT"
KEYS = Keys(KEY, "DATASET.FOLDER.LAYOUT")


class Item(NamedTuple):
    """An image that has not been read.

    Attributes:
        path: to open it.
        name: how split.csv and messages call it: below the source's folder where it is there.
        part: train, valid, test or ignore; empty where the source leaves that open.
        group: images of one group stay together; empty: none.
    """

    path: str
    name: str
    label: str
    part: str = ""
    group: str = ""


@dataclass
class Inventory:
    """The inventory of a folder: all images, and what was left out.

    Attributes:
        folder: under which relative names are.
        remarks: what was decided and left out, a line each.
        unreadable: folders and files that the system refuses to open, a line each.
    """

    folder: Path
    items: list[Item]
    empty_classes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def read_source(root: str, layout: str) -> Inventory:
    """Raises InputError where there is nothing of the kind; of a CSV file, with all mistakes by row."""
    if not root:
        raise InputError(f"{KEY}: is empty; name a folder with a folder of images per class, or a CSV file with the columns path "
                         "and label")
    if os.path.isdir(root):
        return read_folder(Path(root), layout)
    if os.path.isfile(root):
        return read_csv(Path(root))
    raise MissingPathError(f"{KEY}: no folder and no CSV file {root}")


def read_folder(root: Path, layout: str) -> Inventory:
    listing = list_folder(root, KEYS, layout)
    names = [readable_name(name) for name in listing.class_names]
    alone = len(listing.parts) == 1   # nothing is split
    items = [Item(str(path), readable_name(str(path.relative_to(root))), names[label], "" if alone else part)
             for part, found in listing.parts.items() for path, label in found]
    empty = sorted({*names} - {item.label for item in items})
    return Inventory(root, items, empty, list(listing.remarks), list(listing.unreadable))


def read_csv(file: Path) -> Inventory:
    table = read_table(file, KEY, ("path", "label"))
    told = any(row.split != IGNORE for row in table.rows)   # else the column is empty: there is no split yet
    items: list[Item] = []
    rows: dict[str, int] = {}
    for row in table.rows:
        path = find_file(row.path, file.parent)
        if not row.label.strip():
            table.complain(row, f"{row.path} has no label")
        elif path is None:
            if not told or row.split != IGNORE:
                table.complain(row, f"no file {row.path}" + f" in {file.parent}" * (not os.path.isabs(row.path)))
        elif path in rows:
            table.complain(row, f"{row.path} is in row {rows[path]} already")
        else:
            rows[path] = row.number
            name = readable_name(path_below(path, file.parent))
            items.append(Item(path, name, readable_name(row.label), row.split * told, row.group))
    table.check(KEY)
    if not items:
        raise InputError(f"{KEY}: {file} has no images in it")
    return Inventory(file.parent, items, remarks=[*table.remarks, *look_alikes(sorted({item.label for item in items}))])


def find_file(text: str, folder: Path) -> str | None:
    """The file that a cell names: as it is, without the quote that keeps spreadsheets from computing it, without spaces around
    it, or with slashes for backslashes."""
    for path in dict.fromkeys((text, plain_cell(text), text.strip(), text.replace("\\", "/"))):
        place = os.path.normpath(os.path.join(folder, path))
        if path and os.path.isfile(place):
            return place
    return None


def path_below(path: str, folder: Path) -> str:
    """The path relative to the folder if the file is in it, else absolute."""
    relative = os.path.relpath(path, folder)
    return os.path.abspath(path) if relative.startswith(os.pardir) else relative


def folder_of(root: str) -> str:
    """The folder under which the relative paths of DATASET.ROOT are, which may be a CSV file."""
    return os.path.dirname(root) if os.path.isfile(root) else root


def apply_split(table: Table, source: Inventory, key: str) -> Iterator[str]:
    """Assigns the parts, groups and labels of a table to the source's images; yields remarks.

    Images that the table does not name are left out; what it names and the source does not have is taken if it is there.

    Raises:
        InputError: rows without a file, of images that are in another row, or of images without a class; by row.
    """
    known = {item.name: item for item in source.items}
    taken: dict[str, Item] = {}
    rows: dict[str, int] = {}
    for row in table.rows:
        item = known.get(row.path) or known.get(plain_cell(row.path)) or find_item(row.path, source.folder, known)
        if item is None:
            if row.split != IGNORE:
                table.complain(row, f"no file {row.path} in {source.folder}")
            continue
        label = readable_name(row.label) if row.label.strip() else item.label
        if item.name in rows:
            table.complain(row, f"{row.path} is in row {rows[item.name]} already")
        elif not label:
            table.complain(row, f"{row.path} is in no class folder, and has no label")
        rows[item.name] = row.number
        taken[item.name] = item._replace(label=label, part=row.split, group=row.group or item.group)
    table.check(key)
    other = [name for name, item in taken.items() if known.get(name, item).label not in ("", item.label)]
    new = [item.name for item in source.items if item.name not in taken]
    unused = sum(row.split == IGNORE for row in table.rows)
    if other:
        yield f"{count(len(other), 'image')} whose class differs between {table.file.name} and the folder: {name_some(other)}"
    if unused:
        yield f"left out as {table.file.name} says: {count(unused, 'row')}"
    if new:
        yield f"left out as images that are not in {table.file.name}: {len(new):,} ({name_some(new)})"
    source.items = list(taken.values())


def find_item(text: str, folder: Path, known: dict[str, Item]) -> Item | None:
    """Finds the image of a row whose path is not the name of an image."""
    path = find_file(text, folder)
    if path is None:
        return None
    name = readable_name(path_below(path, folder))
    return known.get(name, Item(path, name, ""))
