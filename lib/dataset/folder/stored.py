"""Reads the images of a run from its split.csv; only those of the evaluated part must still exist."""
import os
from collections.abc import Callable
from pathlib import Path

from lib.dataset.decode import ReadOptions
from lib.dataset.folder.assignment import Assignment, Entry
from lib.dataset.folder.layout import PARTS
from lib.dataset.folder.source import KEY, find_file, folder_of, path_below
from lib.dataset.folder.survey import OWN, Advance, Survey
from lib.dataset.folder.table import IGNORE, Row, read_table
from lib.dataset.folder.verify import THREADS, look_in_turns
from lib.utils.errors import InputError, MissingPathError
from lib.utils.text import count, name_some, plain_cell, readable_name, unreadable_name

UNSEEN = (0, 0)   # size of an image that was not looked at


def survey_part(root: str, split: Path, part: str, read: ReadOptions, start: Callable[[int], Advance] | None = None) -> Survey:
    """The images of a run. Only those of one part are examined; for the others the entries of split.csv are sufficient.

    Args:
        root: DATASET.ROOT, under which relative paths are.
        part: train, valid or test.
        start: see ``survey``.

    Raises:
        InputError: the table is damaged; an image of the part is missing or cannot be read.
    """
    if not os.path.exists(root):
        raise MissingPathError(f"{KEY}: no folder and no CSV file {root}, below which the images of {split} should be")
    folder, table = Path(folder_of(root)), read_table(split, OWN, ("path", "label", "split"))
    found = {row.number: find_file(row.path, folder) or find_file(unreadable_name(row.path), folder) for row in table.rows}
    for row in table.rows:
        if row.split == part and found[row.number] is None:
            table.complain(row, f"no file {row.path} in {folder}")
    table.check(OWN)
    looked_at = [row for row in table.rows if row.split == part]
    advance, looks = start(len(looked_at)) if start and looked_at else None, []
    paths = [str(found[row.number]) for row in looked_at]   # of which none is missing
    for turn in look_in_turns(paths, [KEY] * len(paths), THREADS, False, read):
        looks += turn
        if advance is not None:
            advance(len(turn))
    for row, look in zip(looked_at, looks):
        if look.mistake:
            table.complain(row, look.mistake.removeprefix(f"{KEY}: "))
    table.check(OWN)
    seen = {row.number: look for row, look in zip(looked_at, looks)}
    entries = []
    for row in table.rows:
        known = seen.get(row.number)
        digest, size = (row.digest, UNSEEN) if known is None else (known.file.hex(), known.size)
        entries.append(entry_of(row, found[row.number], folder, digest, size))
    changed = [entry.name for row, entry in zip(table.rows, entries) if row.number in seen and row.digest != entry.digest]
    assignment = Assignment.of(root, entries)
    if not any(entry.part in PARTS for entry in entries):
        raise InputError(f"{OWN}: {split} has no image that belongs to train, valid or test")
    missing = [row.path for row in table.rows if found[row.number] is None and row.split != IGNORE]
    remarks = [f"the split is read from {split}; only its {part} images are checked", *table.remarks]
    if missing:
        are = count(len(missing), "image of another part is", "images of other parts are")
        remarks.append(f"{are} not there any more, and not needed here: {name_some(missing)}")
    warnings = []
    if changed:
        have = count(len(changed), "image has", "images have")
        warnings.append(f"{have} another content than when the run was trained: {name_some(changed)}")
    return Survey(assignment, remarks, warnings, [], [], [])


def entry_of(row: Row, path: str | None, folder: Path, digest: str, size: tuple[int, int]) -> Entry:
    place = plain_cell(row.path) if path is None else path_below(path, folder)
    return Entry(readable_name(place), readable_name(row.label), row.split, row.group, digest, place, size)
