"""A messy folder, from pictures to a report: trained, resumed, validated, tested once, and in folds."""
import csv
import json
import logging
import shlex
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from lib.utils.text import plain_cell
from main import train, valid
from tests.messy_folder import COUNTS, READABLE, TRUNCATED, make_messy, picture, save

pytestmark = pytest.mark.usefixtures("no_figures")
SHARED = ["--cfg", "configs/test/digits_lt.yaml", "--gpus", "cpu"]


def words(folder: Path, tiny: list[str], **more: object) -> list[str]:
    pairs = {"DATASET.DATASET": "FOLDER", "DATASET.ROOT": folder / "birds", "INPUT_SIZE": "[16, 16]", "TRAIN.BATCH_SIZE": 8,
             "TRANSFORMS.TRAIN_TRANSFORMS": "[random_resized_crop]", "TRAIN.MAX_EPOCH": 1, "SAVE_STEP": 1, "TEST.NUM_WORKERS": 0,
             "TRANSFORMS.TEST_TRANSFORMS": "[shorter_resize_for_crop, center_crop]", **more}
    return [*tiny, *(str(word) for pair in pairs.items() for word in pair)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_in) -> Path:
    """A folder with pictures, and a run of one epoch with a test part."""
    folder = tmp_path_factory.mktemp("own")
    make_messy(folder)
    assert train.main([*SHARED, *words(folder, tiny_in(folder), **{"DATASET.FOLDER.TEST_SHARE": 0.2})]) == 0
    return folder


@pytest.fixture
def copied(trained, tmp_path) -> Path:
    """The same elsewhere, so that a test may change it."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True, symlinks=True, ignore_dangling_symlinks=True)
    for name, target in (("linked", "elsewhere"), ("ant/up", "birds")):
        (tmp_path / "birds" / name).unlink()
        (tmp_path / "birds" / name).symlink_to(tmp_path / target)
    return tmp_path


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "split.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def log_of(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(record.getMessage() for record in caplog.records)


@pytest.fixture
def heard(caplog, monkeypatch):
    """The log, which the scripts keep from pytest's handler otherwise."""
    monkeypatch.setattr("main.command.start_logging", lambda rank: None)
    monkeypatch.setattr("main.folds.start_logging", lambda rank: None)
    caplog.set_level(logging.INFO)
    return caplog


def test_a_messy_folder_trains_and_leaves_its_split_and_what_was_found(trained):
    run = trained / "run"
    parts = [row["split"] for row in rows(run)]
    assert len(parts) == READABLE + 1
    assert {*parts} == {"train", "valid", "test", "ignore"}
    assert [row["path"] for row in rows(run) if row["split"] == "ignore"] == [TRUNCATED]
    data = json.loads((run / "data.json").read_text(encoding="utf-8"))
    assert len(data["classes"]) == len(COUNTS)
    text = (run / "data.txt").read_text(encoding="utf-8")
    assert "ant/cut short.jpg cannot be read as an image" in text
    assert data["warnings"][0] in (run / "log.txt").read_text(encoding="utf-8")
    checkpoint = torch.load(run / "models/last.pth")
    assert checkpoint["class_names"] == [row["name"] for row in data["classes"]]
    assert not [path for path in (trained / "birds").rglob("*") if path.name in ("split.csv", ".looks", "data.txt")]


def test_the_test_images_are_looked_at_once(trained, tiny_in, heard):
    report = json.loads((trained / "run/test/metrics.json").read_text())
    assert report["images"] == sum(row["split"] == "test" for row in rows(trained / "run"))
    assert (report["epoch"], report["look"]) == (1, 1)
    before = (trained / "run/test/metrics.json").read_bytes()
    shared = words(trained, tiny_in(trained), **{"DATASET.FOLDER.TEST_SHARE": 0.2})
    assert train.main([*SHARED, *shared, "--ar", "True"]) == 0
    assert "epoch 1 has been tested already" in log_of(heard)
    assert valid.main([*SHARED, *shared]) == 0
    assert (trained / "run/test/metrics.json").read_bytes() == before
    heard.clear()
    assert valid.main([*SHARED, *shared, "TEST.PART", "test"]) == 0
    assert "tested 2 times by now, so they give no unbiased result for what was chosen by earlier test results" in log_of(heard)
    again = json.loads((trained / "run/test/look_2/metrics.json").read_text())
    assert all(again[name] == pytest.approx(report[name]) for name in ("top1", "nll", "images"))
    assert (trained / "run/test/metrics.json").read_bytes() == before


