"""How worker processes are started."""
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext

OWN = ("lib", "main")   # packages of the project
STOPPING = (signal.SIGINT, signal.SIGTERM)
WATCH_SECONDS = 2.0   # after which a process notices that its parent was killed


def worker_context() -> BaseContext:
    """Starts processes by forking a server that has imported once what this process has of the project, and has no threads,
    no CUDA and no data; where there is no such server (Windows), by starting Python anew, which imports everything again.

    Eight workers that import torch take half a minute of CPU time and gigabytes; forked ones take a fraction of a second, and
    share the memory.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(sorted(name for name in sys.modules if name.split(".")[0] in OWN))   # of the first call
    return context


def start_server() -> None:
    """Lets the server begin its imports, which take seconds, while this process does something else."""
    if worker_context().get_start_method() == "forkserver":
        with left_to_parent():
            forkserver.ensure_running()


@contextmanager
def left_to_parent() -> Iterator[None]:
    """Processes that are started in this block never see Ctrl-C or SIGTERM, which reach a whole group of processes.

    A reader that died of one could not deliver what its parent needs to finish the batch. Each must call ``follow_parent``.
    """
    resource_tracker.ensure_running()   # would lift the block when it is started itself
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def follow_parent(parent: int) -> None:
    """Lets this process, which was started in ``left_to_parent``, end when process ``parent`` terminates it or is gone.

    SIGTERM is blocked here, so a thread accepts it, and looks who sent it. Of a parent that was killed only the server of
    ``worker_context`` would know, and that waits for its processes.
    """
    if not hasattr(signal, "sigtimedwait"):   # macOS
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)   # as it is, unless the server was started elsewhere
    threading.Thread(target=watch_parent, args=(parent,), daemon=True).start()


def watch_parent(parent: int) -> None:
    while True:
        received = signal.sigtimedwait([signal.SIGTERM], WATCH_SECONDS)
        if (received is not None and received.si_pid == parent) or not is_alive(parent):
            os._exit(0)   # from a thread: nothing of a reader's needs to be wound up


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
