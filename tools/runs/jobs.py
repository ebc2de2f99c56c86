"""The list of runs: configurations × seeds, each with a directory of its own. Files are read and never written."""
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lib.config import Config, ConfigError, load_config
from lib.config.auto import as_its_run
from lib.core.build import run_directory
from lib.run.run import Run, damaged
from lib.utils.errors import InputError
from tools.runs.changes import changes

OUTPUT = "output.log"   # in the run's directory: all that the run printed, also before and after its own log


class Job(NamedTuple):
    """One run of the list."""

    files: list[str]   # yaml files, stacked
    pairs: list[str]   # KEY VALUE words for main/train.py, those of the seed and of the name included
    recipe: str        # NAME of the configuration, which its seeds share
    cfg: Config        # what files and pairs come to

    @property
    def run(self) -> Run:
        return run_directory(self.cfg)

    @property
    def name(self) -> str:
        return self.cfg.NAME

    @property
    def settled(self) -> Config:
        """The configuration with the values that were chosen from the data, once the run has started."""
        return as_its_run(self.cfg, self.run.directory)

    @property
    def epochs(self) -> int:
        """The number of epochs; 0 if it has not been chosen yet."""
        return self.settled.TRAIN.MAX_EPOCH

    @property
    def output(self) -> Path:
        return self.run.directory / OUTPUT


class State(NamedTuple):
    """The progress of a run."""

    epochs: int = 0                # that are finished
    accuracy: float | None = None  # of the last validation
    finished: bool = False         # every epoch, and the report


def make_jobs(stacks: Sequence[Sequence[str]], seeds: Sequence[int], pairs: Sequence[str]) -> list[Job]:
    """All runs, configuration by configuration.

    Args:
        stacks: the yaml files of each configuration.
        seeds: empty for each configuration's own SEED.
        pairs: KEY VALUE words for all of them.

    Raises:
        InputError: the mistakes of all configurations; a SEED among the pairs beside ``seeds``; two runs with one directory.
    """
    if seeds and "SEED" in pairs[::2]:
        raise InputError("SEED: is already given by --seeds; remove one of the two")
    jobs, problems = [], []
    for files in stacks:
        try:
            cfg = load_config(files, pairs)
            if cfg.DATASET.GENERATE_CAM_BASED_DATASET:
                problems.append(f"{','.join(files)}: generates images and does not train; run its stages with tools/run_chain.py")
                continue
            jobs += [make_job(files, pairs, cfg.NAME, seed) for seed in seeds or [cfg.SEED]]
        except ConfigError as error:
            problems.append(f"{','.join(files)}: {error}")
    if problems:
        raise InputError("\n".join(problems))
    check_directories(jobs)
    return jobs


def make_job(files: Sequence[str], pairs: Sequence[str], recipe: str, seed: int) -> Job:
    own = [*pairs, "SEED", str(seed), "NAME", f"{recipe}_seed{seed}"]   # later words win
    return Job(list(files), own, recipe, load_config(files, own))


def check_directories(jobs: Sequence[Job]) -> None:
    first: dict[str, Job] = {}
    for job in jobs:
        other = first.setdefault(os.path.realpath(job.run.directory), job)
        if other is not job:
            raise InputError(f"{','.join(other.files)} and {','.join(job.files)} share the run directory {job.run.directory}; "
                             "name each configuration and each seed once, and give each configuration its own NAME")


def state(job: Job) -> State:
    """The progress of the run. Raises InputError for a damaged history."""
    history = job.run.history()
    if not history:
        return State()
    accuracies = [entry["valid_accuracy"] for entry in history if "valid_accuracy" in entry]
    finished = history[-1]["epoch"] >= job.epochs and (job.run.directory / "metrics.json").exists()
    lacking = [key for key in ("seconds", "valid_accuracy") if finished and history[-1].get(key) is None]
    if lacking:
        raise damaged(job.run.history_file, f"the last epoch has no {' and no '.join(lacking)}")
    return State(history[-1]["epoch"], accuracies[-1] if accuracies else None, finished)


def check_unchanged(jobs: Sequence[Job]) -> None:
    """Raises InputError for runs of another configuration, so that no number is attributed to one that did not produce it."""
    problems = [f"{job.run.directory} was made with another configuration ({'; '.join(found)})"
                for job in jobs if job.run.holds_a_run() and (found := list(changes(job.cfg, job.run)))]
    if problems:
        raise InputError("\n".join([*problems, "choose another NAME or OUTPUT_DIR, or move the old runs away"]))
