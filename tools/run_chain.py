"""Runs the stages of a chain, one after the other.

    python tools/run_chain.py --chain configs/chains/crt.yaml --cfg configs/fashion_lt/baseline/fashion_im100.yaml --gpus cpu
    python tools/run_chain.py --chain configs/chains/tau_norm.yaml --cfg configs/cao_cifar/baseline/cifar10_im50.yaml SEED 1
    python tools/run_chain.py --chain configs/cui_cifar/{baseline,two_stage/classifier_balance/cRT}/cifar10_im100.yaml --gpus 0

The same command continues where it stopped: stages that are finished are left as they are, one that was interrupted is resumed.

--chain takes the stages: yaml files (for one stage also several, joined by commas), or a file in configs/chains that lists
them. --cfg names the base configuration of all stages. KEY VALUE pairs apply to all stages; NAME is the name of the whole chain,
whose stages then go to OUTPUT_DIR/NAME. A stage with TEST.TAU_NORM.USE_TAU_NORM is validated (main/valid.py), any other
one trained (main/train.py).
"""
import gc
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    gc.disable()   # until everything is imported, which takes a fifth of its time less then

import argparse
import logging
import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import yaml

from lib.config import Config, divide_words, gather_words, load_config, split_files
from lib.config.auto import as_its_run
from lib.core.build import run_directory
from lib.device.gpus import find_gpus
from lib.run.run import LAST, Run
from lib.utils.errors import InputError
from lib.utils.system import interrupt
from lib.utils.text import shell_line
from main.command import DONE, INTERRUPTED, exit_status
from tools.runs.changes import changes

log = logging.getLogger("tools.run_chain")

MAIN = Path(__file__).resolve().parents[1] / "main"
FINISHED, BEGUN, NEW = "finished", "begun", "new"
GRACE = 2.0   # seconds in which a stage ends by itself after Ctrl-C, which the terminal sends to it as well


class Stage(NamedTuple):
    """One run of a chain."""

    files: list[str]   # yaml files, stacked
    pairs: list[str]   # KEY VALUE words
    cfg: Config        # what they come to

    @property
    def run(self) -> Run:
        return run_directory(self.cfg)

    @property
    def validates(self) -> bool:
        return self.cfg.TEST.TAU_NORM.USE_TAU_NORM

    def state(self) -> str:
        """The progress of the stage. Validation is always to be done: it takes seconds, and keeps nothing."""
        if self.validates:
            return NEW
        if self.cfg.DATASET.GENERATE_CAM_BASED_DATASET:
            return FINISHED if Path(self.cfg.DATASET.CAM_DATA_JSON_SAVE_PATH).exists() else NEW
        run = self.run
        if not run.holds_a_run():
            return NEW
        epochs = [entry["epoch"] for entry in run.history()]
        whole = (run.models / LAST).exists() and (run.directory / "metrics.json").exists()
        return FINISHED if whole and epochs and epochs[-1] >= as_its_run(self.cfg, run.directory).TRAIN.MAX_EPOCH else BEGUN


class ChainOptions(NamedTuple):
    """Options for running the stages."""

    gpus: str = "auto"
    processes: int = 1
    overwrite: bool = False


def read_stages(words: Sequence[str], base: Sequence[str], pairs: Sequence[str]) -> list[Stage]:
    """The stages that --chain names, on top of ``base``; raises InputError for the first that is no configuration."""
    return [make_stage([*base, *files], pairs) for word in words for files in stacks(word)]


def stacks(word: str) -> list[list[str]]:
    """The stages of one word of --chain: those that a chain file lists, or the word itself. What cannot be read is taken for
    a configuration, whose error then says what is wrong."""
    content = None
    with suppress(OSError, yaml.YAMLError, UnicodeDecodeError):
        content = yaml.safe_load(Path(word).read_text(encoding="utf-8"))
    if not isinstance(content, list):
        return [split_files(word)]
    listed = [[item] if isinstance(item, str) else item for item in content]
    if not all(isinstance(files, list) and all(isinstance(file, str) for file in files) for files in listed):
        raise InputError(f"{word}: a chain is a list of stages, each a yaml file or a list of them")
    return [[os.path.normpath(Path(word).parent / file) for file in files] for files in listed]


def make_stage(files: list[str], pairs: Sequence[str]) -> Stage:
    if not files:
        raise InputError("--chain: the first stage is the base of all stages; name it with --cfg")
    both = list(zip(pairs[::2], pairs[1::2]))
    names = [value for key, value in both if key == "NAME"]
    kept = [word for pair in both if pair[0] != "NAME" for word in pair]
    kept += pairs[2 * len(both):]   # a KEY without VALUE, for load_config to complain about
    cfg = load_config(files, kept)
    if names:
        kept += ["OUTPUT_DIR", os.path.join(cfg.OUTPUT_DIR, names[-1])]
        cfg = load_config(files, kept)
    return Stage(files, kept, cfg)


