"""Describes the findings in a folder of pictures: as text, as data for pages, and as the files of a run."""
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.dataset.folder.assignment import Assignment
from lib.dataset.folder.layout import PARTS, TEST, TRAIN, VALID
from lib.dataset.folder.survey import Survey
from lib.dataset.folder.table import IGNORE
from lib.utils.files import write_text_atomically
from lib.utils.text import NAMED, count, pad, printable, width

SPLIT, TEXT, DATA = FILES = ("split.csv", "data.txt", "data.json")   # of a run
TITLES = {TRAIN: "train", VALID: "validation", TEST: "test"}
ROWS = 20   # of the table of classes in a log


def write_files(found: Survey, folder: Path) -> None:
    found.assignment.write(folder / SPLIT)
    write_text_atomically(folder / TEXT, "\n".join(whole_text(found)) + "\n")
    write_text_atomically(folder / DATA, json.dumps(to_json(found), indent=1) + "\n")


def whole_text(found: Survey) -> Iterator[str]:
    yield class_table(found.assignment, None)
    yield from found.remarks
    if found.unreadable:
        yield unreadable_text(found.unreadable, None)
    yield from found.warnings
    yield from copy_rows(found)


def class_table(assignment: Assignment, most: int | None = ROWS) -> str:
    """A table of the totals and of each class, from frequent to rare; of many classes, the first and the last ones.

    Args:
        most: classes to be shown; None: all.
    """
    return "\n".join([headline(assignment), *class_rows(assignment, most)])


def unreadable_text(lines: Sequence[str], most: int | None = NAMED) -> str:
    shown = lines if most is None else lines[:most]
    more = [f"and {len(lines) - len(shown):,} more, all in {TEXT}"] * (len(shown) < len(lines))
    return "\n    ".join([f"left out, since they cannot be read: {len(lines):,}", *map(printable, shown), *more])


def headline(assignment: Assignment) -> str:
    counts = {part: assignment.counts(part) for part in PARTS}
    total = np.sum([*counts.values()], axis=0)
    parts = ", ".join(f"{counts[part].sum():,} {title}" for part, title in TITLES.items())
    sizes = np.array([entry.size for entry in assignment.entries if entry.part != IGNORE and any(entry.size)] or [(0, 0)])
    height, across = np.median(sizes, axis=0).astype(int)
    return (f"{assignment.root}: {count(int(total.sum()), 'image')} ({parts}) of {len(total):,} classes, {total.max():,} to "
            f"{total.min():,} per class, median size {height} × {across} pixels")


def class_rows(assignment: Assignment, most: int | None) -> Iterator[str]:
    columns = [assignment.counts(part) for part in TITLES]
    table = np.stack([sum(columns), *columns], axis=1)
    order = np.argsort(-table[:, 0], kind="stable").tolist()
    hidden = 0 if most is None else max(0, len(order) - most)
    half = (most or 0) // 2
    shown = order[:half] + order[-half:] if hidden else order
    names = {label: printable(assignment.class_names[label], 40) for label in shown}
    columns_of_names = max(len("class"), *(width(name) for name in names.values()))
    yield f"{'class':<{columns_of_names}}  {'images':>8}  " + "  ".join(f"{title:>10}" for title in TITLES.values())
    for place, label in enumerate(shown):
        if hidden and place == half:
            yield f"… {hidden:,} more classes, all in {TEXT} …"
        numbers = "  ".join(f"{number:>10,}" for number in table[label, 1:])
        yield f"{pad(names[label], columns_of_names)}  {table[label, 0]:>8,}  {numbers}"


def copy_rows(found: Survey) -> Iterator[str]:
    if found.equal:
        yield "equal images:"
        yield from ("    " + " = ".join(map(printable, names)) for names in found.equal)
    if found.near:
        yield "nearly equal images, and their correlation:"
        yield from (f"    {printable(str(one))} ≈ {printable(str(other))}  {likeness:.3f}" for one, other, likeness in found.near)


def to_json(found: Survey) -> dict[str, Any]:
    assignment = found.assignment
    counts = {part: assignment.counts(part).tolist() for part in PARTS}
    return {
        "root": assignment.root,
        "classes": [{"name": name, **{part: counts[part][label] for part in PARTS}}
                    for label, name in enumerate(assignment.class_names)],
        "images": {part: sum(counts[part]) for part in PARTS},
        "remarks": found.remarks, "warnings": found.warnings, "unreadable": found.unreadable,
        "equal": found.equal, "near": [list(pair) for pair in found.near],
    }
