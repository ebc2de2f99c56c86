"""Random numbers: streams that depend on seed, rank, epoch and batch only, never on what was drawn before."""
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

Device = torch.device | str


@dataclass
class Stream:
    """The random numbers of one batch: they depend on the seed alone.

    ``generator`` is on the training device, so that drawing does not synchronise. ``host`` gives numbers that Python needs
    immediately (λ of mixup); it is created on first use.
    """

    seed: int
    device: Device = "cpu"
    generator: torch.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.generator = torch.Generator(self.device).manual_seed(self.seed)

    @cached_property
    def host(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)


def shared_generator(seed: int, epoch: int) -> torch.Generator:
    """A generator for draws that are equal on all ranks; always on the CPU, so that they do not depend on the hardware."""
    return torch.Generator().manual_seed(spawn_seeds((seed, epoch), 1)[0])


def batch_seeds(seed: int, rank: int, epoch: int, num_batches: int) -> list[int]:
    """One seed for each batch of this rank in an epoch, for augmentation and mixup."""
    return spawn_seeds((seed, rank, epoch), num_batches)


def spawn_seeds(key: int | tuple[int, ...], count: int) -> list[int]:
    """``count`` independent 63-bit seeds from a key of non-negative integers."""
    state = np.random.SeedSequence(key).generate_state(count, np.uint64)
    return (state >> np.uint64(1)).tolist()   # torch's seeds are signed


def uniform(seed: Tensor, shape: Sequence[int]) -> Tensor:
    """Uniform random numbers in [0, 1), float32, which depend on ``seed`` alone, an int64 scalar; on the device of ``seed``.

    They are the top 24 bits of the first outputs of SplitMix64: Steele et al., Fast Splittable Pseudorandom Number Generators,
    OOPSLA 2014. No torch generator is involved, so they are equal on all devices, and a captured CUDA graph draws new numbers
    when the seed in its memory changes.
    """
    return uniform_at(seed, torch.arange(1, math.prod(shape) + 1, device=seed.device).view(tuple(shape)))


def uniform_at(seed: Tensor, places: Tensor) -> Tensor:
    """The numbers that stand at ``places``, int64 from 1 on, in the sequence of ``uniform``; of the shape of ``places``."""
    state = seed + places * -0x61C8864680B583EB      # 2^64 / golden ratio as int64, which wraps around
    state = (state ^ shift_right(state, 30)) * -0x40A7B892E31B1A47
    state = (state ^ shift_right(state, 27)) * -0x6B2FB644ECCEEE15
    return shift_right(state ^ shift_right(state, 31), 40).float() / 2**24


def shift_right(bits: Tensor, places: int) -> Tensor:
    """Logical right shift of int64; torch's own shift is arithmetic (it repeats the sign bit)."""
    return (bits >> places) & ((1 << (64 - places)) - 1)


def seed_globals(seed: int) -> None:
    """Seeds the global generators, which initialisation, dropout and libraries use.

    Called for every batch with the seed of the batch, so that these numbers do not depend on where a run was resumed or how
    images are read. (``torch.manual_seed`` is not used: it formats a stack trace each time, for GPUs that are not in use.)
    """
    number = spawn_seeds((seed, 0, 0, 1), 1)[0]   # the 1 makes it differ from the seeds of batches
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)
    np.random.seed(number % 2**32)
    random.seed(number)
