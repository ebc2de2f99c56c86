"""What all tests share: one thread each, so that two workers do not fight, the repository's root, and a tiny training."""
import gc
import os
import signal
import subprocess
import sys

gc.disable()   # until all is imported and collected: what is there then stays to the end
os.environ.setdefault("OMP_NUM_THREADS", "1")   # before torch is loaded, and for every process that a test starts
os.environ.setdefault("MPLBACKEND", "Agg")
# a shell lets what it starts with "&" ignore Ctrl-C, and so would the processes that tests start and interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from matplotlib.figure import Figure
from xdist.remote import Producer
from xdist.scheduler import WorkStealingScheduling

from lib.report import style

ROOT = Path(__file__).resolve().parents[1]
collect_ignore_glob = [] if torch.cuda.is_available() else ["cuda/*"]

DIGITS = "configs/test/digits_lt.yaml"

settings.register_profile("suite", derandomize=True)   # ``tests/faults/fuzz.py`` draws new cases each time
settings.load_profile("suite")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> WorkStealingScheduling:
    """The slow tests stand together: a worker that has none left takes over half of the other's."""
    return WorkStealingScheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A long test is a slow one, whatever -m says of it."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    """Thousands of tests and their modules are looked through by no garbage collection from now on."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def single_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="module")
def no_figures() -> Iterator[None]:
    """Drawing is four fifths of a small training, and has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda *_, **__: None)
        patch.setattr(style, "use_fonts", lambda figure: None)   # which makes the texts
        yield


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    """Overrides that make any configuration a training of seconds on the digits, below ``tmp_path``/run."""
    return tiny_overrides(tmp_path)


@pytest.fixture(scope="session")
def tiny_in() -> Callable[[Path], list[str]]:
    """``tiny`` below a folder of one's own, for what several tests share."""
    return tiny_overrides


def tiny_overrides(folder: Path) -> list[str]:
    pairs = {
        "OUTPUT_DIR": folder, "NAME": "run", "DATASET.DATASET": "IMBALANCEDIGITS", "DATASET.ROOT": "",
        "DATASET.TRAIN_JSON": "", "DATASET.VALID_JSON": "",
        "DATASET.IMBALANCECIFAR.RATIO": 0.1, "INPUT_SIZE": "[8, 8]", "BACKBONE.TYPE": "res20_cifar", "TRAIN.MAX_EPOCH": 3,
        "TRAIN.BATCH_SIZE": 64, "TEST.BATCH_SIZE": 50, "TRAIN.NUM_WORKERS": 0, "TEST.NUM_WORKERS": 0, "VALID_STEP": 1,
        "SAVE_STEP": 2, "TRANSFORMS.TRAIN_TRANSFORMS": "['random_crop']", "TRANSFORMS.TEST_TRANSFORMS": "[]",
        "TRAIN.TENSORBOARD.ENABLE": False,
    }
    return [str(word) for pair in pairs.items() for word in pair]


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess]:
    """Runs words as a user would type them at the repository's root, with this interpreter as ``python``."""
    def run(*words: object, timeout: int = 300) -> subprocess.CompletedProcess:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return subprocess.run([str(word) for word in words], cwd=ROOT, env={**os.environ, "PATH": path}, text=True,
                              capture_output=True, timeout=timeout, check=False)

    return run
