"""The files of one run: OUTPUT_DIR/NAME/{config.yaml, environment.json, log.txt, history.jsonl, models/, figures/, …}."""
import json
import logging
import platform
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from tensorboardX import SummaryWriter
from torch import Tensor

from lib.core import checkpoint
from lib.dataset.decode import decoder_name
from lib.utils.errors import InputError
from lib.utils.files import write_text_atomically
from lib.utils.log import log_to_file

log = logging.getLogger(__name__)

LAST, BEST = "last.pth", "best_model.pth"
PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "pillow", "turbojpeg", "yacs", "tensorboardX", "matplotlib")
OWN = ("config.yaml", "environment.json", "uncommitted.diff", "log.txt", "history.jsonl", "indices.json", "metrics.json",
       "per_class.csv", "tau_norm", "tau_sweep.json", "tensorboard", "models", "figures")
SCALARS = ("rate", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "many", "medium", "few")


class Run:
    """Everything of a run that is on disk; only rank 0 has one.

    Args:
        directory: OUTPUT_DIR/NAME.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.models, self.figures = directory / "models", directory / "figures"
        self.history_file = directory / "history.jsonl"
        self.board: SummaryWriter | None = None

    def holds_a_run(self) -> bool:
        """Whether something would be lost: a history or checkpoints. A start that failed before them is no run."""
        return bool(self.history()) or any(self.models.glob("*.pth"))

    def check_free(self) -> None:
        """Raises InputError if this directory already holds a run, or is no directory."""
        if self.directory.exists() and not self.directory.is_dir():
            raise InputError(f"OUTPUT_DIR/NAME: {self.directory} is a file; choose another NAME")
        if self.holds_a_run():
            raise InputError(f"{self.directory} already holds a run; go on with it by --ar True, "
                             "replace it by --overwrite, or choose another NAME")

    def clear(self) -> None:
        """Deletes what a run wrote, and nothing else that lies in the directory."""
        for name in OWN:
            path = self.directory / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def open(self, config: str, first_epoch: int, hardware: str, tensorboard: bool) -> None:
        """Makes the folders, writes config and environment, drops history from ``first_epoch`` on."""
        try:
            self.models.mkdir(parents=True, exist_ok=True)
            self.figures.mkdir(exist_ok=True)
            log_to_file(self.directory / "log.txt")
        except OSError as error:
            raise InputError(f"OUTPUT_DIR/NAME: cannot write to {self.directory} ({error.strerror})") from error
        write_text_atomically(self.directory / "config.yaml", config)
        self._record_environment(hardware, first_epoch)
        kept = [entry for entry in self.history() if entry["epoch"] < first_epoch]
        write_text_atomically(self.history_file, "".join(json.dumps(entry) + "\n" for entry in kept))
        if tensorboard:
            self.board = SummaryWriter(str(self.directory / "tensorboard"), purge_step=first_epoch)

    def _record_environment(self, hardware: str, first_epoch: int) -> None:
        """environment.json has one entry per start, so that a resumed run tells all machines it was on."""
        path = self.directory / "environment.json"
        sessions = parse_json(path.read_text(encoding="utf-8"), path) if path.exists() else []
        git, diff = git_state()
        sessions.append(environment(hardware) | {"first_epoch": first_epoch, "git": git})
        write_text_atomically(path, json.dumps(sessions, indent=2) + "\n")
        if diff:
            write_text_atomically(self.directory / "uncommitted.diff", diff)

    def record_indices(self, indices: Tensor | None) -> None:
        """Which images of the source set this long-tailed subset consists of, in its order."""
        if indices is not None:
            write_text_atomically(self.directory / "indices.json", json.dumps(indices.tolist()) + "\n")

    def history(self) -> list[dict[str, Any]]:
        if not self.history_file.exists():
            return []
        lines = self.history_file.read_text(encoding="utf-8").splitlines(keepends=True)
        return [parse_json(line, self.history_file) for line in lines if line.endswith("\n")]   # a torn line never counted

    def record(self, entry: dict[str, Any]) -> None:
        """Appends one epoch to history.jsonl and to TensorBoard."""
        with self.history_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        if self.board is not None:
            for name in SCALARS:
                if name in entry:
                    self.board.add_scalar(name, entry[name], entry["epoch"])
            self.board.flush()

    def save(self, state: dict[str, Any], is_best: bool, every: int) -> None:
        """last.pth always, best_model.pth where it is the best, epoch_N.pth every ``every`` epochs."""
        names = [BEST] * is_best + [f"epoch_{state['epoch']}.pth"] * (state["epoch"] % every == 0) + [LAST]
        checkpoint.save(state, [self.models / name for name in names])   # last comes last: it decides where to go on

    def find_model(self, name: str) -> Path:
        """A bare file name is in models/; with a "/" it is a path of its own."""
        return Path(name) if "/" in name else self.models / name

    def close(self) -> None:
        if self.board is not None:
            self.board.close()


def parse_json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); mend it, or begin anew by --overwrite") from error


def environment(hardware: str) -> dict[str, Any]:
    """What a number depends on besides the config: versions, hardware, threads, command."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "hardware": hardware,
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "jpeg_decoder": decoder_name(),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "versions": versions,
    }


def processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def git_state() -> tuple[dict[str, Any] | None, str]:
    """Commit and changes of the code that runs; None where it is no git checkout."""
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=30).stdout

    try:
        if Path(git("rev-parse", "--show-toplevel").strip()).resolve() != root:
            return None, ""   # unpacked inside somebody else's repository
        diff = git("diff", "HEAD")
        return {"commit": git("rev-parse", "HEAD").strip(), "changed": bool(diff)}, diff
    except (OSError, subprocess.SubprocessError) as error:
        log.info("git state not recorded: %s", error)
        return None, ""