def check(stages: Sequence[Stage], overwrite: bool) -> None:
    """Raises InputError for stages that share a directory, or were made with another configuration."""
    directories = [stage.run.directory for stage in stages]
    for number, directory in enumerate(directories):
        if directory in directories[:number]:
            raise InputError(f"stages {directories.index(directory) + 1} and {number + 1} share the directory {directory}; "
                             "give each its own NAME in its yaml file")
    for number, stage in enumerate(stages, start=1):
        found = [] if overwrite or stage.state() == NEW else list(changes(stage.cfg, stage.run))
        if found:
            raise InputError(f"stage {number}: {stage.run.directory} was made with another configuration ({'; '.join(found)}); "
                             "choose another NAME or OUTPUT_DIR, or replace all stages by --overwrite")


def command(stage: Stage, options: ChainOptions) -> list[str]:
    """The command that runs the stage as a process."""
    words = ["--gpus", options.gpus, "--cfg", *stage.files, *stage.pairs]
    if stage.validates:
        return [sys.executable, str(MAIN / "valid.py"), *words]
    launch = [str(MAIN / "launch.py"), "--standalone", "--nproc_per_node", str(options.processes)]
    return [sys.executable, *launch * (options.processes > 1), str(MAIN / "train.py"), *words,
            *(["--overwrite"] if options.overwrite else ["--ar", "True"])]


def run_chain(stages: Sequence[Stage], options: ChainOptions, start: Callable[[list[str]], int]) -> int:
    """Runs the remaining stages; returns the exit status of the first stage that fails, else 0.

    Args:
        start: runs a command, and returns its exit status.
    """
    check(stages, options.overwrite)
    ran = None
    for number, stage in enumerate(stages, start=1):
        title = f"stage {number} of {len(stages)}, {stage.run.directory}"
        state = NEW if options.overwrite else stage.state()
        if state == FINISHED and ran is not None:
            raise InputError(f"{title}: is older than {ran}, on which it depends and which has just been run; "
                             "move it away, or replace all stages with --overwrite")
        if state == FINISHED:
            log.info("%s: finished before", title)
            continue
        words = command(stage, options)
        log.info("%s:\n    %s", title, shell_line(words))
        status = start(words)
        if status == INTERRUPTED:
            raise KeyboardInterrupt("the same command resumes this stage")
        if status != DONE:
            log.error("error: %s ended with exit status %d; the same command resumes it", title, status)
            return status
        ran = stage.run.directory
    return DONE


def start_process(words: list[str]) -> int:
    process = subprocess.Popen(words)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        if process.poll() is None:   # only this process was interrupted
            interrupt(process)
        process.wait()
        return INTERRUPTED
    return status if status >= 0 else 1   # negative: ended by a signal


def show(stages: Sequence[Stage]) -> None:
    for number, stage in enumerate(stages, start=1):
        print(f"{number}. {' '.join(stage.files)}\n   {stage.run.directory}: {stage.state()}")


def main(argv: Sequence[str], start: Callable[[list[str]], int] = start_process) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chain", nargs="+", action="append", required=True, metavar="YAML",
                        help="the stages, or a file that lists them")
    parser.add_argument("--cfg", nargs="+", action="append", default=[], metavar="YAML", help="base yaml files of every stage")
    parser.add_argument("--gpus", default="auto", help="cpu, or GPU numbers such as 0 or 0,1 (default: all visible ones)")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="train with N processes, one per GPU (default 1)")
    parser.add_argument("--overwrite", action="store_true", help="run all stages from scratch, and replace existing runs")
    parser.add_argument("--show", action="store_true", help="print the stages and their progress")
    parser.add_argument("overrides", nargs="*", default=[], metavar="KEY VALUE", help="keys to override, in all stages")
    status = DONE

    def action() -> None:
        nonlocal status
        args = parser.parse_intermixed_args(argv)
        chain, more = divide_words(args.chain)
        base, others = gather_words(args.cfg)
        stages = read_stages(chain, base, [*more, *others, *args.overrides])
        if args.show:
            show(stages)
        else:
            find_gpus(args.gpus, args.processes)   # one message, before a stage begins
            status = run_chain(stages, ChainOptions(args.gpus, args.processes, args.overwrite), start)

    return exit_status(action) or status


if __name__ == "__main__":
    gc.enable()
    sys.exit(main(sys.argv[1:]))
