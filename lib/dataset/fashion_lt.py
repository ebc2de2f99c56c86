"""Long-tailed Fashion-MNIST, from IDX files."""
import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.data_transform.resize import resize
from lib.dataset.base import DATASETS, ArraySet
from lib.dataset.download import fetch
from lib.dataset.long_tail import Profile, Ratio, SubsetSeed, long_tail_subset
from lib.utils.errors import InputError, MissingPathError

# of the 60,000 training images at 28×28, pixels in [0, 1]
MEAN, STD = 0.2860, 0.3530
NAMES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
DEBIAN = Path("/usr/share/datasets/fashion-mnist")   # package dataset-fashion-mnist
DOWNLOADED = Path("data")                            # torchvision's root where DATASET.ROOT is empty
UNSIGNED_BYTE = 8


@DATASETS.register("IMBALANCEFASHIONMNIST", section="IMBALANCECIFAR")
class FashionLT(ArraySet):
    """70,000 grey pictures of clothes, 28×28 (Xiao et al., Fashion-MNIST, arXiv:1708.07747), long-tailed.

    For INPUT_SIZE 32×32 two black pixels are added on each side; for any other the images are resized.

    Args:
        root: folder with the four IDX files, plain or .gz; empty: Debian's folder, else a download by torchvision.
        size: INPUT_SIZE.
    """

    def __init__(self, train: bool, root: str, size: tuple[int, int], *, ratio: Ratio, random_seed: SubsetSeed,
                 type_: Profile) -> None:
        folder, part = find_folder(root), "train" if train else "t10k"
        images = read_idx(find_file(folder, f"{part}-images-idx3-ubyte"), dims=3)
        labels = read_labels(find_file(folder, f"{part}-labels-idx1-ubyte"))
        if len(images) != len(labels):
            raise InputError(f"{folder}: {len(images)} images for {len(labels)} labels ({part})")
        indices = long_tail_subset(labels, len(NAMES), ratio, random_seed, type_, folder) if train else None
        if train:
            images, labels = images[indices], labels[indices]
        padded = F.pad(images, [2] * 4) if images.shape[1:] == (28, 28) and tuple(size) == (32, 32) else images
        super().__init__("IMBALANCEFASHIONMNIST", resize(padded[:, None], size), labels, NAMES, [MEAN] * 3, [STD] * 3, indices,
                         source=images)


def find_folder(root: str) -> Path:
    if root:
        return Path(root)
    if DEBIAN.is_dir():
        return DEBIAN
    folder = DOWNLOADED / "FashionMNIST" / "raw"
    if not folder.is_dir():
        fetch("FashionMNIST", DOWNLOADED, f"DATASET.ROOT is empty, and there is no {DEBIAN} (Debian's dataset-fashion-mnist)")
    return folder


def find_file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz", folder / "FashionMNIST" / "raw" / name):
        if path.is_file():
            return path
    raise MissingPathError(f"DATASET.ROOT: no {name} or {name}.gz in {folder}; Debian's package dataset-fashion-mnist has "
                           "the four IDX files, and with an empty DATASET.ROOT torchvision downloads them")


def read_labels(path: Path) -> Tensor:
    labels = read_idx(path, dims=1).long()
    if len(labels) and labels.max() >= len(NAMES):
        raise InputError(f"{path}: entry {labels.argmax()} is of class {labels.max()}; there are {len(NAMES)}, numbered from 0")
    return labels


def read_idx(path: Path, dims: int) -> Tensor:
    """An IDX file of unsigned bytes, plain or gzipped: magic 0, 0, 8, dims; big-endian sizes; the bytes."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error})") from error
    header = 4 + 4 * dims
    if len(data) < header or data[:4] != bytes([0, 0, UNSIGNED_BYTE, dims]):
        raise InputError(f"{path} is no IDX file of {dims} dimensions of unsigned bytes")
    shape = struct.unpack(f">{dims}I", data[4:header])
    if len(data) - header != int(np.prod(shape, dtype=object)):
        raise InputError(f"{path} announces {' × '.join(map(str, shape))} bytes and holds {len(data) - header}")
    return torch.frombuffer(bytearray(data[header:]), dtype=torch.uint8).view(shape)
