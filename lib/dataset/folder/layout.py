"""Decides whether the folders in a folder are classes, or the parts of a set that is already split."""
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lib.dataset.folder.files import NO_PARTS, STRAYS, Finder
from lib.utils.errors import InputError, MissingPathError
from lib.utils.text import count, name_some

TRAIN, VALID, TEST = PARTS = ("train", "valid", "test")
# names of folders, in lower case, that a set which is split has
PART_NAMES = {"train": TRAIN, "training": TRAIN, "val": VALID, "valid": VALID, "validation": VALID, "test": TEST, "testing": TEST}
LAYOUTS = ("auto", "classes", "parts")


class Keys(NamedTuple):
    """The names of the folder and layout options in messages: options of a script, or keys of the configuration."""

    folder: str
    layout: str
    valid: str = ""


class Top(NamedTuple):
    """The entries directly in a folder."""

    folder: Path
    folders: list[Path]
    finder: Finder


def open_folder(folder: Path, key: str, finder: Finder, may_be_empty: bool = False) -> Top:
    """Raises InputError if this is not a folder, cannot be read, or has no folders in it."""
    if not os.path.isdir(folder):   # Path.is_dir would raise where a folder above may not be searched
        raise MissingPathError(f"{key}: no folder {folder}")
    unreadable = len(finder.unreadable)
    folders, images = finder.entries(folder)
    if not folders and not may_be_empty:
        if len(finder.unreadable) > unreadable:
            raise InputError(f"{key}: {finder.unreadable[-1]}")
        beside = f"{count(len(images), 'image')} and " if images else ""
        raise InputError(f"{key}: {folder} has {beside}no folders in it; it must have one folder per class")
    for path in images:
        finder.leave_out(STRAYS, path)
    return Top(folder, folders, finder)


def find_parts(top: Top, keys: Keys, layout: str) -> dict[str, Path]:
    """The folders of the parts, training images first; empty if the folders are classes."""
    if layout == "classes":
        return {}
    named: dict[str, list[Path]] = {}
    for place in top.folders:
        if part_of(place):
            named.setdefault(str(part_of(place)), []).append(place)
    others = [place for place in top.folders if not part_of(place)]
    if layout == "auto":
        holding = [place for places in named.values() for place in places if holds_folders(place)]
        if others and len(holding) > 1 and TRAIN in named:
            raise InputError(f"{keys.folder}: {top.folder} is ambiguous: {list_names(holding)} have folders in them, like the "
                             f"parts of a split set, but there are also {list_names(others)}; {keys.layout} parts ignores the "
                             f"latter, {keys.layout} classes uses all of them as classes")
        if others or not any(place in holding for place in named.get(TRAIN, [])):
            return {}
    if TRAIN not in named:
        raise InputError(f"{keys.layout}: {top.folder} has no folder train for the training images; it has "
                         f"{list_names(top.folders)}")
    for part, places in named.items():
        if len(places) > 1:
            raise InputError(f"{keys.folder}: {top.folder} has several folders for {part}: {list_names(places)}; keep one, or "
                             f"use them as classes with {keys.layout} classes")
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
    """Remarks on folders that are taken for classes but may be something else."""
    parts = [place for place in top.folders if part_of(place)]
    if layout == "auto" and parts:
        return [f"{top.folder}: all its folders are used as classes, including {list_names(parts)}; {keys.layout} parts would "
                "use these as the parts of a split set"]
    if layout == "auto" and len(top.folders) == 1 and holds_folders(top.folders[0]):
        return [f"{top.folder}: has only one folder, which is used as the only class; to use the folders inside it as classes, "
                f"name {top.folders[0]}"]
    return []
