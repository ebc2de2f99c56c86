"""Names that a file system allows, in tables, on terminals and in shells."""
import csv
import io
import logging
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.utils.log import log_to_file, start_logging
from lib.utils.text import csv_text, name_some, printable, safe_cell, shell_line

LATIN1 = os.fsdecode(b"caf\xe9")
any_text = st.text(st.characters(codec=None, exclude_characters="\0"))   # lone surrogates among it


def read_csv(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize(("name", "cell"), [
    ("=1+1", "'=1+1"), ("+1", "'+1"), ("-x", "'-x"), ("@SUM(A1)", "'@SUM(A1)"), ("\t=1", "'\t=1"), ("\r=1", "'\r=1"),
    ("＝1", "'＝1"), ("'=1", "''=1"), ("'tis", "'tis"), ("a=1", "a=1"), (LATIN1, "caf\ufffd"), ("", "")])
def test_no_spreadsheet_takes_a_cell_for_a_formula(name, cell):
    assert safe_cell(name) == cell
    assert read_csv(csv_text([[name, 1]])) == [[cell, "1"]]


@given(st.lists(st.lists(any_text, min_size=2, max_size=3), max_size=3))
def test_any_text_is_one_cell_and_every_row_one_row(rows):
    """A lone carriage return, line feeds and quotes among it; numbers keep their signs."""
    text = csv_text([[*row, -1.5] for row in rows])
    assert read_csv(text) == [[*map(safe_cell, row), "-1.5"] for row in rows]
    text.encode("utf-8")


@given(any_text)
def test_a_cell_can_be_read_back(text):
    cell = safe_cell(text)
    back = cell[1:] if cell[:1] == "'" and cell[1:].lstrip("'")[:1] in [*"=+-@\t\r\n＝＋－＠"] else cell
    assert back == printable_bytes(text)


def printable_bytes(text: str) -> str:
    return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)


@pytest.mark.parametrize(("name", "shown"), [
    ("great tit", "great tit"), ("シジュウカラ", "シジュウカラ"), ("a\nb\r\x1b[2J", r"a\nb\r\x1b[2J"), (LATIN1, "caf\ufffd"),
    ("a\u202eb", r"a\u202eb"), ("a\u2028b", r"a\u2028b"), ("a\u200db", "a\u200db"), ("\N{NO-BREAK SPACE}", "\N{NO-BREAK SPACE}")])
def test_a_name_is_one_line_to_look_at(name, shown):
    assert printable(name) == shown


def test_long_names_and_lists_are_cut():
    assert printable("a" * 255, 40) == "a" * 39 + "…"
    assert name_some(["a, b", "c\n", LATIN1], 3) == "'a, b', 'c\\n', 'caf\ufffd'"
    assert name_some([*"abcdefgh"], 2) == "'a', 'b' and 6 more"


@pytest.mark.parametrize("word", ["plain", "two words", "it's", "$HOME", "a\nb", "-x", "`id`", "!x", "\\n'\n0", "\x1b7", LATIN1,
                                  "\r\n\t", "é\n", "*", "", "#a", "~"])
def test_a_command_can_be_pasted_and_is_one_line(word):
    line = shell_line(["printf", "%s", word, word])
    assert line.isprintable()
    assert subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout == 2 * os.fsencode(word)


def test_a_command_can_be_pasted_from_an_ascii_terminal():
    program = "from lib.utils.text import shell_line; print(shell_line(['printf', '%s', 'caf\\xe9']))"
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True,
                          text=True, check=True)
    assert done.stdout == "printf %s $'caf\\303\\251'\n"
    assert subprocess.run(["bash", "-c", done.stdout], capture_output=True, check=True).stdout == "café".encode()


def test_the_log_takes_names_that_are_no_utf8(tmp_path, capsys):
    start_logging()
    log_to_file(tmp_path / "log.txt")
    logging.getLogger("lib.test").warning("no file %s", LATIN1)
    logging.getLogger("lib.test").warning("and goes on")
    assert "no file caf\ufffd\n" in (text := (tmp_path / "log.txt").read_text(encoding="utf-8"))
    assert "and goes on" in text
    screen = capsys.readouterr()
    assert "no file caf\ufffd\n" in screen.out
    assert not screen.err
    start_logging()
