"""What a step of training costs with each method, as a multiple of plain cross-entropy's.

    python tools/benchmark.py --methods --cfg configs/test/fashion_lt.yaml --gpus cpu INPUT_SIZE [16,16]
    python tools/benchmark.py --cfg configs/test/digits_lt.yaml --gpus cpu TRAIN.BATCH_SIZE 64 --methods sam,bcl --json cost.json
    python tools/benchmark.py --methods --cfg configs/cao_cifar/baseline/cifar10_im100.yaml --gpus 0 --random-images 12406

A method is a fragment of configs/tricks, stacked on --cfg, which is plain cross-entropy. Without names: all of a single stage
that change what a step computes, which a sampler or a schedule does not. A second stage that is named is measured on fresh
weights.

A step is everything from the batch's indices to the new weights: augmentation, views, forward and backward passes, update. What
runs once before an epoch is not included; with CUDA's curriculum all classes have the middle level. Timings of cross-entropy
(X) and of the methods alternate, X A X B X C X …, after one warm-up round; a ratio is a method's time divided by the mean of
the cross-entropy timings before and after it. Medians and ranges over the rounds are printed; after an interruption, those over
the rounds so far. One thread is used unless TRAIN.NUM_THREADS says otherwise; on one CPU thread, times are this process's CPU
time, which other processes influence least.
"""
import argparse
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from lib.config import TREE, Config, ConfigError, load_config
from lib.config.files import files_of
from lib.config.node import read_flat
from lib.core import build
from lib.data_transform.curriculum import HIGHEST, Curriculum
from lib.dataset import Batch, ImageSet, Loader
from lib.device.runtime import Runtime
from lib.engine.totals import Sums
from lib.run.environment import environment, git_state
from lib.utils.errors import InputError
from lib.utils.files import write_text_atomically
from lib.utils.progress import Throttle, clock
from lib.utils.registry import closest
from main.command import make_parser, run_command
from main.pace import quiet
from tools.measure.options import natural, new_file, positive
from tools.measure.prepared import load_sets, make_parts, middle_epoch
from tools.measure.rates import seconds
from tools.measure.report import commit, middle_and_range
from tools.measure.turns import EVERY, spread

log = logging.getLogger("tools.measure.methods")

TRICKS = Path(__file__).resolve().parents[2] / "configs/tricks"
REFERENCE = "cross-entropy"
PLAIN = {"LOSS.LOSS_TYPE": "CrossEntropy", "TRAIN.COMBINER.TYPE": "default", "TRAIN.UPDATE.TYPE": "plain",
         "NETWORK.EXPERTS.NUM": 1}
OF_A_STEP = ("LOSS.", "TRAIN.COMBINER.", "TRAIN.UPDATE.", "NETWORK.EXPERTS.", "CLASSIFIER.", "HEADS.", "TRANSFORMS.")
LATER_STAGE = "{BEFORE}"   # in a fragment that continues a run

Way = Callable[[], float]


def fragments() -> dict[str, Path]:
    return {path.stem: path for path in sorted(TRICKS.glob("*.yaml"))}


def of_a_single_stage() -> list[str]:
    """Names of the fragments that change what a step computes, and do not continue a run."""
    found = []
    for name, path in fragments().items():
        values = [item for file in files_of([path]) for item in read_flat(file, TREE.flat()).items()]
        if any(key.startswith(OF_A_STEP) for key, _ in values) and not any(LATER_STAGE in str(value) for _, value in values):
            found.append(name)
    return found


def choose(text: str) -> list[str]:
    """The methods that are named; raises InputError for a name of none."""
    names = list(dict.fromkeys(name for name in text.split(",") if name))
    for name in names:
        if name not in fragments():
            raise InputError(f"--methods: no fragment {name!r} in configs/tricks; {closest(name, fragments())}")
    return names


def configurations(cfg: Config, args: argparse.Namespace) -> dict[str, Config]:
    """The configurations of cross-entropy and of each method. Methods that do not fit --cfg are left out with a warning,
    unless they are named."""
    values = cfg.flat()
    for key in (key for key in PLAIN if values[key] != PLAIN[key]):
        raise InputError(f"{key}: --methods compares with plain cross-entropy: --cfg must have {PLAIN[key]}, not {values[key]}")
    named, found = choose(args.methods), {REFERENCE: cfg}
    for name in named or of_a_single_stage():
        try:
            found[name] = load_config([*args.cfg, str(fragments()[name])], args.words)
        except ConfigError as error:
            if named:
                raise
            log.warning("left out: %s, since --cfg does not go with it: %s", name, " ".join(str(error).split()))
    return found


def endless(loader: Loader, first: int) -> Iterator[Batch]:
    epoch = first
    while True:
        loader.on_epoch(epoch)
        yield from loader
        epoch += 1


