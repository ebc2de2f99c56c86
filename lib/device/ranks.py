"""Which of several processes this one is: what torchrun says in environment variables, all of it or nothing."""
import os
from collections.abc import Mapping
from typing import NamedTuple

from lib.utils.errors import InputError

PLACE = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
MEETING = ("MASTER_ADDR", "MASTER_PORT")
HOW = ("torchrun sets all of them, and distributed_data_parallel_train.sh starts it; for one process, unset {} "
       "(under Slurm, start that script on each machine, not main/train.py by srun)")


class Place(NamedTuple):
    """The position of a process among all processes (``rank`` of ``world_size``) and among those of its machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_size: int = 1


def read_place(environment: Mapping[str, str] = os.environ) -> Place:
    """Reads the variables of torchrun. Raises InputError if some are missing, are not numbers, or contradict each other."""
    present = {name: environment[name] for name in ("WORLD_SIZE", *PLACE, *MEETING) if environment.get(name, "").strip()}
    if "WORLD_SIZE" not in present:
        half = [name for name in PLACE if name in present]
        if half:
            raise InputError(f"{half[0]} is {present[half[0]]}, but WORLD_SIZE is not set: {HOW.format(' and '.join(half))}")
        return Place()
    world_size = read_number(present, "WORLD_SIZE", 1, None)
    missing = [name for name in (*PLACE, *MEETING) if name not in present]
    if world_size > 1 and missing:
        raise InputError(f"WORLD_SIZE is {world_size}, but {', '.join(missing)} not set: {HOW.format('WORLD_SIZE')}")
    local_size = read_number(present, "LOCAL_WORLD_SIZE", 1, world_size)
    if world_size > 1:
        read_number(present, "MASTER_PORT", 1, 65535)
    rank, local_rank = read_number(present, "RANK", 0, world_size - 1), read_number(present, "LOCAL_RANK", 0, local_size - 1)
    return Place(rank, world_size, local_rank, local_size)


def read_restarts() -> int:
    """The number of restarts of this rank by torchrun (--max-restarts)."""
    name = "TORCHELASTIC_RESTART_COUNT"
    return read_number({name: os.environ[name]} if name in os.environ else {}, name, 0, None)


def read_number(present: Mapping[str, str], name: str, least: int, most: int | None) -> int:
    """The value of a variable; ``least`` if it is not set."""
    text = present.get(name, str(least)).strip()
    number = int(text) if text.isascii() and text.isdigit() else -1
    if number < least or (most is not None and number > most):
        upper = "" if most is None else f" to {most}"
        beside = ", ".join(f"{other} {value}" for other, value in present.items() if other != name)
        raise InputError(f"{name}: must be a whole number from {least}{upper}, got {text!r}" + f" (with {beside})" * bool(beside))
    return number


def rank_or_first() -> int:
    """The rank of this process, for messages; 0 if the variables are invalid."""
    text = os.environ.get("RANK", "").strip()
    return int(text) if text.isascii() and text.isdigit() else 0
