"""Starts, watches and ends one run as a process. Imports nothing heavy, since a cluster's workers import it too."""
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from lib.utils.errors import InputError
from lib.utils.system import interrupt, lock, unblock

GRACE = 30.0   # seconds in which an interrupted run may save what it has


def start_process(words: Sequence[str], output: Path, threads: int) -> subprocess.Popen:
    """Starts a run whose output is appended to a file; raises InputError where that run is still active.

    The run gets a session of its own, so that the terminal's Ctrl-C reaches the queue only, which then ends its runs in order.
    """
    with open_output(output) as file:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
                                env={**os.environ, "OMP_NUM_THREADS": str(threads)})


def open_output(output: Path) -> IO[str]:
    """The file, locked. The run inherits lock and file, and so holds them for as long as it lives, also without its queue; on
    Windows, which does not pass locks on, only the run's own lock of its directory is left then."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        file = output.open("a", encoding="utf-8")
    except OSError as error:
        raise InputError(f"OUTPUT_DIR/NAME: cannot write to {output.parent} ({error.strerror})") from error
    try:
        lock(file)
    except BlockingIOError as error:
        file.close()
        raise InputError(f"{output.parent} is still being trained by another command; wait until it ends, or stop it") from error
    except OSError:   # no locks here, as the run will say itself
        pass
    return file


def check_idle(outputs: Iterable[Path]) -> None:
    """Raises InputError if one of these runs is still active."""
    for output in outputs:
        if output.exists():
            open_output(output).close()


def explain(status: int, output: Path) -> str:
    """The meaning of an exit status, with the last line that the run printed; empty for success."""
    if status == 0:
        return ""
    cause = f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    lines = output.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
    return f"{cause}: {last}"


def stop_processes(processes: Sequence[subprocess.Popen], grace: float = GRACE) -> None:
    """Interrupts processes and waits for them. Those that take longer than ``grace``, or all after another Ctrl-C, are killed."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):   # a process that was started in the background may ignore SIGINT
            for process in processes:
                interrupt(process, number)
            wait_for(processes, grace)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def wait_for(processes: Sequence[subprocess.Popen], seconds: float) -> None:
    end = time.monotonic() + seconds
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        time.sleep(0.05)


def run_to_end(words: list[str], output: str, threads: int, folder: str) -> str:
    """Runs a process in a folder, as the task of a Ray worker; returns why it failed, or nothing."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    unblock(signal.SIGINT)   # Ray's workers block it, and so would the process
    os.chdir(folder)
    try:
        process = start_process(words, Path(output), threads)
    except InputError as error:
        return str(error)
    try:
        while process.poll() is None:
            time.sleep(0.2)   # short, since a cancelled task learns of it only between two of these
    finally:
        stop_processes([process])
    return explain(process.returncode, Path(output))
