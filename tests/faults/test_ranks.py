"""What becomes of the other ranks when one is killed, fails, or was started with something else."""
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import CONFIG, PATIENCE, results, same

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "distributed_data_parallel_train.sh"
pytestmark = pytest.mark.slow


OWN = ("TRAIN.MAX_EPOCH", "2", "TRAIN.BATCH_SIZE", "8", "SHOW_STEP", "2")   # 35 batches of two ranks in an epoch


@pytest.fixture
def words(tiny, tmp_path):
    """A training below ``tmp_path``/name."""
    return lambda name, *more: [*tiny, "OUTPUT_DIR", str(tmp_path / name), *OWN, *more]


@pytest.fixture(scope="module")
def whole(tiny_in, tmp_path_factory) -> Path:
    """The run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert launch([*tiny_in(folder), *OWN], folder / "output.txt").end(300)[0] == 0
    return folder / "run"


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]), **more}


class Launched:
    """A script that runs, and what it has said."""

    def __init__(self, command: list[str], output: Path, **variables: str) -> None:
        self.output = output
        with output.open("w") as file:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment(**variables), stdout=file, stderr=file, text=True)

    def wait_for(self, text: str) -> None:
        self.wait_until(lambda: text in self.output.read_text())

    def wait_for_file(self, path: Path) -> None:
        self.wait_until(path.exists)

    def wait_until(self, condition: Callable[[], bool], seconds: float = 240) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < end, self.output.read_text()
            time.sleep(0.02)

    def ranks(self) -> list[int]:
        """Process numbers of the ranks, which are the launcher's children."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(child) for child in children if b"main/train.py" in Path(f"/proc/{child}/cmdline").read_bytes()]

    def end(self, seconds: float) -> tuple[int, str]:
        return self.process.wait(seconds), self.output.read_text()


def launch(words: list[str], output: Path, **variables: str) -> Launched:
    return Launched(["bash", SCRIPT, CONFIG, "2", "cpu", *words], output, **variables)


def equal(first: Path, second: Path) -> None:
    one, other = results(first), results(second)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert same(value, other[name]), name


@pytest.mark.long
def test_a_killed_rank_ends_all_and_restarted_ones_go_on_bit_for_bit(words, whole, tmp_path):
    run = launch(words("ended"), tmp_path / "ended.txt")
    run.wait_for("epoch 1/2  batch 6/")
    os.kill(run.ranks()[1], signal.SIGKILL)
    status, output = run.end(PATIENCE)
    assert status == 1
    assert "error: rank 1" in output
    assert "was ended by SIGKILL; --ar True resumes" in output
    assert "lost contact with another rank" in output
    assert "Traceback" not in output

    often = ("TRAIN.CHECKPOINT_MINUTES", "0.001", "--overwrite")   # 60 ms, some batches
    run = launch(words("restarted", *often), tmp_path / "restarted.txt", MAX_RESTARTS="2")
    for place in ("epoch 1/2  batch 6/", "epoch 2/2  batch 10/"):
        run.wait_for(place)
        run.wait_for_file(tmp_path / "restarted/run/models/mid_epoch.pth")
        os.kill(run.ranks()[0], signal.SIGKILL)
    status, output = run.end(300)
    assert status == 0, output
    assert "restarted by the launcher, restart number 2" in output
    assert re.search(r"resuming with epoch 1, batch \d+", output)
    one, other = results(whole), results(tmp_path / "restarted/run")
    for name, value in one.items():
        key = "TRAIN.CHECKPOINT_MINUTES"
        for state in (value, other[name]):
            if name.endswith(".pth"):
                del state["config"][key]
        assert same(value, other[name]), name


@pytest.mark.parametrize(("number", "status"), [
    (signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.long)])
def test_a_signal_stops_all_ranks_at_one_batch_and_they_go_on_bit_for_bit(words, whole, tmp_path, number, status):
    """SIGTERM to one rank only; Ctrl-C to the launcher, which passes it on."""
    run = launch(words("parts"), tmp_path / "parts.txt")
    run.wait_for("epoch 2/2  batch 6/")
    os.kill(run.ranks()[1] if number == signal.SIGTERM else run.process.pid, number)
    ended, output = run.end(PATIENCE)
    assert ended == status, output
    assert "Traceback" not in output
    command = shlex.split(re.search(r"Resume with:\n\s+(.*)", output).group(1))
    assert command[1] == SCRIPT
    ended, output = Launched(command, tmp_path / "resumed.txt").end(300)
    assert ended == 0, output
    assert re.search(r"resuming with epoch 2, batch \d+", output)
    equal(whole, tmp_path / "parts/run")


