"""Trains a list of configurations with several seeds each, some at a time, and sums them up in one table.

    python tools/run_gallery.py --configs configs/test/{digits,fashion}_lt.yaml --seeds 0 1 2 --jobs 2 --gpus cpu
    python tools/run_gallery.py --configs configs/cao_cifar/baseline/cifar10_im{50,100}.yaml --seeds 0 1 2 --jobs 8 --gpus 0,1
    python tools/run_gallery.py --configs A.yaml B.yaml,C.yaml --seeds 0 1 --jobs 16 --engine ray --address auto SAVE_STEP 50

The same command continues where it stopped: runs that are finished are left as they are, others resume. Each run is a process of
main/train.py in OUTPUT_DIR/NAME_seedN, with all it prints in output.log there. A run that fails stops no other; those that did
are listed at the end, and the exit status is 1.
"""
import gc
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    gc.disable()   # until everything is imported, which takes a fifth of its time less then

import argparse
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from lib.config import divide_words, split_files
from lib.device.gpus import find_gpus
from lib.utils.errors import InputError
from lib.utils.text import shell_line
from main.command import DONE, FAILED, exit_status
from tools.runs import results
from tools.runs.display import Lines, Live, failure_lines
from tools.runs.interrupts import Interrupts
from tools.runs.jobs import Job, check_unchanged, make_jobs
from tools.runs.local import LocalEngine
from tools.runs.processes import check_idle
from tools.runs.queue import Engine, QueueEntry, failures, open_account, run_queue
from tools.runs.ray_engine import RayEngine

TRICKS = "tricks.yaml"   # beside the file that --append names


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", nargs="+", action="append", required=True, metavar="YAML",
                        help="configurations; each is a yaml file, or several joined by commas")
    parser.add_argument("--seeds", nargs="+", action="append", default=[], metavar="N",
                        help="seeds of each (default: its own SEED)")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at a time (default: one per GPU, or one)")
    parser.add_argument("--gpus", default="auto", help="cpu, or GPU numbers such as 0 or 0,1 (default: all visible ones)")
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="this machine (default), or a Ray cluster")
    parser.add_argument("--address", help="of the Ray cluster, such as auto or HOST:PORT (default: a Ray on this machine alone)")
    parser.add_argument("--results", type=Path, metavar="PREFIX",
                        help="write the table to PREFIX.json and PREFIX.txt (default: results in the first run's OUTPUT_DIR)")
    parser.add_argument("--append", type=Path, metavar="FILE", help="append rows to FILE, such as tools/gallery/measured.yaml")
    parser.add_argument("--title", action="append", default=[], dest="titles", metavar="TITLE",
                        help="gallery entry of a configuration, for --append; once for each (default: found by their files)")
    parser.add_argument("--show", action="store_true", help="print the list of runs and their progress")
    parser.add_argument("overrides", nargs="*", default=[], metavar="KEY VALUE", help="keys to override, in all runs")
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Adds ``stacks`` and ``pairs``: KEY VALUE words may follow any option that takes several words."""
    args = make_parser().parse_intermixed_args(argv)
    named, more = divide_words(args.configs)
    args.stacks = [split_files(word) for word in named]
    words, args.seeds = args.seeds, []
    for option in words:
        numbers = list(takewhile(str.isdecimal, option))
        if not numbers:
            raise InputError(f"--seeds: must be whole numbers of at least 0, got {option[0]!r}")
        args.seeds += map(int, numbers)
        more += option[len(numbers):]
    args.pairs = [*more, *args.overrides]
    if args.jobs is not None and args.jobs < 1:
        raise InputError(f"--jobs: must be at least 1, got {args.jobs}")
    if args.address and args.engine != "ray":
        raise InputError("--address: is the address of a Ray cluster, so it needs --engine ray")
    return args


def find_titles(args: argparse.Namespace) -> dict[str, str]:
    """Each configuration's entry in the gallery; raises InputError where --append would not know it."""
    if args.append is None:
        return {}
    if args.titles and len(args.titles) != len(args.stacks):
        raise InputError(f"--title: once for each of the {len(args.stacks)} configurations, got {len(args.titles)}")
    results.read_measured(args.append)
    found = args.titles or [results.find_title(files, args.append.with_name(TRICKS)) for files in args.stacks]
    titles = {",".join(files): title for files, title in zip(args.stacks, found)}
    missing = [files for files, title in titles.items() if not title]
    if missing:
        raise InputError(f"--append: no entry of {args.append.with_name(TRICKS)} goes with {', '.join(missing)}; "
                         "name all entries by --title")
    return titles


def make_engine(args: argparse.Namespace) -> Engine:
    if args.engine == "ray":
        return RayEngine(args.address, args.gpus, args.jobs or 1)
    devices = find_gpus(args.gpus)
    return LocalEngine(devices, args.jobs or len(devices))


def write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def run_gallery(argv: Sequence[str]) -> int:
    """Checks all input before the first run starts, then runs the list; returns the exit status."""
    args = parse(argv)
    titles = find_titles(args)
    jobs = make_jobs(args.stacks, args.seeds, args.pairs)
    check_unchanged(jobs)
    account = open_account(jobs)
    if args.show:
        show(account)
        return DONE
    check_idle(job.output for job in jobs)
    engine = make_engine(args)
    display = (Live if sys.stdout.isatty() else Lines)(engine.num_slots, write)
    try:
        with Interrupts() as interrupts:
            run_queue(account, engine, display, interrupts.sleep)
    except KeyboardInterrupt as interrupt:
        again = shell_line(["python", "tools/run_gallery.py", *argv])
        raise KeyboardInterrupt(f"all runs are stopped. Resume with:\n    {again}") from interrupt
    report(args, jobs, titles, {"jobs_at_a_time": engine.num_slots, "engine": args.engine})
    for line in failure_lines(account):
        print(line)
    return FAILED if any(failures(account)) else DONE


def show(account: Sequence[QueueEntry]) -> None:
    for entry in account:
        epochs = f"{entry.epochs}/{entry.job.epochs} epochs"
        print(f"{entry.job.run.directory}  {entry.status}  {epochs}  {','.join(entry.job.files)}")


def report(args: argparse.Namespace, jobs: Sequence[Job], titles: dict[str, str], about: dict[str, Any]) -> None:
    rows = results.make_rows(jobs, titles, [args.gpus, *args.pairs])
    prefix = args.results or Path(jobs[0].cfg.OUTPUT_DIR) / "results"
    paths = results.write_results(rows, about, prefix)
    print(f"{results.results_table(rows)}\nWritten: {', '.join(map(str, paths))}")
    if args.append is not None:
        print(f"Appended to {args.append}: {results.append_measured(rows, args.append)} rows")


def main(argv: Sequence[str]) -> int:
    status = DONE

    def action() -> None:
        nonlocal status
        status = run_gallery(argv)

    return exit_status(action) or status


if __name__ == "__main__":
    gc.enable()
    sys.exit(main(sys.argv[1:]))
