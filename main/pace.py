"""Measures the training speed of a configuration on this machine with some steps on a temporary network."""
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch

from lib.config import Config
from lib.core import build
from lib.core.choices import Pace
from lib.dataset import Batch, ImageSet, Loader
from lib.device.precision import ApexAmp, TorchAmp
from lib.device.runtime import Runtime, to_device, unwrap
from lib.engine.step import EagerStep
from lib.run import checkpoint
from lib.utils.seed import seed_globals

LEAST_SECONDS, MOST_SECONDS = 1.0, 20.0   # of steps that are measured
SHARE = 0.03      # of the time to train in
FIRST_STEPS = 3   # by which the number of the others is found
REPORT = 6.0      # seconds of the figures and tables at the end

Sets = tuple[ImageSet, ImageSet | None]   # for training, and for validation, if there is any


def seconds_left(runtime: Runtime, started: float, minutes: float) -> float:
    """Seconds that are left until ``minutes`` after the start, without the time for the report; the same on all ranks."""
    return runtime.broadcast_object(60 * minutes - (time.monotonic() - started) - REPORT)


def measure_pace(cfg: Config, sets: Sets, runtime: Runtime, minutes: float) -> Pace:
    """Trains and validates some batches of the real loaders, on a network with fresh weights."""
    begun = time.monotonic()
    budget = min(max(60 * minutes * SHARE, LEAST_SECONDS), MOST_SECONDS)
    with quiet(), ExitStack() as at_the_end:
        with runtime.agree():
            loaders = build.build_loaders(cfg, *sets, runtime)
        for loader in loaders:
            if loader is not None:
                at_the_end.callback(loader.close)
        seed_globals(cfg.SEED)
        step = make_step(cfg, sets[0], runtime)
        state = {"state_dict": unwrap(step.network).state_dict(), "optimizer": step.optimizer.state_dict()}
        step.begin_epoch()
        batches = endless(loaders[0])
        step(next(batches))
        start = time.monotonic() - begun   # to be spent once more
        train = measure(lambda batch: step(batch), batches, runtime, budget, ahead=2 * cfg.TRAIN.NUM_WORKERS)
        step.network.eval()
        valid, num_valid = 0.0, 0
        if loaders[1] is not None:
            num_valid = len(loaders[1])
            valid = measure(lambda batch: unwrap(step.network)(batch.images), endless(loaders[1]), runtime, budget / 2,
                            ahead=min(2 * cfg.TEST.NUM_WORKERS, num_valid))
        begun = time.monotonic()
        checkpoint.save(state, [])
        return Pace(train, len(loaders[0]), valid, num_valid, 2 * (time.monotonic() - begun), start)


def make_step(cfg: Config, train_set: ImageSet, runtime: Runtime) -> EagerStep:
    network = to_device(build.build_network(cfg, train_set.num_classes), runtime, build.memory_format(cfg), cfg.TRAIN.SYNCBN)
    criterion = build.build_criterion(cfg, train_set.class_counts).to(runtime.device)
    combiner = build.build_combiner(cfg, train_set.class_counts).to(runtime.device)
    optimizer, _ = build.build_optimizer(cfg, network, criterion, combiner)
    precision = build.build_precision(cfg, runtime.device)
    if isinstance(precision, ApexAmp):   # which takes hold of all of torch, and once only
        precision = TorchAmp(runtime.device)
    wrapped = runtime.wrap(precision.prepare(network, optimizer))
    update = build.build_update(cfg, train_set.class_counts.to(runtime.device))
    return EagerStep(wrapped, criterion, combiner, optimizer, precision, update, cfg.TRAIN.UPDATE.ACCUMULATE,
                     cfg.TRAIN.UPDATE.CLIP_NORM)


def endless(loader: Loader) -> Iterator[Batch]:
    epoch = 0
    while True:
        epoch += 1
        loader.on_epoch(epoch)
        yield from loader


def measure(compute: Callable[..., object], batches: Iterator[Batch], runtime: Runtime, seconds: float, ahead: int) -> float:
    """Measures the seconds of a batch; all ranks run the same number of batches, since they wait for each other.

    Args:
        seconds: approximate duration of the measurement.
        ahead: number of batches that readers may have prefetched.
    """
    first = run(compute, batches, runtime, FIRST_STEPS)
    run(compute, batches, runtime, ahead if ahead * first < seconds else 0)
    return run(compute, batches, runtime, max(FIRST_STEPS, math.ceil(seconds / first)))


def run(compute: Callable[..., object], batches: Iterator[Batch], runtime: Runtime, number: int) -> float:
    begun = time.monotonic()
    for _ in range(number):
        compute(next(batches))
    if runtime.device.type == "cuda":
        torch.cuda.synchronize(runtime.device)
    each = (time.monotonic() - begun) / max(number, 1)
    return max(max(runtime.gather_objects(each)), 1e-6)


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the log of objects that will be built and logged again."""
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
