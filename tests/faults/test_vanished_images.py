"""Photographs that are deleted while a run trains on others: one message, nothing lost, and --ar goes on once they are back."""
import json
from pathlib import Path

import pytest
import torch
from harness import CONFIG, PATIENCE, results, same, start, wait

from lib.engine.progress import Progress
from main import train, valid
from tests.dataset.photographs import photograph

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_figures")]
GONE = 10   # the second image of class 0 of validation


@pytest.fixture
def words(tmp_path, tiny) -> list[str]:
    """Eight photographs to train on, four to validate, in two classes; validated after the last of two epochs."""
    for number in range(12):
        (tmp_path / f"{number}.jpg").write_bytes(photograph(number, (50 + number, 40)))
    annotations = [{"image_id": number, "fpath": f"{number}.jpg", "category_id": number % 2} for number in range(12)]
    for name, kept in (("train", annotations[:8]), ("valid", annotations[8:])):
        (tmp_path / f"{name}.json").write_text(json.dumps({"annotations": kept, "num_classes": 2}))
    return ["--cfg", CONFIG, "--gpus", "cpu", *tiny, "DATASET.DATASET", "iNaturalist", "DATASET.ROOT", str(tmp_path),
            "DATASET.TRAIN_JSON", "train.json", "DATASET.VALID_JSON", "valid.json", "TRAIN.BATCH_SIZE", "2",
            "TEST.BATCH_SIZE", "1", "TRAIN.MAX_EPOCH", "2", "VALID_STEP", "2",
            "TRANSFORMS.TRAIN_TRANSFORMS", "['random_resized_crop']",
            "TRANSFORMS.TEST_TRANSFORMS", "['shorter_resize_for_crop','center_crop']"]


def vanishing(path: Path):
    """Deletes a file as the second epoch begins; a ``prepare`` of the harness."""
    def prepare() -> None:
        original = Progress.start_epoch

        def start_epoch(self, epoch, *args):
            if epoch == 2:
                path.unlink(missing_ok=True)
            return original(self, epoch, *args)

        Progress.start_epoch = start_epoch

    return prepare


def check_message(message: str, folder: Path, ranks: int) -> None:
    assert f"valid.json, annotations[2]: no file {folder}/10.jpg" in message
    assert "DATASET.ON_BAD_IMAGE skip replaces such images" in message
    assert f"mid_epoch.pth holds epoch 2 up to batch {4 // ranks}; correct the images, then resume" in message


def test_a_photograph_that_vanishes_before_validation_costs_nothing(tmp_path, words, monkeypatch, capsys):
    assert train.main([*words, "OUTPUT_DIR", str(tmp_path / "whole")]) == 0
    monkeypatch.setattr(Progress, "start_epoch", Progress.start_epoch)   # put back at the end
    image = (tmp_path / f"{GONE}.jpg").read_bytes()
    vanishing(tmp_path / f"{GONE}.jpg")()
    parts = [*words, "OUTPUT_DIR", str(tmp_path / "parts")]
    capsys.readouterr()
    assert train.main(parts) == 2
    message = capsys.readouterr().err
    assert message.count("error:") == 1
    check_message(message, tmp_path, ranks=1)
    (tmp_path / f"{GONE}.jpg").write_bytes(image)
    monkeypatch.undo()
    assert train.main([*parts, "--ar", "True"]) == 0
    one, other = results(tmp_path / "whole/run"), results(tmp_path / "parts/run")
    assert all(same(value, other[name]) for name, value in one.items())


def test_of_two_ranks_both_stop_and_one_tells_it(tmp_path, words, capfd):
    argv, output = [*words, "OUTPUT_DIR", str(tmp_path / "ranks")], tmp_path / "output.txt"
    assert wait(start(argv, 2, output, vanishing(tmp_path / f"{GONE}.jpg")), 3 * PATIENCE) == [2, 2]
    text = output.read_text() + "".join(capfd.readouterr())   # where pytest takes what a forked process prints
    assert text.count("error: ") == 1
    assert "Traceback" not in text
    check_message(text, tmp_path, ranks=2)
    part = torch.load(tmp_path / "ranks/run/models/mid_epoch.pth", weights_only=True)
    assert (part["epoch"], part["batch"]) == (1, 2)


def test_a_skipped_one_is_replaced_and_a_class_without_images_is_not_told_to_skip(tmp_path, words, monkeypatch, capsys):
    words += ["DATASET.ON_BAD_IMAGE", "skip"]
    monkeypatch.setattr(Progress, "start_epoch", Progress.start_epoch)
    image = (tmp_path / f"{GONE}.jpg").read_bytes()
    vanishing(tmp_path / f"{GONE}.jpg")()
    assert train.main([*words, "TRAIN.MAX_EPOCH", "4"]) == 0
    output = capsys.readouterr().out
    assert output.count("valid.json: 1 images could not be read and were replaced") == 1   # of two validations
    assert output.count("no file") == 1
    assert "valid.json: in total, 1 of 4 images could not be read" in output
    monkeypatch.undo()
    (tmp_path / "8.jpg").unlink()   # the other one of its class
    for script in (lambda: valid.main(words), lambda: train.main([*words, "NAME", "again"])):
        assert script() == 2
        message = capsys.readouterr().err
        assert "nor can any other of the 2 images of class '0', to take its place" in message
        assert "bring its files back, or take its annotations out" in message
        assert "ON_BAD_IMAGE" not in message
    (tmp_path / f"{GONE}.jpg").write_bytes(image)
    assert valid.main(words) == 0
