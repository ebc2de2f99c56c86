"""Trainings in processes of their own, which can be killed anywhere, and the comparison with one that never was.

Processes are forked from one that has loaded everything, so that a training of three epochs takes a second or two.
"""
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")   # before torch is loaded
os.environ.setdefault("MPLBACKEND", "Agg")

import matplotlib.figure
import torch

from main import train

CONFIG = str(Path(__file__).resolve().parents[2] / "configs/test/digits_lt.yaml")
PATIENCE = 60   # seconds in which every rank must have ended when one is gone

TINY = {
    "NAME": "run", "INPUT_SIZE": "[8, 8]", "BACKBONE.TYPE": "res20_cifar", "DATASET.IMBALANCECIFAR.RATIO": "0.1",
    "TRAIN.MAX_EPOCH": "3", "TRAIN.BATCH_SIZE": "64", "VALID_STEP": "1", "SAVE_STEP": "2", "SHOW_STEP": "3",
    "TRAIN.CHECKPOINT_MINUTES": "0.002", "TRAIN.LR_SCHEDULER.LR_STEP": "[2]", "TRAIN.NUM_WORKERS": "0", "TEST.NUM_WORKERS": "0",
}
WEIGHTS = "{first}/run/models/last.pth"   # of a plain training, for the families that go on from one
SECOND_STAGE = {"NETWORK.PRETRAINED": "True", "NETWORK.PRETRAINED_MODEL": WEIGHTS, "TRAIN.SAMPLER.TYPE": "weighted sampler"}
GENERATION = "CAM generation"
EXPERTS = {"LOSS.LOSS_TYPE": "BalPoE", "CLASSIFIER.TYPE": "CosineFC", "NETWORK.EXPERTS.NUM": "2", "TRAIN.COMBINER.TYPE": "mix_up"}
VIEWS = {"TRAIN.COMBINER.TYPE": "bcl", "HEADS.TYPES": "[projection, prototypes]", "LOSS.LOSS_TYPE": "BalancedSoftmaxCE",
         "TRANSFORMS.VIEWS": "[[random_crop], [random_resized_crop, color_jitter]]"}
PROCO = {"TRAIN.COMBINER.TYPE": "proco", "HEADS.TYPES": "[projection]", "LOSS.LOSS_TYPE": "BalancedSoftmaxCE",
         "TRANSFORMS.VIEWS": "[[random_crop], [random_resized_crop, color_jitter]]"}
CURRICULUM = {"TRANSFORMS.TRAIN_TRANSFORMS": "[random_crop, curriculum]", "TRANSFORMS.PROCESS_DETAIL.CURRICULUM.THRESHOLD": "0.3"}
FAMILIES = {   # name: overrides
    "plain": {},
    "mixup": {"TRAIN.COMBINER.TYPE": "mix_up"},
    "DRS": {"TRAIN.SAMPLER.TYPE": "weighted sampler", "TRAIN.TWO_STAGE.DRS": "True", "TRAIN.TWO_STAGE.START_EPOCH": "1"},
    "DRW-LDAM": {"LOSS.LOSS_TYPE": "LDAMLoss", "CLASSIFIER.TYPE": "FCNorm", "TRAIN.TWO_STAGE.DRW": "True",
                 "TRAIN.TWO_STAGE.START_EPOCH": "1"},
    "GCL": {"LOSS.LOSS_TYPE": "GCL", "CLASSIFIER.TYPE": "FCNorm", "TRAIN.COMBINER.TYPE": "mix_up"},
    "bbn": {"TRAIN.SAMPLER.TYPE": "bbn sampler", "TRAIN.COMBINER.TYPE": "bbn_mix", "TRAIN.BATCH_SIZE": "32"},
    "cRT": {**SECOND_STAGE, "CLASSIFIER.TYPE": "cRT"},
    "LWS": {**SECOND_STAGE, "CLASSIFIER.TYPE": "LWS", "BACKBONE.FREEZE_BN": "True"},
    "MiSLAS": {**SECOND_STAGE, "CLASSIFIER.TYPE": "LWS", "CLASSIFIER.LWS.TRAIN_FC": "True",
               "TRAIN.OPTIMIZER.LR_FACTORS": "['classifier.fc=0.2']", "LOSS.LOSS_TYPE": "CrossEntropyLabelAwareSmooth"},
    GENERATION: {"DATASET.GENERATE_CAM_BASED_DATASET": "True", "NETWORK.PRETRAINED": "True", "NETWORK.PRETRAINED_MODEL": WEIGHTS,
                 "DATASET.CAM_DATA_SAVE_PATH": "{OUTPUT_DIR}/images", "DATASET.CAM_DATA_JSON_SAVE_PATH": "{OUTPUT_DIR}/cam.json"},
    "SAM": {"TRAIN.UPDATE.TYPE": "sam", "TRAIN.UPDATE.SAM.RHO": "0.2", "TRAIN.COMBINER.TYPE": "mix_up", "TRAIN.EMA_DECAY": "0.99",
            "TRAIN.UPDATE.ACCUMULATE": "2", "TRAIN.UPDATE.CLIP_NORM": "5.0"},
    "experts": EXPERTS,
    "MaxNorm": {**SECOND_STAGE, "CLASSIFIER.TYPE": "MaxNorm", "CLASSIFIER.MaxNorm.EVERY": "step",
                "LOSS.LOSS_TYPE": "ClassBalancedBCE", "TRAIN.OPTIMIZER.WEIGHT_DECAY": "0.1"},
    "views": VIEWS,
    "ProCo": PROCO,
    "curriculum": CURRICULUM,
    "files": {"DATASET.IN_MEMORY": "never"},
    "files by two workers": {"DATASET.IN_MEMORY": "never", "TRAIN.NUM_WORKERS": "2", "TEST.NUM_WORKERS": "2"},
    "two ranks": {"TRAIN.BATCH_SIZE": "32"},
    "two ranks mixup": {"TRAIN.BATCH_SIZE": "32", "TRAIN.COMBINER.TYPE": "mix_up"},
    "two ranks methods": {**EXPERTS, **CURRICULUM, "TRAIN.BATCH_SIZE": "32", "TRAIN.UPDATE.TYPE": "sam",
                          "TRAIN.EMA_DECAY": "0.99"},
    "two ranks MaxNorm": {**SECOND_STAGE, "CLASSIFIER.TYPE": "MaxNorm", "LOSS.LOSS_TYPE": "ClassBalancedBCE",
                          "TRAIN.BATCH_SIZE": "32", "TRAIN.OPTIMIZER.WEIGHT_DECAY": "0.1"},
    "two ranks views": {**VIEWS, "TRAIN.BATCH_SIZE": "32"},
    "two ranks ProCo": {**PROCO, "TRAIN.BATCH_SIZE": "32", "TRAIN.UPDATE.TYPE": "sam"},
}
SPOTS = ("write", "fsync", "replace", "rename", "unlink", "link", "savefig")   # where a process kills itself, see ``kill_at``


