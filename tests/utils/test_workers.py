"""Worker processes come from a server that has imported torch already."""
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

import lib.dataset  # noqa: F401  what the server is to import
from lib.utils.system import unblock
from lib.utils.workers import STOPPING, follow_parent, is_alive, left_to_parent, worker_context

ROOT = Path(__file__).resolve().parents[2]


def look_around(number: int) -> tuple[int, bool]:
    """The parent's number, and whether torch was there before this process asked for it."""
    return os.getppid(), "torch" in sys.modules


@pytest.mark.slow
def test_workers_are_forked_from_one_server_that_knows_torch():
    context = worker_context()
    assert context.get_start_method() == ("forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn")
    with context.Pool(2, unblock, STOPPING) as pool:   # the server may have been started in ``left_to_parent``
        answers = set(pool.map(look_around, range(8), chunksize=1))
    if context.get_start_method() == "forkserver":
        (parent, knows_torch), = answers
        assert parent != os.getpid()
        assert knows_torch


def follow(parent: int, ready: Connection) -> None:
    follow_parent(parent)
    ready.send(os.getpid())
    time.sleep(60)


def start_follower() -> tuple[multiprocessing.Process, int]:
    ready, told = worker_context().Pipe()
    process = worker_context().Process(target=follow, args=(os.getpid(), told))
    with left_to_parent():
        process.start()
    return process, ready.recv()


@pytest.mark.slow
def test_a_worker_heeds_its_parent_s_sigterm_and_nobody_else_s():
    process, number = start_follower()
    subprocess.run(["kill", "-TERM", str(number)], check=True)
    process.join(1)
    assert process.is_alive()
    process.terminate()
    process.join(10)
    assert process.exitcode == 0


@pytest.mark.slow
def test_a_worker_ends_when_its_parent_is_killed():
    """No other process would end it: it is a child of the server, which waits for its children."""
    code = ("import time\nfrom tests.utils.test_workers import start_follower\n"
            "print(start_follower()[1], flush=True)\ntime.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        number = int(parent.stdout.readline())
        assert is_alive(number)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while is_alive(number) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_alive(number)
