"""The published JSON: what is read, what is kept, and how each mistake is named."""
import json
import pickle
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.dataset.annotations import Collector, Texts, check_inside, read_annotations
from lib.utils.errors import InputError, MissingPathError

GOOD = {"image_id": 1, "fpath": "a/b.jpg", "im_height": 6, "im_width": 8, "category_id": 2}


def write(folder: Path, content) -> Path:
    file = folder / "train.json"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return file


def published(*changes: dict, num_classes=3, **more) -> dict:
    entries = [{key: value for key, value in (GOOD | change).items() if value is not ...} for change in changes]
    return {"annotations": entries, "num_classes": num_classes, **more}


def read(folder: Path, content):
    return read_annotations(write(folder, content), "DATASET.TRAIN_JSON")


def test_everything_is_kept(tmp_path):
    read_back = read(tmp_path, published({}, {"fpath": "ä/é 中.png", "category_id": 0}, {"fpath": "/c.bmp", "category_id": 1}))
    assert read_back.labels.tolist() == [2, 0, 1]
    assert [read_back.paths[index] for index in range(3)] == ["a/b.jpg", "ä/é 中.png", "/c.bmp"]
    assert (read_back.num_classes, read_back.class_names) == (3, ["0", "1", "2"])
    assert read_back.sizes == {(6, 8)}
    assert read_back.entry(1) == f"{tmp_path / 'train.json'}, annotations[1]"


def test_what_may_be_absent(tmp_path):
    bare = read(tmp_path, published({"image_id": ..., "im_height": ..., "im_width": None}))
    assert bare.sizes == {None}


def test_more_than_is_needed_does_no_harm(tmp_path):
    """Other keys, also with objects in them, a byte order mark, and the keys in any order."""
    content = {"info": {"year": 2018}, "num_classes": 3, "annotations": [GOOD | {"box": {"left": 1}, "tags": [{}]}]}
    assert read(tmp_path, b"\xef\xbb\xbf" + json.dumps(content).encode()).labels.tolist() == [2]


def test_classes_may_have_names(tmp_path):
    assert read(tmp_path, published({}, class_names=["cat", "dog", "owl"])).class_names == ["cat", "dog", "owl"]


@pytest.mark.parametrize(("content", "message"), [
    (b'{"annotations": [', "not JSON .*char 17"),
    (b"\xff\xfe", "not JSON .*utf-8"),
    (b"", "not JSON"),
    (b"[" * 100_000, "not JSON"),
    ([], "must be an object"),
    (GOOD, "must be an object"),
    ({"annotations": [GOOD]}, "must be an object .*num_classes"),
    ({"annotations": {}, "num_classes": 3}, "annotations must be a list"),
    (published(), "annotations is empty"),
    *[(published({}, num_classes=number), "num_classes must be a whole number from 1") for number in (0, 2.0, True, "3", None)],
    (published({}, num_classes=2), r"train\.json, annotations\[0\]: category_id 2 is outside \[0, 2\)"),
    (published({}, {"category_id": 3}, {"category_id": 4}), r"annotations\[1\]: category_id 3 is outside \[0, 3\)"),
    *[(published({}, {"category_id": label}), r"annotations\[1\]: category_id must be a whole number")
      for label in (-1, 1.0, True, "1", None, 10**30)],
    (published({"category_id": ...}), r"annotations\[0\]: has no category_id"),
    (published({}, {}, {"fpath": ...}), r"annotations\[2\]: has no fpath"),
    *[(published({"fpath": path}), r"annotations\[0\]: fpath must be the path of an image") for path in ("", 7, None, "a\0b")],
    *[(published({key: side}), rf"annotations\[0\]: {key} must be a whole number of pixels")
      for key in ("im_height", "im_width") for side in (0, 6.0, True, "6", [6])],
    ({"annotations": [GOOD, 7], "num_classes": 3}, r"annotations\[1\]: must be an object with fpath and category_id, got 7"),
    (published({"fpath": ..., "inner": GOOD}), r"annotations\[0\]: has no fpath"),
    (published({"inner": GOOD}), "1 annotations are inside others"),
    (published({}, class_names=["cat"]), "class_names must be a list of 3 names"),
    (published({}, class_names=["cat", "dog", 3]), "class_names must be a list of 3 names"),
])
def test_mistakes_name_file_and_entry(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path, content)
    assert str(tmp_path / "train.json") in str(error.value)


