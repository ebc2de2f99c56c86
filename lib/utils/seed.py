"""Where random numbers come from: streams that are functions of seed, rank, epoch and batch, never of history."""
import random
from dataclasses import dataclass, field

import numpy as np
import torch

Device = torch.device | str


@dataclass
class Stream:
    """The random numbers of one batch: the same seed gives the same numbers, whatever was drawn before.

    ``generator`` lives on the training device, so that drawing never waits for it; ``host`` gives numbers that
    Python needs at once (mixup's share).
    """

    seed: int
    device: Device = "cpu"
    generator: torch.Generator = field(init=False, repr=False)
    host: np.random.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.generator = torch.Generator(self.device).manual_seed(self.seed)
        self.host = np.random.default_rng(self.seed)


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


def seed_globals(seed: int, rank: int = 0, epoch: int = 0) -> None:
    """Seeds what draws without a generator of its own: initialisation, dropout, libraries."""
    number = spawn_seeds((seed, rank, epoch, 1), 1)[0]
    torch.manual_seed(number)
    np.random.seed(number % 2**32)
    random.seed(number)
