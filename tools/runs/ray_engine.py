"""Runs on a Ray cluster whose machines share a file system: the same processes, started where Ray finds room.

Moritz et al., Ray: A Distributed Framework for Emerging AI Applications, OSDI 2018, arXiv:1712.05889. An optional dependency.
"""
import importlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from lib.utils.errors import InputError
from tools.runs.jobs import Job
from tools.runs.local import train_command
from tools.runs.processes import GRACE, run_to_end
from tools.runs.queue import Ended

ROOT = Path(__file__).resolve().parents[2]
SHARES = 10_000   # Ray counts parts of a GPU in ten-thousandths


class RayEngine:
    """Runs the list on a Ray cluster.

    Args:
        address: of a running cluster ("auto" finds the one of this machine); None starts a Ray on this machine alone.
        gpus: "cpu", or "auto" for all GPUs of the cluster.
        num_slots: runs at a time, between which GPUs and CPU cores are shared out.

    Raises:
        InputError: Ray is not installed, or there is no cluster at ``address``.
    """

    def __init__(self, address: str | None, gpus: str, num_slots: int) -> None:
        if gpus not in ("cpu", "auto"):
            raise InputError(f"--gpus: Ray assigns the GPUs itself, so it must be 'auto' (all) or 'cpu' (none), got {gpus!r}")
        self.num_slots = num_slots
        self.ray = import_ray()
        connect(self.ray, address)
        resources = self.ray.cluster_resources()
        largest = max(node["Resources"].get("CPU", 0) for node in self.ray.nodes() if node["Alive"])
        self.threads = max(1, int(min(resources["CPU"] // num_slots, largest)))
        self.gpu_share = gpu_share(int(resources.get("GPU", 0)) if gpus == "auto" else 0, num_slots)
        self.gpus = "auto" if self.gpu_share else "cpu"   # "auto": those that Ray makes visible
        self.task = self.ray.remote(run_to_end).options(num_cpus=self.threads, num_gpus=self.gpu_share, max_retries=0)
        self.running: dict[object, Job] = {}

    def start(self, job: Job) -> str:
        command = train_command(job, self.gpus)
        reference = self.task.remote(command, os.path.abspath(job.output), self.threads, os.getcwd())
        self.running[reference] = job
        return "Ray"

    def ended(self) -> Iterator[Ended]:
        done, _ = self.ray.wait(list(self.running), num_returns=len(self.running), timeout=0) if self.running else ([], [])
        for reference in done:
            yield Ended(self.running.pop(reference), self.result(reference))

    def result(self, reference: object) -> str:
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayError as error:   # the machine or its worker is gone
            return str(error).strip().split("\n")[0]

    def stop(self) -> None:
        for reference in self.running:
            self.ray.cancel(reference)
        if self.running:
            self.ray.wait(list(self.running), num_returns=len(self.running), timeout=3 * GRACE)
        self.ray.shutdown()


def import_ray() -> ModuleType:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise InputError(f"--engine ray: Ray is not installed ({error}); pip install -r tools/requirements-ray.txt") from error


def connect(ray: ModuleType, address: str | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")   # a training reports to nobody unless it is told to
    own = {"include_dashboard": False} if address is None else {}
    try:
        knock(address)
        ray.init(address=address or "local", runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}}, log_to_driver=False,
                 logging_level="ERROR", **own)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"--address: no Ray at {address} ({str(error).strip().splitlines()[0]}); "
                         "'ray start --head' starts one; without --address, one is started for this command") from error


def knock(address: str | None) -> None:
    """Raises OSError where nobody listens at HOST:PORT, for which Ray itself would wait for minutes."""
    host, colon, port = (address or "").rpartition(":")
    if colon and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def gpu_share(num_gpus: int, num_slots: int) -> float:
    """Part of a GPU for each run, rounded down to what Ray counts in; a whole one where there are enough."""
    return min(1.0, num_gpus * SHARES // num_slots / SHARES)
