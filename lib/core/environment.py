"""What a number depends on besides its configuration: versions, hardware, command, code."""
import logging
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from lib.dataset.decode import decoder_name

log = logging.getLogger(__name__)

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "pillow", "turbojpeg", "yacs", "tensorboardX", "matplotlib")


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


def launch() -> str | None:
    """What names the launcher that this process and its restarts have in common; None where there is none."""
    return os.environ.get("LAUNCH_ID")
