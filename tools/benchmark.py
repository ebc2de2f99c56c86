"""How fast any configuration trains here, and how much of the bare training step's speed is left end to end.

    python tools/benchmark.py --cfg configs/test/fashion_lt.yaml --gpus cpu
    python tools/benchmark.py --cfg configs/cao_cifar/baseline/cifar10_im100.yaml --gpus 0 --random-images 12406 --json speed.json
    python tools/benchmark.py --cfg configs/test/digits_lt.yaml --gpus cpu --parts bare,end_to_end --repeats 11

Parts, which take turns in one process with the same batch size, precision and threads:

  bare         forward, cross-entropy, backward and update on one random batch that is already on the device
  end_to_end   epochs as main/train.py trains them: draws, augmentation, normalisation, mixing, loss, totals; no validation
  usual        the same epochs in the usual way: images one by one through PIL and torchvision in worker processes, backbone and
               classifier as two calls, loss and accuracy fetched at every step (tools/measure/usual_loop.py)
  input        the batches of those epochs alone
  validation   predictions for validation images

measured separately, and only on request, since every turn writes all new images of the data set:

  cam          CAM-based sampling as main/train.py does it, and in a loop that makes one image at a time; --cam measures only this

and, in separate processes:

  start_up     seconds from the start of a process to its first batch
  memory       the highest memory of some batches of training and validation
  run          seconds of a whole run of main/train.py, from start to report; only on request

Ratios are taken within each turn; printed are medians and ranges over the turns. The number of batches of a timing is chosen so
that the turns take --minutes (on a slow machine they are the first batches of an epoch); --batches sets it, and then a timing
covers whole epochs. Epochs are those in the middle of a training. Ctrl-C prints the results so far.

    python tools/benchmark.py --methods --cfg …    cost of a step with each method (tools/measure/methods.py)
    python tools/benchmark.py --jpeg    JPEG files to network input, compared with the usual way (tools/measure/jpeg_readers.py)
    python tools/benchmark.py --scaling    cost as images, classes and ranks grow (tools/measure/scaling.py)
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import json
import logging
from collections.abc import Sequence
from typing import Any

from lib.config import Config
from lib.config.auto import undecided
from lib.device.runtime import Runtime
from lib.run.environment import environment, git_state
from lib.utils.errors import InputError
from lib.utils.files import write_text_atomically
from lib.utils.registry import closest
from main.command import make_parser, run_command
from main.pace import quiet
from tools.measure import jpeg_readers, methods, report, scaling, startup
from tools.measure.cam_rate import cam_rates
from tools.measure.options import natural, new_file, positive
from tools.measure.prepared import load_sets, prepare
from tools.measure.rates import RATES
from tools.measure.turns import fit, spread, summarise, take_turns, warm_up
from tools.measure.whole_run import seconds_of_a_run

log = logging.getLogger("tools.benchmark")

USUALLY = (*RATES, "start_up", "memory")
PARTS = (*USUALLY, "cam", "run")
STARTS = 3      # processes whose start-up is measured
ENOUGH = 100    # batches of a timing, rounded up to whole epochs


def benchmark(cfg: Config, args: argparse.Namespace) -> None:
    if undecided(cfg):
        raise InputError("AUTO: values that a training would choose are open; give the config.yaml of a trained run to --cfg")
    parts = choose(args.parts)
    found: dict[str, Any] = {"config": [str(path) for path in args.cfg], "overrides": cfg.flat(), "repeats": args.repeats,
                             "git": git_state()[0], "turns": [], "starts": [], "runs": [], "memory_mib": {}, "cam": {}}
    try:
        measure(cfg, args, parts, found)
    finally:
        tell(found, args.json)


def measure(cfg: Config, args: argparse.Namespace, parts: Sequence[str], found: dict[str, Any]) -> None:
    """Measures all parts; each result is in ``found`` as soon as it is known."""
    words = ["--cfg", *args.cfg, "--gpus", args.gpus, *args.words]
    noise = ["--random-images", str(args.random_images), "--random-classes", str(args.random_classes)]
    measure_here(cfg, args, parts, found)
    if "start_up" in parts:
        for number in range(STARTS + 1):   # the first one brings files into the page cache
            log.info("start-up %d/%d", number, STARTS)
            start = startup.in_process([*noise, *words], whole_epoch=False)["seconds"]
            found["starts"] += [start] * (number > 0)
    if "memory" in parts:
        log.info("memory")
        found["memory_mib"] = startup.in_process([*noise, *words], whole_epoch=True)["memory_mib"]
    for number in range(args.repeats if "run" in parts else 0):
        log.info("whole run %d/%d", number + 1, args.repeats)
        found["runs"].append(seconds_of_a_run(cfg, words, args.random_images, args.random_classes))


def tell(found: dict[str, Any], file: Path | None) -> None:
    """Prints the results so far, and writes them to ``file``."""
    if not any(found["turns"]) and not any(found[part] for part in ("starts", "runs", "memory_mib", "cam")):
        return
    found |= {"summary": summarise(found["turns"]),
              "start_up": {"starts": found["starts"], "summary": report.summarise_seconds(found["starts"])},
              "run": {"runs": found["runs"], "summary": report.summarise_seconds(found["runs"])}}
    print("\n".join(report.lines(found)))
    if file:
        results = {key: value for key, value in found.items() if key not in ("starts", "runs")}
        write_text_atomically(file, json.dumps(results, indent=2) + "\n")


def choose(text: str) -> list[str]:
    """The parts, in their own order; raises InputError for a name that is none."""
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in PARTS:
            raise InputError(f"--parts: unknown part {name!r}; {closest(name, PARTS)}")
    return [part for part in PARTS if part in names]


def measure_here(cfg: Config, args: argparse.Namespace, parts: Sequence[str], found: dict[str, Any]) -> None:
    """Measures what is measured in this process."""
    runtime = Runtime.start(args.gpus, cfg.TRAIN.NUM_THREADS, cfg.DETERMINISTIC)
    with quiet():
        bench = prepare(cfg, runtime, load_sets(cfg, args.random_images, args.random_classes))
        ways = {part: RATES[part](bench) for part in parts if part in RATES}
    found |= {"images": len(bench.train_set.labels), "batch": bench.batch_size, "environment": environment(runtime.describe())}
    seconds = None
    if args.batches:
        bench.cover(args.batches, whole_epochs=True)
        warm_up(ways)
    elif ways:
        enough = -(-ENOUGH // bench.train.whole) * bench.train.whole
        seconds = fit(ways, bench.cover, enough, 60 * args.minutes, args.repeats)
    found |= {"epochs": bench.train.epochs, "steps": bench.train.steps}
    if ways:
        take_turns(ways, args.repeats, found["turns"], seconds)
    if "cam" in parts:
        log.info("CAM-based sampling")
        turns, sizes = cam_rates(cfg, args.repeats, bench.train_set, runtime)
        found["cam"] = {"turns": turns, "sizes": sizes,
                        "summary": {name: spread(turn[name] for turn in turns) for name in turns[0]}}


def main(argv: Sequence[str]) -> int:
    for word, tool in (("--jpeg", jpeg_readers), ("--scaling", scaling)):
        if word in argv:
            return tool.main([other for other in argv if other != word])
    if any(word.partition("=")[0] == "--methods" for word in argv):
        return methods.main(argv)
    parser = make_parser(__doc__)
    usually = ",".join(USUALLY)
    parser.add_argument("--parts", default=usually, metavar="A,B", help=f"what to measure, also cam and run (default: {usually})")
    parser.add_argument("--cam", action="store_const", const="cam", dest="parts", help="the same as --parts cam")
    parser.add_argument("--repeats", type=positive, default=5, help="number of timed repetitions (default 5)")
    parser.add_argument("--minutes", type=positive, default=3, metavar="M",
                        help="time for the parts that take turns (default 3); the others take about one minute more")
    parser.add_argument("--batches", type=positive, metavar="N",
                        help="number of batches per timing, rounded up to whole epochs (default: as many as --minutes allows)")
    parser.add_argument("--random-images", type=natural, default=0, metavar="N", help="N images of noise instead of the data set")
    parser.add_argument("--random-classes", type=positive, default=10, metavar="C", help="number of classes of --random-images")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write everything measured to this file as well")
    return run_command(benchmark, parser, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
