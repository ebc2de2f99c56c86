"""Image files of the published JSON format, written here in all kinds that cameras and editors make."""
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib.config import load_config
from lib.core import build
from lib.dataset import DATASETS, FileLoader, MemoryLoader
from lib.device.runtime import Runtime
from lib.utils.errors import InputError, MissingPathError
from lib.utils.image_header import read_size

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def picture(number: int, size=(6, 8)) -> np.ndarray:
    return np.random.default_rng(number).integers(256, size=(*size, 3), dtype=np.uint8)


def write_set(folder: Path, sizes=((6, 8),) * 6, name: str = "train.json", num_classes: int = 3, tell_sizes: bool = True) -> Path:
    """PNGs of noise, labels 0, 1, 0, 1, …, with relative paths."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    annotations = []
    for number, (height, width) in enumerate(sizes):
        Image.fromarray(picture(number, (height, width))).save(folder / "images" / f"{number}.png")
        size = {"im_height": height, "im_width": width} if tell_sizes else {}
        annotations.append({"image_id": number, "fpath": f"images/{number}.png", "category_id": number % 2, **size})
    (folder / name).write_text(json.dumps({"annotations": annotations, "num_classes": num_classes}))
    return folder / name


def open_set(root, train_json="train.json", name="iNaturalist", train=True):
    return DATASETS[name](train, str(root), (4, 4), train_json=str(train_json), valid_json="valid.json")


@pytest.mark.parametrize("name", ["CIFAR", "iNaturalist"])
@pytest.mark.parametrize("tell_sizes", [True, False])
def test_equal_sizes_are_found_out_and_go_to_memory(tmp_path, name, tell_sizes):
    write_set(tmp_path, tell_sizes=tell_sizes)
    images = open_set(tmp_path, name=name)
    assert images.image_size == (6, 8)
    assert images.class_counts.tolist() == [3, 3, 0]
    expected = torch.stack([torch.from_numpy(picture(number)).permute(2, 0, 1) for number in range(6)])
    assert torch.equal(images.pixels(), expected)
    assert torch.equal(images.read(4), expected[4])
    assert torch.equal(images.mean, MEAN.flatten())
    assert torch.equal(images.std, STD.flatten())


@pytest.mark.parametrize("tell_sizes", [True, False])
def test_different_sizes_are_read_one_by_one(tmp_path, tell_sizes):
    write_set(tmp_path, [(6, 8), (8, 6), (6, 8)], tell_sizes=tell_sizes)
    images = open_set(tmp_path)
    assert images.image_size is None
    assert images.read(1).shape == (3, 8, 6)


def test_many_parts_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.dataset.base.READ_AT_ONCE", 2)
    monkeypatch.setattr("lib.dataset.base.SHOW_SECONDS", -1)
    write_set(tmp_path, [(6, 8)] * 7)
    pixels = open_set(tmp_path).pixels()
    assert all(torch.equal(pixels[number], torch.from_numpy(picture(number)).permute(2, 0, 1)) for number in range(7))


def test_long_reading_shows_progress(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("lib.dataset.base.SHOW_SECONDS", -1)
    monkeypatch.setattr(logging.getLogger("lib"), "propagate", True)
    write_set(tmp_path)
    with caplog.at_level(logging.INFO, "lib"):
        open_set(tmp_path).pixels()
    assert "6 of 6 images read" in caplog.text


def test_a_size_that_the_json_has_wrong_names_the_entry(tmp_path):
    write_set(tmp_path)
    Image.fromarray(picture(3, (5, 5))).save(tmp_path / "images/3.png")
    with pytest.raises(InputError, match=r"annotations\[3\]: .*3\.png has 5 × 5 pixels, and im_height × im_width are 6 × 8"):
        open_set(tmp_path).pixels()


def test_paths_are_below_the_root_else_in_the_working_directory_or_absolute(tmp_path, monkeypatch):
    file = write_set(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert open_set("data").path(0) == "data/images/0.png"
    assert open_set("data", train_json=file).read(0).shape == (3, 6, 8)
    with pytest.raises(MissingPathError, match=r"DATASET.TRAIN_JSON: no file .*/train.json"):
        open_set("")
    monkeypatch.chdir(tmp_path / "data")
    assert open_set("").read(0).shape == (3, 6, 8)
    content = json.loads(file.read_text())
    content["annotations"][0]["fpath"] = str(tmp_path / "data/images/5.png")
    file.write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    assert torch.equal(open_set("data").read(0), torch.from_numpy(picture(5)).permute(2, 0, 1))


@pytest.mark.parametrize(("train", "key"), [(True, "DATASET.TRAIN_JSON"), (False, "DATASET.VALID_JSON")])
def test_a_json_that_is_not_named(tmp_path, train, key):
    with pytest.raises(InputError, match=f"{key}: is empty"):
        DATASETS["CIFAR"](train, str(tmp_path), (4, 4), train_json="", valid_json="")


def test_missing_files_are_found_at_the_start(tmp_path):
    write_set(tmp_path)
    for number in (2, 4):
        (tmp_path / f"images/{number}.png").unlink()
    with pytest.raises(MissingPathError, match=rf"annotations\[2\]: no file .*2\.png, and so for 2 of 6 .*ROOT, {tmp_path}"):
        open_set(tmp_path)


def test_a_file_missed_at_the_start_names_itself_when_read(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.dataset.json_set.CHECKED_FILES", 2)
    write_set(tmp_path)
    (tmp_path / "images/2.png").unlink()
    (tmp_path / "images/3.png").write_bytes(b"no image")
    images = open_set(tmp_path)
    with pytest.raises(InputError, match=r"train\.json, annotations\[2\].*2\.png"):
        images.read(2)
    with pytest.raises(InputError, match=r"train\.json, annotations\[3\].*3\.png"):
        images.read(3)


def test_only_whole_headers_tell_a_size(tmp_path):
    write_set(tmp_path, tell_sizes=False)
    (tmp_path / "images/1.png").write_bytes((tmp_path / "images/1.png").read_bytes()[:20])
    with pytest.raises(InputError, match=r"annotations\[1\]: .*1\.png cannot be read as an image"):
        open_set(tmp_path)
    with pytest.raises(MissingPathError, match="entry: no file"):
        read_size(tmp_path / "none.png", "entry")


def load(tiny, root, *words):
    return load_config([], [*tiny, "DATASET.DATASET", "iNaturalist", "DATASET.ROOT", str(root),
                            "DATASET.TRAIN_JSON", "train.json", "DATASET.VALID_JSON", "valid.json", *words])


def test_training_and_validation_have_the_same_classes(tmp_path, tiny):
    write_set(tmp_path)
    write_set(tmp_path, name="valid.json", num_classes=4)
    with pytest.raises(InputError, match=r"valid\.json has 4 classes, and .*train\.json has 3"):
        build.build_datasets(load(tiny, tmp_path))


def train_loader(cfg):
    return build.build_loaders(cfg, *build.build_datasets(cfg), Runtime(torch.device("cpu")))[0]


@pytest.mark.parametrize(("in_memory", "kind"), [("auto", MemoryLoader), ("never", FileLoader)])
def test_memory_and_files_give_the_images_normalised(tmp_path, tiny, in_memory, kind):
    write_set(tmp_path, [(8, 8)] * 6)
    write_set(tmp_path, [(8, 8)] * 6, name="valid.json")
    loader = train_loader(load(tiny, tmp_path, "DATASET.IN_MEMORY", in_memory, "TRAIN.BATCH_SIZE", "3",
                               "TRANSFORMS.TRAIN_TRANSFORMS", "[]"))
    assert isinstance(loader, kind)
    batches = list(loader)
    assert sorted(torch.cat([batch.indices for batch in batches]).tolist()) == list(range(6))
    expected = torch.stack([torch.from_numpy(picture(number, (8, 8))).permute(2, 0, 1) for number in range(6)])
    for batch in batches:
        assert torch.equal(batch.labels, batch.indices % 2)
        assert torch.equal((batch.images * STD + MEAN).mul(255).round().byte(), expected[batch.indices])


@pytest.mark.slow
def test_workers_read_files_by_the_shared_paths(tmp_path, tiny):
    write_set(tmp_path, [(6 + number % 3, 8) for number in range(12)])
    write_set(tmp_path, [(6, 9), (5, 7)], name="valid.json")
    words = ["TRANSFORMS.TRAIN_TRANSFORMS", "['normal_resize']", "TRANSFORMS.TEST_TRANSFORMS", "['normal_resize']",
             "TRAIN.BATCH_SIZE", "4"]
    first, second = ([batch.images for batch in train_loader(load(tiny, tmp_path, *words, "TRAIN.NUM_WORKERS", workers))]
                     for workers in ("0", "2"))
    assert len(first) == 3
    assert all(torch.equal(one, two) for one, two in zip(first, second))
