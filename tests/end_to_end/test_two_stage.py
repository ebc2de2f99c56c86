"""A first stage, and what goes on from it: cRT, LWS, tau-normalization, fine-tuning."""
import errno
import json
import os
import re
from pathlib import Path

import pytest
import torch

from main import train, valid

DIGITS = "configs/test/digits_lt.yaml"
STILL = ["TRAIN.OPTIMIZER.BASE_LR", "1e-12", "TRAIN.MAX_EPOCH", "1"]   # a rate at which nothing is learned


@pytest.fixture(scope="module")
def first(tmp_path_factory, tiny_in) -> Path:
    """The directory of a trained first stage."""
    folder = tmp_path_factory.mktemp("first")
    assert train.main(["--cfg", DIGITS, "--gpus", "cpu", *tiny_in(folder), "TRAIN.MAX_EPOCH", "9", "TRAIN.BATCH_SIZE", "32",
                       "TRAIN.LR_SCHEDULER.TYPE", "cosine"]) == 0
    return folder / "run"


def second(name: str, tiny: list[str], first: Path) -> list[str]:
    return ["--gpus", "cpu", *tiny, "NAME", name, "NETWORK.PRETRAINED", "True", "NETWORK.PRETRAINED_MODEL",
            str(first / "models/last.pth"), "TRAIN.MAX_EPOCH", "2", "TRAIN.SAMPLER.TYPE", "weighted sampler"]


def weights(run: Path, name: str = "last.pth") -> dict[str, torch.Tensor]:
    return torch.load(run / "models" / name)["state_dict"]


def history(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("name", "stop"), [("cRT", False), pytest.param("LWS", True, marks=pytest.mark.slow)])
def test_a_second_stage_trains_its_classifier_and_nothing_else(tmp_path, tiny, first, name, stop):
    words = second(name, tiny, first)
    assert train.main(["--cfg", DIGITS, *words, "CLASSIFIER.TYPE", name, "BACKBONE.FREEZE_BN", str(stop)]) == 0
    run = tmp_path / name
    before, after = weights(first), weights(run)
    backbone = {key for key in before if key.startswith("backbone.")}
    changed = {key for key in backbone if not torch.equal(before[key], after[key])}
    assert all(key.endswith(("running_mean", "running_var", "num_batches_tracked")) for key in changed)
    assert bool(changed) != stop
    if name == "LWS":
        assert torch.equal(before["classifier.weight"], after["classifier.fc.weight"])
        assert torch.equal(before["classifier.bias"], after["classifier.fc.bias"])
        assert (after["classifier.scales"] != 1).all()
    else:
        assert not torch.isclose(before["classifier.weight"], after["classifier.weight"]).all(dim=1).any()
    assert [entry["epoch"] for entry in history(run)] == [1, 2]

    trained = json.loads((run / "metrics.json").read_text())
    assert trained["top1"] > 0.3   # ten classes, so chance is 0.1
    assert valid.main(["--cfg", str(run / "config.yaml"), "--gpus", "cpu"]) == 0
    assert json.loads((run / "metrics.json").read_text()) | {"checkpoint": "last.pth"} == trained


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cRT", "LWS"])
def test_a_second_stage_starts_from_the_first(tmp_path, tiny, first, name):
    """LWS begins as good as the first stage, which learned something, and cRT with a classifier that knows nothing."""
    assert train.main(["--cfg", DIGITS, *second(name, tiny, first), *STILL, "CLASSIFIER.TYPE", name, "EVAL_MODE", "True"]) == 0
    (start,), accuracy = history(tmp_path / name), history(first)[-1]["valid_accuracy"]
    assert accuracy > 0.45
    if name == "LWS":
        assert start["valid_accuracy"] == accuracy
    else:
        assert start["valid_accuracy"] < accuracy - 0.15


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cRT", "LWS"])
def test_weights_of_a_trained_second_stage_are_taken_whole(tmp_path, tiny, first, name):
    """RESUME_MODEL with RESUME_MODE state_dict neither drops nor renames the classifier."""
    words = [*second(name, tiny, first), "CLASSIFIER.TYPE", name]
    assert train.main(["--cfg", DIGITS, *words, "TRAIN.MAX_EPOCH", "1"]) == 0
    again = ["NAME", "again", "RESUME_MODEL", str(tmp_path / name / "models/last.pth"), "RESUME_MODE", "state_dict", *STILL]
    assert train.main(["--cfg", DIGITS, *words, *again, "EVAL_MODE", "True"]) == 0
    trained, taken = weights(tmp_path / name), weights(tmp_path / "again")
    assert trained.keys() == taken.keys()
    for key, tensor in trained.items():
        torch.testing.assert_close(taken[key], tensor, msg=key)


@pytest.mark.parametrize("name", ["cRT", "LWS"])
def test_a_missing_first_stage_is_an_error(tmp_path, tiny, capsys, name):
    words = second(name, tiny, Path("./nowhere"))
    assert train.main(["--cfg", DIGITS, *words, "CLASSIFIER.TYPE", name]) == 2
    assert "NETWORK.PRETRAINED_MODEL: no file nowhere/models/last.pth" in capsys.readouterr().err
    assert not (tmp_path / name).exists()