def test_a_resumed_run_keeps_its_split_and_names_what_was_added(copied, tiny, heard):
    split = (copied / "run/split.csv").read_bytes()
    save(picture(150), copied / "birds/ant/new.jpg")
    save(picture(151), copied / "birds/a new class/new.jpg")
    assert train.main([*SHARED, *words(copied, tiny, **{"TRAIN.MAX_EPOCH": 2, "DATASET.FOLDER.SEED": 7}), "--ar", "True"]) == 0
    text = log_of(heard)
    assert "left out as images that are not in split.csv: 2 ('a new class/new.jpg', 'ant/new.jpg')" in text
    assert "resuming with epoch 2" in text
    assert f"checking {READABLE} images" in text   # since the folder has moved; what was added is not read
    assert (copied / "run/split.csv").read_bytes() == split
    assert valid.main([*SHARED, *words(copied, tiny)]) == 0
    assert json.loads((copied / "run/metrics.json").read_text())["epoch"] == 2


def test_validation_needs_the_pictures_that_it_looks_at_and_no_others(copied, tiny, heard, capsys):
    """Those of other parts may be gone; one that has changed is told; one that is missing is the only mistake."""
    assert valid.main([*SHARED, *words(copied, tiny)]) == 0   # paths are those of the copied folder from now on
    before = (copied / "run/predictions.csv").read_bytes()
    for row in rows(copied / "run"):
        if row["split"] == "train" and "\\x" not in row["path"]:
            (copied / "birds" / plain_cell(row["path"])).unlink(missing_ok=True)   # some are linked twice
    assert valid.main([*SHARED, *words(copied, tiny)]) == 0
    text = log_of(heard)
    assert "images of other parts are not there any more, and not needed here: " in text
    assert (copied / "run/predictions.csv").read_bytes() == before
    held = [copied / "birds" / row["path"] for row in rows(copied / "run")
            if row["split"] == "valid" and row["label"] == "ant" and "\\x" not in row["path"]]
    save(picture(153), held[0])
    assert valid.main([*SHARED, *words(copied, tiny)]) == 0
    assert "1 image has another content than when the run was trained" in log_of(heard)
    assert (copied / "run/predictions.csv").read_bytes() == before   # what differs is reported in a folder of its own
    held[0].unlink()
    capsys.readouterr()
    assert valid.main([*SHARED, *words(copied, tiny)]) == 2
    assert capsys.readouterr().err.count("no file ") == 1


def test_a_run_is_not_resumed_on_other_pictures(copied, tiny, capsys):
    name = next(row["path"] for row in rows(copied / "run") if row["split"] == "train" and row["label"] == "ant")
    save(picture(152), copied / "birds" / name)
    assert train.main([*SHARED, *words(copied, tiny, **{"TRAIN.MAX_EPOCH": 2}), "--ar", "True"]) == 2
    assert "was trained on other data than here (training set: pixels, or names of files)" in capsys.readouterr().err


