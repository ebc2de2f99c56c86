"""A look at a messy folder: what is found, said and left out; the split; what is remembered."""
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.dataset.decode import ReadOptions
from lib.dataset.folder import FILES, Options, Survey, class_table, survey, unreadable_text, write_files
from lib.utils.errors import InputError
from tests.messy_folder import COUNTS, LATIN1, READABLE, TRUNCATED, make_messy, picture, save


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return make_messy(tmp_path_factory.mktemp("messy"))


@pytest.fixture(scope="module")
def found(root) -> Survey:
    return survey(str(root), Options())


def parts(found: Survey) -> dict[str, str]:
    """Digest to part, of what is in one."""
    return {entry.digest: entry.part for entry in found.assignment.entries if entry.digest}


def small_set(root: Path, counts: dict[str, int], first: int = 0) -> Path:
    number = first
    for name, count in counts.items():
        for place in range(count):
            save(picture(number), root / name / f"{place}.jpg")
            number += 1
    return root


def test_every_picture_is_in_a_part_and_what_cannot_be_read_is_named(root, found):
    held = Counter(entry.part for entry in found.assignment.entries)
    assert held["train"] + held["valid"] == READABLE
    assert held["ignore"] == 1
    start = f"{root}/{TRUNCATED} cannot be read as an image"
    assert found.unreadable == [line for line in found.unreadable if line.startswith(start)]
    assert len(found.unreadable) == 1
    assert found.assignment.class_names == sorted(name if name != LATIN1 else r"caf\xe9" for name in COUNTS)


