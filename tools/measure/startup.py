"""Start-up and memory of a training, measured in a process of its own: up to its first batch, or through some batches.

Run by tools/benchmark.py; prints one line of JSON.
"""
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import argparse
import json
import multiprocessing
import subprocess
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from lib.config import Config
from lib.core import build
from lib.device.runtime import Runtime
from lib.engine.epoch import train_one_epoch
from lib.engine.evaluation import evaluate
from lib.utils.errors import MISTAKE, InputError, RunFailedError
from lib.utils.system import peak_memory
from main.command import make_parser, run_command
from tools.measure.prepared import Span, load_sets, make_parts

STAGES = ("imports", "data", "network", "first_batch")   # seconds of each; together from the process's start to the first batch
MIB = 2**20
BATCHES = 20   # of training and of validation, after which memory grows no more


def in_process(words: Sequence[str], whole_epoch: bool) -> dict[str, Any]:
    """Runs this module with the script's own words; returns what it measured.

    Raises:
        InputError: a mistake in the words.
        RunFailedError: it ended without a result.
    """
    command = [sys.executable, str(Path(__file__).resolve()), *words, "--started", repr(time.time()), *["--epoch"] * whole_epoch]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if result.returncode == MISTAKE:
        raise InputError(result.stderr.strip().removeprefix("error: "))
    if result.returncode:
        reason = result.stderr.strip() or result.stdout.strip() or f"exit status {result.returncode}"
        raise RunFailedError(f"the process that measures start-up and memory failed: {reason}")
    return json.loads(result.stdout.splitlines()[-1])


def measure(cfg: Config, args: argparse.Namespace) -> dict[str, Any]:
    clock = [args.started, time.time()]
    runtime = Runtime.start(args.gpus, cfg.TRAIN.NUM_THREADS, cfg.DETERMINISTIC)
    sets = load_sets(cfg, args.random_images, args.random_classes)
    train_loader, valid_loader = build.build_loaders(cfg, *sets, runtime)
    clock.append(time.time())
    parts = make_parts(cfg, sets[0], runtime, train_loader)
    clock.append(time.time())
    train_loader.on_epoch(1)
    parts.criterion.on_epoch(1)
    first = next(iter(train_loader))
    if first.images.is_cuda:
        torch.cuda.synchronize()
    clock.append(time.time())
    measured = {"seconds": dict(zip(STAGES, (end - begin for begin, end in pairwise(clock))))}
    measured["seconds"]["total"] = clock[-1] - clock[0]
    if args.epoch:
        for loader in (train_loader, valid_loader):
            Span(loader).cover(min(BATCHES, len(loader)))
        train_one_epoch(parts.step, train_loader).means(runtime)
        evaluate(parts.network, valid_loader, parts.precision, runtime)
        measured["memory_mib"] = highest_memory(runtime.device)
    return measured


def highest_memory(device: torch.device) -> dict[str, float]:
    """Highest resident set of this process, and of its largest worker if there are any; on CUDA also what tensors took, and
    what was reserved for them."""
    found = {"process": peak_memory()}
    workers = [peak_of(process.pid) for process in multiprocessing.active_children() if Path("/proc").exists()]
    if workers:
        found["largest_worker"] = max(workers)
    if device.type == "cuda":
        found |= {"cuda_allocated": torch.cuda.max_memory_allocated(device) / MIB,
                  "cuda_reserved": torch.cuda.max_memory_reserved(device) / MIB}
    return found


def peak_of(process: int) -> float:
    """Highest resident set of another process, in MiB."""
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))


def main(argv: Sequence[str]) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--random-images", type=int, default=0)
    parser.add_argument("--random-classes", type=int, default=10)
    parser.add_argument("--started", type=float, required=True)
    parser.add_argument("--epoch", action="store_true")
    return run_command(lambda cfg, args: print(json.dumps(measure(cfg, args))), parser, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
