"""A chain through its script: interrupted, resumed, finished."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
EPOCHS = 12


@pytest.fixture
def pairs(tiny) -> list[str]:
    return [word for pair in zip(tiny[::2], tiny[1::2]) if pair[0] not in ("NAME", "OUTPUT_DIR") for word in pair]


def history(run: Path) -> list[dict]:
    file = run / "history.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.long
def test_ctrl_c_and_the_same_command_again(tmp_path, root, pairs, command):
    """The first stage goes on after its last finished epoch, the second begins with its weights; a third call does nothing."""
    words = [sys.executable, "tools/run_chain.py", "--chain", "configs/chains/crt.yaml", "--cfg", "configs/test/digits_lt.yaml",
             "--gpus", "cpu", *pairs, "TRAIN.MAX_EPOCH", str(EPOCHS), "OUTPUT_DIR", str(tmp_path), "NAME", "mine"]
    first, second = tmp_path / "mine/digits_lt", tmp_path / "mine/digits_lt_crt"
    process = subprocess.Popen(words, cwd=root, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               start_new_session=True)
    deadline = time.monotonic() + 120
    while not history(first) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)   # the script and its stage, as a terminal does
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "the same command resumes" in output
    assert 1 <= len(history(first)) < EPOCHS

    result = command(*words)
    assert result.returncode == 0, result.stdout + result.stderr
    assert [entry["epoch"] for entry in history(first)] == list(range(1, EPOCHS + 1))
    assert len(history(second)) == EPOCHS
    assert f"{first}/models/last.pth" in result.stdout

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pth")}
    again = command(*words)
    assert again.returncode == 0
    assert again.stdout.count("finished before") == 2
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pth")} == before


def test_a_stage_that_fails_passes_on_its_message_and_status(tmp_path, pairs, command):
    result = command("python", "tools/run_chain.py", "--chain", "configs/test/digits_lt.yaml", "configs/tricks/crt.yaml",
                     "--gpus", "cpu", *pairs, "TRAIN.MAX_EPOCH", 1, "OUTPUT_DIR", tmp_path)   # the second continues "default"
    assert result.returncode == 2, result.stdout
    assert "NETWORK.PRETRAINED_MODEL" in result.stderr
    assert "stage 2 of 2" in result.stdout
    assert "ended with exit status 2" in result.stdout
