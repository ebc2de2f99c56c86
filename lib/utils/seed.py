"""Where random numbers come from: streams that are functions of seed, rank, epoch and batch, never of history."""
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
    """The random numbers of one batch: the same seed gives the same numbers, whatever was drawn before.

    ``generator`` lives on the training device, so that drawing never waits for it; ``host`` gives numbers that
    Python needs at once (mixup's share), and is made when it is asked for.
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
    """For draws that all ranks agree on; always on the CPU, so that the hardware does not change the draw."""
    return torch.Generator().manual_seed(spawn_seeds((seed, epoch), 1)[0])


def batch_seeds(seed: int, rank: int, epoch: int, num_batches: int) -> list[int]:
    """One seed per batch of this rank's epoch, for augmentation and mixing shares."""
    return spawn_seeds((seed, rank, epoch), num_batches)


def spawn_seeds(key: int | tuple[int, ...], count: int) -> list[int]:
    """``count`` independent 63-bit seeds from a key of non-negative integers."""
    state = np.random.SeedSequence(key).generate_state(count, np.uint64)
    return (state >> np.uint64(1)).tolist()   # torch's seeds are signed


def uniform(seed: Tensor, shape: Sequence[int]) -> Tensor:
    """Numbers in [0, 1), float32 on the device of ``seed``, an int64 scalar that is all they depend on.

    They are the first outputs of SplitMix64 in order, of each the top 24 bits: Steele et al., Fast Splittable Pseudorandom
    Number Generators, OOPSLA 2014. No generator, so they are equal on all devices, and a CUDA graph that was captured
    draws new numbers when the seed in its memory changes.
    """
    return uniform_at(seed, torch.arange(1, math.prod(shape) + 1, device=seed.device).view(tuple(shape)))


def uniform_at(seed: Tensor, places: Tensor) -> Tensor:
    """The numbers that stand at ``places``, int64 from 1 on, in the sequence of ``uniform``; of the shape of ``places``."""
    state = seed + places * -0x61C8864680B583EB      # 2^64 / golden ratio; int64 wraps around, so signs mean nothing here
    state = (state ^ shift_right(state, 30)) * -0x40A7B892E31B1A47
    state = (state ^ shift_right(state, 27)) * -0x6B2FB644ECCEEE15
    return shift_right(state ^ shift_right(state, 31), 40).float() / 2**24


def shift_right(bits: Tensor, places: int) -> Tensor:
    """Of int64 as plain bits; torch's own shift repeats the sign."""
    return (bits >> places) & ((1 << (64 - places)) - 1)


def seed_globals(seed: int) -> None:
    """Seeds what draws without a generator of its own: initialisation, dropout, libraries.

    Called for every batch with the batch's own seed, so that such numbers too depend neither on where a run was
    resumed nor on how images are read. (``torch.manual_seed`` would format a stack trace each time, for GPUs not in use.)
    """
    number = spawn_seeds((seed, 0, 0, 1), 1)[0]   # the 1 keeps it apart from the seeds of batches
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)
    np.random.seed(number % 2**32)
    random.seed(number)
