"""Runs on this machine: one process of main/train.py each, through the options that users have."""
import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import torch

from lib.utils.errors import InputError
from tools.runs.jobs import Job
from tools.runs.queue import Ended

TRAIN = Path(__file__).resolve().parents[2] / "main/train.py"
GRACE = 30.0   # seconds in which an interrupted run may save what it has


class LocalEngine:
    """Args:
        devices: "cpu", or GPU numbers; slots take them in turn, so that several runs share a GPU where there are more slots.
        num_slots: runs at a time, between which the CPU's cores are shared out.
    """

    def __init__(self, devices: Sequence[str], num_slots: int) -> None:
        self.num_slots = num_slots
        self.free = [devices[number % len(devices)] for number in range(num_slots)]
        self.threads = share_of_cores(len(os.sched_getaffinity(0)), num_slots)
        self.running: list[tuple[Job, str, subprocess.Popen]] = []

    def start(self, job: Job) -> str:
        process = start_process(train_command(job, self.free[0]), job.output, self.threads)
        device = self.free.pop(0)
        self.running.append((job, device, process))
        return device if device == "cpu" else f"GPU {device}"

    def ended(self) -> Iterator[Ended]:
        for running in [found for found in self.running if found[2].poll() is not None]:
            job, device, process = running
            self.running.remove(running)
            self.free.append(device)
            yield Ended(job, explain(process.returncode, job.output))

    def stop(self) -> None:
        stop_processes([process for _, _, process in self.running])


def find_devices(gpus: str) -> list[str]:
    """What --gpus names: "cpu", GPU numbers such as "0,1", or "auto" for every GPU that is visible, else the CPU."""
    if gpus == "auto":
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
        gpus = visible if torch.cuda.device_count() else "cpu"
    devices = [word.strip() for word in gpus.split(",")]
    if devices != ["cpu"] and not all(word.isdigit() for word in devices):
        raise InputError(f"--gpus: {gpus!r} is neither 'cpu' nor numbers such as 0 or 0,1")
    return devices


def share_of_cores(cores: int, num_slots: int) -> int:
    """CPU threads of one run; OMP_NUM_THREADS, where the user has set it, has the last word."""
    return int(os.environ.get("OMP_NUM_THREADS") or max(1, cores // num_slots))


def train_command(job: Job, gpus: str) -> list[str]:
    return [sys.executable, str(TRAIN), "--gpus", gpus, "--cfg", *job.files, *job.pairs, "--ar", "True"]


def start_process(words: Sequence[str], output: Path, threads: int) -> subprocess.Popen:
    """Starts a run whose output is appended to a file; raises InputError where that run is still going on.

    The run gets a session of its own, so that the terminal's Ctrl-C reaches the queue only, which then ends its runs in order.
    """
    with open_output(output) as file:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
                                env={**os.environ, "OMP_NUM_THREADS": str(threads)})


def open_output(output: Path) -> IO[str]:
    """The file, locked. The run inherits lock and file, and so holds them for as long as it lives, also without its queue."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        file = output.open("a", encoding="utf-8")
    except OSError as error:
        raise InputError(f"OUTPUT_DIR/NAME: cannot write to {output.parent} ({error.strerror})") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):   # anything else: a file system without locks
            file.close()
            raise InputError(f"{output.parent} is still being trained by an earlier call; wait for its end, or end it") from error
    return file


def check_idle(outputs: Iterable[Path]) -> None:
    """Raises InputError if one of these runs is still going on."""
    for output in outputs:
        if output.exists():
            open_output(output).close()


def explain(status: int, output: Path) -> str:
    """What an exit status means, with the last line that the run printed; empty for success."""
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
                process.send_signal(number)
            wait_for(processes, grace)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def wait_for(processes: Sequence[subprocess.Popen], seconds: float) -> None:
    end = time.monotonic() + seconds
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        time.sleep(0.05)
