"""A folder of pictures as classes, and as training, validation and test images where it is split already.

    birds/ant/1.jpg                     classes are the folders in birds
    birds/train/ant/1.jpg, birds/val/…  classes are the folders in its parts
"""
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lib.dataset.folder.files import NO_PARTS, STRAYS, Finder
from lib.utils.errors import InputError, MissingPathError
from lib.utils.text import count, name_some, printable

TRAIN, VALID, TEST = PARTS = ("train", "valid", "test")
# names of folders, in lower case, that a set which is split has
PART_NAMES = {"train": TRAIN, "training": TRAIN, "val": VALID, "valid": VALID, "validation": VALID, "test": TEST, "testing": TEST}
LAYOUTS = ("auto", "classes", "parts")


class Keys(NamedTuple):
    """What names the folders and the layout, for messages: options of a script, or keys of the configuration."""

    folder: str
    layout: str
    valid: str = ""


class Picture(NamedTuple):
    """An image that was found; nothing of it has been read."""

    path: Path
    label: int


@dataclass(frozen=True)
class Listing:
    """What a folder, or two, hold.

    Attributes:
        class_names: (C,), in the order of their code points; those without images too.
        parts: images of each part that has any, class after class, by path. A set that is not split has only "train".
        remarks: what was decided and what was left out, a line each.
        unreadable: folders and files that the system refuses to open, a line each.
    """

    class_names: list[str]
    parts: dict[str, list[Picture]]
    remarks: list[str]
    unreadable: list[str]


class ClassFolders(NamedTuple):
    """The class folders in one folder."""

    folder: Path
    images: dict[str, list[Path]]   # class to images


def list_folder(folder: Path, keys: Keys, layout: str = "auto", valid_folder: Path | None = None) -> Listing:
    """Args:
        layout: "classes": its folders are the classes; "parts": they are training, validation and test images, each with class
            folders; "auto": "parts" where all of its folders are called so and the one for training holds folders.
        valid_folder: class folders of the validation images, where they are in a folder of their own.

    Raises:
        InputError: there is no folder, no class or no image in it; "parts" without training images, or with two folders for one
            part; "auto" where both could be meant; no class in common with ``valid_folder``; two sets of validation images.
    """
    top = open_folder(folder, keys.folder, Finder(folder))
    places = find_parts(top, keys, layout)
    names = ", ".join(f"'{printable(place.name)}' for {part}" for part, place in places.items())
    remarks = [f"{folder} is split already: {names}"] if places else class_remarks(top, keys, layout)
    if valid_folder is not None and VALID in places:
        raise InputError(f"{keys.valid}: {folder} has validation images of its own, in {places[VALID].name}; leave the option "
                         f"out, or name {places[TRAIN]} by {keys.folder}")
    parts = {part: find_classes(open_folder(place, keys.folder, top.finder, may_be_empty=part != TRAIN))
             for part, place in places.items()} or {TRAIN: find_classes(top)}
    finders = [top.finder]
    if valid_folder is not None:
        finders.append(Finder(valid_folder))
        parts[VALID] = find_classes(open_folder(valid_folder, keys.valid, finders[1]))
    remarks += [line for finder in finders for line in finder.remarks()]
    unreadable = [line for finder in finders for line in finder.unreadable]
    for part, key in ((TRAIN, keys.folder), *[(VALID, keys.valid)] * (valid_folder is not None)):
        if not any(parts[part].images.values()):
            nothing = f"{key}: no images in the class folders of {parts[part].folder}"
            raise InputError("\n  ".join([nothing, *remarks, *unreadable]))
    names, pictures, lines = join(parts, keys)
    lines += [f"no images for {part} in {found.folder}" for part, found in parts.items() if part not in pictures]
    return Listing(names, pictures, remarks + lines, unreadable)


class Top(NamedTuple):
    """What lies directly in a folder."""

    folder: Path
    folders: list[Path]
    finder: Finder


def open_folder(folder: Path, key: str, finder: Finder, may_be_empty: bool = False) -> Top:
    """Raises InputError if it is none, cannot be read, or has no folders in it."""
    if not folder.is_dir():
        raise MissingPathError(f"{key}: no folder {folder}")
    unreadable = len(finder.unreadable)
    folders, images = finder.entries(folder)
    if not folders and not may_be_empty:
        if len(finder.unreadable) > unreadable:
            raise InputError(f"{key}: {finder.unreadable[-1]}")
        beside = f"{count(len(images), 'image')} and " if images else ""
        raise InputError(f"{key}: {folder} has {beside}no folders in it; it should have one per class")
    for path in images:
        finder.leave_out(STRAYS, path)
    return Top(folder, folders, finder)