@pytest.mark.long
def test_another_number_of_ranks_begins_the_epoch_again(words, tmp_path):
    run = launch(words("run"), tmp_path / "two.txt")
    run.wait_for("epoch 2/2  batch 6/")
    os.kill(run.process.pid, signal.SIGTERM)
    assert run.end(PATIENCE)[0] == 143
    command = [sys.executable, "main/train.py", "--cfg", CONFIG, "--gpus", "cpu", *words("run", "TRAIN.BATCH_SIZE", "16"), "--ar"]
    status, output = Launched(command, tmp_path / "one.txt").end(300)
    assert status == 0, output
    assert "mid_epoch.pth is from the middle of epoch 2 with 2 processes; with 1 here" in output
    assert "changed since the checkpoint: there were 2 processes, there are now 1" in output
    assert "resuming with epoch 2\n" in output
    assert [entry["epoch"] for entry in results(tmp_path / "run/run")["history"]] == [1, 2]


def started_apart(commands: list[list[str]], tmp_path: Path) -> list[tuple[int, str]]:
    """Ranks without a launcher, each with a command of its own; their statuses and outputs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    meeting = {"WORLD_SIZE": str(len(commands)), "LOCAL_WORLD_SIZE": str(len(commands)), "MASTER_ADDR": "127.0.0.1",
               "MASTER_PORT": str(port)}
    running = [Launched(command, tmp_path / f"rank_{rank}.txt", RANK=str(rank), LOCAL_RANK=str(rank), **meeting)
               for rank, command in enumerate(commands)]
    return [process.end(2 * PATIENCE) for process in running]   # loading takes a part of it


def training(words: list[str], config: str = CONFIG) -> list[str]:
    return [sys.executable, "main/train.py", "--cfg", config, "--gpus", "cpu", *words]


def test_unequal_configurations_are_refused_by_all(words, tmp_path):
    more = ("TRAIN.OPTIMIZER.BASE_LR", "0.5", "TRAIN.NUM_WORKERS", "1")
    (first, told), (second, other) = started_apart([training(words("run")), training(words("run", *more))], tmp_path)
    assert (first, second) == (2, 2)
    assert "ranks 0 and 1 have different configurations: TRAIN.OPTIMIZER.BASE_LR is 0.05 and 0.5; start all" in told
    assert "error" not in other   # once is enough
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_one_rank_without_the_data_is_told_for_all(words, tmp_path):
    fashion = ("DATASET.DATASET", "IMBALANCEFASHIONMNIST", "DATASET.ROOT")
    data = tmp_path / "data"
    data.mkdir()
    for part, count in (("train", 100), ("t10k", 100)):
        (data / f"{part}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + bytes([0, 0, 0, count, 0, 0, 0, 28, 0, 0, 0, 28])
                                                          + bytes(count * 784))
        (data / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + bytes([0, 0, 0, count])
                                                          + bytes(number % 10 for number in range(count)))
    commands = [training(words("run", *fashion, str(root))) for root in (data, tmp_path / "nowhere")]
    (first, told), (second, _) = started_apart(commands, tmp_path)
    assert (first, second) == (2, 2)
    assert "rank 1: DATASET.ROOT" in told
    assert "nowhere" in told


@pytest.mark.long
def test_a_rank_that_raises_ends_the_others(words, tmp_path):
    broken = ("import sys; sys.path.insert(0, '.'); from lib.engine import totals; from main import train\n"
              "add = totals.Sums.add\n"
              "def fail(self, *rest):\n    add(self, *rest); self.batches == 5 and 1 / 0\n"
              "totals.Sums.add = fail; sys.exit(train.main(sys.argv[1:]))")
    commands = [training(words("run")), [sys.executable, "-c", broken, *training(words("run"))[2:]]]
    (first, told), (second, traceback) = started_apart(commands, tmp_path)
    assert (first, second) == (1, 1)
    assert "error: lost contact with another rank" in told
    assert "ZeroDivisionError" in traceback


def test_a_taken_port_is_one_message(words, tmp_path):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, output = launch(words("run"), tmp_path / "out.txt", PORT=port).end(PATIENCE)
    assert status == 2
    assert f"PORT {port}" in output
    assert "Traceback" not in output
