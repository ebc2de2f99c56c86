"""Lists of real trainings: two recipes with two seeds, interruption, resuming, a Ray on this machine."""
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lib.utils.errors import InputError
from tools.run_gallery import main
from tools.runs.processes import check_idle

DIGITS, ROOT = "configs/test/digits_lt.yaml", Path(__file__).resolve().parents[2]
EPOCHS = 30      # enough to be interrupted twice
PATIENCE = 150   # seconds, on a busy machine
pytestmark = pytest.mark.slow


@pytest.fixture
def recipes(tmp_path):
    """A recipe, the same with another loss, and one whose loss is not finite after some steps."""
    for name, content in (("plain", {}), ("bsce", {"LOSS": {"LOSS_TYPE": "BalancedSoftmaxCE"}}),
                          ("broken", {"TRAIN": {"OPTIMIZER": {"BASE_LR": 1e30}}})):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"_BASE_": str(ROOT / DIGITS), "NAME": name, **content}))
    return lambda *names: [str(tmp_path / f"{name}.yaml") for name in names]


@pytest.fixture
def words(tiny, tmp_path):
    """KEY VALUE pairs of a training of seconds; the name stays each recipe's own."""
    pairs = dict(zip(tiny[::2], tiny[1::2]))
    del pairs["NAME"]
    pairs |= {"TRAIN.MAX_EPOCH": "1", "OUTPUT_DIR": str(tmp_path / "runs")}
    return lambda **more: [word for pair in (pairs | {"TRAIN.MAX_EPOCH": str(more.get("epochs", 1))}).items() for word in pair]


def history(run: Path) -> list[dict]:
    file = run / "history.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.long
def test_two_recipes_two_seeds_and_a_failure_among_them(recipes, words, tmp_path, capsys):
    runs, measured = tmp_path / "runs", tmp_path / "measured.yaml"
    argv = ["--configs", *recipes("plain", "broken", "bsce"), "--seeds", "0", "1", "--jobs", "2", "--gpus", "cpu",
            "--append", str(measured), "--title", "A", "--title", "B", "--title", "C", *words()]
    assert main(argv) == 1
    shown = capsys.readouterr().out
    for seed in (0, 1):
        assert f"failed: broken_seed{seed} (exit status 1: " in shown
        assert "loss is not finite" in (runs / f"broken_seed{seed}/output.log").read_text()
    rows = {row["recipe"]: row for row in json.loads((runs / "results.json").read_text())["rows"]}
    assert rows["broken"]["unfinished_seeds"] == [0, 1]
    for name in ("plain", "bsce"):
        last = [history(runs / f"{name}_seed{seed}")[-1] for seed in (0, 1)]
        assert rows[name]["error"] == pytest.approx([100 * (1 - entry["valid_accuracy"]) for entry in last], abs=1e-4)
        assert (rows[name]["seeds"], rows[name]["epochs"]) == ([0, 1], 1)
    assert [entry["trick"] for entry in yaml.safe_load(measured.read_text())] == ["A", "C"]
    losses = [history(runs / name)[-1]["train_loss"] for name in ("plain_seed0", "plain_seed1", "bsce_seed0")]
    assert len({*losses}) == 3   # the seed and the loss are those of the list
    # once more: nothing is left to do but what failed
    logs = {path: path.stat().st_mtime_ns for path in runs.glob("*/log.txt")}
    assert main(["--configs", *recipes("plain", "bsce"), "--seeds", "0", "1", "--gpus", "cpu", *words()]) == 0
    assert {path: path.stat().st_mtime_ns for path in runs.glob("*/log.txt")} == logs


def start(argv: list[str]) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "tools/run_gallery.py", *argv], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_it_goes_on_after_an_interruption_and_after_a_kill(recipes, words, tmp_path, capsys):
    run = tmp_path / "runs/plain_seed0"
    argv = ["--configs", *recipes("plain"), "--seeds", "0", "--gpus", "cpu", *words(epochs=EPOCHS)]
    queue = start(argv)
    wait_until(lambda: len(history(run)) > 0)
    queue.send_signal(signal.SIGINT)
    shown, _ = queue.communicate(timeout=PATIENCE)
    assert queue.returncode == 130
    assert "Resume with:\n    python tools/run_gallery.py --configs" in shown
    assert "stopped by SIGINT" in (run / "output.log").read_text()
    before = history(run)
    assert len(before) < EPOCHS
    # killed: the training outlives the queue, and is not started a second time
    queue = start(argv)
    wait_until(lambda: len(history(run)) > len(before))
    queue.kill()
    queue.communicate()
    assert main(argv) == 2
    assert "still being trained" in capsys.readouterr().err
    process = next(int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if str(run.parent) in read(path))
    os.kill(process, signal.SIGKILL)
    wait_until(lambda: not is_locked(run / "output.log"))
    assert main(argv) == 0
    after = history(run)
    assert [entry["epoch"] for entry in after] == list(range(1, EPOCHS + 1))
    assert after[:len(before)] == before


def is_locked(output: Path) -> bool:
    try:
        check_idle([output])
    except InputError:
        return True
    return False


def read(path: Path) -> str:
    """A process's command; empty once it has ended."""
    try:
        return path.read_text()
    except OSError:
        return ""


@pytest.mark.long
def test_a_ray_on_this_machine_runs_the_same_list(recipes, words, tmp_path, capfd):
    argv = ["--configs", *recipes("plain", "broken"), "--seeds", "0", "--jobs", "2", "--gpus", "cpu", "--engine", "ray", *words()]
    assert main(argv) == 1
    shown = capfd.readouterr().out
    assert "plain_seed0: started on Ray" in shown
    assert "failed: broken_seed0 (exit status 1: " in shown
    assert len(history(tmp_path / "runs/plain_seed0")) == 1


@pytest.mark.long
def test_an_interrupted_ray_leaves_no_process(recipes, words, tmp_path):
    run = tmp_path / "runs/plain_seed0"
    queue = start(["--configs", *recipes("plain"), "--seeds", "0", "--gpus", "cpu", "--engine", "ray", *words(epochs=500)])
    wait_until(lambda: len(history(run)) > 0)
    queue.send_signal(signal.SIGINT)
    queue.communicate(timeout=PATIENCE)
    assert queue.returncode == 130
    assert "stopped by SIGINT" in (run / "output.log").read_text()
    assert not any(str(run.parent) in read(path) for path in Path("/proc").glob("[0-9]*/cmdline"))
