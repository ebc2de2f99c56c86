"""The images, their classes and their parts: the content of split.csv."""
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.dataset.folder.layout import TRAIN, VALID
from lib.dataset.folder.table import IGNORE
from lib.utils.files import write_text_atomically
from lib.utils.text import csv_text

COLUMNS = ("path", "label", "split", "group", "digest")


class Entry(NamedTuple):
    """An image in split.csv, and its file.

    Attributes:
        path: to open it, below the folder of DATASET.ROOT or absolute; ``name`` is that in readable letters.
        digest: of the file, hexadecimal; empty for what is in no part.
        size: height and width; zeros for what is in no part.
    """

    name: str
    label: str
    part: str
    group: str
    digest: str
    path: str
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)   # arrays have no truth
class Assignment:
    """All images by class, in the order of their names, as plain values that can be sent to other ranks.

    Attributes:
        root: DATASET.ROOT.
        class_names: (C,), of the classes that have an image in a part, in the order of their code points.
        labels: int64 (N,); −1 for an image that is in no part.
    """

    root: str
    class_names: list[str]
    entries: list[Entry]
    labels: np.ndarray

    @classmethod
    def of(cls, root: str, entries: Sequence[Entry]) -> "Assignment":
        ordered = sorted(entries, key=lambda entry: (entry.label, entry.name))
        names = sorted({entry.label for entry in ordered if entry.part != IGNORE})
        place = {name: number for number, name in enumerate(names)}
        labels = [place[entry.label] if entry.part != IGNORE else -1 for entry in ordered]
        return cls(root, names, ordered, np.array(labels, dtype=np.int64))

    def members(self, part: str) -> list[int]:
        """The images of a part by class, then by content, so that neither names nor folders change the order."""
        numbers = [number for number, entry in enumerate(self.entries) if entry.part == part]
        return sorted(numbers, key=lambda number: (self.labels[number], self.entries[number].digest, self.entries[number].name))

    def counts(self, part: str) -> np.ndarray:
        """Images per class, (C,)."""
        return np.bincount(self.labels[self.members(part)], minlength=len(self.class_names))

    def for_training(self) -> "Assignment":
        """The assignment with the validation images moved to training; test images do not change."""
        return Assignment.of(self.root, [entry._replace(part=TRAIN) if entry.part == VALID else entry for entry in self.entries])

    def write(self, path: Path) -> None:
        write_text_atomically(path, csv_text([COLUMNS, *(entry[:len(COLUMNS)] for entry in self.entries)]))
