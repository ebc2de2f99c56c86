"""Prediction from a checkpoint alone: the same probabilities as in validation, and every picture accounted for."""
import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from lib.config import load_config
from lib.core import build
from lib.device.runtime import Runtime
from lib.engine.evaluation import evaluate
from lib.inference import Predictor
from lib.inference.outputs import check_outputs
from lib.run import checkpoint
from lib.utils.errors import InputError
from main import predict, train, valid

DIGITS = "configs/test/digits_lt.yaml"
FILES = ["DATASET.DATASET", "iNaturalist", "TRANSFORMS.TEST_TRANSFORMS", "['shorter_resize_for_crop', 'center_crop']",
         "TRANSFORMS.TRAIN_TRANSFORMS", "['random_resized_crop']", "TRAIN.MAX_EPOCH", "2", "INPUT_SIZE", "[16, 16]"]


def save_pictures(folder: Path, numbers: range) -> list[dict]:
    """Digits as PNG files of different sizes, one of them lying on its side as EXIF tells."""
    digits, entries = load_digits(), []
    folder.mkdir()
    for number in numbers:
        pixels = np.rint(digits.images[number] * (255 / 16)).astype(np.uint8)
        picture = Image.fromarray(pixels).resize((18 + number % 5, 18 + number % 3))
        exif = Image.Exif()
        if number % 7 == 0:
            exif[0x0112] = 6
            picture = picture.transpose(Image.Transpose.ROTATE_90)
        picture.save(folder / f"数字 {number}.png", exif=exif)
        entries.append({"fpath": f"{folder.name}/数字 {number}.png", "category_id": int(digits.target[number])})
    return entries


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_in, no_figures) -> Path:
    """The folder of a run on image files, and beside it the files."""
    folder = tmp_path_factory.mktemp("predict")
    for name, numbers in (("train", range(120)), ("valid", range(120, 150))):
        content = {"annotations": save_pictures(folder / name, numbers), "num_classes": 10,
                   "class_names": [f"digit {label}" for label in range(10)]}
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    words = [*tiny_in(folder), *FILES, "DATASET.ROOT", str(folder), "DATASET.TRAIN_JSON", "train.json",
             "DATASET.VALID_JSON", "valid.json"]
    assert train.main(["--cfg", DIGITS, "--gpus", "cpu", *words]) == 0
    return folder / "run"


def test_the_same_probabilities_as_in_validation(trained):
    cfg, runtime, predictor = load_config(trained / "config.yaml"), Runtime(torch.device("cpu")), Predictor.load(trained)
    train_set, valid_set = build.build_datasets(cfg)
    loader = build.build_eval_loader(cfg, valid_set, runtime)
    evaluated = evaluate(predictor.network, loader, build.build_precision(cfg, runtime.device), runtime)
    paths = [trained.parent / valid_set.annotations.paths[index] for index in range(30)]
    for prediction, top, probabilities in zip(predictor(paths), evaluated.top.tolist(), evaluated.probabilities.tolist()):
        assert prediction.classes == [train_set.class_names[label] for label in top]
        assert prediction.probabilities == pytest.approx(probabilities, abs=1e-6)


def test_nothing_but_the_checkpoint_is_needed(trained, tmp_path):
    (tmp_path / "moved.pth").write_bytes((trained / "models" / "last.pth").read_bytes())
    predictor = Predictor.load(tmp_path / "moved.pth")
    assert predictor.class_names == [f"digit {label}" for label in range(10)]
    probabilities = predictor.probabilities(torch.zeros(3, 3, 16, 16, dtype=torch.uint8))
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(3))


def test_every_picture_is_accounted_for(trained, tmp_path, capsys):
    folder = trained.parent / "valid"
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut short")
    (tmp_path / "more" / "notes.txt").write_text("no picture")
    table = tmp_path / "table.csv"
    assert predict.main([str(trained), str(folder), str(tmp_path / "more"), "--gpus", "cpu", "--top", "2", "--csv", str(table),
                         "--sheet", str(tmp_path / "sheet.png")]) == 0
    shown = capsys.readouterr().out
    assert "notes.txt" in shown
    assert "1 picture could not be read" in shown
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 31
    assert sum(bool(row["unreadable"]) for row in rows) == 1
    assert all(row["class_1"].startswith("digit ") for row in rows if not row["unreadable"])
    assert (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize(("words", "told"), [
    (["missing.pth", "x.png"], "missing.pth"),
    (["RUN", "no_such_folder"], "no_such_folder"),
    (["RUN", "EMPTY"], "no pictures"),
    (["RUN", "VALID", "--csv", "RUN/config.yaml", "--overwrite"], "belongs to a run"),
    (["RUN", "VALID", "--csv", "no_such_folder/a.csv"], "no_such_folder"),
])
def test_mistakes_are_one_message(trained, tmp_path, capsys, words, told):
    (tmp_path / "empty").mkdir()
    places = {"RUN": str(trained), "VALID": str(trained.parent / "valid"), "EMPTY": str(tmp_path / "empty")}
    before = (trained / "config.yaml").read_bytes()
    assert predict.main([*(places.get(word, word.replace("RUN/", f"{trained}/")) for word in words), "--gpus", "cpu"]) == 2
    errors = capsys.readouterr().err
    assert told in errors
    assert "Traceback" not in errors
    assert (trained / "config.yaml").read_bytes() == before


def test_existing_files_are_replaced_only_when_told(tmp_path):
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(InputError, match="--overwrite"):
        check_outputs([tmp_path / "a.csv"], overwrite=False)
    check_outputs([tmp_path / "a.csv"], overwrite=True)
    with pytest.raises(InputError, match="two outputs"):
        check_outputs([tmp_path / "b.csv", tmp_path / "b.csv"], overwrite=False)


def test_an_older_checkpoint_needs_its_configuration(trained, tmp_path, capsys):
    state = checkpoint.load(trained / "models" / "last.pth")
    old = {key: value for key, value in state.items() if key not in ("class_names", "preprocessing", "data", "format")}
    checkpoint.save(old, [tmp_path / "old.pth"])
    words = [str(tmp_path / "old.pth"), str(trained.parent / "valid"), "--gpus", "cpu"]
    assert predict.main(words) == 2
    assert "--cfg" in capsys.readouterr().err
    assert predict.main([*words, "--cfg", str(trained / "config.yaml")]) == 0
    assert "digit " in capsys.readouterr().out


@pytest.mark.parametrize("loss", ["LDAMLoss", "GCL"])
def test_cosines_of_margin_losses_are_scaled_to_probabilities(tmp_path, tiny, no_figures, loss):
    words = [*tiny, "LOSS.LOSS_TYPE", loss, "CLASSIFIER.TYPE", "FCNorm", "TRAIN.MAX_EPOCH", "1"]
    assert train.main(["--cfg", DIGITS, "--gpus", "cpu", *words]) == 0
    assert valid.main(["--cfg", DIGITS, "--gpus", "cpu", *words]) == 0
    predictor = Predictor.load(tmp_path / "run")
    assert predictor.scale == 30
    images = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
    with torch.inference_mode():
        cosines = predictor.logits(images) / 30
    assert cosines.abs().max() <= 1 + 1e-6
    torch.testing.assert_close(predictor.probabilities(images), (30 * cosines).softmax(dim=1))
