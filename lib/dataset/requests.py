"""The images that worker processes read, and the transforms that they run."""
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lib.data_transform import Transform
from lib.dataset.base import ImageSet
from lib.utils.errors import InputError
from lib.utils.seed import spawn_seeds
from lib.utils.workers import follow_parent


class Requests:
    """The plan of the epoch that begins, as lists of (index, seed of this image)."""

    def __init__(self, random: bool) -> None:
        self.random = random
        self.plan: list[tuple[Tensor, int]] = []

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for indices, seed in self.plan:
            seeds = spawn_seeds(seed, len(indices)) if self.random else [0] * len(indices)
            yield list(zip(indices.tolist(), seeds))


def worker_part(images: ImageSet, transforms: Sequence[Transform]) -> int:
    """How many transforms must run image by image: none where sizes are equal, else up to the last that fixes the size."""
    if images.image_size is not None:
        return 0
    fixing = [number for number, transform in enumerate(transforms, start=1) if transform.fixes_size]
    if not fixing:
        raise InputError(f"TRANSFORMS: the images of {images.name} differ in size; add a transform that fixes it, such as "
                         "random_resized_crop, center_crop or normal_resize")
    for transform in transforms[:fixing[-1]]:
        if transform.by_class:
            raise InputError(f"TRANSFORMS: {type(transform).__name__} must come after number {fixing[-1]} of the list, the last "
                             f"that fixes the size of the images of {images.name}: worker processes do not know classes")
    return fixing[-1]


def begin_worker(worker: int, parent: int) -> None:
    follow_parent(parent)
    torch.set_num_threads(1)
