"""Which GPUs this process uses: numbers among those that CUDA_VISIBLE_DEVICES leaves visible, in whatever form it names them."""
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from lib.utils.errors import InputError
from lib.utils.text import count

log = logging.getLogger(__name__)

NVIDIA = Path("/dev/nvidia0")   # Linux's device of a first GPU, whatever torch makes of it
KEY = "GPUS (--gpus)"
NARROWED: dict[str, str | None] = {}   # what this process has made of the variable, to what it was before


def select_gpus(gpus: str, local_size: int) -> int:
    """Makes only the GPUs asked for visible; returns how many there are, 0 for the CPU.

    This must come before the first use of CUDA in this process, which reads the variable once. A later call counts among the
    GPUs that were visible at the start, not among those that an earlier call has selected.

    Raises:
        InputError: GPUs that are not there or not visible.
    """
    if gpus == "cpu":
        return 0
    numbers, name, value = parse_numbers(gpus), variable(), visible_before()
    chosen = ",".join(choose(numbers, name, value)) if numbers else value
    if chosen != os.environ.get(name):
        if torch.cuda.is_initialized():
            raise InputError(f"{KEY}: this process already uses the GPUs of {name}={os.environ.get(name)!r}, so it cannot use "
                             f"{gpus}; start another process")
        set_variable(name, chosen, value)
    found = torch.cuda.device_count()
    if found < len(numbers):
        shown = f", which are {chosen!r} of {name}={value!r}" if value is not None else ""
        raise InputError(f"{KEY}: asked for {gpus}{shown}, but CUDA finds only {found} of these {len(numbers)} GPUs; "
                         "nvidia-smi lists the GPUs of this machine, 'cpu' trains without")
    check_enough(found, gpus, local_size)
    if not found:
        warn_of_cpu(name, value)
    return found


def find_gpus(gpus: str, local_size: int = 1) -> list[str]:
    """The requested GPUs as values of --gpus for new processes: numbers, or ["cpu"]. Changes nothing.

    Raises:
        InputError: as ``select_gpus`` will in such a process.
    """
    if gpus == "cpu":
        return ["cpu"]
    numbers, name = parse_numbers(gpus), variable()
    choose(numbers, name, os.environ.get(name))
    found = torch.cuda.device_count()
    check_enough(len(numbers) or found, gpus, local_size)
    if not numbers and not found:
        warn_of_cpu(name, os.environ.get(name))
    if not numbers:
        return [str(number) for number in range(found)] or ["cpu"]
    missing = [str(number) for number in numbers if number >= found]
    if missing:
        there = {0: "no GPU", 1: "one GPU, which is 0"}.get(found, f"{found} GPUs, numbered from 0")
        raise InputError(f"{KEY}: asked for {gpus}, but CUDA finds {there}; nvidia-smi lists the GPUs of this machine, 'cpu' "
                         "trains without")
    return [str(number) for number in numbers]


def warn_of_cpu(name: str, value: str | None) -> None:
    """Warns that "auto" means the CPU although there are GPUs or GPUs were meant."""
    built = f"torch {torch.__version__}, built for " + (f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA")
    if value is not None and visible_entries(value):
        log.warning("GPUS auto: the CPU is used, although %s is %r: %s, finds no GPU", name, value, built)
    elif value is None and NVIDIA.exists():
        log.warning("GPUS auto: the CPU is used, although there is an NVIDIA GPU: %s, does not find it", built)


def parse_numbers(gpus: str) -> list[int]:
    """Parses "0" or "0,1" to numbers; empty for "auto"."""
    words = [] if gpus == "auto" else [word.strip() for word in gpus.split(",")]
    if not all(word.isascii() and word.isdigit() for word in words):
        raise InputError(f"{KEY}: must be 'cpu', 'auto' or numbers such as 0 or 0,1, got {gpus!r}")
    numbers = [int(word) for word in words]
    twice = next((number for number in numbers if numbers.count(number) > 1), None)
    if twice is not None:
        raise InputError(f"{KEY}: {gpus!r} names {twice} twice; name each GPU once")
    return numbers


def check_enough(found: int, gpus: str, local_size: int) -> None:
    if local_size > 1 and 0 < found < local_size:
        raise InputError(f"NUM_GPUS: there are {local_size} processes but {count(found, 'GPU')} ({gpus}); each process needs one")


def choose(numbers: Sequence[int], name: str, value: str | None) -> list[str]:
    """The entries of the variable at these positions; the numbers themselves if it is not set."""
    if value is None:
        return [str(number) for number in numbers]
    visible = visible_entries(value)
    missing = [str(number) for number in numbers if number >= len(visible)]
    asked = f"{KEY}: asked for {','.join(map(str, numbers))}, but {name}={value!r}"
    if missing and not visible:
        raise InputError(f"{asked} makes no GPU visible; unset it, name GPUs in it, or train with 'cpu'")
    if missing:
        there = ", ".join(f"{number} is {entry}" for number, entry in enumerate(visible))
        raise InputError(f"{asked} has no {' and no '.join(missing)}; numbers count the visible GPUs: {there}")
    return [visible[number] for number in numbers]


def visible_entries(value: str) -> list[str]:
    """The entries of the variable that CUDA accepts: numbers, or UUIDs (GPU-…, whole or abbreviated), or MIG instances (MIG-…).

    The list ends before the first entry of another kind, such as -1, and one that names a device twice is empty.
    """
    entries = [entry.strip() for entry in value.split(",")]
    kind = next((prefix for prefix in ("GPU-", "MIG-") if entries[0].startswith(prefix)), None)
    visible: dict[str | int, str] = {}
    for entry in entries:
        number = re.match(r"\+?(\d+)", entry)
        if not (entry.startswith(kind) if kind else number):
            break
        key = entry if kind else int(number[1])  # type: ignore[index]  # of a kind without a prefix it matched
        if key in visible:
            return []
        visible[key] = entry
    return list(visible.values())


def variable() -> str:
    """The variable that lists the visible GPUs; on AMD GPUs, AMD's own variable has priority."""
    hip = "HIP_VISIBLE_DEVICES"
    return hip if torch.version.hip and hip in os.environ else "CUDA_VISIBLE_DEVICES"


def visible_before() -> str | None:
    """The value of the variable before this process changed it; None if it was not set."""
    value = os.environ.get(variable())
    return value if value is None else NARROWED.get(value, value)


def set_variable(name: str, chosen: str | None, before: str | None) -> None:
    if chosen is None:
        del os.environ[name]
        return
    os.environ[name] = chosen
    if chosen != before:
        NARROWED[chosen] = before
