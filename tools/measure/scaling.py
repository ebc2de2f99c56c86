"""Cost as work grows: seconds and memory against images, classes and ranks, of all that is not the network.

    python tools/benchmark.py --scaling --json scaling.json --figure scaling.png
    python tools/benchmark.py --scaling --images 10000 100000 --classes 10 100 --ranks 1 2 --repeats 1

One curve over the images at a fixed number of classes, one over the classes at a fixed number of images. Every rank makes the
whole draw and takes its share of it, so the ranks share out batches and steps, but not the draw; evaluation keeps the predictions
of all images on every rank. The parts:

  draw …             an epoch's indices
  batch plan         a default draw cut into this rank's batches, with their seeds
  evaluation batch   what is kept of a batch of 512 logits, (512, C): all that depends on images and classes at once
  metrics            all numbers and the confusion matrix of as many validation images as training images

Seconds are the median over the repeats, memory is the highest above what was there before; growth is the exponent between the
last two points, 1 for linear. What a validation image takes until the epoch's end is computed from the predictions' own
types. Reading annotations has its own tool, tools/measure_scale.py. Memory is read from Linux and glibc.
"""
import argparse
import ctypes
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure

from lib.dataset import SAMPLERS, Draw, EpochBatches
from lib.report.metrics import measure
from lib.report.predictions import Predictions, confusion, predictions_of
from lib.report.style import save_figure
from lib.run.environment import environment, git_state
from lib.utils.errors import InputError
from lib.utils.files import write_text_atomically
from lib.utils.seed import shared_generator
from main.command import exit_status
from tools.measure.options import new_file, positive
from tools.measure_scale import BATCH, DRAWS, long_tail

TRAIN_BATCH = 128
IMAGES, CLASSES = (10**4, 10**5, 10**6, 10**7), (10, 100, 1000, 10**4)
FIXED_CLASSES, FIXED_IMAGES = 1000, 10**5   # of the curve over the images, and of the one over the classes
RESET = Path("/proc/self/clear_refs")
M_MMAP_THRESHOLD = -3   # of mallopt, in glibc's malloc.h


class Measurement(NamedTuple):
    """A point at which something is measured."""

    images: int
    classes: int
    ranks: int


