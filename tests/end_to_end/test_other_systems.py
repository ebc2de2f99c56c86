"""macOS and Windows, as far as Linux can tell: everything imports without what they lack, and trains to the same numbers."""
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from main import train

DIGITS = "configs/test/digits_lt.yaml"
SCRIPT = Path(__file__).with_name("other_system.py")


@pytest.mark.long
@pytest.mark.parametrize("system", ["macos", "windows"])
def test_it_trains_there_to_the_same_numbers(system, tiny, tmp_path, root, no_figures):
    words = ["--cfg", DIGITS, "--gpus", "cpu", *tiny, "TRAIN.MAX_EPOCH", "1", "DATASET.IN_MEMORY", "never",
             "TRAIN.NUM_WORKERS", "1"]
    there, here = ([*words, "OUTPUT_DIR", str(tmp_path / place)] for place in ("there", "here"))
    with subprocess.Popen([sys.executable, str(SCRIPT), system, *there], cwd=root, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as process:
        lock = tmp_path / "there/run/.lock"
        while process.poll() is None and not (lock.exists() and lock.read_text()):
            time.sleep(0.02)
        if system == "macos":   # the same locks as here, so that this process sees them
            assert train.main(there) == 2
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert train.main(here) == 0
    entries = [json.loads((tmp_path / place / "run/history.jsonl").read_text()) for place in ("there", "here")]
    for entry in entries:
        del entry["seconds"], entry["images_per_second"]
    assert entries[0] == entries[1]
    session, = json.loads((tmp_path / "there/run/environment.json").read_text())
    assert session["threads"] == int(os.environ["OMP_NUM_THREADS"])


def test_nothing_asks_an_operating_system_but_what_is_meant_to(root):
    """What is not everywhere is used in one place, or behind a look whether it is there."""
    scattered = ("import fcntl", "import msvcrt", "import resource\n", "sched_getaffinity(", "os.fork(", "os.getuid(",
                 "os.killpg(", "send_signal(")
    allowed = {root / "lib/utils/system.py", root / "tools/measure/jpeg_readers.py"}
    for path in (path for room in ("lib", "main", "tools") for path in (root / room).rglob("*.py")):
        found = [word for word in scattered if word in path.read_text(encoding="utf-8")]
        assert not found or path in allowed, (path, found)