def test_an_edited_split_trains_and_a_wrong_one_is_told_by_row(copied, tiny, capsys):
    table = rows(copied / "run")
    valid_rows = [row for row in table if row["split"] == "valid"]
    valid_rows[0]["split"] = "ignore"
    valid_rows[1]["split"] = "train"
    with (copied / "edited.csv").open("w", encoding="utf-8-sig", newline="") as file:   # as a spreadsheet in Germany would
        writer = csv.DictWriter(file, ["split", "label", "path"], delimiter=";", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(table)
    shared = words(copied, tiny, **{"DATASET.FOLDER.SPLIT": copied / "edited.csv", "NAME": "edited"})
    assert train.main([*SHARED, *shared]) == 0
    after = {row["path"]: row["split"] for row in rows(copied / "edited")}
    assert after == {row["path"]: row["split"] for row in table}
    (copied / "edited.csv").write_text("path,split\nant/img 0.jpg,tset\nnone.jpg,train\n", encoding="utf-8")
    capsys.readouterr()
    assert train.main([*SHARED, *shared, "NAME", "wrong"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: DATASET.FOLDER.SPLIT: {copied}/edited.csv has mistakes:",
        "  row 2: split must be train, valid, test or ignore, got 'tset'", f"  row 3: no file none.jpg in {copied}/birds"]
    assert not (copied / "wrong").exists()


def test_a_run_inside_of_its_own_pictures_is_refused(copied, tiny, capsys):
    assert train.main([*SHARED, *words(copied, tiny, OUTPUT_DIR=copied / "birds" / "output")]) == 2
    assert "OUTPUT_DIR: " in (message := capsys.readouterr().err)
    assert "whose folders are classes; choose a folder outside of it" in message
    assert not (copied / "birds/output").exists()


def test_all_images_can_be_for_training(copied, tiny, heard, capsys):
    shared = words(copied, tiny, **{"DATASET.FOLDER.VALID_SHARE": 0, "NAME": "whole"})
    assert train.main([*SHARED, *shared]) == 0
    assert "no validation images: accuracy is not measured during training" in log_of(heard)
    assert {row["split"] for row in rows(copied / "whole")} == {"train", "ignore"}
    assert (copied / "whole/models/last.pth").is_file()
    assert not (copied / "whole/models/best_model.pth").exists()
    assert train.main([*SHARED, *shared, "TRAIN.MAX_EPOCH", "2", "--ar", "True"]) == 0
    assert torch.load(copied / "whole/models/last.pth")["epoch"] == 2
    capsys.readouterr()
    assert valid.main([*SHARED, *shared]) == 2
    assert "are held out for validation; with TEST.PART test" in capsys.readouterr().err


@pytest.fixture(scope="module")
def folds(tmp_path_factory, tiny_in) -> Path:
    folder = tmp_path_factory.mktemp("folds")
    make_messy(folder)
    shared = words(folder, tiny_in(folder), **{"DATASET.FOLDER.TEST_SHARE": 0.1, "NAME": "cross"})
    assert train.main([*SHARED, *shared, "--folds", "2"]) == 0
    return folder


def test_folds_validate_every_image_once_and_report_together(folds):
    held = [row["path"] for fold in (1, 2) for row in rows(folds / f"cross/fold_{fold}") if row["split"] == "valid"]
    everything = {row["path"]: row["split"] for row in rows(folds / "cross/fold_1")}
    assert sorted(held) == sorted(path for path, part in everything.items() if part in ("train", "valid"))
    numbers = json.loads((folds / "cross/folds.json").read_text())
    assert numbers["together"]["images"] == len(held) == sum(fold["images"] for fold in numbers["folds"])
    hits = sum(round(fold["top1"] * fold["images"]) for fold in numbers["folds"])
    assert numbers["together"]["top1"] == pytest.approx(hits / numbers["together"]["images"])
    assert not (folds / "cross/fold_1/test").exists()   # left for the last network
    with (folds / "cross/per_class.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert sum(int(row["valid_images"]) for row in table) == len(held)
    assert "every image validated by the network that was not trained on it" in (
        folds / "cross/folds.txt").read_text(encoding="utf-8")


def test_folds_are_resumed_reported_again_and_end_with_the_command_for_all_images(folds, tiny_in, heard):
    shared = words(folds, tiny_in(folds), **{"DATASET.FOLDER.TEST_SHARE": 0.1, "NAME": "cross"})
    before = json.loads((folds / "cross/folds.json").read_text())
    shutil.rmtree(folds / "cross/fold_2")
    save(picture(160), folds / "birds/ant/later.jpg")   # is in no fold
    assert train.main([*SHARED, *shared, "--folds", "2", "--ar", "True"]) == 0
    assert json.loads((folds / "cross/folds.json").read_text()) == before
    command = heard.records[-1].getMessage().splitlines()[1]
    arguments = shlex.split(command)[2:]
    assert train.main(["--cfg", arguments[0], "--gpus", arguments[1], *arguments[2:], "TRAIN.MAX_EPOCH", "1"]) == 0
    final = {row["path"]: row["split"] for row in rows(folds / "cross_final")}
    assert {*final.values()} == {"train", "test", "ignore"}
    assert "ant/later.jpg" not in final
    assert (folds / "cross_final/test/metrics.json").is_file()


@pytest.mark.parametrize(("more", "message"), [
    (["--folds", "1"], "--folds: must be 2 or more, got 1"),
    (["--folds", "3", "--ar", "True"], "fold_1 is one of 2 folds, not of 3"),
    (["--folds", "2"], "already holds a run"), ([], "holds the folds of --folds; choose another NAME"),
    (["--folds", "2", "DATASET.DATASET", "IMBALANCEDIGITS", "DATASET.ROOT", ""], "has its own validation set")])
def test_folds_that_cannot_be(folds, tiny_in, capsys, more, message):
    shared = words(folds, tiny_in(folds), **{"DATASET.FOLDER.TEST_SHARE": 0.1, "NAME": "cross"})
    assert train.main([*SHARED, *shared, *more]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.long
def test_two_ranks_see_the_split_of_the_first(tmp_path, tiny, command):
    make_messy(tmp_path)
    done = command("bash", "distributed_data_parallel_train.sh", "configs/test/digits_lt.yaml", 2, "cpu",
                   *words(tmp_path, tiny, **{"TRAIN.BATCH_SIZE": 4, "DATASET.FOLDER.TEST_SHARE": 0.2}), "--folds", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("checking 68 images") == 1
    numbers = json.loads((tmp_path / "run/folds.json").read_text())
    assert numbers["together"]["images"] == sum(fold["images"] for fold in numbers["folds"])
    config = yaml.safe_load((tmp_path / "run/fold_2/config.yaml").read_text(encoding="utf-8"))
    assert config["DATASET"]["FOLDER"]["FOLD"] == 2


@pytest.mark.long
def test_two_ranks_both_hear_of_a_mistake_of_the_first(tmp_path, tiny, command):
    make_messy(tmp_path)
    done = command("bash", "distributed_data_parallel_train.sh", "configs/test/digits_lt.yaml", 2, "cpu",
                   *words(tmp_path, tiny, **{"DATASET.ROOT": tmp_path / "elsewhere"}), timeout=120)
    assert done.returncode == 2
    assert done.stderr.count("error: rank 0: DATASET.ROOT: ") == 1
    assert "Traceback" not in done.stderr
