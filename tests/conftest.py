"""What all tests share: one thread each, so that two workers do not fight, and the repository's root."""
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")   # before torch is loaded, and for every process that a test starts
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
collect_ignore_glob = [] if torch.cuda.is_available() else ["cuda/*"]


@pytest.fixture(autouse=True, scope="session")
def single_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT
