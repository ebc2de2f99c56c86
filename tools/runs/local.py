"""Runs on this machine: one process of main/train.py each, through the options that users have."""
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from lib.utils.system import cpu_count
from tools.runs.jobs import Job
from tools.runs.processes import explain, start_process, stop_processes
from tools.runs.queue import Ended

TRAIN = Path(__file__).resolve().parents[2] / "main/train.py"


class LocalEngine:
    """Runs the list as processes of this machine.

    Args:
        devices: "cpu", or numbers among the visible GPUs; slots take them in turn, so that several runs share a GPU where there
            are more slots.
        num_slots: runs at a time, between which the CPU's cores are shared out.
    """

    def __init__(self, devices: Sequence[str], num_slots: int) -> None:
        self.num_slots = num_slots
        self.free = [devices[number % len(devices)] for number in range(num_slots)]
        self.threads = share_of_cores(cpu_count(), num_slots)
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


def share_of_cores(cores: int, num_slots: int) -> int:
    """CPU threads of one run; OMP_NUM_THREADS has priority if the user has set it."""
    return int(os.environ.get("OMP_NUM_THREADS") or max(1, cores // num_slots))


def train_command(job: Job, gpus: str) -> list[str]:
    return [sys.executable, str(TRAIN), "--gpus", gpus, "--cfg", *job.files, *job.pairs, "--ar", "True"]