def test_a_missing_file_names_key_and_path(tmp_path):
    with pytest.raises(MissingPathError, match=f"DATASET.TRAIN_JSON: no file {tmp_path}/no.json"):
        read_annotations(tmp_path / "no.json", "DATASET.TRAIN_JSON")
    with pytest.raises(InputError, match=r"DATASET.TRAIN_JSON: .*cannot be read"):
        read_annotations(tmp_path, "DATASET.TRAIN_JSON")


@pytest.mark.parametrize(("path", "leaves"), [
    ("../a.jpg", True), ("a/../../b.jpg", True), ("..", True), ("a/../b.jpg", False), ("..a/b..jpg", False),
    ("/x/../a.jpg", False),
])
def test_relative_paths_stay_below_the_root(tmp_path, path, leaves):
    annotations = read(tmp_path, published({}, {"fpath": path}))
    if leaves:
        with pytest.raises(InputError, match=r"annotations\[1\]: fpath .* leaves DATASET\.ROOT"):
            check_inside(annotations, tmp_path)
    else:
        check_inside(annotations, tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(min_size=1)))
def test_texts_come_back(texts):
    collector = Collector()
    for text in texts:
        collector.data += text.encode()
        collector.ends.append(len(collector.data))
    kept = Texts(collector.data, collector.ends)
    assert [kept[index] for index in range(len(kept))] == texts


def test_names_that_are_not_utf8_come_back(tmp_path):
    name = "caf\udce9.jpg"   # how Python reads the byte E9 in a file's name
    assert read(tmp_path, published({"fpath": name})).paths[0] == name


def test_an_annotation_costs_its_path_and_sixteen_bytes(tmp_path):
    """437,513 of them are some 30 MB, and workers share them: what is sent to one does not grow with them."""
    read_back = read(tmp_path, published(*[{}] * 5000))
    assert read_back.num_bytes() == 5000 * (8 + 8 + len("a/b.jpg"))
    assert len(ForkingPickler.dumps(read_back)) < 5000
    copy = pickle.loads(pickle.dumps(read_back))
    assert torch.equal(copy.labels, read_back.labels)
    assert copy.paths[4999] == "a/b.jpg"


@pytest.mark.parametrize("texts", [["a.png"], ["x/a/1.png", "x/b/2.png"], ["x/a/1.png", "x/a/1.pngx", "x/a/é.png"], ["/a", "/b"]])
@pytest.mark.parametrize("folder", ["", "/data/", "../x/"])
def test_the_digest_of_paths_stays_when_they_move(texts, folder):
    moved = Texts.of(folder + text.removeprefix("/") for text in texts)
    assert moved.digest() == Texts.of(texts).digest()
    assert moved.digest() != Texts.of([*texts[:-1], texts[-1] + "x"]).digest()


def test_the_digest_of_paths_depends_on_order_and_borders_and_not_on_blocks(monkeypatch):
    assert Texts.of(["a/1", "a/2"]).digest() != Texts.of(["a/2", "a/1"]).digest()
    assert Texts.of(["a/12", "a/3"]).digest() != Texts.of(["a/1", "a/23"]).digest()
    assert Texts.of([]).digest() == Texts.of([]).digest()
    texts = Texts.of(f"some/folder/{number % 7}/{number}.jpg" for number in range(100))
    whole = texts.digest()
    monkeypatch.setattr("lib.dataset.annotations.BLOCK", 7)
    assert texts.digest() == whole
