"""The sets themselves: real digits, real Fashion-MNIST where it is, and files written in the exact formats."""
import gzip
import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torchvision import datasets

from lib.dataset import DATASETS, ArraySet
from lib.dataset.fashion_lt import DEBIAN, NAMES, read_idx
from lib.utils.errors import InputError, MissingPathError

OPTIONS = {"ratio": 0.1, "random_seed": 0, "type_": "exp"}


def build(name: str, train: bool, root, size, **options):
    return DATASETS[name](train, str(root), size, **{**OPTIONS, **options})


# --- digits

def test_digits_are_those_of_scikit_learn_brought_to_a_byte():
    whole = build("IMBALANCEDIGITS", False, "", (8, 8))
    source = {np.rint(image * 255 / 16).astype(np.uint8).tobytes() for image in load_digits().images}
    assert len(whole.labels) == 360
    assert whole.class_counts.min() >= 34
    assert all(image[0].numpy().tobytes() in source for image in whole.pixels())


def test_digits_are_split_as_scikit_learn_does():
    digits = load_digits()
    parts = train_test_split(np.arange(1797), test_size=0.2, stratify=digits.target, random_state=0)
    for train, part in zip((True, False), parts):
        built, part = build("IMBALANCEDIGITS", train, "", (8, 8), ratio=1.0), np.sort(part)
        part = part[built.indices.numpy()] if train else part
        assert np.array_equal(built.labels, digits.target[part])
        assert np.array_equal(built.pixels()[:, 0], np.rint(digits.images[part] * (255 / 16)).astype(np.uint8))


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setattr("lib.dataset.digits_lt.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install scikit-learn"):
        build("IMBALANCEDIGITS", True, "", (8, 8))


def test_digits_train_and_validation_share_no_image():
    train, valid = (build("IMBALANCEDIGITS", part, "", (8, 8), ratio=1.0) for part in (True, False))
    images = [{image.numpy().tobytes() for image in part.pixels()} for part in (train, valid)]
    assert not images[0] & images[1]
    assert train.class_counts.tolist() == [139] * 10   # the smallest class has 139


def test_digits_long_tail():
    train = build("IMBALANCEDIGITS", True, "", (16, 16), ratio=0.02)
    assert train.class_counts.tolist() == [int(139 * 0.02 ** (c / 9)) for c in range(10)]
    assert train.pixels().shape == (len(train.labels), 3, 16, 16)
    assert len(train.indices) == len(train.labels)


def test_digits_mean_and_deviation_are_what_is_written_down():
    digits = load_digits()

    images, _ = train_test_split(digits.images, test_size=0.2, stratify=digits.target, random_state=0)
    pixels = np.rint(images * 255 / 16) / 255
    train = build("IMBALANCEDIGITS", True, "", (8, 8))
    assert train.mean.tolist() == pytest.approx([pixels.mean()] * 3, abs=5e-5)
    assert train.std.tolist() == pytest.approx([pixels.std()] * 3, abs=5e-5)


# --- Fashion-MNIST

def write_idx(path: Path, array: np.ndarray) -> None:
    data = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def fashion(tmp_path):
    """Ten images per class for training, three for validation, the first part gzipped, the second plain."""
    generator = np.random.default_rng(0)
    for part, per_class, suffix in (("train", 10, ".gz"), ("t10k", 3, "")):
        labels = np.tile(np.arange(10, dtype=np.uint8), per_class)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte{suffix}", labels)
        write_idx(tmp_path / f"{part}-images-idx3-ubyte{suffix}",
                  generator.integers(256, size=(len(labels), 28, 28), dtype=np.uint8))
    return tmp_path


def test_fashion_from_files(fashion):
    train, valid = (build("IMBALANCEFASHIONMNIST", part, fashion, (32, 32)) for part in (True, False))
    assert train.class_counts.tolist() == [int(10 * 0.1 ** (c / 9)) for c in range(10)]
    assert valid.class_counts.tolist() == [3] * 10
    assert train.class_names == NAMES
    source = read_idx(fashion / "train-images-idx3-ubyte.gz", dims=3)
    for number, index in enumerate(train.indices[:5].tolist()):
        image = train.read(number)
        assert torch.equal(image[:, 2:-2, 2:-2], source[index].expand(3, -1, -1))
        assert image.long().sum() == 3 * source[index].long().sum()   # the border is black


def test_fashion_at_another_size_is_resized(fashion):
    assert build("IMBALANCEFASHIONMNIST", False, fashion, (16, 16)).image_size == (16, 16)


@pytest.mark.parametrize(("damage", "message"), [
    (lambda data: data[:-1], "announces"), (lambda data: data + b"x", "announces"), (lambda data: b"", "no IDX file"),
    (lambda data: b"\x00\x00\x0d" + data[3:], "no IDX file"), (lambda data: data[:10], "no IDX file")])
def test_a_broken_idx_file_is_named(fashion, damage, message):
    path = fashion / "t10k-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=f"t10k-images-idx3-ubyte.*{message}"):
        build("IMBALANCEFASHIONMNIST", False, fashion, (32, 32))


def test_a_cut_off_gzip_file_is_named(fashion):
    path = fashion / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz cannot be read"):
        build("IMBALANCEFASHIONMNIST", True, fashion, (32, 32))


def test_images_without_labels_are_named(fashion):
    write_idx(fashion / "t10k-labels-idx1-ubyte", np.zeros(7, dtype=np.uint8))
    with pytest.raises(InputError, match="30 images for 7 labels"):
        build("IMBALANCEFASHIONMNIST", False, fashion, (32, 32))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(MissingPathError, match=r"DATASET\.ROOT: no train-images-idx3-ubyte.*nowhere.*dataset-fashion-mnist"):
        build("IMBALANCEFASHIONMNIST", True, tmp_path / "nowhere", (32, 32))


if DEBIAN.is_dir():   # not everywhere: CI installs the package
    def test_real_fashion_mnist():
        train = build("IMBALANCEFASHIONMNIST", True, "", (32, 32), ratio=0.01)
        assert train.class_counts.tolist() == [int(6000 * 0.01 ** (c / 9)) for c in range(10)]
        pixels = read_idx(DEBIAN / "train-images-idx3-ubyte.gz", dims=3).double() / 255
        assert pixels.mean().item() == pytest.approx(train.mean[0].item(), abs=5e-5)
        assert pixels.std().item() == pytest.approx(train.std[0].item(), abs=5e-5)


# --- CIFAR

def write_cifar(root: Path, name: str, monkeypatch, per_class: int = 10) -> np.ndarray:
    """A small CIFAR in torchvision's layout, with checksums to match; returns the training pixels, (N, 3, 32, 32)."""
    reader = getattr(datasets, name)
    folder = root / reader.base_folder
    folder.mkdir(parents=True)
    classes = 10 if name == "CIFAR10" else 100
    generator = np.random.default_rng(0)

    def write(file: str, content: dict) -> tuple[str, str]:
        data = pickle.dumps(content)
        (folder / file).write_bytes(data)
        return file, hashlib.md5(data).hexdigest()

    def batch(count: int) -> dict:
        labels = list(np.arange(count) % classes)
        key = "labels" if classes == 10 else "fine_labels"
        return {"data": generator.integers(256, size=(count, 3072), dtype=np.uint8), key: [int(label) for label in labels]}

    trains = [batch(classes * per_class // len(reader.train_list)) for _ in reader.train_list]
    train_list = [list(write(file, content)) for (file, _), content in zip(reader.train_list, trains)]
    monkeypatch.setattr(reader, "train_list", train_list)
    monkeypatch.setattr(reader, "test_list", [list(write(file, batch(classes))) for file, _ in reader.test_list])
    key = reader.meta["key"]
    file, checksum = write(reader.meta["filename"], {key: [f"class {c}" for c in range(classes)]})
    monkeypatch.setattr(reader, "meta", {"filename": file, "key": key, "md5": checksum})
    return np.concatenate([content["data"] for content in trains]).reshape(-1, 3, 32, 32)


@pytest.mark.parametrize(("name", "classes"), [("CIFAR10", 10), ("CIFAR100", 100)])
def test_cifar_from_files(tmp_path, monkeypatch, name, classes):
    pixels = write_cifar(tmp_path, name, monkeypatch)
    train, valid = (build(f"IMBALANCE{name}", part, tmp_path, (32, 32)) for part in (True, False))
    assert train.class_counts.tolist() == [int(10 * 0.1 ** (c / (classes - 1))) for c in range(classes)]
    assert valid.class_counts.tolist() == [1] * classes
    assert np.array_equal(train.pixels().numpy(), pixels[train.indices])
    assert torch.equal(train.read(3), train.pixels()[3])
    assert train.mean.tolist() == pytest.approx([0.4914, 0.4822, 0.4465])
    assert train.std.tolist() == pytest.approx([0.2023, 0.1994, 0.2010])


def test_cifar_that_is_not_the_published_one_is_not_unpickled(tmp_path, monkeypatch):
    write_cifar(tmp_path, "CIFAR10", monkeypatch)
    target = tmp_path / "owned"

    class Payload:
        def __reduce__(self):
            return Path.mkdir, (target,)

    (tmp_path / "cifar-10-batches-py/data_batch_1").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(InputError, match="is not the published CIFAR10"):
        build("IMBALANCECIFAR10", True, tmp_path, (32, 32))
    assert not target.exists()


def test_cifar_without_files_and_without_network(tmp_path, monkeypatch):
    def unreachable(*args, **options):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(datasets.CIFAR10, "download", unreachable)
    with pytest.raises(MissingPathError, match=r"DATASET\.ROOT: no folder .*nowhere.cifar-10-batches-py.*Network is unreachable"):
        build("IMBALANCECIFAR10", True, tmp_path / "nowhere", (32, 32))


# --- any set

def test_classes_without_images_are_legal_and_labels_beyond_them_are_not():
    def make(labels):
        images = torch.zeros(len(labels), 3, 2, 2, dtype=torch.uint8)
        return ArraySet("set", images, torch.tensor(labels), ["a", "b", "c"], [0] * 3, [1] * 3)

    assert make([0, 2, 2]).class_counts.tolist() == [1, 0, 2]
    for labels in ([0, 3], [-1, 0]):
        with pytest.raises(InputError, match="but there are 3 classes"):
            make(labels)
    with pytest.raises(InputError, match="no images"):
        make([])
