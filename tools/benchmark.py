"""How much of the bare training step's speed is left end to end, for any configuration.

    python tools/benchmark.py --cfg configs/test/fashion_lt.yaml --gpus cpu
    python tools/benchmark.py --cfg configs/cao_cifar/baseline/cifar10_im100.yaml --gpus 0 --random-images 12406 --json speed.json

Two loops take turns in one process, with the same network, optimizer, precision and threads:

  bare         forward, cross-entropy, backward and update on one random batch that lies ready
  end to end   whole epochs as main/train.py trains them: draws, augmentation, normalisation, mixing, loss, totals; no validation

The ratio is taken pair by pair; printed are the medians and their range.

    python tools/benchmark.py --cfg configs/test/fashion_lt.yaml --gpus cpu --cam

measures CAM-based sampling instead: all new images of a data set as main/train.py makes them (batched), in turn with a loop that
makes one image at a time. Files are written in both.

    python tools/benchmark.py --jpeg    JPEG files to network input, beside the usual chain of libraries (tools/measure/jpeg.py)
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from lib.config import Config
from lib.core import build
from lib.core.engine import Loader, train_one_epoch
from lib.core.environment import environment, git_state
from lib.core.run import Run
from lib.core.runtime import Runtime
from lib.dataset import ArraySet, ImageSet
from lib.utils.seed import seed_globals
from main.command import make_parser, run_command
from main.session import Parts
from main.train import assemble
from tools.measure import jpeg
from tools.measure.cam import cam_rates

MIN_BATCHES = 100   # epochs are repeated until a timing covers this many


def random_set(num_images: int, num_classes: int, size: tuple[int, int]) -> ImageSet:
    """Images of noise with labels in turn, for measuring speed where the data is not at hand."""
    pixels = torch.randint(256, (num_images, 3, *size), dtype=torch.uint8)
    names = [str(number) for number in range(num_classes)]
    return ArraySet("noise", pixels, torch.arange(num_images) % num_classes, names, [0.5] * 3, [0.25] * 3)


def end_to_end(parts: Parts, loader: Loader, runtime: Runtime, epochs: int) -> None:
    for epoch in range(1, epochs + 1):
        parts.criterion.on_epoch(epoch)
        loader.on_epoch(epoch)
        train_one_epoch(parts.network, parts.criterion, parts.combiner, loader, parts.optimizer, parts.precision).means(runtime)


def bare_steps(parts: Parts, images: torch.Tensor, labels: torch.Tensor, steps: int) -> None:
    parts.network.train()
    for _ in range(steps):
        parts.optimizer.zero_grad(set_to_none=True)
        with parts.precision.autocast():
            loss = F.cross_entropy(parts.network(images).logits, labels)
        parts.precision.step(loss, parts.optimizer)


def seconds(function: Callable, *args: object, device: torch.device) -> float:
    """Wall time of a call, the device's queue included."""
    started = time.perf_counter()
    function(*args)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def benchmark(cfg: Config, args: argparse.Namespace) -> None:
    runtime = Runtime.start(args.gpus, cfg.TRAIN.NUM_THREADS, cfg.DETERMINISTIC)
    seed_globals(cfg.SEED)
    if args.random_images:
        train_set = valid_set = random_set(args.random_images, args.random_classes, tuple(cfg.INPUT_SIZE))
    else:
        train_set, valid_set = build.build_datasets(cfg)
    if args.cam:
        rates, sizes = cam_rates(cfg, args.repeats, train_set, runtime)
    else:
        rates, sizes = training_rates(cfg, args.repeats, train_set, valid_set, runtime)
    show(cfg, args, runtime, rates, {"images": len(train_set.labels), **sizes})


def training_rates(cfg: Config, repeats: int, train_set: ImageSet, valid_set: ImageSet,
                   runtime: Runtime) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Images/s of both loops, in turn, and their ratio."""
    loader, _ = build.build_loaders(cfg, train_set, valid_set, runtime)
    parts, _ = assemble(cfg, Run(Path("unused")), False, train_set, runtime, loader.digest)

    loader.on_epoch(1)
    sizes = [len(batch.labels) for batch in loader]
    size = max(sizes)
    epochs = -(-MIN_BATCHES // len(sizes))
    steps, images_done = epochs * len(sizes), epochs * sum(sizes)
    images = torch.randn(size, 3, *cfg.INPUT_SIZE, device=runtime.device).to(memory_format=build.memory_format(cfg))
    labels = torch.randint(train_set.num_classes, (size,), device=runtime.device)

    rates = []
    for number in range(repeats + 1):   # the first pair warms up
        bare = steps * size / seconds(bare_steps, parts, images, labels, steps, device=runtime.device)
        whole = images_done / seconds(end_to_end, parts, loader, runtime, epochs, device=runtime.device)
        if number:
            rates.append({"bare": bare, "end_to_end": whole, "ratio": whole / bare})
    return rates, {"batch": size, "steps": steps}


def show(cfg: Config, args: argparse.Namespace, runtime: Runtime, rates: list[dict[str, float]], sizes: dict[str, Any]) -> None:
    git, _ = git_state()
    facts = environment(runtime.describe())
    print(f"{', '.join(map(str, args.cfg))}: {', '.join(f'{name} {size}' for name, size in sizes.items())}; "
          f"{len(rates)} pairs after one to warm up")
    print(f"{facts['hardware']} ({facts['processor']}), torch {facts['versions']['torch']}, commit {git and git['commit'][:10]}")
    summary = {}
    for name in rates[0]:
        unit, digits = ("", 3) if name == "ratio" else ("images/s", 1)
        values = [pair[name] for pair in rates]
        summary[name] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
        middle, low, high = (f"{summary[name][key]:.{digits}f}" for key in ("median", "min", "max"))
        print(f"  {name.replace('_', ' '):<14}{middle:>10} {unit:<9} ({low} to {high})")
    if args.json:
        report = {"config": [str(path) for path in args.cfg], "overrides": cfg.flat(), **sizes, "git": git,
                  "environment": facts, "pairs": rates, "summary": summary}
        Path(args.json).write_text(json.dumps(report, indent=2) + "\n")


def main(argv: Sequence[str]) -> int:
    if "--jpeg" in argv:
        return jpeg.main([word for word in argv if word != "--jpeg"])
    parser = make_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="pairs that count (default 5)")
    parser.add_argument("--random-images", type=int, default=0, metavar="N", help="N images of noise instead of the data set")
    parser.add_argument("--random-classes", type=int, default=10, metavar="C", help="classes of the images of noise")
    parser.add_argument("--cam", action="store_true", help="measure CAM-based sampling instead of training")
    parser.add_argument("--json", metavar="FILE", help="write everything measured to this file as well")
    return run_command(benchmark, parser, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
