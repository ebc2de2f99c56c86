"""A folder of pictures as classes, and as training, validation and test images where it is split already.

    birds/ant/1.jpg                     classes are the folders in birds
    birds/train/ant/1.jpg, birds/val/…  classes are the folders in its parts
"""
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lib.dataset.folder.files import Finder
from lib.dataset.folder.layout import PART_NAMES, TEST, TRAIN, VALID, Keys, Top, class_remarks, find_parts, open_folder
from lib.utils.errors import InputError
from lib.utils.text import name_some, printable


class Found(NamedTuple):
    """An image that was found and not yet read."""

    path: Path
    label: int


@dataclass(frozen=True)
class Listing:
    """The images in a folder, or in two.

    Attributes:
        class_names: (C,), in the order of their code points; those without images too.
        parts: images of each part that has any, class after class, by path. A set that is not split has only "train".
        remarks: what was decided and what was left out, a line each.
        unreadable: folders and files that the system refuses to open, a line each.
    """

    class_names: list[str]
    parts: dict[str, list[Found]]
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
    if valid_folder is not None and VALID in places:
        raise InputError(f"{keys.valid}: {folder} already has validation images, in {places[VALID].name}; leave the option "
                         f"out, or give {places[TRAIN]} as {keys.folder}")
    tops = {part: open_folder(place, keys.folder, top.finder, may_be_empty=part != TRAIN) for part, place in places.items()}
    tops = tops or {TRAIN: top}
    key_of = dict.fromkeys(tops, keys.folder)
    if valid_folder is not None:
        tops[VALID], key_of[VALID] = open_folder(valid_folder, keys.valid, Finder(valid_folder)), keys.valid
    parts = {part: find_classes(place) for part, place in tops.items()}
    finders = list({id(place.finder): place.finder for place in tops.values()}.values())
    names = ", ".join(f"'{printable(place.name)}' for {part}" for part, place in places.items())
    remarks = [f"{folder} is split already: {names}"] if places else class_remarks(top, keys, layout) + mixed_parts(parts[TRAIN])
    remarks += [line for finder in finders for line in finder.remarks()]
    unreadable = [line for finder in finders for line in finder.unreadable]
    for part, found in parts.items():
        if not any(found.images.values()) and (part == TRAIN or part not in places):
            nothing = f"{key_of[part]}: no images in the class folders of {found.folder}"
            raise InputError("\n  ".join([nothing, *remarks, *unreadable]))
    return join(parts, key_of, remarks, unreadable)


def find_classes(top: Top) -> ClassFolders:
    """All images below the class folders, classes without any among them."""
    return ClassFolders(top.folder, {place.name: sorted(top.finder.images(place)) for place in top.folders})


def mixed_parts(found: ClassFolders) -> list[str]:
    """A remark if class folders contain training and validation folders instead of the reverse."""
    inside = {path.relative_to(found.folder).parts[1] for paths in found.images.values() for path in paths}
    names = sorted(name for name in inside if name.lower() in PART_NAMES)
    if len({PART_NAMES[name.lower()] for name in names}) < 2:
        return []
    return [f"{found.folder}: its class folders hold folders called {name_some(names)}, whose images are used together; in a "
            "split set, the folders of the parts contain the class folders"]


def join(parts: Mapping[str, ClassFolders], key_of: Mapping[str, str], remarks: Sequence[str],
         unreadable: Sequence[str]) -> Listing:
    """Makes one list of classes for all parts."""
    first, lines = parts[TRAIN], list(remarks)
    by_class = {TRAIN: first.images}
    for part, found in parts.items():
        renamed = same_names(found.images, first.images)
        images = {renamed.get(name, name): paths for name, paths in found.images.items()}
        lines += [f"{part}: class '{printable(old)}' has the same name as one of {TRAIN} in another Unicode form, and is used "
                  "as the same class" for old in renamed]
        if not any(images.values()):
            lines.append(f"no images for {part} in {found.folder}")
        elif {*images} & {*first.images}:
            by_class[part] = images
        elif part == TEST:
            lines.append(f"left out: {found.folder}, whose folders are not classes of {first.folder}: {name_some([*images])}")
        else:
            raise InputError(f"{key_of[part]}: {first.folder} and {found.folder} have no class in common: "
                             f"{name_some([*first.images])} in the first, {name_some([*images])} in the second")
    names = sorted({name for images in by_class.values() for name in images})
    pictures = {part: [Found(path, label) for label, name in enumerate(names) for path in images.get(name, [])]
                for part, images in by_class.items()}
    return Listing(names, pictures, lines + look_alikes(names), list(unreadable))


def same_names(names: Mapping[str, object], known: Mapping[str, object]) -> dict[str, str]:
    """Which of the names differ from a known one by Unicode's normal form only, as after copying from a Mac."""
    normal: dict[str, list[str]] = {}
    for name in known:
        normal.setdefault(unicodedata.normalize("NFC", name), []).append(name)
    meant = {name: normal.get(unicodedata.normalize("NFC", name), []) for name in names if name not in known}
    return {name: others[0] for name, others in meant.items() if len(others) == 1 and others[0] not in names}


def look_alikes(names: Sequence[str]) -> list[str]:
    """Classes whose names look the same to a reader: they differ in code points, case or spaces."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(" ".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    return [f"classes whose names look alike: {', '.join(map(ascii, group))}"
            for group in alike.values() if len(group) > 1]