def find_parts(top: Top, keys: Keys, layout: str) -> dict[str, Path]:
    """The folders of the parts, training images first; empty where the folders are the classes."""
    if layout == "classes":
        return {}
    named: dict[str, list[Path]] = {}
    for place in top.folders:
        if part_of(place):
            named.setdefault(part_of(place), []).append(place)
    others = [place for place in top.folders if not part_of(place)]
    if layout == "auto":
        holding = [place for places in named.values() for place in places if holds_folders(place)]
        if others and len(holding) > 1 and TRAIN in named:
            raise InputError(f"{keys.folder}: {top.folder} has {list_names(holding)} with folders in them, as a set that is "
                             f"split has, and {list_names(others)} beside them; {keys.layout} parts leaves out the latter, "
                             f"{keys.layout} classes takes all of them for classes")
        if others or not any(place in holding for place in named.get(TRAIN, [])):
            return {}
    if TRAIN not in named:
        raise InputError(f"{keys.layout}: {top.folder} has no folder of training images, called train, but "
                         f"{list_names(top.folders)}")
    for part, places in named.items():
        if len(places) > 1:
            raise InputError(f"{keys.folder}: {top.folder} has several folders for {part}: {list_names(places)}; keep one, or "
                             f"{keys.layout} classes takes them for classes")
    for place in others:
        top.finder.leave_out(NO_PARTS, place)
    return {part: named[part][0] for part in PARTS if part in named}


def list_names(places: Sequence[Path]) -> str:
    return name_some([place.name for place in places])


def part_of(folder: Path) -> str | None:
    return PART_NAMES.get(folder.name.lower())


def holds_folders(folder: Path) -> bool:
    return bool(Finder(folder).entries(folder)[0])


def class_remarks(top: Top, keys: Keys, layout: str) -> list[str]:
    """What could be meant otherwise where folders are taken for classes."""
    parts = [place for place in top.folders if part_of(place)]
    if layout == "auto" and parts:
        return [f"{top.folder}: its folders are taken for the classes, {list_names(parts)} among them; {keys.layout} parts would "
                "take these for parts of a set that is split already"]
    if layout == "auto" and len(top.folders) == 1 and holds_folders(top.folders[0]):
        return [f"{top.folder}: has only one folder, which is taken for the only class; to take the folders in it for classes, "
                f"name {top.folders[0]}"]
    return []


def find_classes(top: Top) -> ClassFolders:
    """All images below the class folders, classes without any among them."""
    return ClassFolders(top.folder, {place.name: sorted(top.finder.images(place)) for place in top.folders})


def join(parts: Mapping[str, ClassFolders], keys: Keys) -> tuple[list[str], dict[str, list[Picture]], list[str]]:
    """One list of classes for all parts, the images of each part that has any, and remarks."""
    first, lines = parts[TRAIN], []
    by_class = {part: dict(found.images) for part, found in parts.items()}
    for part, images in by_class.items():
        for old, new in same_names(images, first.images).items():
            images[new] = images.pop(old)
            lines.append(f"{part}: class '{printable(old)}' is the same name in other code points as for {TRAIN}, and is taken "
                         "for the same class")
        if images and not {*images} & {*first.images}:
            raise InputError(f"{keys.valid or keys.folder}: {first.folder} and {parts[part].folder} have no class in common: "
                             f"{name_some([*first.images])} in the first, {name_some([*images])} in the second")
    names = sorted({name for images in by_class.values() for name in images})
    pictures = {part: [Picture(path, label) for label, name in enumerate(names) for path in images.get(name, [])]
                for part, images in by_class.items()}
    return names, {part: found for part, found in pictures.items() if found}, lines + look_alikes(names)


def same_names(names: Mapping[str, object], known: Mapping[str, object]) -> dict[str, str]:
    """Which of the names differ from a known one by Unicode's normal form only, as after copying from a Mac."""
    normal: dict[str, list[str]] = {}
    for name in known:
        normal.setdefault(unicodedata.normalize("NFC", name), []).append(name)
    meant = {name: normal.get(unicodedata.normalize("NFC", name), []) for name in names if name not in known}
    return {name: others[0] for name, others in meant.items() if len(others) == 1 and others[0] not in names}


def look_alikes(names: Sequence[str]) -> list[str]:
    """Classes whose names a reader takes for the same: other code points, case or spaces."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(" ".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    return [f"classes whose names look alike: {', '.join(map(ascii, group))}"
            for group in alike.values() if len(group) > 1]
