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

from lib.utils.system import unblock

OWN = ("lib", "main")   # packages of the project
AROUND = "lib.utils.before_imports", "lib.utils.after_imports"
STOPPING = (signal.SIGINT, signal.SIGTERM)
WATCH_SECONDS = 2.0   # after which a process notices that its parent was killed


def worker_context() -> BaseContext:
    """Starts processes by forking a server that has imported once what this process has of the project, and has no threads,
    no CUDA and no data. Where there is no such server (Windows), or the system's libraries do not bear to be forked (macOS), by
    starting Python from scratch, which imports everything again.

    Eight workers that import torch take half a minute of CPU time and gigabytes; forked ones take a fraction of a second, and
    share the memory.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods() or sys.platform == "darwin":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    modules = sorted(name for name in sys.modules if name.split(".")[0] in OWN and name not in AROUND)
    context.set_forkserver_preload([AROUND[0], *modules, AROUND[1]])   # of the first call
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
    if not hasattr(signal, "pthread_sigmask"):   # Windows
        yield
        return
    resource_tracker.ensure_running()   # would lift the block when it is started itself
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def follow_parent(parent: int) -> None:
    """Lets this process, which was started in ``left_to_parent``, end when process ``parent`` terminates it or is gone.

    SIGTERM is blocked here, so a thread accepts it, and looks who sent it. Of a parent that was killed only the server of
    ``worker_context`` would know, and that waits for its processes. On macOS and Windows anybody's SIGTERM ends it, and torch's
    workers look for their parent by themselves.
    """
    if not hasattr(signal, "sigtimedwait"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        unblock(*STOPPING)
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
