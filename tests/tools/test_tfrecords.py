"""Cui's TFRecords, written here byte by byte, read back by TensorFlow itself."""
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.dataset import DATASETS
from lib.dataset.long_tail import long_tail_counts
from main import train
from tests.tools.records import example, field, write_records
from tools import convert_from_tfrecords

pytestmark = pytest.mark.slow   # TensorFlow takes seconds to load
FOLDER, NAME = "cifar-10-data-im-0.1", "cifar10_imbalance10"
TRAIN, VALID = long_tail_counts(20, 10, 0.1, "exp"), [2] * 10


def draw_images(labels: np.ndarray) -> np.ndarray:
    """Images (N, 3, 32, 32), of smooth colour, so that JPEG hardly changes them; red, green and blue are told apart."""
    ramp = np.linspace(0, 100, 32).astype(np.uint8)
    images = np.zeros((len(labels), 3, 32, 32), dtype=np.uint8)
    images[:, 0] = 20 * labels[:, None, None]
    images[:, 1] = ramp[None, :, None]
    images[:, 2] = 50 + ramp[None, None, :]
    return images


def write_images(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    write_records(path, [example(image.tobytes(), int(label)) for image, label in zip(images, labels)])


@pytest.fixture
def labels() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {part: random.permutation(np.repeat(np.arange(10), counts)) for part, counts in (("train", TRAIN), ("eval", VALID))}


@pytest.fixture
def download(tmp_path, labels, monkeypatch) -> Path:
    """A small folder of the published form: 20 images of the first class instead of 5,000."""
    monkeypatch.setitem(convert_from_tfrecords.PER_CLASS, "10", (20, 2))
    for part, of_part in labels.items():
        write_images(tmp_path / "download" / FOLDER / f"{part}.tfrecords", draw_images(of_part), of_part)
    return tmp_path


def convert(folder: Path, *words: str) -> int:
    return convert_from_tfrecords.main(["--input_path", str(folder / "download"), "--out_path", str(folder / "data"), *words])


def test_png_keeps_every_pixel_and_the_order(download, labels):
    assert convert(download, "--format", "png") == 0
    for train_part, part in ((True, "train"), (False, "eval")):
        images = DATASETS["CIFAR"](train_part, str(download / "data"), (32, 32), train_json=f"{NAME}/{NAME}_train.json",
                                   valid_json=f"{NAME}/{NAME}_valid.json")
        assert images.labels.tolist() == labels[part].tolist()
        assert images.image_size == (32, 32)
        assert np.array_equal(images.pixels().numpy(), draw_images(labels[part]))
    assert sorted(path.name for path in (download / "data").iterdir()) == [NAME]
    assert (download / "data" / NAME).stat().st_mode & 0o055 == 0o055   # others may read it


def test_jpg_is_the_published_default_and_lossy(download, labels):
    assert convert(download) == 0
    entry = json.loads((download / "data" / NAME / f"{NAME}_train.json").read_text())["annotations"][3]
    assert entry["fpath"].endswith(".jpg")
    pixels = np.array(Image.open(entry["fpath"])).astype(int).transpose(2, 0, 1)
    difference = np.abs(pixels - draw_images(labels["train"])[3])
    assert 0 < difference.max() <= 8


def test_paths_below_a_root_move_with_it(download):
    assert convert(download, "--format", "png", "--root", str(download / "data")) == 0
    content = json.loads((download / "data" / NAME / f"{NAME}_valid.json").read_text())
    assert all((download / "data" / entry["fpath"]).is_file() for entry in content["annotations"])
    assert not any(Path(entry["fpath"]).is_absolute() for entry in content["annotations"])


def test_what_is_there_stays_and_what_is_not_is_added(download, labels, capsys):
    """So an interrupted conversion goes on with the next folder."""
    there = download / "data" / NAME
    there.mkdir(parents=True)
    (there / "mine").write_text("precious")
    other = download / "download/cifar-10-data-im-1"
    for part, counts in (("train", [20] * 10), ("eval", VALID)):
        of_part = np.repeat(np.arange(10), counts)
        write_images(other / f"{part}.tfrecords", draw_images(of_part), of_part)
    assert convert(download) == 0
    assert f"{there}: already there, stays as it is" in capsys.readouterr().out
    assert [path.name for path in there.iterdir()] == ["mine"]
    assert (download / "data/cifar10_imbalance1/cifar10_imbalance1_train.json").is_file()
    assert convert(download, "--overwrite") == 0
    assert not (there / "mine").exists()
    assert (there / f"{NAME}_train.json").is_file()


def fail(*arguments):
    raise KeyboardInterrupt


def test_an_interruption_leaves_nothing_half_written(download, monkeypatch):
    monkeypatch.setattr(convert_from_tfrecords, "write_annotations", fail)
    assert convert(download) == 130
    assert list((download / "data").iterdir()) == []


def test_wrong_counts_are_named(download, labels, capsys):
    changed = labels["train"].copy()
    changed[np.flatnonzero(changed == 0)[:3]] = 7
    write_images(download / "download" / FOLDER / "train.tfrecords", draw_images(changed), changed)
    assert convert(download) == 2
    expected = f"17 of class 0 instead of 20, {TRAIN[7] + 3} of class 7 instead of {TRAIN[7]}"
    assert f"train.tfrecords is not the published set: {expected}" in capsys.readouterr().err
    assert list(download.glob("data/*")) == []


@pytest.mark.parametrize(("records", "message"), [
    ([example(b"\0" * 3071, 0)], "example 0: an image of 3071 bytes, not 3072"),
    ([example(b"\0" * 3072, 10)], "labels outside [0, 10)"), ([], "has no examples"),
    ([field(1, b"")], "no TFRecords with image and label")])
def test_other_records_are_refused(download, records, message, capsys):
    path = download / "download" / FOLDER / "train.tfrecords"
    write_records(path, records)
    assert convert(download) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert message in errors[0]
    assert str(path) in errors[0]


def test_a_torn_file_is_refused(download, capsys):
    path = download / "download" / FOLDER / "train.tfrecords"
    path.write_bytes(path.read_bytes()[:-5])
    assert convert(download) == 2
    assert f"error: {path}: no TFRecords" in capsys.readouterr().err


def test_missing_folders_and_files(tmp_path, download, capsys):
    (download / "download" / FOLDER / "eval.tfrecords").unlink()
    assert convert(download) == 2
    assert "no file" in capsys.readouterr().err
    (download / "download" / FOLDER).rename(download / "download/other")
    assert convert(download) == 2
    assert "has no folder such as cifar-10-data-im-0.01" in capsys.readouterr().err
    assert convert(tmp_path / "nowhere") == 2


def test_missing_tensorflow_is_told_with_the_command(download, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorflow", None)   # what Python takes for "cannot be imported"
    assert convert(download) == 2
    assert "pip install -r tools/requirements.txt" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "classes", "largest", "smallest", "total"), [
    ("cifar-10-data-im-0.01", 10, 5000, 50, 12406), ("cifar-10-data-im-0.02", 10, 5000, 100, 13996),
    ("cifar-100-data-im-0.01", 100, 500, 5, 10847), ("cifar-100-data-im-0.02", 100, 500, 10, 12608)])
