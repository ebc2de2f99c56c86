"""Long-tailed CIFAR of Cao et al., NeurIPS 2019 (arXiv:1906.07413), from torchvision's CIFAR."""
import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lib.data_transform.resize import resize
from lib.dataset.base import DATASETS, ArraySet
from lib.dataset.download import fetch
from lib.dataset.long_tail import Profile, Ratio, SubsetSeed, long_tail_subset
from lib.utils.errors import InputError

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)   # as published
USUAL_ROOT = "data"


class CifarLT(ArraySet):
    """The published subset of CIFAR's training part, or the whole validation part.

    Files are checked against their published checksums before they are unpickled.

    Args:
        source: torchvision's class, "CIFAR10" or "CIFAR100".
        root: the folder that holds, or gets by download, "cifar-10-batches-py" or "cifar-100-python"; empty: ./data.
        size: INPUT_SIZE.
    """

    def __init__(self, source: str, train: bool, root: str, size: tuple[int, int], ratio: float, random_seed: int,
                 profile: str) -> None:
        whole = read_cifar(source, train, Path(root or USUAL_ROOT))
        images = torch.from_numpy(whole.data).permute(0, 3, 1, 2)
        labels = torch.tensor(whole.targets)
        indices = long_tail_subset(labels, len(whole.classes), ratio, random_seed, profile, root or USUAL_ROOT) if train else None
        if train:
            images, labels = images[indices], labels[indices]
        super().__init__(f"IMBALANCE{source}", resize(images, size), labels, whole.classes, MEAN, STD, indices, source=images)


def read_cifar(source: str, train: bool, root: Path) -> "CIFAR10":
    from torchvision import datasets  # not before it is needed, see lib/backbone/resnet.py

    reader = getattr(datasets, source)
    folder = root / reader.base_folder
    if not folder.is_dir():
        fetch(source, root, f"no folder {folder}")
    try:
        return reader(str(root), train=train)
    except (RuntimeError, OSError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(f"DATASET.ROOT: {folder} is not the published {source} ({str(error).splitlines()[0]}); "
                         "delete it to have it downloaded again") from error


@DATASETS.register("IMBALANCECIFAR10", section="IMBALANCECIFAR")
class Cifar10LT(CifarLT):
    """12,406 images at ratio .01, 13,996 at .02; 10,000 for validation."""

    def __init__(self, train: bool, root: str, size: tuple[int, int], *, ratio: Ratio, random_seed: SubsetSeed,
                 type_: Profile) -> None:
        super().__init__("CIFAR10", train, root, size, ratio, random_seed, type_)


@DATASETS.register("IMBALANCECIFAR100", section="IMBALANCECIFAR")
class Cifar100LT(CifarLT):
    """10,847 images at ratio .01, 12,608 at .02; 10,000 for validation."""

    def __init__(self, train: bool, root: str, size: tuple[int, int], *, ratio: Ratio, random_seed: SubsetSeed,
                 type_: Profile) -> None:
        super().__init__("CIFAR100", train, root, size, ratio, random_seed, type_)
