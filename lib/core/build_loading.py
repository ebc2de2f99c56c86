"""Builds draws, transforms and loaders from the config."""
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from yacs.config import CfgNode as Config

from lib.data_transform import TRANSFORMS, Transform, normalize
from lib.dataset import SAMPLERS, Chosen, Draw, EpochBatches, EvalBatches, ImageSet, Loader, Ordered, make_loader
from lib.device.runtime import Runtime
from lib.utils.schedule import Deferred

MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
LARGE_BATCH = 2**20   # pixels per forward pass that keep a GPU busy; with fewer, launching kernels takes longer than computing


def memory_format(cfg: Config) -> torch.memory_format:
    return MEMORY_FORMATS[cfg.TRAIN.MEMORY_FORMAT]


def build_transforms(cfg: Config, names: list[str]) -> list[Transform]:
    transforms = [TRANSFORMS.build(name, cfg.TRANSFORMS.PROCESS_DETAIL, tuple(cfg.INPUT_SIZE)) for name in names]
    for number, transform in enumerate(transforms, start=1):
        transform.expect(transforms[number:])
    return transforms


def build_loaders(cfg: Config, train_set: ImageSet, valid_set: ImageSet | None, runtime: Runtime) -> tuple[Loader, Loader | None]:
    """This rank's loader for training, and its loader for validation, or None without validation images."""
    train_batches = EpochBatches(
        build_draw(cfg, train_set), cfg.TRAIN.BATCH_SIZE, first_stage=build_first_draw(cfg, train_set),
        deferred=Deferred(cfg.TRAIN.TWO_STAGE.START_EPOCH) if cfg.TRAIN.TWO_STAGE.DRS else None,
        seed=cfg.SEED, rank=runtime.rank, world_size=runtime.world_size)
    return (build_loader(cfg, train_set, train_batches, cfg.TRANSFORMS.TRAIN_TRANSFORMS, cfg.TRAIN.NUM_WORKERS, runtime,
                         cfg.TRANSFORMS.VIEWS),
            None if valid_set is None else build_eval_loader(cfg, valid_set, runtime))


def build_eval_loader(cfg: Config, images: ImageSet, runtime: Runtime) -> Loader:
    """The loader that gives this rank's share of the images once, in order, with the transforms of validation."""
    batches = EvalBatches(len(images.labels), valid_batch_size(cfg, runtime.device), runtime.rank, runtime.world_size)
    return build_loader(cfg, images, batches, cfg.TRANSFORMS.TEST_TRANSFORMS, cfg.TEST.NUM_WORKERS, runtime)


def build_pair_loader(cfg: Config, images: ImageSet, rows: Tensor, runtime: Runtime) -> Loader:
    """The loader of some of a set's images in two augmented views (TEST.AGGREGATION), the same for every rank."""
    options = cfg.TEST.AGGREGATION
    draw = Chosen(images.labels, images.class_counts, options.EPOCHS, rows)
    names = options.TRANSFORMS or cfg.TRANSFORMS.TRAIN_TRANSFORMS
    return build_loader(cfg, images, EpochBatches(draw, options.BATCH_SIZE, seed=cfg.SEED), names, cfg.TEST.NUM_WORKERS, runtime,
                        [names])


def build_loader(cfg: Config, images: ImageSet, batches: EpochBatches | EvalBatches, names: list[str], workers: int,
                 runtime: Runtime, views: Sequence[list[str]] = ()) -> Loader:
    return make_loader(images, batches, build_transforms(cfg, names), build_normalize(cfg, images, runtime.device),
                       runtime.device, in_memory=cfg.DATASET.IN_MEMORY, num_workers=workers, pin_memory=cfg.PIN_MEMORY,
                       skip_unreadable=cfg.DATASET.ON_BAD_IMAGE == "skip",
                       views=[build_transforms(cfg, view) for view in views])


def valid_batch_size(cfg: Config, device: torch.device) -> int:
    """Number of images per forward pass in evaluation; independent of the number of ranks, so that logits do not depend on it."""
    large = LARGE_BATCH // (cfg.INPUT_SIZE[0] * cfg.INPUT_SIZE[1]) if cfg.TEST.LARGE_BATCHES and device.type == "cuda" else 0
    return max(cfg.TEST.BATCH_SIZE, large)


def build_draw(cfg: Config, train_set: ImageSet) -> Draw:
    counts, epochs = train_set.class_counts, cfg.TRAIN.MAX_EPOCH
    if not cfg.TRAIN.SHUFFLE:
        return Ordered(train_set.labels, counts, epochs)
    return SAMPLERS.build(cfg.TRAIN.SAMPLER.TYPE, cfg.TRAIN.SAMPLER, train_set.labels, counts, epochs)


def build_first_draw(cfg: Config, train_set: ImageSet) -> Draw | None:
    """The draw of DRS's first stage, a plain permutation; None without DRS."""
    if not cfg.TRAIN.TWO_STAGE.DRS:
        return None
    return SAMPLERS.build("default", cfg.TRAIN.SAMPLER, train_set.labels, train_set.class_counts, cfg.TRAIN.MAX_EPOCH)


def mean_and_std(cfg: Config, images: ImageSet) -> tuple[Tensor, ...]:
    """Mean and standard deviation of R, G, B, (3,) each, from the configuration, else from the data set."""
    return tuple(torch.tensor(list(own)) if own else usual for own, usual in
                 ((cfg.DATASET.MEAN, images.mean), (cfg.DATASET.STD, images.std)))


def build_normalize(cfg: Config, images: ImageSet, device: torch.device) -> Callable[[Tensor], Tensor]:
    """A function that scales to [0, 1] and normalises on the device; with BGR it reverses the channels, mean and deviation."""
    mean, std, layout = *(values.to(device) for values in mean_and_std(cfg, images)), memory_format(cfg)
    if cfg.COLOR_SPACE == "BGR":
        return lambda batch: normalize(batch.flip(1), mean.flip(0), std.flip(0), layout)
    return lambda batch: normalize(batch, mean, std, layout)
