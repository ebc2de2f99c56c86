"""Prepares data, network and optimizer of a configuration for measurements, as main/train.py does."""
import sys
from typing import NamedTuple, cast

import torch
from torch import Tensor

from lib.config import Config
from lib.config.preparation import preprocessing
from lib.core import build
from lib.core.assemble import assemble
from lib.dataset import ArraySet, EpochBatches, EvalBatches, ImageSet, Loader
from lib.device.runtime import Runtime
from lib.engine.batchnorm import check_batches
from lib.engine.training import Training
from lib.run.identity import Identity
from lib.utils.seed import seed_globals


class FirstBatches:
    """The first ``most`` batches of each epoch."""

    def __init__(self, whole: EpochBatches | EvalBatches) -> None:
        self.whole, self.most = whole, sys.maxsize
        self.seed, self.batch_size = whole.seed, whole.batch_size

    def on_epoch(self, epoch: int) -> None:
        self.whole.on_epoch(epoch)

    def batches(self) -> list[Tensor]:
        return self.whole.batches()[:self.most]

    def of_epoch(self, epoch: int) -> list[Tensor]:
        return self.whole.of_epoch(epoch)[:self.most]

    def seeds(self, count: int, epoch: int | None = None) -> list[int]:
        return self.whole.seeds(count, epoch)


class Span:
    """How much one timing of a loader covers: whole epochs, or the first batches of one epoch."""

    def __init__(self, loader: Loader) -> None:
        self.loader, self.whole = loader, len(loader)
        self.first = FirstBatches(loader.batches)
        loader.batches = cast(EpochBatches, self.first)
        self.epochs = 1

    def cover(self, batches: int, whole_epochs: bool = False) -> None:
        """Sets the number of batches, rounded down to whole epochs if it is at least one, or up if ``whole_epochs``."""
        self.epochs = -(-batches // self.whole) if whole_epochs else max(batches // self.whole, 1)
        self.first.most = self.whole if whole_epochs else batches
        self.loader.measure()

    @property
    def steps(self) -> int:
        return self.epochs * len(self.loader)

    @property
    def images(self) -> int:
        return self.epochs * self.loader.num_images


class Bench(NamedTuple):
    """All objects that a timing needs."""

    cfg: Config
    runtime: Runtime
    train_set: ImageSet
    valid_set: ImageSet
    train_loader: Loader
    valid_loader: Loader
    parts: Training
    batch_size: int       # images of a training batch, all rows of the draw
    train: Span           # of one timing of training
    valid: Span           # of one timing of validation

    def cover(self, batches: int, whole_epochs: bool = False) -> None:
        """Sets how many batches a timing of training and one of validation cover, see ``Span``."""
        self.train.cover(batches, whole_epochs)
        self.valid.cover(batches, whole_epochs)

    @property
    def first_epoch(self) -> int:
        return middle_epoch(self.cfg)


def middle_epoch(cfg: Config) -> int:
    """The epoch that is measured: in the middle of a training, where methods that begin late or end early are active."""
    return max(cfg.TRAIN.MAX_EPOCH // 2, 1)


def random_set(num_images: int, num_classes: int, size: tuple[int, int]) -> ImageSet:
    """Images of noise with labels in turn, for measuring speed where the data is not at hand."""
    pixels = torch.randint(256, (num_images, 3, *size), dtype=torch.uint8)
    names = [str(number) for number in range(num_classes)]
    return ArraySet("noise", pixels, torch.arange(num_images) % num_classes, names, [0.5] * 3, [0.25] * 3)


def load_sets(cfg: Config, random_images: int, random_classes: int) -> tuple[ImageSet, ImageSet]:
    """Training and validation set; both the same noise where ``random_images`` is not 0."""
    if not random_images:
        return build.build_datasets(cfg)
    noise = random_set(random_images, random_classes, tuple(cfg.INPUT_SIZE))
    return noise, noise


def make_parts(cfg: Config, train_set: ImageSet, runtime: Runtime, train_loader: Loader) -> Training:
    seed_globals(cfg.SEED)
    identity = Identity.of(train_set, train_set, preprocessing(cfg, train_set))
    return assemble(cfg, identity, runtime, train_loader)[0]


def prepare(cfg: Config, runtime: Runtime, sets: tuple[ImageSet, ImageSet]) -> Bench:
    """A timing covers one epoch, until ``Bench.cover`` is called."""
    train_loader, valid_loader = build.build_loaders(cfg, *sets, runtime)
    batch_size = max(len(indices) for indices in train_loader.batches.batches())
    parts = make_parts(cfg, sets[0], runtime, train_loader)
    check_batches(parts.network, train_loader, tuple(cfg.INPUT_SIZE), runtime)
    return Bench(cfg, runtime, *sets, train_loader, valid_loader, parts, batch_size, Span(train_loader), Span(valid_loader))
