"""A run that was stopped and resumed is, bit for bit, the run that never was."""
import json
import re
import shutil
from itertools import product

import pytest
import torch

from lib.device.precision import Precision
from lib.run.run import Run
from main import train, valid

pytestmark = pytest.mark.usefixtures("no_figures")
DIGITS = "configs/test/digits_lt.yaml"
FAMILIES = {
    "plain": [],
    "adam and cosine": ["TRAIN.OPTIMIZER.TYPE", "ADAM", "TRAIN.OPTIMIZER.BASE_LR", "1e-3", "TRAIN.LR_SCHEDULER.TYPE", "cosine"],
    "mix_up": ["TRAIN.COMBINER.TYPE", "mix_up"],
    "bfloat16": ["TRAIN.AMP_DTYPE", "bfloat16"],
    "DRS": ["TRAIN.SAMPLER.TYPE", "weighted sampler", "TRAIN.TWO_STAGE.DRS", "True", "TRAIN.TWO_STAGE.START_EPOCH", "2"],
    "DRW-LDAM": ["LOSS.LOSS_TYPE", "LDAMLoss", "CLASSIFIER.TYPE", "FCNorm", "TRAIN.TWO_STAGE.DRW", "True",
                 "TRAIN.TWO_STAGE.START_EPOCH", "2"],
    "bbn_mix": ["TRAIN.SAMPLER.TYPE", "bbn sampler", "TRAIN.COMBINER.TYPE", "bbn_mix", "TRAIN.BATCH_SIZE", "32"],
    "files": ["DATASET.IN_MEMORY", "never"],
    "cRT": ["CLASSIFIER.TYPE", "cRT", "TRAIN.SAMPLER.TYPE", "weighted sampler"],
    "LWS": ["CLASSIFIER.TYPE", "LWS", "BACKBONE.FREEZE_BN", "True"],
}
SECOND_STAGES = ("cRT", "LWS")
SHORT = [("plain", "save"), ("bfloat16", "save")]


def run(tmp_path, name: str, words: list[str], epochs: int = 4) -> int:
    return train.main(["--cfg", DIGITS, "--gpus", "cpu", *words, "OUTPUT_DIR", str(tmp_path / name),
                       "TRAIN.MAX_EPOCH", str(epochs)])


def results(tmp_path, name: str) -> tuple[dict, list[dict]]:
    folder = tmp_path / name / "run"
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return torch.load(folder / "models/last.pth"), [
        {key: value for key, value in entry.items() if key not in ("seconds", "images_per_second")} for entry in history]


def same(first, second) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first if key != "OUTPUT_DIR")
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


@pytest.mark.parametrize(("family", "moment"), [
    *SHORT, *(pytest.param(family, moment, marks=pytest.mark.slow if moment == "record" else pytest.mark.long)
              for family, moment in product(FAMILIES, ("record", "save")) if (family, moment) not in SHORT)])
def test_interrupted_in_the_third_epoch(tmp_path, tiny, monkeypatch, family, moment):
    words = [*tiny, *FAMILIES[family]]
    if family in SECOND_STAGES:
        assert run(tmp_path, "first", tiny) == 0
        words += ["NETWORK.PRETRAINED", "True", "NETWORK.PRETRAINED_MODEL", str(tmp_path / "first/run/models/last.pth")]
    assert run(tmp_path, "whole", words) == 0

    original, calls = getattr(Run, moment), []

    def interrupted(self, *args):
        calls.append(moment)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(Run, moment, interrupted)
    assert run(tmp_path, "parts", words) == 130
    monkeypatch.undo()
    assert results(tmp_path, "parts")[0]["epoch"] == 2
    shutil.rmtree(tmp_path / "first", ignore_errors=True)   # a second stage that has begun needs its first one no more
    assert run(tmp_path, "parts", [*words, "--ar", "True"]) == 0

    (state, history), (resumed_state, resumed_history) = results(tmp_path, "whole"), results(tmp_path, "parts")
    assert same(state, resumed_state)
    assert history == resumed_history
    assert [entry["epoch"] for entry in resumed_history] == [1, 2, 3, 4]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_memory_and_files_train_the_same_network(tmp_path, tiny, workers):
    run(tmp_path, "memory", [*tiny, "DATASET.IN_MEMORY", "always"], epochs=2)
    run(tmp_path, "files", [*tiny, "DATASET.IN_MEMORY", "never", "TRAIN.NUM_WORKERS", str(workers)], epochs=2)
    (memory, memory_history), (files, files_history) = results(tmp_path, "memory"), results(tmp_path, "files")
    assert same(memory["state_dict"], files["state_dict"])
    assert memory_history == files_history


def test_another_seed_is_another_network(tmp_path, tiny):
    run(tmp_path, "first", tiny, epochs=1)
    run(tmp_path, "second", [*tiny, "SEED", "43"], epochs=1)
    assert not same(results(tmp_path, "first")[0]["state_dict"], results(tmp_path, "second")[0]["state_dict"])


