"""Prepares data, network and optimizer of a configuration for measurements, as main/train.py does."""
from typing import NamedTuple

import torch

from lib.config import Config
from lib.config.preparation import preprocessing
from lib.core import build
from lib.core.assemble import assemble
from lib.dataset import ArraySet, ImageSet, Loader
from lib.device.runtime import Runtime
from lib.engine.batchnorm import check_batches
from lib.engine.training import Training
from lib.run.identity import Identity
from lib.utils.seed import seed_globals


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
    epochs: int           # that one timing of training covers
    valid_passes: int     # passes over the validation set that one timing of validation covers


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


def prepare(cfg: Config, runtime: Runtime, sets: tuple[ImageSet, ImageSet], min_batches: int) -> Bench:
    """Args:
        min_batches: a timing covers whole epochs, as many as it takes to make so many batches.
    """
    train_loader, valid_loader = build.build_loaders(cfg, *sets, runtime)
    batch_size = max(len(indices) for indices in train_loader.batches.batches())
    epochs, valid_passes = (-(-min_batches // len(loader)) for loader in (train_loader, valid_loader))
    parts = make_parts(cfg, sets[0], runtime, train_loader)
    check_batches(parts.network, train_loader, tuple(cfg.INPUT_SIZE), runtime)
    return Bench(cfg, runtime, *sets, train_loader, valid_loader, parts, batch_size, epochs, valid_passes)
