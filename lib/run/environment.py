"""The environment of a run, which affects its results besides the configuration: versions, hardware, command, code."""
import logging
import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from lib.dataset.decode import decoder_name

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "pillow", "turbojpeg", "yacs", "tensorboardX", "matplotlib")


def environment(hardware: str, precision: str = "float32") -> dict[str, Any]:
    """Describes the environment of this process: versions, hardware, precision, threads, command."""
    versions: dict[str, str | None] = {}
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
        "precision": precision,
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "jpeg_decoder": decoder_name(),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "versions": versions,
    }


def processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def git_state() -> tuple[dict[str, Any] | None, str]:
    """Returns the commit of the running code and its uncommitted diff. If git fails, the commit is None and the log says why."""
    try:
        if Path(git("rev-parse", "--show-toplevel").strip()).resolve() != ROOT:
            raise GitError(f"{ROOT} lies inside the repository of something else")
        diff = git("diff", "HEAD")
        return {"commit": git("rev-parse", "HEAD").strip(), "changed": bool(diff)}, diff
    except GitError as error:
        log.info("commit not recorded: %s", error)
        return None, ""


class GitError(Exception):
    """An error of git; the message gives the reason."""


def git(*words: str) -> str:
    try:
        result = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, encoding="utf-8", errors="replace",
                                check=False, timeout=30, env={**os.environ, "LC_ALL": "C"})
    except FileNotFoundError as error:
        raise GitError("git is not installed") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise GitError(str(error)) from error
    if result.returncode == 0:
        return result.stdout
    if any(words in result.stderr for words in ("dubious ownership", "unsafe repository")):
        raise GitError(f"{ROOT} belongs to another user, which git does not trust; this changes it: "
                       f"git config --global --add safe.directory {shlex.quote(str(ROOT))}")
    if "not a git repository" in result.stderr:
        raise GitError(f"{ROOT} is no clone, but a copy without its history")
    if "HEAD" in result.stderr:
        raise GitError(f"{ROOT} has no commit yet")
    raise GitError(f"git says: {result.stderr.strip()}")


def launch() -> str | None:
    """The id of the launcher of this process, which is the same after a restart; None without a launcher."""
    return os.environ.get("LAUNCH_ID")
