"""CSV files of images as people and spreadsheets write them."""
import os
from pathlib import Path

import pytest
from PIL import Image

from lib.dataset.folder.source import apply_split, read_source
from lib.dataset.folder.table import read_table
from lib.utils.errors import InputError
from lib.utils.text import csv_text, plain_cell, readable_name, safe_cell

KEY = "DATASET.ROOT"
NAMES = ["ant 1.png", "=1+1.png", "a,b.png", 'say "x".png', "シジュウカラ.png", "sub/cat.png", os.fsdecode(b"caf\xe9.png")]


@pytest.fixture
def folder(tmp_path) -> Path:
    for number, name in enumerate(NAMES):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (3, 2), (number, 0, 0)).save(tmp_path / name)
    return tmp_path


def write(folder: Path, text: str | bytes, encoding: str = "utf-8") -> str:
    (folder / "list.csv").write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return str(folder / "list.csv")


def items(file: str) -> list[tuple]:
    return [item[1:] for item in read_source(file, "auto").items]


PLAIN = [("ant 1.png", "ant", "", ""), ("sub/cat.png", "cat", "", "")]


@pytest.mark.parametrize(("text", "encoding"), [
    ("path,label\nant 1.png,ant\nsub/cat.png,cat\n", "utf-8"),
    ("path,label\r\nant 1.png,ant\r\nsub/cat.png,cat\r\n", "utf-8-sig"),            # of a spreadsheet
    ("label;path\nant;ant 1.png\ncat;sub/cat.png", "utf-8"),                         # of one in Germany, no end of the last line
    ("Path\tLabel\nant 1.png\tant\n\nsub/cat.png\tcat\n", "utf-16"),                 # "Unicode text"; a blank row
    ("sep=;\npath;label\nant 1.png;ant\nsub/cat.png;cat\n", "utf-8"),
    ('"path","label"\n"ant 1.png","ant"\n"sub/cat.png","cat"\n', "utf-8"),
    ("FILENAME , class\nant 1.png,ant\nsub\\cat.png,cat\n", "utf-8"),                # other words, backslashes
    ("path,label,split,notes\nant 1.png,ant,,x\n./sub/../sub/cat.png,cat,,\n", "utf-8"),
])
def test_ways_to_write_the_same_table(folder, text, encoding):
    expected = PLAIN if " class" not in text else [("ant 1.png", "ant", "", ""), ("sub/cat.png", "cat", "", "")]
    assert items(write(folder, text, encoding)) == expected


def test_what_is_not_plain_is_said(folder):
    source = read_source(write(folder, "filename;class;extra;group\nant 1.png;ant;1;a\nsub/cat.png;Ant;2;b\n"), "auto")
    assert source.remarks == [
        "list.csv: columns are separated by semicolons", "list.csv: column 'filename' is used as the path",
        "list.csv: column 'class' is used as the label", "list.csv: columns that are not used: 'extra'",
        "classes whose names look alike: 'Ant', 'ant'"]


def test_any_name_in_any_column(folder):
    rows = [("path", "label", "split", "group"),
            *((name, safe_name, "train", "g") for name, safe_name in zip(NAMES, ["=x", "a\nb", "-", "'=", '"', "シ", "é"]))]
    text = csv_text(rows[:-1]) + f"{NAMES[-1]},é,train,g\n"
    found = items(write(folder, text.encode("utf-8", "surrogateescape")))
    assert [name for name, *_ in found] == [readable_name(name) for name in NAMES]
    assert [label for _, label, *_ in found] == ["=x", "a\nb", "-", "'=", '"', "シ", "é"]
    assert read_source(str(folder / "list.csv"), "auto").items[-1].path == str(folder / NAMES[-1])


