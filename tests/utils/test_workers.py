"""Worker processes come from a server that has imported torch already."""
import multiprocessing
import os
import sys

import pytest

import lib.dataset  # noqa: F401  what the server is to import
from lib.utils.workers import worker_context


def look_around(number: int) -> tuple[int, bool]:
    """The parent's number, and whether torch was there before this process asked for it."""
    return os.getppid(), "torch" in sys.modules


@pytest.mark.slow
def test_workers_are_forked_from_one_server_that_knows_torch():
    context = worker_context()
    assert context.get_start_method() == ("forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn")
    with context.Pool(2) as pool:
        answers = set(pool.map(look_around, range(8), chunksize=1))
    if context.get_start_method() == "forkserver":
        (parent, knows_torch), = answers
        assert parent != os.getpid()
        assert knows_torch
