"""One timing of each part, in images per second. All of them leave the network trainable and the device idle."""
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from lib.core import build
from lib.engine.epoch import train_one_epoch
from lib.engine.evaluation import evaluate
from tools.measure.prepared import Bench
from tools.measure.usual_loop import UsualLoop


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """Wall time of a call, the device's queue included."""
    started = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def bare(bench: Bench) -> Callable[[], float]:
    """Forward, cross-entropy, backward and update on one random batch that lies ready."""
    device, parts = bench.runtime.device, bench.parts
    images = torch.randn(bench.batch_size, 3, *bench.cfg.INPUT_SIZE, device=device)
    images = images.to(memory_format=build.memory_format(bench.cfg))
    labels = torch.randint(bench.train_set.num_classes, (bench.batch_size,), device=device)

    def run() -> None:
        parts.network.train()
        for _ in range(bench.train.steps):
            parts.optimizer.zero_grad(set_to_none=True)
            with parts.precision.autocast():
                loss = F.cross_entropy(parts.network(images).logits, labels)
            parts.precision.step(loss, parts.optimizer)

    return lambda: bench.train.steps * bench.batch_size / seconds(run, device)


def end_to_end(bench: Bench) -> Callable[[], float]:
    """Epochs as main/train.py trains them: draws, augmentation, normalisation, mixing, loss, totals; no validation."""
    loader, training, runtime = bench.train_loader, bench.parts, bench.runtime
    parts = training.parts(loader)

    def run() -> None:
        for epoch in range(bench.first_epoch, bench.first_epoch + bench.train.epochs):
            loader.on_epoch(epoch)
            for part in parts.values():
                part.on_epoch(epoch)
            training.before_epoch(loader, runtime, epoch)
            train_one_epoch(training.step, loader, parts=parts.values()).means(runtime)

    return lambda: bench.train.images / seconds(run, runtime.device)


def usual(bench: Bench) -> Callable[[], float]:
    """Epochs of the usual loop; its data and network stay from one timing to the next, its workers do not."""
    loop = UsualLoop(bench)

    def run() -> float:
        epochs, images = bench.train.epochs, loop.cover(bench.train.first.most)
        return epochs * images / seconds(lambda: loop.train(epochs), bench.runtime.device)

    return run


def input_pipeline(bench: Bench) -> Callable[[], float]:
    """The batches of the end-to-end epochs, and nothing done with them."""
    loader = bench.train_loader

    def run() -> None:
        for epoch in range(bench.first_epoch, bench.first_epoch + bench.train.epochs):
            loader.on_epoch(epoch)
            for _ in loader:
                pass

    return lambda: bench.train.images / seconds(run, bench.runtime.device)


def validation(bench: Bench) -> Callable[[], float]:
    """Predictions for validation images, on the host, metrics not included."""
    parts = bench.parts

    def run() -> None:
        for _ in range(bench.valid.epochs):
            evaluate(parts.network, bench.valid_loader, parts.precision, bench.runtime)

    return lambda: bench.valid.images / seconds(run, bench.runtime.device)


RATES = {"bare": bare, "end_to_end": end_to_end, "usual": usual, "input": input_pipeline, "validation": validation}