def test_absolute_paths_and_paths_above(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "owl.png"
    Image.new("RGB", (3, 2)).save(other)
    file = write(folder / "sub", f"path,label\n{other},owl\n../ant 1.png,ant\ncat.png,cat\n")
    assert [name for name, *_ in items(file)] == [str(other), str(folder / "ant 1.png"), "cat.png"]


@pytest.mark.parametrize("text", ["=1", "-x", "'=1", "''@", "plain", "'plain", "", "＝"])
def test_cells_come_back(text):
    assert plain_cell(safe_cell(text)) == text


@pytest.mark.parametrize(("text", "message"), [
    ("", "has no column path and no column label; .* and it is empty"),
    ("ant 1.png,ant\n", "has no column path and no column label; its first row must name the columns, such as "
                        "path,label,split,group, and the first row has 'ant 1.png', 'ant'"),
    ("path,name\nant 1.png,ant\n", "has no column label"),
    ("path,label\n", "has no images in it"),
    (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is no table of text, since it has null characters"),
    (b"\xff\xfea", "is no text in UTF-16"),
    ('path,label\n"ant 1.png,ant\n', "cannot be read as a table whose columns are separated by commas"),
])
def test_what_is_no_table(folder, text, message):
    with pytest.raises(InputError, match=rf"DATASET.ROOT: .*list.csv {message}"):
        read_source(write(folder, text), "auto")


def test_every_mistake_has_its_row(folder):
    file = write(folder, "path,label,split\nant 1.png,ant,train\n,ant,train\nsub/cat.png,,valid\nnone.png,ant,train\n"
                         "sub,ant,train\nant 1.png,cat,valid\nsub/cat.png,cat,tset\na,b.png,cat,train\n\nnone.png,ant,ignore\n")
    with pytest.raises(InputError) as caught:
        read_source(file, "auto")
    assert str(caught.value).split("\n  ")[1:] == [
        "row 3: has no path", "row 4: sub/cat.png has no label", f"row 5: no file none.png in {folder}",
        f"row 6: no file sub in {folder}", "row 7: ant 1.png is in row 2 already",
        "row 8: split must be train, valid, test or ignore, got 'tset'",
        "row 9: has 4 cells, and the first row has 3; a text with the separator in it must stand in quotes"]


def test_of_many_mistakes_the_first_are_named(folder):
    with pytest.raises(InputError) as caught:
        read_source(write(folder, "path,label\n" + "none.png,ant\n" * 40), "auto")
    lines = str(caught.value).split("\n  ")
    assert (len(lines), lines[-1]) == (12, "and 30 more")


def test_words_of_the_split(folder):
    words = ["train", "Training", "VAL", "validation", "test", "ignore", ""]
    text = csv_text([("path", "label", "split"), *((f"./{name}", "x", word) for name, word in zip(NAMES[:-1], words))])
    assert [part for _, _, part, _ in items(write(folder, text))] == ["train", "train", "valid", "valid", "test", "ignore"]


# --- a split that is given

def split(folder: Path, text: str) -> tuple[list[tuple], list[str]]:
    for label, number in (("ant", 1), ("ant", 2), ("cat", 1), ("cat", 2)):
        (folder / "birds" / label).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 2), (number, 0, 0)).save(folder / f"birds/{label}/{number}.png")
    source = read_source(str(folder / "birds"), "auto")
    table = read_table(Path(write(folder, text)), "DATASET.FOLDER.SPLIT", ("path", "split"))
    lines = list(apply_split(table, source, "DATASET.FOLDER.SPLIT"))
    return [item[1:] for item in source.items], lines


def test_a_split_says_which_image_is_where(tmp_path):
    found, lines = split(tmp_path, "split,path\nvalid,ant/1.png\ntrain,ant/2.png\ntrain,cat/1.png\nvalid,cat/2.png\n")
    assert found == [("ant/1.png", "ant", "valid", ""), ("ant/2.png", "ant", "train", ""), ("cat/1.png", "cat", "train", ""),
                     ("cat/2.png", "cat", "valid", "")]
    assert lines == []


def test_a_split_may_leave_out_move_and_correct(tmp_path):
    found, lines = split(tmp_path, "path,label,split,group\nant/1.png,cat,valid,\ncat/2.png,,train,g\nant/2.png,ant,,\n"
                                   "gone.png,ant,ignore,\n")
    assert found == [("ant/1.png", "cat", "valid", ""), ("cat/2.png", "cat", "train", "g"), ("ant/2.png", "ant", "ignore", "")]
    assert lines == ["1 image whose class differs between list.csv and the folder: 'ant/1.png'",
                     "left out as list.csv says: 2 rows", "left out as images that are not in list.csv: 1 ('cat/1.png')"]


def test_mistakes_of_a_split_have_their_rows(tmp_path):
    Image.new("RGB", (3, 2)).save(tmp_path / "stray.png")
    with pytest.raises(InputError) as caught:
        split(tmp_path, "path,split\nant/1.png,train\nant/1.png,valid\nant/9.png,train\ncat/1.png,vlaid\n"
                        f"{tmp_path}/stray.png,train\n")
    assert str(caught.value).split("\n  ") == [
        f"DATASET.FOLDER.SPLIT: {tmp_path}/list.csv has mistakes:", "row 3: ant/1.png is in row 2 already",
        f"row 4: no file ant/9.png in {tmp_path}/birds", "row 5: split must be train, valid, test or ignore, got 'vlaid'",
        f"row 6: {tmp_path}/stray.png is in no class folder, and has no label"]