@pytest.mark.slow
def test_fine_tuning_goes_on_with_the_whole_network_on_a_schedule_of_its_own(tmp_path, tiny, first):
    """As in the third stage of the bag of tricks: a small rate, steps of its own, class-balanced sampling."""
    schedule = ["TRAIN.MAX_EPOCH", "3", "TRAIN.OPTIMIZER.BASE_LR", "0.001", "TRAIN.LR_SCHEDULER.TYPE", "multistep",
                "TRAIN.LR_SCHEDULER.LR_STEP", "[2]", "TRAIN.LR_SCHEDULER.LR_FACTOR", "0.1"]
    assert train.main(["--cfg", DIGITS, *second("fine", tiny, first), *schedule]) == 0
    entries = history(tmp_path / "fine")
    assert [entry["epoch"] for entry in entries] == [1, 2, 3]
    assert [entry["rate"] for entry in entries] == pytest.approx([1e-3, 1e-4, 1e-4])
    assert entries[0]["valid_accuracy"] > history(first)[-1]["valid_accuracy"] - 0.05 > 0.4
    before, after = weights(first), weights(tmp_path / "fine")
    for key, tensor in before.items():
        assert not torch.equal(after[key], tensor), key
        if key.endswith("conv1.weight"):
            assert (after[key] - tensor).norm() < 0.1 * tensor.norm(), key


def test_tau_normalization_beside_the_plain_results(tmp_path, tiny, first, capsys):
    """tau = 0 is the plain network, to the last digit, and nothing of the plain validation is replaced."""
    model = ["TEST.MODEL_FILE", str(first / "models/last.pth"), "TEST.TAU_NORM.USE_TAU_NORM", "True"]
    words = ["--cfg", DIGITS, "--gpus", "cpu", *tiny]
    assert valid.main([*words, *model[:2]]) == 0
    run = tmp_path / "run"
    plain = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    metrics = json.loads((run / "metrics.json").read_text())
    assert "tau" not in metrics

    assert valid.main([*words, *model, "TEST.TAU_NORM.TAU", "0", "TEST.TAU_NORM.SWEEP", "[1, 0, 0.5]"]) == 0
    for path, content in plain.items():
        assert path.read_bytes() == content, path
    headline = json.loads((run / "tau_norm/tau_0.0/metrics.json").read_text())
    assert headline == metrics | {"tau": 0.0}
    sweep = json.loads((run / "tau_sweep.json").read_text())
    rows = sweep["sweep"]
    assert [row["tau"] for row in rows] == [0, 0.5, 1]
    assert rows[0] == {key: headline[key] for key in rows[0]}
    assert len({row["nll"] for row in rows}) == 3
    assert rows[2]["few"] > rows[0]["few"]   # what tau-normalization is for
    output = capsys.readouterr().out
    assert "tau-normalized with tau = 0" in output
    assert "choosing tau by these numbers is selection on the validation set" in output
    assert (run / "figures/tau_sweep.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.long
def test_two_ranks_train_the_classifier_of_one_process_with_the_doubled_batch(tmp_path, tiny, first, command):
    """Frozen parameters under DDP; BatchNorm stopped and no augmentation, so equal to float tolerance."""
    words = [*second("run", tiny, first), "CLASSIFIER.TYPE", "LWS", "BACKBONE.FREEZE_BN", "True",
             "TRANSFORMS.TRAIN_TRANSFORMS", "[]"]
    assert train.main(["--cfg", DIGITS, *words, "OUTPUT_DIR", str(tmp_path / "one"), "TRAIN.BATCH_SIZE", "64"]) == 0
    result = command("bash", "distributed_data_parallel_train.sh", DIGITS, 2, "cpu", *words[2:], "OUTPUT_DIR", tmp_path / "two",
                     "TRAIN.BATCH_SIZE", 32)
    assert result.returncode == 0, result.stdout + result.stderr
    one, two, before = weights(tmp_path / "one/run"), weights(tmp_path / "two/run"), weights(first)
    for key, tensor in one.items():
        torch.testing.assert_close(two[key], tensor, rtol=1e-3, atol=1e-5, msg=key)
        if key.startswith("backbone."):
            assert torch.equal(two[key], before[key]), key
    assert (two["classifier.scales"] != 1).all()


def test_a_report_that_cannot_be_written_is_one_message(tiny, first, monkeypatch, capsys):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("lib.report.report.write_text_atomically", fail)
    assert valid.main(["--cfg", DIGITS, "--gpus", "cpu", *tiny, "TEST.MODEL_FILE", str(first / "models/last.pth")]) == 1
    told = "".join(capsys.readouterr())
    assert re.search(r"error: cannot write to .*run \(No space left on device\); run the same command again", told)
    assert "Traceback" not in told