def test_each_class_is_validated_by_a_fifth_by_two_or_by_half(found):
    train, valid = (dict(zip(found.assignment.class_names, found.assignment.counts(part))) for part in ("train", "valid"))
    for name in found.assignment.class_names:
        count = train[name] + valid[name]
        assert valid[name] == max(round(0.2 * count), min(2, count // 2))
    assert (train["single"], valid["single"]) == (1, 0)


def test_copies_are_named_in_pairs_and_stay_on_one_side(found):
    assert found.equal == [["ant/copy.jpg", "ant/img 0.jpg", "two words/same as an ant.jpg"]]
    assert [pair[:2] for pair in found.near] == [("シジュウカラ/img 2.png", "シジュウカラ/near.jpg")]
    sides = {}
    for entry in found.assignment.entries:
        sides.setdefault(entry.group, set()).add(entry.part)
    assert all(len(held) == 1 for group, held in sides.items() if group)
    assert sum(bool(entry.group) for entry in found.assignment.entries) == 5
    assert found.warnings[:2] == [
        "equal images: in several classes, of which at most one is correct: 1 image, "
        "'ant/copy.jpg' = 'two words/same as an ant.jpg'",
        "nearly equal images: within their class: 1 pair, 'シジュウカラ/img 2.png' ≈ 'シジュウカラ/near.jpg'"]


def test_what_is_left_out_and_how_pictures_are_read_is_said(found):
    text = "\n".join(found.remarks)
    for expected in (
            "links to nothing: 1 ('birds/pair/dead.jpg')", "contain this link: 1 ('birds/ant/up')", "(.heic): 1",
            "files of zero bytes: 1", "images in no class folder: 1 ('birds/stray.jpg')", "recognised as images by their content",
            "1 of 67 images are rotated upright", "1 of 67 images have more than 8 bits", "1 of 67 images have transparent"):
        assert expected in text
    assert "folders without images, which are not used as classes: 1 ('nothing in it')" in found.warnings
    assert "only one image, which is used for training: 1 of 12 classes ('single')" in found.warnings


def test_neither_names_nor_order_nor_place_change_the_split(root, found, tmp_path):
    """All files get other names, and folders other places."""
    moved = tmp_path / "elsewhere"
    for number, entry in enumerate(found.assignment.entries):
        if entry.digest:
            target = moved / entry.label / f"{entry.digest[::-1]} {number}.bin"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / entry.path, target)
    again = survey(str(moved), Options())
    assert parts(again) == parts(found)
    assert [again.assignment.entries[number].digest for number in again.assignment.members("train")] == [
        found.assignment.entries[number].digest for number in found.assignment.members("train")]


def test_another_seed_is_another_split(root, found):
    assert parts(survey(str(root), Options(seed=1))) != parts(found)


def test_split_csv_comes_back_as_it_was_written(root, found, tmp_path):
    write_files(found, tmp_path)
    again = survey(str(root), Options(split=str(tmp_path / "split.csv")))
    assert again.assignment.entries == found.assignment.entries
    assert again.assignment.labels.tolist() == found.assignment.labels.tolist()
    assert (tmp_path / "split.csv").read_text(encoding="utf-8").startswith("path,label,split,group,digest\n")
    own = survey(str(root), Options(own=str(tmp_path / "split.csv"), folds=3, fold=2))   # a run's own goes before all else
    assert own.assignment.entries == found.assignment.entries


def test_the_files_of_a_run_tell_it_all(found, tmp_path):
    write_files(found, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    text = (tmp_path / "data.txt").read_text(encoding="utf-8")
    assert text.startswith(class_table(found.assignment, None))
    for line in (*found.remarks, *found.warnings, "    ant/copy.jpg = ant/img 0.jpg = two words/same as an ant.jpg"):
        assert line in text
    data = json.loads((tmp_path / "data.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in data["classes"]] == found.assignment.class_names
    assert sum(row["train"] + row["valid"] + row["test"] for row in data["classes"]) == READABLE == sum(data["images"].values())
    assert data["near"][0][:2] == list(found.near[0][:2])


def test_tables_of_many_classes_show_the_first_and_the_last(tmp_path):
    for label in range(30):
        for number in range(2 + label):
            save(Image.new("RGB", (8, 8), (label, number, 0)), tmp_path / "birds" / f"c{label:02d}" / f"{number}.png", "PNG")
    found = survey(str(tmp_path / "birds"), Options())
    lines = class_table(found.assignment).splitlines()
    assert len(lines) == 2 + 20 + 1
    assert lines[12] == "… 10 more classes, all in data.txt …"
    assert lines[2].split() == ["c29", "31", "25", "6", "0"]
    assert lines[-1].split() == ["c00", "2", "1", "1", "0"]
    assert len(class_table(found.assignment, None).splitlines()) == 32


def test_of_many_unreadable_files_a_log_names_some():
    lines = unreadable_text([f"file {number}" for number in range(9)]).splitlines()
    assert lines[0] == "left out, since they cannot be read: 9"
    assert lines[-1] == "    and 4 more, all in data.txt"


# --- a user's own parts

def test_leaks_across_parts_that_are_given_are_named(tmp_path):
    root = small_set(tmp_path / "birds" / "train", {"ant": 6, "cat": 5}).parent
    small_set(root / "val", {"ant": 2, "cat": 2}, first=20)
    shutil.copy(root / "train/ant/0.jpg", root / "val/ant/same.jpg")
    save(Image.open(root / "train/cat/1.jpg").resize((50, 40)), root / "val/cat/smaller.jpg")
    found = survey(str(root), Options(test_share=0.3))
    assert found.warnings[0] == ("equal images: in several parts, so that accuracy is also measured on training images: 1 image, "
                                 "'train/ant/0.jpg' = 'val/ant/same.jpg'")
    assert found.warnings[1].startswith(
        "nearly equal images: in several parts, so that accuracy is also measured on training images: 1 "
                                        "pair, ")
    assert {entry.name for entry in found.assignment.entries if entry.part == "valid"} == {
        "val/ant/0.jpg", "val/ant/1.jpg", "val/ant/same.jpg", "val/cat/0.jpg", "val/cat/1.jpg", "val/cat/smaller.jpg"}
    assert found.assignment.counts("test").tolist() == [2, 2]   # of the training images


def test_near_duplicates_can_be_left_alone(tmp_path):
    root = small_set(tmp_path / "birds", {"ant": 4, "cat": 4})
    save(Image.open(root / "cat/1.jpg").resize((50, 40)), root / "cat/smaller.jpg")
    assert len(survey(str(root), Options()).near) == 1
    assert survey(str(root), Options(near_duplicates=False)).near == []


def test_groups_of_a_table_stay_on_one_side(tmp_path):
    small_set(tmp_path / "birds", {"ant": 12, "cat": 12})
    rows = [f"birds/{label}/{number}.jpg,{label},person {number // 4}" for label in ("ant", "cat") for number in range(12)]
    (tmp_path / "list.csv").write_text("path,label,group\n" + "\n".join(rows), encoding="utf-8")
    found = survey(str(tmp_path / "list.csv"), Options())
    sides = {}
    for entry in found.assignment.entries:
        sides.setdefault(entry.group, set()).add(entry.part)
    assert {group: len(held) for group, held in sides.items()} == {f"person {number}": 1 for number in range(3)}
    assert sum(held == {"valid"} for held in sides.values()) == 1


def test_three_parts_and_a_minimum(tmp_path):
    root = small_set(tmp_path / "birds", {"ant": 40, "cat": 8, "owl": 3})
    found = survey(str(root), Options(valid_share=0.25, test_share=0.25, min_valid=2))
    held = {part: found.assignment.counts(part).tolist() for part in ("train", "valid", "test")}
    assert held == {"train": [20, 4, 1], "valid": [10, 2, 1], "test": [10, 2, 1]}


# --- folds

def test_each_image_validates_in_one_fold(root):
    held = Counter()
    for fold in (1, 2, 3):
        found = survey(str(root), Options(folds=3, fold=fold))
        held.update(entry.digest for entry in found.assignment.entries if entry.part == "valid")
        assert ("fewer images than folds, so that some folds have none to validate: 2 of 12 classes ('pair', 'single')"
                in found.warnings)
    assert sum(held.values()) == READABLE   # copies are counted by their digest
    assert Counter(held.values())[3] == 1


def test_folds_of_parts_that_are_given_leave_the_test_alone(tmp_path):
    root = small_set(tmp_path / "birds" / "train", {"ant": 6, "cat": 6}).parent
    small_set(root / "val", {"ant": 3, "cat": 3}, first=20)
    small_set(root / "test", {"ant": 2, "cat": 2}, first=40)
    found = survey(str(root), Options(folds=3, fold=1))
    assert found.assignment.counts("valid").tolist() == [3, 3]
    assert {entry.name[:4] for entry in found.assignment.entries if entry.part == "test"} == {"test"}
    assert "DATASET.FOLDER.FOLDS: 3 folds of training and validation images together; test images stay apart" in found.remarks


# --- what is remembered

def read(root: Path, cache: Path, **options: object) -> tuple[Survey, list[int]]:
    """What was found, and how many images had to be read."""
    totals = []

    def start(total: int):
        totals.append(total)
        return lambda number: None

    return survey(str(root), Options(cache=str(cache), **options), start), totals


def test_a_second_look_reads_what_has_changed(tmp_path):
    root, cache = small_set(tmp_path / "birds", {"ant": 5, "cat": 4}), tmp_path / "cache"
    first, totals = read(root, cache)
    assert totals == [9]
    again, totals = read(root, cache)
    assert totals == []
    assert again.assignment.entries == first.assignment.entries
    save(picture(90), root / "ant/0.jpg")
    os.utime(root / "ant/0.jpg", ns=(1, 1))
    save(picture(91), root / "cat/new.jpg")
    changed, totals = read(root, cache)
    assert totals == [2]
    assert len(changed.assignment.entries) == 10
    assert not [path for path in root.rglob("*") if path.suffix not in (".jpg", "")]   # nothing was written there


def test_what_was_seen_before_a_stop_is_not_read_again(tmp_path):
    root, cache = small_set(tmp_path / "birds", {"ant": 30, "cat": 30}), tmp_path / "cache"
    seen = 0

    def stop(number: int) -> None:
        nonlocal seen
        seen += number
        if seen >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        survey(str(root), Options(cache=str(cache)), lambda total: stop)
    _, totals = read(root, cache)
    assert totals == [60 - seen]


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: b"\xff" * 50 + data, lambda data: b"{}\n[1]\n" + data])
def test_a_damaged_memory_is_read_over(tmp_path, damage):
    root, cache = small_set(tmp_path / "birds", {"ant": 4, "cat": 4}), tmp_path / "cache"
    first, _ = read(root, cache)
    file, = cache.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    again, totals = read(root, cache)
    assert totals in ([1], [])
    assert again.assignment.entries == first.assignment.entries
    _, totals = read(root, cache)
    assert totals == []


def test_a_memory_that_cannot_be_written_is_said_and_done_without(tmp_path, caplog):
    root = small_set(tmp_path / "birds", {"ant": 4, "cat": 4})
    (tmp_path / "cache").write_bytes(b"")   # a file, not a folder
    read(root, tmp_path / "cache" / "below")
    assert "the next start decodes all images again" in caplog.text


def test_how_images_are_read_has_a_memory_of_its_own(tmp_path):
    root, cache = small_set(tmp_path / "birds", {"ant": 4, "cat": 4}), tmp_path / "cache"
    read(root, cache)
    _, totals = read(root, cache, read=ReadOptions(exif=False))
    assert totals == [8]


# --- nothing to train on

@pytest.mark.parametrize(("make", "message"), [
    (lambda root: None, "no folder and no CSV file"),
    (lambda root: (root / "ant").mkdir(parents=True), "no images in the class folders"),
    (lambda root: small_set(root, {"ant": 1, "cat": 1}), "has no validation images; they are chosen from classes"),
    (lambda root: [(root / "ant").mkdir(parents=True), (root / "ant/1.jpg").write_bytes(b"\xff\xd8\xff")],
     "none of 1 image can be read: .*ant/1.jpg cannot be read as an image"),
])
def test_folders_that_cannot_be_trained_on(tmp_path, make, message):
    make(tmp_path / "birds")
    with pytest.raises(InputError, match=rf"(?s)DATASET.ROOT: .*{message}"):
        survey(str(tmp_path / "birds"), Options())


def test_an_empty_root_says_what_is_wanted():
    with pytest.raises(InputError, match=r"DATASET.ROOT: is empty; name a folder with a folder of images per class, or a CSV"):
        survey("", Options())


def test_a_run_whose_pictures_are_gone_or_damaged_is_not_resumed(tmp_path):
    root = small_set(tmp_path / "birds", {"ant": 5, "cat": 5})
    write_files(survey(str(root), Options()), tmp_path)
    small_set(root / "new folder", {"x": 2}, first=60)
    own = Options(own=str(tmp_path / "split.csv"))
    assert [line for line in survey(str(root), own).remarks if "not in split.csv: 2 ('new folder/x/0.jpg'" in line]
    (root / "ant/1.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match=r"the run's own images: .*csv lists 1 image that cannot be read any more, .*ant/1.jpg"):
        survey(str(root), own)
    (root / "ant/1.jpg").unlink()
    with pytest.raises(InputError, match=r"the run's own images: .*split.csv has mistakes:\n  row 3: no file ant/1.jpg in"):
        survey(str(root), own)


def test_thumbnails_are_of_upright_pictures(tmp_path):
    """A photograph and its copy without EXIF that was turned by a program are nearly equal."""
    turned = Image.Exif()
    turned[0x0112] = 6
    root = small_set(tmp_path / "birds", {"ant": 6, "cat": 6})
    save(picture(70), root / "ant/turned.jpg", exif=turned.tobytes())
    save(picture(70).rotate(-90, expand=True), root / "cat/upright.jpg")
    found = survey(str(root), Options())
    assert [pair[:2] for pair in found.near] == [("ant/turned.jpg", "cat/upright.jpg")]
    assert found.warnings[0].startswith("nearly equal images: in several classes: 1 pair, 'ant/turned.jpg' ≈ 'cat/upright.jpg'")
    assert np.isin([entry.size for entry in found.assignment.entries if entry.name == "ant/turned.jpg"], [(96, 73)]).all()