def words(family: str, folder: Path, first: Path | None = None) -> list[str]:
    """``first``: OUTPUT_DIR of the training that the family goes on from, where it does."""
    values = TINY | FAMILIES[family] | {"OUTPUT_DIR": str(folder)}
    return ["--cfg", CONFIG, "--gpus", "cpu", *(word.replace("{first}", str(first)) for pair in values.items() for word in pair)]


def num_ranks(family: str) -> int:
    return 2 if family.startswith("two ranks") else 1


def start(argv: list[str], ranks: int, output: Path, prepare: Callable[[], None] | None = None) -> list[int]:
    """Forks a training per rank; ``prepare`` runs in rank 0 before it. Returns the process numbers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [fork_rank(argv, rank, ranks, port, output, prepare if rank == 0 else None) for rank in range(ranks)]


def fork_rank(argv: list[str], rank: int, ranks: int, port: int, output: Path, prepare: Callable[[], None] | None) -> int:
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.setpgid(0, 0)
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        if ranks > 1:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks),
                           "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        if prepare is not None:
            prepare()
        status = train.main(argv)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def draw_nothing() -> None:
    """Figures of trainings that begin from now on are empty: drawing takes four fifths of the time and touches no file."""
    matplotlib.figure.Figure.savefig = lambda *args, **options: None


def kill_at(spot: str, number: int) -> Callable[[], None]:
    """A ``prepare`` that makes a process kill itself at its ``number``-th arrival at a spot: in the middle of a file's bytes
    ("write"), before it is safe on the disk ("fsync"), before it gets its name ("replace", "rename", "link") or loses it
    ("unlink"), while a figure is drawn."""
    def die_in_time(function: Callable, before: Callable[..., None] = lambda *args: None) -> Callable:
        left = [number]

        def wrapped(*args, **options):
            left[0] -= 1
            if left[0] == 0:
                before(*args)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)

        return wrapped

    def half_a_file(handle: int, *args) -> None:
        os.write(handle, b"PK\x03\x04 the first half of a file")

    def prepare() -> None:
        if spot == "savefig":
            matplotlib.figure.Figure.savefig = die_in_time(matplotlib.figure.Figure.savefig)
        elif spot == "write":
            os.fdopen = die_in_time(os.fdopen, half_a_file)
        else:
            setattr(os, spot, die_in_time(getattr(os, spot)))

    return prepare


def wait(processes: list[int], seconds: float) -> list[int | None]:
    """Exit statuses (negative: the signal), None where a process still runs after ``seconds``."""
    end, found = time.monotonic() + seconds, {}
    while len(found) < len(processes) and time.monotonic() < end:
        for process in processes:
            if process not in found:
                ended, status = os.waitpid(process, os.WNOHANG)
                if ended:
                    found[process] = os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return [found.get(process) for process in processes]


def kill(processes: list[int]) -> list[int]:
    """SIGKILL, with the readers of images that they have started; returns how those ended that had not before."""
    for process in processes:
        os.killpg(process, signal.SIGKILL)
    return wait(processes, PATIENCE)


def without_places(value: object) -> object:
    """What must be equal to the last bit: all but folders and times."""
    if isinstance(value, dict):
        return {key: without_places(inner) for key, inner in value.items()
                if key not in ("OUTPUT_DIR", "seconds", "images_per_second")}
    return [without_places(inner) for inner in value] if isinstance(value, list) else value


def same(first: object, second: object) -> bool:
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def results(run: Path) -> dict[str, object]:
    """What a run has come to: every checkpoint and the history."""
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    models = {path.name: torch.load(path, weights_only=True) for path in run.glob("models/*.pth") if path.name != "previous.pth"}
    return without_places({"history": history, "metrics": json.loads((run / "metrics.json").read_text()) | {"checkpoint": ""},
                           **models})


def made(folder: Path) -> dict[str, bytes]:
    """What a generation has made: every file but those that tell of times and places."""
    told = ("run/log.txt", "run/environment.json", "run/uncommitted.diff", "run/config.yaml", "run/.lock")
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name not in told}


def leftovers(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob(".*") if path.name != ".lock"]
