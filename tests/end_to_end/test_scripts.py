"""The shell scripts on real digits: train, validate, refuse, resume, two ranks."""
import csv
import json
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

DIGITS = "configs/test/digits_lt.yaml"
pytestmark = pytest.mark.slow


def fails(result, *parts: str) -> None:
    """Asserts that a command ended as a mistake in the input: one message, status 2."""
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr + result.stdout
    for part in parts:
        assert part in result.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory, command):
    """A finished run of two epochs through the script; tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("trained")
    result = command("bash", "data_parallel_train.sh", DIGITS, "cpu", "OUTPUT_DIR", folder, "NAME", "run",
                     "TRAIN.MAX_EPOCH", 2, "INPUT_SIZE", "[8, 8]", "SAVE_STEP", 1)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "run", result


@pytest.fixture
def copied(trained, tmp_path):
    """The finished run in a folder of its own, and the overrides that find it there."""
    shutil.copytree(trained[0], tmp_path / "run")
    return tmp_path / "run", ["OUTPUT_DIR", tmp_path, "NAME", "run", "TRAIN.MAX_EPOCH", 2, "INPUT_SIZE", "[8, 8]"]


def test_the_run_directory_tells_everything(trained):
    run, result = trained
    for name in ("config.yaml", "environment.json", "log.txt", "history.jsonl", "indices.json", "metrics.json",
                 "per_class.csv", "models/last.pth", "models/best_model.pth", "models/epoch_1.pth", "models/epoch_2.pth",
                 "figures/confusion_matrix.png", "figures/training_curves.png", "figures/class_counts.png",
                 "figures/recall_by_class.png"):
        assert (run / name).stat().st_size > 0, name
    assert any((run / "tensorboard").iterdir())
    session, = json.loads((run / "environment.json").read_text())
    assert session["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    for part in ("Top1:", "Many:", "confusion_matrix.png", "python main/valid.py", "bash data_parallel_train.sh"):
        assert part in result.stdout


def test_history_is_complete_and_agrees_with_the_metrics(trained):
    run, _ = trained
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in history] == [1, 2]
    metrics = json.loads((run / "metrics.json").read_text())
    assert history[-1]["valid_accuracy"] == metrics["top1"]
    assert 0 < history[-1]["train_accuracy"] <= 1
    assert len(history[-1]["recall"]) == 10


def test_validation_repeats_the_last_epoch(copied, command):
    run, overrides = copied
    before = json.loads((run / "metrics.json").read_text())
    for name in ("metrics.json", "per_class.csv", "figures/confusion_matrix.png"):
        (run / name).unlink()
    result = command("python", "main/valid.py", "--cfg", DIGITS, "--gpus", "cpu", *overrides)
    assert result.returncode == 0, result.stderr
    assert f"Top1: {100 * before['top1']:.2f}%" in result.stdout
    after = json.loads((run / "metrics.json").read_text())
    assert {k: v for k, v in after.items() if k != "checkpoint"} == {k: v for k, v in before.items() if k != "checkpoint"}
    assert (run / "figures/confusion_matrix.png").exists()
    assert len(list(csv.DictReader((run / "per_class.csv").open()))) == 10


def test_a_run_is_never_overwritten_unasked(copied, command):
    run, overrides = copied

    def files() -> dict:
        return {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}

    before = files()
    fails(command("bash", "data_parallel_train.sh", DIGITS, "cpu", *overrides), str(run), "--ar True", "--overwrite")
    assert files() == before


def test_overwrite_replaces_the_run_and_spares_other_files(copied, command):
    run, overrides = copied
    (run / "notes.txt").write_text("mine")
    old = torch.load(run / "models/last.pth")
    result = command("bash", "data_parallel_train.sh", DIGITS, "cpu", *overrides, "SEED", 1, "TRAIN.MAX_EPOCH", 1, "--overwrite")
    assert result.returncode == 0, result.stderr
    new = torch.load(run / "models/last.pth")
    assert not torch.equal(old["state_dict"]["classifier.weight"], new["state_dict"]["classifier.weight"])
    assert not (run / "models/epoch_2.pth").exists()
    assert (run / "notes.txt").read_text() == "mine"


def test_a_finished_run_reports_again(copied, command):
    run, overrides = copied
    weights = (run / "models/last.pth").read_bytes()
    result = command("bash", "data_parallel_train.sh", DIGITS, "cpu", *overrides, "--ar", "True")
    assert result.returncode == 0, result.stderr
    assert "Top1:" in result.stdout
    assert (run / "models/last.pth").read_bytes() == weights


def test_a_cut_off_checkpoint_is_named(copied, command):
    """Validation refuses it; auto resume goes on from the newest good one, and from none at all if there is none."""
    run, overrides = copied
    resume = ("bash", "data_parallel_train.sh", DIGITS, "cpu", *overrides, "--ar", "True")
    last = run / "models/last.pth"
    last.write_bytes(last.read_bytes()[:1000])
    fails(command("python", "main/valid.py", "--cfg", DIGITS, "--gpus", "cpu", *overrides), "TEST.MODEL_FILE", "last.pth")
    result = command(*resume)
    assert result.returncode == 0, result.stderr
    assert f"{last} cannot be read as a checkpoint" in result.stdout
    assert "resuming with" in result.stdout
    for path in (run / "models").glob("*.pth"):
        path.write_bytes(path.read_bytes()[:1000])
    fails(command(*resume), "last.pth", "cannot be read")


def test_validation_without_a_checkpoint(tmp_path, command):
    result = command("python", "main/valid.py", "--cfg", DIGITS, "--gpus", "cpu", "OUTPUT_DIR", tmp_path)
    fails(result, "TEST.MODEL_FILE", "last.pth")


def test_bad_yaml_names_file_and_keys(tmp_path, command):
    bad = tmp_path / "bad.yaml"
    bad.write_text("LOSS:\n  LOSS_TYPE: LDAM\nTRAIN:\n  BATCHSIZE: 3\n")
    fails(command("bash", "data_parallel_train.sh", bad, "cpu"), "bad.yaml", "TRAIN.BATCHSIZE", "BATCH_SIZE", "LDAMLoss")


def test_missing_data_names_the_folder(tmp_path, command):
    result = command("bash", "data_parallel_train.sh", "configs/cao_cifar/baseline/cifar10_im100.yaml", "cpu",
                     "OUTPUT_DIR", tmp_path, "DATASET.ROOT", tmp_path / "nowhere")
    fails(result, "DATASET.ROOT", "nowhere")
    assert not (tmp_path / "baseline").exists()


def test_usage_of_the_scripts(command):
    fails(command("bash", "data_parallel_train.sh"), "usage")
    fails(command("bash", "distributed_data_parallel_train.sh", DIGITS, "cpu", "2"), "usage")


def test_show_prints_the_tree_and_stops(tmp_path, command):
    result = command("bash", "data_parallel_train.sh", DIGITS, "cpu", "OUTPUT_DIR", tmp_path / "none", "--show")
    assert result.returncode == 0, result.stderr
    assert "LOSS_TYPE: CrossEntropy" in result.stdout
    assert not (tmp_path / "none").exists()


def distributed(command, folder, *words):
    return command("bash", "distributed_data_parallel_train.sh", DIGITS, 2, "cpu", "OUTPUT_DIR", folder, "NAME", "run",
                   "INPUT_SIZE", "[8, 8]", "TRAIN.BATCH_SIZE", 32, *words)


@pytest.mark.long
def test_two_ranks_train_and_resume(tmp_path, command):
    """Two epochs, then two more, are bit for bit the four epochs of a run that was never stopped."""
    for folder, parts in ((tmp_path / "whole", [4]), (tmp_path / "parts", [2, 4])):
        for epochs in parts:
            result = distributed(command, folder, "TRAIN.MAX_EPOCH", epochs, "--ar", "True")
            assert result.returncode == 0, result.stdout + result.stderr
    whole, parts = (torch.load(tmp_path / name / "run/models/last.pth") for name in ("whole", "parts"))
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(tensor, parts["state_dict"][name]), name
    history = (tmp_path / "parts/run/history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in history] == [1, 2, 3, 4]


@pytest.mark.long
def test_two_nodes_of_one_process_each(tmp_path, command):
    """Both on this machine; each gets its place by environment variables, as on a cluster."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def node(rank: int):
        variables = [f"{name}={value}" for name, value in (("NNODES", 2), ("NODE_RANK", rank), ("PORT", port))]
        return command("env", *variables, "bash", "distributed_data_parallel_train.sh", DIGITS, 1, "cpu", "OUTPUT_DIR", tmp_path,
                       "NAME", "run", "INPUT_SIZE", "[8, 8]", "TRAIN.MAX_EPOCH", 1)

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(node, (0, 1)))
    assert [result.returncode for result in results] == [0, 0], results[0].stderr + results[1].stderr
    assert "2 processes (DDP)" in results[0].stdout
    assert "Top1" not in results[1].stdout   # one report
    assert (tmp_path / "run/models/last.pth").exists()


def test_a_mistake_under_two_ranks_is_one_message(tmp_path, command):
    result = distributed(command, tmp_path, "DATASET.DATASET", "IMBALANCECIFAR10", "DATASET.ROOT", tmp_path / "nowhere")
    fails(result, "nowhere")
    assert result.stderr.count("error:") == 1
