"""Names of any kind as they can be shown, put into a table, or pasted into a shell.

File names are bytes. Those that are no UTF-8 are kept by Python as lone surrogates, with which a file can be opened and which no
text file, terminal or font takes.
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
FORMULA = tuple("=+-@\t\r\n＝＋－＠")   # first characters of what spreadsheets compute instead of showing it
NAMED = 5   # names in a message before it says how many more there are


def without_surrogates(text: str) -> str:
    """The text that UTF-8 can encode: what no text stands for becomes U+FFFD."""
    return text if text.isascii() else SURROGATES.sub(UNKNOWN, text)


def printable(text: str, most: int | None = None) -> str:
    """One line to look at; control characters become escapes such as \\n, so that none moves a terminal's cursor.

    Args:
        most: characters, the last of which is "…" where more were cut off.
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
    """Columns that a text takes in a terminal: letters of Chinese, Japanese and Korean take two, accents none."""
    return sum(map(columns_of, text))


def columns_of(letter: str) -> int:
    return 0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def pad(text: str, columns: int, right: bool = False) -> str:
    """Spaces behind a text, or before it if it belongs on the right."""
    space = " " * (columns - width(text))
    return space + text if right else text + space


def count(number: int, noun: str, plural: str = "") -> str:
    """"1 image", "1,000 images"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """A CSV table. Text in it is ``safe_cell``; numbers are as they are."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\r\n")   # quotes what has one of these characters in it
    text = []
    for row in rows:
        writer.writerow([safe_cell(value) if isinstance(value, str) else value for value in row])
        text.append(lines.getvalue().removesuffix("\r\n"))
        lines.seek(0)
        lines.truncate()
    return "".join(f"{line}\n" for line in text)


def safe_cell(text: str) -> str:
    """The text with a single quote before it where a spreadsheet would take it for a formula: OWASP, CSV Injection.

    So does text that is such a text with single quotes before it; ``plain_cell`` drops one.
    """
    text = without_surrogates(text).replace("\0", UNKNOWN)
    return f"'{text}" if text.lstrip("'").startswith(FORMULA) else text


def plain_cell(text: str) -> str:
    """What ``safe_cell`` was given, apart from what no text file takes."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(FORMULA) else text


def readable_name(path: str) -> str:
    """A file name or path as text: bytes that are no UTF-8 become \\xe9, so that different names stay different."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def unreadable_name(text: str) -> str:
    """The file name or path of which ``readable_name`` made a text."""
    raw = text.encode("utf-8", "surrogateescape")
    return os.fsdecode(re.sub(rb"\\x([89a-f][0-9a-f])", lambda found: bytes.fromhex(found[1].decode()), raw))


def shell_line(words: Iterable[str]) -> str:
    """A command that can be pasted into bash or zsh: one line of what standard output shows, whatever the words are."""
    return " ".join(shlex.quote(word) if is_shown(word) else quote_bytes(os.fsencode(word)) for word in words)


def is_shown(word: str) -> bool:
    try:
        word.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return word.isprintable()


def quote_bytes(word: bytes) -> str:
    """ANSI-C quoting, $'caf\\xe9'. Octal, since of hexadecimal digits as many are read as follow."""
    plain = {ord("'"): "\\'", ord("\\"): "\\\\", ord("\n"): "\\n", ord("\t"): "\\t"}
    return "$'" + "".join(plain.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in word) + "'"