def test_published_folders_names_and_counts(tmp_path, name, classes, largest, smallest, total):
    (tmp_path / name).mkdir()
    found, = convert_from_tfrecords.find_folders(tmp_path)
    assert found.name == f"cifar{classes}_imbalance{100 if '0.01' in name else 50}"
    assert (len(found.train_counts), max(found.train_counts), min(found.train_counts)) == (classes, largest, smallest)
    assert sum(found.train_counts) == total
    assert sum(found.valid_counts) == 10000
    recipe = convert_from_tfrecords.find_recipe(found)
    assert recipe == f"configs/cui_cifar/baseline/cifar{classes}_im{100 if '0.01' in name else 50}.yaml"
    other = found._replace(name=f"cifar{classes}_imbalance10")
    assert convert_from_tfrecords.find_recipe(other) == recipe.replace("im50", "im100")


def test_what_is_converted_trains(download, tiny):
    assert convert(download) == 0
    words = ["DATASET.DATASET", "CIFAR", "DATASET.ROOT", str(download / "data"), "INPUT_SIZE", "[32, 32]", "TRAIN.MAX_EPOCH", "1",
             "DATASET.TRAIN_JSON", f"{NAME}/{NAME}_train.json", "DATASET.VALID_JSON", f"{NAME}/{NAME}_valid.json"]
    assert train.main(["--cfg", "configs/test/digits_lt.yaml", "--gpus", "cpu", *tiny, *words]) == 0
    assert json.loads((download / "run/metrics.json").read_text())["images"] == 20
