"""Failures of the machine, not of the program: memory, open files, worker processes, drivers, other ranks.

Each becomes one message that says which key or setting would have helped.
"""
import errno
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from lib.utils.errors import RunFailedError
from lib.utils.system import most_open_files

TRAINING, VALIDATION, GENERATION = "training", "validation", "CAM-based sampling"
BATCH_SIZES = {TRAINING: "TRAIN.BATCH_SIZE", VALIDATION: "TEST.BATCH_SIZE", GENERATION: "TEST.BATCH_SIZE"}
WORKERS = {TRAINING: "TRAIN.NUM_WORKERS", VALIDATION: "TEST.NUM_WORKERS", GENERATION: "TRAIN.NUM_WORKERS"}
KINDS = (OSError, RuntimeError, MemoryError)   # of which some are explained

# words of the messages of torch, CUDA and the system
OTHER_RANK = ("gloo", "Gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
FILES = ("Too many open files", "received 0 items of ancdata")
SHARED_MEMORY = ("</torch_", "(shm)", "shared memory limit", "Bus error", "No space left on device")
GPU_MEMORY = ("CUDA out of memory", "HIP out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED",
              "CUDNN_STATUS_ALLOC_FAILED")
MEMORY = ("can't allocate memory", "not enough memory", "Cannot allocate memory", "bad_alloc", "Unable to allocate")
DRIVER = ("no kernel image is available", "driver on your system is too old", "driver version is insufficient",
          "Found no NVIDIA driver", "forward compatibility was attempted", "CUDA unknown error", "not compiled with CUDA")
BUSY = ("busy or unavailable",)


@contextmanager
def during(stage: str) -> Iterator[None]:
    """A context that converts known failures to a RunFailedError; other errors, and those of other ranks, pass unchanged.

    Args:
        stage: TRAINING, VALIDATION or GENERATION.
    """
    try:
        yield
    except KINDS as error:
        reason = None if lost_contact(error) else explain(error, stage)
        if reason is None:
            raise
        raise RunFailedError(reason) from error


def explain(error: Exception, stage: str = "") -> str | None:
    """The message for a failure of the machine or of another process, with a remedy; None for other errors."""
    text = str(error)
    if lost_contact(error):
        return f"lost contact with another rank; the message of that rank says why ({reason(text)})"
    cause, why = find_cause(error, text, stage), getattr(error, "strerror", None) or reason(text) or type(error).__name__
    return f"{cause} ({why})" if cause else None


def find_cause(error: Exception, text: str, stage: str) -> str | None:
    """Finds the cause in an error message. The order matters: messages on shared memory may also mention open files."""
    when = f" in {stage}" if stage else ""
    batch_size = BATCH_SIZES.get(stage, "TRAIN.BATCH_SIZE, TEST.BATCH_SIZE")
    workers = WORKERS.get(stage, "TRAIN.NUM_WORKERS, TEST.NUM_WORKERS")
    if has(text, FILES) or number_of(error) in (errno.EMFILE, errno.ENFILE):
        return f"too many open files{when}: reduce {workers}, or raise the limit of {most_open_files()} with ulimit -n 65536"
    if number_of(error) == errno.ENOSPC and not stage:
        return f"no space left for {getattr(error, 'filename', None) or 'what was to be written'}"
    if has(text, SHARED_MEMORY):
        return (f"the shared memory of worker processes, /dev/shm, is too small{when}: reduce {workers} (0 uses no worker "
                f"processes) or {batch_size}, or enlarge it, such as with docker run --shm-size 8g")
    if isinstance(error, torch.OutOfMemoryError) or has(text, GPU_MEMORY):
        large = "" if stage == TRAINING else ", set TEST.LARGE_BATCHES to False"
        return (f"the GPU memory is full{when}: reduce {batch_size} or INPUT_SIZE{large}, set DATASET.IN_MEMORY to never, which "
                "keeps the images off the GPU, or check with nvidia-smi whether other processes use it")
    if isinstance(error, MemoryError) or has(text, MEMORY) or number_of(error) == errno.ENOMEM:
        return (f"this machine's memory is full{when}: reduce {batch_size}, INPUT_SIZE or {workers}, or set DATASET.IN_MEMORY to "
                "never, which reads images only when they are needed")
    if text.startswith("DataLoader worker"):
        why = "was killed, probably because memory is full" if text.rstrip(". ").endswith("Killed") else "ended unexpectedly"
        return f"a worker process that reads images {why}{when}; fewer workers ({workers}) need less memory"
    if has(text, DRIVER):
        return (f"torch {torch.__version__}, built for CUDA {torch.version.cuda}, cannot use this GPU or its driver: install a "
                "build that fits them (https://pytorch.org/get-started/locally), or train on the CPU with --gpus cpu")
    if has(text, BUSY):
        return "another process uses the GPU exclusively; choose another GPU with --gpus, or wait"
    name = getattr(error, "filename", None)
    return f"cannot read or write {name}" if name is not None else None


def lost_contact(error: Exception) -> bool:
    """Whether an error was caused by the loss of another rank."""
    if dist.is_available() and isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and has(str(error), OTHER_RANK)


def has(text: str, words: tuple[str, ...]) -> bool:
    return any(word in text for word in words)


def number_of(error: Exception) -> int | None:
    return error.errno if isinstance(error, OSError) else None


def reason(text: str) -> str:
    """The sentences with the reason: the first ones, or those of the last line if the text contains a worker's traceback."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()] or [""]
    line = lines[-1] if "Original Traceback" in text else lines[0]
    return ". ".join(line.split(". ")[:2]).rstrip(".")