def step_of(cfg: Config, sets: tuple[ImageSet, ImageSet], runtime: Runtime, steps: int, at_the_end: ExitStack) -> Way:
    """Seconds of a step, from a timing of ``steps`` of them in the middle of a training."""
    loader, valid_loader = build.build_loaders(cfg, *sets, runtime)
    for one in (loader, valid_loader):
        at_the_end.callback(one.close)
    training = make_parts(cfg, sets[0], runtime, loader)
    parts, middle = training.parts(loader), middle_epoch(cfg)
    for part in parts.values():
        part.on_epoch(middle)
        if isinstance(part, Curriculum):
            part.levels = sets[0].class_counts.new_full((sets[0].num_classes,), HIGHEST // 2)
    batches = endless(loader, middle)

    def run() -> None:
        training.step.begin_epoch()
        sums = Sums(runtime.device)
        for _ in range(steps):
            sums.add(training.step(next(batches)))
            for part in parts.values():
                part.after_step()

    return lambda: taken(run, runtime.device) / steps


def taken(function: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call: CPU time where all of it is one thread, else wall time."""
    if device.type != "cpu" or torch.get_num_threads() > 1:
        return seconds(function, device)
    started = time.process_time()
    function()
    return time.process_time() - started


def alternate(ways: dict[str, Way], repeats: int, ratios: dict[str, list[float]]) -> None:
    """Adds the ratio of each round to ``ratios``, as soon as it is known."""
    total = (repeats + 1) * (2 * (len(ways) - 1) + 1)
    started, throttle, done = time.monotonic(), Throttle(EVERY), 0

    def timed(name: str) -> float:
        nonlocal done
        taken, done = ways[name](), done + 1
        if throttle.due() or done == total:
            rate = done / (time.monotonic() - started)
            log.info("%s  %d/%d timings  %.2f timings/s  ETA %s", name, done, total, rate, clock((total - done) / rate))
        return taken

    for number in range(repeats + 1):
        before = timed(REFERENCE)
        for name in (name for name in ways if name != REFERENCE):
            own, after = timed(name), timed(REFERENCE)
            if number:   # the first round warms up
                ratios[name].append(2 * own / (before + after))
            before = after


def table(ratios: dict[str, list[float]]) -> Iterator[str]:
    """The results as a Markdown table, the cheapest method first."""
    yield "| method | × cross-entropy | range |"
    yield "|---|---|---|"
    yield f"| {REFERENCE} | 1 | |"
    summary = {name: spread(own) for name, own in ratios.items() if own}
    for name in sorted(summary, key=lambda name: summary[name]["median"]):
        yield "| {} | {} | {} |".format(name, *middle_and_range(summary[name], 2))


def tell(facts: dict[str, Any], ratios: dict[str, list[float]], file: Path | None) -> None:
    """Prints the results so far."""
    rounds, machine = [len(own) for own in ratios.values()], facts["environment"]
    if not any(rounds):
        return
    counted = str(min(rounds)) if min(rounds) == max(rounds) else f"{min(rounds)} to {max(rounds)}"
    print(f"{', '.join(facts['config'])}: {facts['images']} images, batch {facts['batch']}, {facts['steps']} steps a timing, "
          f"{counted} of {facts['repeats']} rounds after one to warm up\n{machine['hardware']} ({machine['processor']}), torch "
          f"{machine['versions']['torch']}, commit {commit(facts['git'])}\n")
    print("\n".join(table(ratios)))
    if file:
        summary = {REFERENCE: spread([1.0]), **{name: spread(own) for name, own in ratios.items() if own}}
        write_text_atomically(file, json.dumps({**facts, "ratios": ratios, "summary": summary}, indent=2) + "\n")


def measure(cfg: Config, args: argparse.Namespace) -> None:
    configured = configurations(cfg, args)
    runtime = Runtime.start(args.gpus, cfg.TRAIN.NUM_THREADS or 1, cfg.DETERMINISTIC)
    sets = load_sets(cfg, args.random_images, args.random_classes)
    facts = {"config": [str(path) for path in args.cfg], "overrides": cfg.flat(), "images": len(sets[0].labels),
             "batch": cfg.TRAIN.BATCH_SIZE, "steps": args.batches, "repeats": args.repeats, "git": git_state()[0],
             "environment": environment(runtime.describe())}
    ratios: dict[str, list[float]] = {name: [] for name in configured if name != REFERENCE}
    with ExitStack() as at_the_end:
        with quiet():
            ways = {name: step_of(own, sets, runtime, args.batches, at_the_end) for name, own in configured.items()}
        try:
            alternate(ways, args.repeats, ratios)
        finally:
            tell(facts, ratios, args.json)


def main(argv: Sequence[str]) -> int:
    parser = make_parser(__doc__)
    parser.prog = "benchmark.py --methods"
    parser.add_argument("--methods", nargs="?", const="", default="", metavar="A,B",
                        help="fragments of configs/tricks (default: all of a single stage that change a step); the last word, or "
                             "before another option")
    parser.add_argument("--repeats", type=positive, default=5, help="rounds that count (default 5)")
    parser.add_argument("--batches", type=positive, default=5, metavar="N", help="steps of a timing (default 5)")
    parser.add_argument("--random-images", type=natural, default=0, metavar="N", help="N images of noise instead of the data set")
    parser.add_argument("--random-classes", type=positive, default=10, metavar="C", help="classes of the images of noise")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write everything measured to this file as well")
    return run_command(measure, parser, argv)