@pytest.mark.slow
def test_resume_model_takes_all_or_weights_only(tmp_path, tiny):
    assert run(tmp_path, "first", tiny) == 0
    source = str(tmp_path / "first/run/models/epoch_2.pth")
    assert run(tmp_path, "all", [*tiny, "RESUME_MODEL", source]) == 0
    assert [entry["epoch"] for entry in results(tmp_path, "all")[1]] == [3, 4]
    assert same(results(tmp_path, "all")[0]["state_dict"], results(tmp_path, "first")[0]["state_dict"])
    assert run(tmp_path, "weights", [*tiny, "RESUME_MODEL", source, "RESUME_MODE", "state_dict"]) == 0
    assert [entry["epoch"] for entry in results(tmp_path, "weights")[1]] == [1, 2, 3, 4]


def test_pretrained_network_beats_chance_before_it_is_trained(tmp_path, tiny):
    """At rate 1e-12 nothing is learned, so what the second run knows came out of the file."""
    assert run(tmp_path, "first", tiny, epochs=1) == 0
    source = str(tmp_path / "first/run/models/last.pth")
    frozen = ["TRAIN.OPTIMIZER.BASE_LR", "1e-12", "EVAL_MODE", "True"]
    for name, words in (("network", ["NETWORK.PRETRAINED", "True", "NETWORK.PRETRAINED_MODEL", source]),
                        ("backbone", ["BACKBONE.PRETRAINED_MODEL", source])):
        assert run(tmp_path, name, [*tiny, *words, *frozen], epochs=1) == 0
    first, network, backbone = (results(tmp_path, name)[0]["state_dict"] for name in ("first", "network", "backbone"))
    for name, tensor in first.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(network[name], tensor)
            if name.startswith("backbone."):
                torch.testing.assert_close(backbone[name], tensor)
    assert not torch.allclose(backbone["classifier.weight"], first["classifier.weight"])


def test_a_named_file_that_is_missing_is_an_error(tmp_path, tiny, capsys):
    assert run(tmp_path, "x", [*tiny, "NETWORK.PRETRAINED", "True", "NETWORK.PRETRAINED_MODEL", "./nowhere/last.pth"]) == 2
    assert "NETWORK.PRETRAINED_MODEL: no file nowhere/last.pth" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("words", [
    ["RESUME_MODEL", "x.pth"], ["NETWORK.PRETRAINED", "True", "NETWORK.PRETRAINED_MODEL", "x.pth"],
    ["BACKBONE.PRETRAINED_MODEL", "x.pth"], ["TEST.MODEL_FILE", "x.pth"],
    ["TRAIN.COMBINER.TYPE", "dive", "LOSS.LOSS_TYPE", "DiVEKLD", "TRAIN.COMBINER.DIVE.TEACHER_MODEL", "x.pth"]])
def test_a_bare_name_of_a_file_in_the_working_directory_is_told_how_to_be_named(tmp_path, tiny, capsys, monkeypatch, root, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pth").write_bytes(b"")
    command = valid.main if words[0] == "TEST.MODEL_FILE" else train.main
    assert command(["--cfg", str(root / DIGITS), "--gpus", "cpu", *tiny, *words]) == 2
    assert re.search(rf"error: {words[-2]}: no file .*models/x\.pth; the working directory has it, and \./x\.pth names that one",
                     capsys.readouterr().err)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, tiny, caplog, capsys):
    assert run(tmp_path, "x", [*tiny, "TRAIN.OPTIMIZER.BASE_LR", "1e30"]) == 1
    output = capsys.readouterr().out
    assert re.search(r"error: epoch 1, batch [1-8] of 8: the (training loss is|weights are) not finite, at learning rate \S+; "
                     r"nothing is saved yet", output)


def test_the_message_names_the_last_good_checkpoint(tmp_path, tiny, capsys, monkeypatch):
    """Weights go wild in batch 4 of epoch 2; no checkpoint holds them."""
    original, steps = Precision.update, []

    def step(self, optimizer):
        steps.append(1)
        result = original(self, optimizer)
        if len(steps) == 12:
            with torch.no_grad():
                optimizer.param_groups[0]["params"][0].fill_(torch.nan)
        return result

    monkeypatch.setattr(Precision, "update", step)
    message = r"error: epoch 2, batch %s are not finite, at learning rate \S+; .*%s holds epoch %s"
    for name, minutes, show, told, last in (("often", "1e-9", "3", "4 of 8: the weights", ("mid_epoch.pth", "2 up to batch 3")),
                                            ("never", "0", "6", "5 of 8: the training loss", ("last.pth", "1"))):
        steps.clear()
        assert run(tmp_path, name, [*tiny, "SHOW_STEP", show, "TRAIN.CHECKPOINT_MINUTES", minutes]) == 1
        assert re.search((message % (told, *last)).replace("loss are", "loss is"), capsys.readouterr().out)
        for path in (tmp_path / name / "run/models").glob("*.pth"):
            assert all(tensor.isfinite().all() for tensor in torch.load(path)["state_dict"].values())
    assert len(steps) == 14   # the progress line of batch 6 tells, not the end of the epoch
