"""Makes arbitrary names safe to print, to write into a table, or to paste into a shell.

File names are bytes. If they are not valid UTF-8, Python represents the invalid bytes as lone surrogates. Such a name can open
the file, but it cannot be written to a text file or terminal, or drawn with a font.
"""
import csv
import io
import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Iterable, Sequence

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
SURROGATES = re.compile("[\ud800-\udfff]")
LINE_BREAKING = {"Cc", "Zl", "Zp"}   # categories of Unicode: control characters, separators of lines and of paragraphs
TURNING = {*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}   # change the direction of the text that follows
FORMULA = tuple("=+-@\t\r\n＝＋－＠")   # first characters of cells that spreadsheets evaluate as formulas
NAMED = 5   # names in a message before it says how many more there are


def without_surrogates(text: str) -> str:
    """The text with every lone surrogate replaced by U+FFFD, so that UTF-8 can encode it."""
    return text if text.isascii() else SURROGATES.sub(UNKNOWN, text)


def printable(text: str, most: int | None = None) -> str:
    """The text as one printable line; control characters become escapes such as \\n, so that they do not affect the terminal.

    Args:
        most: maximum number of characters; a longer text is cut, and ends with "…".
    """
    text = text if text.isprintable() else "".join(map(show, text))
    return text if most is None or len(text) <= most else f"{text[:most - 1]}…"


def show(character: str) -> str:
    kind = unicodedata.category(character)
    if kind == "Cs":
        return UNKNOWN
    return character.encode("unicode_escape").decode() if kind in LINE_BREAKING or character in TURNING else character


def name_some(names: Sequence[object], most: int = NAMED) -> str:
    """The first few of many names, and how many more there are."""
    shown = ", ".join(f"'{printable(str(name))}'" for name in names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def width(text: str) -> int:
    """Number of columns of a text in a terminal: Chinese, Japanese and Korean letters take two, combining accents none."""
    return sum(map(columns_of, text))


def columns_of(letter: str) -> int:
    return 0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def pad(text: str, columns: int, right: bool = False) -> str:
    """Pads a text with spaces to a number of columns, left-aligned, or right-aligned if ``right``."""
    space = " " * (columns - width(text))
    return space + text if right else text + space


def count(number: int, noun: str, plural: str = "") -> str:
    """"1 image", "1,000 images"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """A CSV table. Texts go through ``safe_cell``; numbers are written unchanged."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\r\n")   # so that cells with one of these two characters are quoted
    text = []
    for row in rows:
        writer.writerow([safe_cell(value) if isinstance(value, str) else value for value in row])
        text.append(lines.getvalue().removesuffix("\r\n"))
        lines.seek(0)
        lines.truncate()
    return "".join(f"{line}\n" for line in text)


def safe_cell(text: str) -> str:
    """The text, with a single quote in front if a spreadsheet would treat it as a formula (OWASP, CSV Injection).

    A formula that has single quotes in front gets one more, so that ``plain_cell``, which removes one, restores the text.
    """
    text = without_surrogates(text).replace("\0", UNKNOWN)
    return f"'{text}" if text.lstrip("'").startswith(FORMULA) else text


def plain_cell(text: str) -> str:
    """The inverse of ``safe_cell``, except for characters that it replaced."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(FORMULA) else text


def readable_name(path: str) -> str:
    """A file name or path as text: bytes that are not UTF-8 become escapes such as \\xe9, so that different names stay
    different."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def unreadable_name(text: str) -> str:
    """The inverse of ``readable_name``: the file name or path of a text."""
    raw = text.encode("utf-8", "surrogateescape")
    return os.fsdecode(re.sub(rb"\\x([89a-f][0-9a-f])", lambda found: bytes.fromhex(found[1].decode()), raw))


def shell_line(words: Iterable[str]) -> str:
    """A command line that can be pasted into bash or zsh, in characters that standard output can show."""
    return " ".join(shlex.quote(word) if is_shown(word) else quote_bytes(os.fsencode(word)) for word in words)


def is_shown(word: str) -> bool:
    try:
        word.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return word.isprintable()


def quote_bytes(word: bytes) -> str:
    """ANSI-C quoting, $'caf\\351'. Octal escapes have a fixed length; after \\x a shell may read too many digits."""
    plain = {ord("'"): "\\'", ord("\\"): "\\\\", ord("\n"): "\\n", ord("\t"): "\\t"}
    return "$'" + "".join(plain.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in word) + "'"
