"""Reads tables of images from CSV files: path, label, split and group in any order of columns."""
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lib.dataset.folder.layout import PART_NAMES
from lib.utils.errors import InputError, MissingPathError
from lib.utils.text import name_some, plain_cell, printable

IGNORE = "ignore"     # split of an image that is in no part; so is an empty one
NAMES = {             # what a column may be called, in lower case; the first name is its own
    "path": ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path"),
    "label": ("label", "class", "class_name", "category"),
    "split": ("split", "part", "subset", "partition"),
    "group": ("group", "group_id"),
    "digest": ("digest",),
}
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
WORDS = {**PART_NAMES, "dev": "valid", "": IGNORE, IGNORE: IGNORE}   # of the column split, in lower case
SHOWN_MISTAKES = 10


@dataclass
class Row:
    """An image of a table.

    Attributes:
        number: as a spreadsheet counts; the columns' names are row 1.
        split: train, valid, test or ignore.
    """

    number: int
    path: str
    label: str = ""
    split: str = ""
    group: str = ""
    digest: str = ""


@dataclass
class Table:
    """The content of a CSV file that lists images.

    Attributes:
        columns: which of ``NAMES`` it has.
        remarks: how it was read, where that is not plain.
        mistakes: what is wrong with it, by row.
    """

    file: Path
    columns: list[str]
    rows: list[Row]
    remarks: list[str]
    mistakes: list[tuple[int, str]] = field(default_factory=list)

    def complain(self, row: Row | int, text: str) -> None:
        self.mistakes.append((row.number if isinstance(row, Row) else row, printable(text)))

    def check(self, key: str) -> None:
        """Raises InputError with all mistakes so far, the first ones by name."""
        if self.mistakes:
            more = len(self.mistakes) - SHOWN_MISTAKES
            lines = [f"row {number}: {text}" for number, text in sorted(self.mistakes)[:SHOWN_MISTAKES]]
            lines += [f"and {more:,} more"] * (more > 0)
            raise InputError("\n  ".join([f"{key}: {self.file} has mistakes:", *lines]))


def read_table(file: Path, key: str, needed: Sequence[str]) -> Table:
    """Reads the rows of a CSV file, without checking whether paths exist. Blank rows are counted and are empty.

    Args:
        key: the config key that names the file, for messages.
        needed: columns that it must have.

    Raises:
        InputError: it is missing, no text, has no columns of these names, or the columns of a row are not told apart.
    """
    text, separator = read_text(file, key), ""
    if text[:4].lower() == "sep=" and "\n" in text:   # by which spreadsheets tell each other
        first, text = text.split("\n", 1)
        separator = first[4:5]
    separator = separator or choose_separator(text)
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        kind = SEPARATORS.get(separator, repr(separator))
        raise InputError(f"{key}: {file} cannot be read as a table whose columns are separated by {kind} ({error})") from error
    header = records[0] if records else []
    places, remarks = find_columns(header)
    missing = [name for name in needed if name not in places]
    if missing:
        found = f"the first row has {name_some(header, 8)}" if any(header) else "it is empty"
        raise InputError(f"{key}: {file} has no column {' and no column '.join(missing)}; its first row must name the columns, "
                         f"such as path,label,split,group, and {found}")
    if separator != ",":
        remarks.insert(0, f"columns are separated by {SEPARATORS.get(separator, repr(separator))}")
    table = Table(file, list(places), [], [f"{file.name}: {line}" for line in remarks])
    for number, cells in enumerate(records[1:], start=2):
        if any(cell.strip() for cell in cells):
            add_row(table, number, cells, places, len(header))
    return table


def read_text(file: Path, key: str) -> str:
    """Decodes UTF-8 or, with a byte order mark, UTF-16. Other bytes are kept, since paths may contain them."""
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise MissingPathError(f"{key}: no file {file}") from error
    except OSError as error:
        raise InputError(f"{key}: {file} cannot be read ({error.strerror})") from error
    try:
        wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = data.decode("utf-16") if wide else data.decode("utf-8-sig", "surrogateescape")
    except UnicodeError as error:
        raise InputError(f"{key}: {file} is no text in UTF-16, as its first bytes say ({error})") from error
    if "\0" in text:
        raise InputError(f"{key}: {file} is no table of text, since it has null characters; save it as CSV, in UTF-8")
    return text


def choose_separator(text: str) -> str:
    """The separator with which the first line has the most known columns."""
    line = text.split("\n", 1)[0]
    return max(SEPARATORS, key=lambda separator: len(find_columns(line.split(separator))[0]))   # of equal ones the first


def find_columns(header: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """The position of each column, and remarks on renamed and unused ones."""
    words = [cell.strip().strip('"').strip().lower() for cell in header]
    places, remarks = {}, []
    for name, others in NAMES.items():
        called = next((word for word in others if word in words), None)
        if called is not None:
            places[name] = words.index(called)
            remarks += [f"column '{printable(header[places[name]])}' is used as the {name}"] * (called != name)
    unused = [cell for place, cell in enumerate(header) if place not in places.values() and cell.strip()]
    return places, remarks + [f"columns that are not used: {name_some(unused)}"] * bool(unused)


def add_row(table: Table, number: int, cells: Sequence[str], places: dict[str, int], width: int) -> None:
    if any(cell.strip() for cell in cells[width:]):
        table.complain(number, f"has {len(cells)} cells, and the first row has {width}; a text with the separator in it must "
                               "stand in quotes")
        return
    values = {name: cells[place] if place < len(cells) else "" for name, place in places.items()}
    row = Row(number, values["path"], plain_cell(values.get("label", "")), group=plain_cell(values.get("group", "").strip()),
              digest=values.get("digest", "").strip())
    word = values.get("split", "").strip().lower()
    row.split = WORDS.get(word, "")
    if not row.split:
        table.complain(row, f"split must be train, valid, test or ignore, got {printable(values['split'])!r}")
    elif not row.path.strip():
        table.complain(row, "has no path")
    else:
        table.rows.append(row)
