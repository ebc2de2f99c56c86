"""How worker processes are started."""
import multiprocessing
import sys
from multiprocessing import forkserver
from multiprocessing.context import BaseContext

OWN = ("lib", "main")   # packages of the project


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
        forkserver.ensure_running()
