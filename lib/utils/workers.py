"""Starts worker processes."""
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
WATCH_SECONDS = 2.0   # within this time a process notices that its parent was killed


def worker_context() -> BaseContext:
    """The multiprocessing context for workers. It forks a server that has imported the project's modules once, and that has no
    threads, no CUDA and no data. On Windows, which has no fork, and on macOS, whose libraries do not support it, each worker is a
    new Python process that imports everything again.

    Eight workers that import torch take half a minute of CPU time and gigabytes of memory; forked workers take a fraction of a
    second, and share the memory.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods() or sys.platform == "darwin":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    modules = sorted(name for name in sys.modules if name.split(".")[0] in OWN and name not in AROUND)
    context.set_forkserver_preload([AROUND[0], *modules, AROUND[1]])   # only the first call has an effect
    return context


def start_server() -> None:
    """Starts the fork server early, so that its imports, which take seconds, run while this process does something else."""
    if worker_context().get_start_method() == "forkserver":
        with left_to_parent():
            forkserver.ensure_running()


@contextmanager
def left_to_parent() -> Iterator[None]:
    """Processes that are started in this block ignore Ctrl-C and SIGTERM, which are sent to a whole group of processes.

    A worker that such a signal ended could not deliver the images that its parent needs to finish the batch. Each process must
    call ``follow_parent``.
    """
    if not hasattr(signal, "pthread_sigmask"):   # Windows
        yield
        return
    resource_tracker.ensure_running()   # if it were started later, it would unblock the signals
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def follow_parent(parent: int) -> None:
    """Lets this process, which was started in ``left_to_parent``, end when process ``parent`` sends SIGTERM or no longer exists.

    SIGTERM is blocked, so a thread waits for it and checks who sent it. If the parent is killed, the operating system tells only
    the fork server of ``worker_context``, which itself waits for its processes. On macOS and Windows any SIGTERM ends the
    process, and torch's workers watch their parent themselves.
    """
    if not hasattr(signal, "sigtimedwait"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        unblock(*STOPPING)
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)   # needed if the server was started outside of ``left_to_parent``
    threading.Thread(target=watch_parent, args=(parent,), daemon=True).start()


def watch_parent(parent: int) -> None:
    while True:
        received = signal.sigtimedwait([signal.SIGTERM], WATCH_SECONDS)
        if (received is not None and received.si_pid == parent) or not is_alive(parent):
            os._exit(0)   # immediately: a worker has nothing to clean up


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