def plan_points(images: Sequence[int], classes: Sequence[int], ranks: Sequence[int]) -> dict[str, list[Measurement]]:
    """Points of each curve, in ascending order; a class has ten images on average, or more, everywhere."""
    fixed_classes, fixed_images = max(1, min(FIXED_CLASSES, min(images) // 10)), max(FIXED_IMAGES, 10 * max(classes))
    return {"images": [Measurement(number, fixed_classes, rank) for rank in ranks for number in sorted(images)],
            "classes": [Measurement(fixed_images, number, rank) for rank in ranks for number in sorted(classes)]}


def parts(point: Measurement) -> Iterator[tuple[str, Callable[[], object]]]:
    """Name and work of everything that is measured at a point; what the work needs is made before it, and not measured."""
    counts = torch.from_numpy(long_tail(point.images, point.classes))
    labels = torch.repeat_interleave(torch.arange(point.classes), counts)
    labels = labels[torch.randperm(len(labels), generator=shared_generator(0, 1))]
    draws = {name: SAMPLERS[name](labels, counts, 100, **kinds[0]) for name, kinds in DRAWS.items()}
    for name, draw in draws.items():
        yield f"draw {name}", lambda draw=draw: draw(1, shared_generator(0, 1))
    yield "batch plan", lambda: plan(draws["default"], point.ranks)
    predictions = random_predictions(labels)
    yield "metrics", lambda: (measure(predictions, counts), confusion(predictions, counts))
    logits = torch.randn(BATCH, point.classes)
    yield "evaluation batch", lambda: predictions_of(logits, torch.arange(BATCH) % point.classes)


def plan(draw: Draw, ranks: int) -> list[tuple[torch.Tensor, int]]:
    batches = EpochBatches(draw, TRAIN_BATCH, rank=ranks - 1, world_size=ranks)
    rows = batches.batches()
    return list(zip(rows, batches.seeds(len(rows))))


def random_predictions(labels: torch.Tensor) -> Predictions:
    """Random predictions, half of them correct; the others are labels of other images."""
    generator = shared_generator(0, 2)
    right = torch.rand(len(labels), generator=generator) < 0.5
    predicted = torch.where(right, labels, labels.roll(1))
    confidence = torch.rand(len(labels), generator=generator)
    predictions = Predictions.empty(len(labels), torch.device("cpu"))
    for column, values in zip(predictions, (labels, predicted, (predicted != labels).long(), confidence, -confidence.log())):
        column.copy_(values)
    predictions.top.copy_(predicted[:, None])
    predictions.probabilities.copy_(confidence[:, None] / 5)
    return predictions


def bytes_per_image() -> int:
    """Memory that evaluation needs per validation image, which does not depend on the number of classes."""
    return sum(column.nbytes for column in Predictions.empty(1, torch.device("cpu")))


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """The median duration of calls, after one call as warm-up."""
    work()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def peak_mib(work: Callable[[], object]) -> float:
    """Highest resident set above what was there before, the result included; to the accuracy of ``memory_returned_at_once``."""
    libc().malloc_trim(0)
    RESET.write_text("5")   # forgets the highest so far
    before = resident("VmRSS")
    result = work()
    peak = resident("VmHWM") - before
    del result
    return max(peak, 0.0)


@contextmanager
def memory_returned_at_once() -> Iterator[None]:
    """Memory of 64 KiB or more goes back to the system when it is freed, or what is measured next would find it there already.
    This costs time, so seconds are measured outside."""
    libc().mallopt(M_MMAP_THRESHOLD, 2**16)
    try:
        yield
    finally:
        libc().mallopt(M_MMAP_THRESHOLD, 2**25)   # what glibc's own adjusting comes to in the end


def libc() -> ctypes.CDLL:
    """The C library that this process runs with."""
    return ctypes.CDLL(None)


def resident(name: str) -> float:
    """VmRSS or VmHWM, this process's resident set and its peak, in MiB."""
    status = RESET.with_name("status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith(f"{name}:"))


def growth(sizes: Sequence[int], values: Sequence[float]) -> float | None:
    """Exponent p of value ~ size ** p between the last two points; None where it is not defined."""
    if len(sizes) < 2 or min(values[-2:]) <= 0:
        return None
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


def measure_curves(points: dict[str, list[Measurement]], repeats: int) -> list[dict[str, Any]]:
    """A row per point and part. Seconds of all, then memory of all."""
    flat = [(axis, point) for axis, own in points.items() for point in own]
    rows = [{"axis": axis, **point._asdict(), "part": name, "seconds": median_seconds(work, repeats)}
            for axis, point in show("seconds", flat) for name, work in parts(point)]
    with memory_returned_at_once():
        peaks = [peak_mib(work) for _, point in show("memory", flat) for _, work in parts(point)]
    return [{**row, "mib": peak} for row, peak in zip(rows, peaks, strict=True)]


def show(what: str, points: Sequence[tuple[str, Measurement]]) -> Iterator[tuple[str, Measurement]]:
    """The points, each printed as its turn comes."""
    for number, (axis, point) in enumerate(points, start=1):
        where = f"{point.images:,} images, {point.classes:,} classes, {point.ranks} ranks"
        print(f"  {what}, point {number} of {len(points)}: {where}", flush=True)
        yield axis, point


def curves(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str, int], list[dict[str, Any]]]:
    """(axis, part, ranks) to the points of that curve."""
    found: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["axis"], row["part"], row["ranks"]), []).append(row)
    return found


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A block per axis: sizes across, a line per part and number of ranks; seconds / MiB."""
    for axis in ("images", "classes"):
        own = {key: points for key, points in curves(rows).items() if key[0] == axis}
        sizes = [point[axis] for point in next(iter(own.values()))]
        other = "classes" if axis == "images" else "images"
        yield f"{axis}, with {next(iter(own.values()))[0][other]:,} {other}: seconds / MiB"
        yield f"  {'':<24}{'ranks':>5}" + "".join(f"{size:>18,}" for size in sizes) + f"{'growth':>14}"
        for (_, part, ranks), points in own.items():
            grown = [growth(sizes, [point[unit] for point in points]) for unit in ("seconds", "mib")]
            cells = "".join(f"{point['seconds']:>10.4f} /{point['mib']:>6.1f}" for point in points)
            yield f"  {part:<24}{ranks:>5}{cells}{' / '.join('–' if p is None else f'{p:.2f}' for p in grown):>14}"


def figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """Seconds above, memory below; over the images on the left, over the classes on the right. Dashed: more than one rank."""
    drawing = Figure(figsize=(11, 8), layout="constrained")
    axes = drawing.subplots(2, 2, sharex="col")
    colours = {part: f"C{number}" for number, part in enumerate(dict.fromkeys(row["part"] for row in rows))}
    for column, axis in enumerate(("images", "classes")):
        for line, unit in enumerate(("seconds", "mib")):
            panel = axes[line][column]
            for (own, part, ranks), points in curves(rows).items():
                if own == axis:
                    panel.loglog([point[axis] for point in points], [point[unit] or math.nan for point in points], marker="o",
                                 color=colours[part], linestyle="-" if ranks == 1 else "--", label=f"{part}, {ranks} ranks")
            panel.set_ylabel("seconds" if unit == "seconds" else "MiB")
            panel.grid(alpha=0.3)
        axes[1][column].set_xlabel(axis)
    drawing.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    return drawing


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmark.py --scaling", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=positive, nargs="+", default=IMAGES, metavar="N", help="default 10⁴ … 10⁷")
    parser.add_argument("--classes", type=positive, nargs="+", default=CLASSES, metavar="C", help="default 10 … 10⁴")
    parser.add_argument("--ranks", type=positive, nargs="+", default=(1, 2), metavar="R", help="processes of DDP (default 1 2)")
    parser.add_argument("--repeats", type=positive, default=3, help="timings, whose median is reported (default 3)")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write all points to this file")
    parser.add_argument("--figure", type=new_file, metavar="PNG", help="draw the curves into this file")
    return exit_status(lambda: run(parser.parse_args(argv)))


def run(args: argparse.Namespace) -> None:
    if not RESET.exists():
        raise InputError(f"--scaling: memory is read from {RESET.parent}, which only Linux has")
    facts, (git, _) = environment(f"CPU, {torch.get_num_threads()} threads"), git_state()
    print(f"{facts['hardware']} ({facts['processor']}), torch {facts['versions']['torch']}, commit {git and git['commit'][:10]}")
    rows = measure_curves(plan_points(args.images, args.classes, args.ranks), args.repeats)
    print("\n".join([*table(rows), f"kept of a validation image: {bytes_per_image()} bytes, on every rank"]))
    if args.json:
        report = {"environment": facts, "git": git, "points": rows, "bytes_per_validation_image": bytes_per_image()}
        write_text_atomically(args.json, json.dumps(report, indent=2) + "\n")
    if args.figure:
        save_figure(figure(rows), args.figure)
