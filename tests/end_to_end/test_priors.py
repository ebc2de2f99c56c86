"""Logits adjusted after training: by the training prior, a known test prior, and on shifted test sets."""
import csv
import json
from pathlib import Path

import pytest
import torch

from lib.dataset import DATASETS
from lib.inference import Predictor
from lib.run import checkpoint
from lib.utils.errors import InputError
from main import predict, train, valid

DIGITS = "configs/test/digits_lt.yaml"
COUNTS = [139, 107, 83, 64, 49, 38, 29, 23, 17, 13]   # of tiny's ratio of 0.1


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_in, no_figures) -> tuple[list[str], Path]:
    folder = tmp_path_factory.mktemp("priors")
    words = ["--cfg", DIGITS, "--gpus", "cpu", *tiny_in(folder), "TRAIN.MAX_EPOCH", "4"]
    assert train.main(words) == 0
    return words, folder / "run"


@pytest.fixture(scope="module")
def logits(trained) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the validation images, and their labels."""
    images = DATASETS["IMBALANCEDIGITS"](False, "", (8, 8), ratio=0.1, random_seed=0, type_="exp")
    return Predictor.load(trained[1] / "models/last.pth").logits(images.pixels().float()), images.labels


def evaluated(trained, *more: str) -> Path:
    """The folder of a further evaluation."""
    words, run = trained
    before = set((run / "evaluations").glob("*"))
    assert valid.main([*words, *more]) == 0
    folder, = set((run / "evaluations").glob("*")) - before
    return folder


def predicted(folder: Path) -> list[int]:
    with (folder / "predictions.csv").open() as file:
        return [int(row["predicted"]) for row in csv.DictReader(file)]


def test_the_training_prior_is_taken_out(trained, logits, capsys):
    own = (trained[1] / "metrics.json").read_bytes()
    folder = evaluated(trained, "TEST.LOGIT_ADJUST", "1.5")
    prior = (torch.tensor(COUNTS) / sum(COUNTS)).log()
    expected = (logits[0] - 1.5 * prior).argmax(dim=1)
    assert predicted(folder) == expected.tolist() != logits[0].argmax(dim=1).tolist()
    assert "TEST.LOGIT_ADJUST 0.0 in the checkpoint, 1.5 here" in json.loads((folder / "metrics.json").read_text())["differs"]
    assert (trained[1] / "metrics.json").read_bytes() == own
    assert "the run's own report is not replaced" in capsys.readouterr().out


def test_a_known_test_prior_is_put_in(trained, logits, tmp_path):
    (tmp_path / "prior.json").write_text(json.dumps([1, 1, 1, 1, 1, 1, 1, 1, 1, 100]))
    folder = evaluated(trained, "TEST.PRIOR", str(tmp_path / "prior.json"))
    moved = logits[0] - torch.tensor(COUNTS).log()
    moved[:, 9] += torch.tensor(100.0).log()
    assert predicted(folder) == moved.argmax(dim=1).tolist()


def test_a_sweep_and_shifted_test_sets_stand_beside_the_run_s_own_report(trained, logits, capsys):
    words, run = trained
    assert valid.main([*words, "TEST.SWEEP", "[1, 0.5]", "TEST.SHIFTS", "[10]"]) == 0
    shown = capsys.readouterr().out
    assert "By tau (choosing tau by these numbers is selection on the validation set" in shown
    sweep = {row["tau"]: row["top1"] for row in json.loads((run / "logit_adjust_sweep.json").read_text())["sweep"]}
    prior = torch.tensor(COUNTS).log()
    for tau in (0.0, 0.5, 1.0):
        assert sweep[tau] == pytest.approx(((logits[0] - tau * prior).argmax(dim=1) == logits[1]).double().mean().item())
    forward, backward = json.loads((run / "shifted_test.json").read_text())["shifts"]
    assert (forward["test_set"], backward["test_set"]) == ("forward-10", "backward-10")
    fewest = int(torch.bincount(logits[1]).min())
    numbers = [int(fewest * 10 ** (-place / 9) + 1e-9) for place in range(10)]
    assert forward["images"] == backward["images"] == sum(numbers)
    rows = torch.cat([(logits[1] == c).nonzero().flatten()[:number] for c, number in enumerate(numbers[::-1])])
    own = torch.tensor(numbers[::-1]).log()
    for key, z in (("top1", logits[0]), ("top1_known_prior", logits[0] - prior + own)):
        assert backward[key] == pytest.approx((z[rows].argmax(dim=1) == logits[1][rows]).double().mean().item())


@pytest.mark.parametrize(("words", "message"), [
    (["LOSS.LOSS_TYPE", "BalancedSoftmaxCE", "TEST.LOGIT_ADJUST", "1"], "already adjusts the logits for the training prior"),
    (["TEST.PRIOR", "forwards-50"], "TEST.PRIOR: must be empty, \"uniform\", \"forward-50\""),
    (["TEST.PRIOR", "forward-0.5"], "a ratio below 1"), (["TEST.PRIOR", "none.json"], "no file none.json"),
    (["TEST.TAU_NORM.USE_TAU_NORM", "True", "TEST.SHIFTS", "[2]"], "TEST.SHIFTS: adjusts the logits"),
])
def test_mistakes_are_one_message(trained, capsys, words, message):
    assert valid.main([*trained[0], *words]) == 2
    assert message in capsys.readouterr().err


def test_a_training_that_re_balanced_in_another_way_is_said(trained, capsys):
    evaluated(trained, "TEST.LOGIT_ADJUST", "1", "TRAIN.SAMPLER.TYPE", "weighted sampler", "LOSS.LOSS_TYPE", "FocalLoss")
    shown = capsys.readouterr()
    assert "FocalLoss re-balances in another way" in shown.out + shown.err
    assert "'weighted sampler' trained with another class distribution" in shown.out + shown.err


@pytest.mark.parametrize("prior", ["uniform", "backward-50", "file"])
def test_predictions_with_a_known_prior_are_those_of_the_validation(trained, logits, tmp_path, prior):
    (tmp_path / "prior.json").write_text(json.dumps([1, 1, 1, 1, 1, 1, 1, 1, 1, 100]))
    prior = str(tmp_path / "prior.json") if prior == "file" else prior
    images = DATASETS["IMBALANCEDIGITS"](False, "", (8, 8), ratio=0.1, random_seed=0, type_="exp")
    own = Predictor.load(trained[1], prior=prior).probabilities(images.pixels())
    assert own.argmax(dim=1).tolist() == predicted(evaluated(trained, "TEST.PRIOR", prior))
    assert not torch.equal(own.argmax(dim=1), logits[0].argmax(dim=1))
    torch.testing.assert_close(own.sum(dim=1), torch.ones(len(own)))


def test_a_uniform_prior_changes_nothing_where_the_loss_has_the_training_prior(tmp_path, tiny):
    words = [*tiny, "LOSS.LOSS_TYPE", "BalancedSoftmaxCE", "TRAIN.MAX_EPOCH", "1"]
    assert train.main(["--cfg", DIGITS, "--gpus", "cpu", *words]) == 0
    images = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
    plain, uniform = (Predictor.load(tmp_path / "run", prior=prior).probabilities(images) for prior in ("", "uniform"))
    torch.testing.assert_close(plain, uniform)


@pytest.mark.parametrize(("prior", "message"), [
    ("forwards-50", "--prior: must be \"uniform\", \"forward-50\""),
    ("forward-0.5", "--prior: 'forward-0.5' has a ratio below 1"),
    ("nothing.json", "--prior: no file nothing.json")])
def test_a_prior_that_means_nothing_is_one_message(trained, tmp_path, capsys, prior, message):
    assert predict.main([str(trained[1]), str(tmp_path), "--prior", prior]) == 2
    assert message in capsys.readouterr().err


def test_a_checkpoint_without_class_counts_has_no_prior_to_compare_with(trained, tmp_path):
    state = checkpoint.load(trained[1] / "models/last.pth")
    checkpoint.save({key: value for key, value in state.items() if key != "class_counts"}, [tmp_path / "old.pth"])
    with pytest.raises(InputError, match=r"--prior: .*old\.pth does not hold the number of training images"):
        Predictor.load(tmp_path / "old.pth", prior="uniform")


def test_a_prior_for_a_network_that_was_re_balanced_in_another_way_is_said(trained, tmp_path, caplog):
    state = checkpoint.load(trained[1] / "models/last.pth")
    config = state["config"] | {"LOSS.LOSS_TYPE": "FocalLoss", "TRAIN.SAMPLER.TYPE": "weighted sampler"}
    checkpoint.save(state | {"config": config}, [tmp_path / "other.pth"])
    Predictor.load(tmp_path / "other.pth")
    Predictor.load(trained[1], prior="uniform")
    assert "--prior" not in caplog.text
    Predictor.load(tmp_path / "other.pth", prior="uniform")
    assert "--prior: the logits are adjusted as after training with plain cross-entropy, but FocalLoss" in caplog.text
    assert "'weighted sampler' trained with another class distribution" in caplog.text


def test_class_counts_of_other_classes_are_refused(trained, tmp_path):
    state = checkpoint.load(trained[1] / "models/last.pth")
    checkpoint.save(state | {"class_counts": state["class_counts"][:-1]}, [tmp_path / "short.pth"])
    with pytest.raises(InputError, match=r"--prior: .*short\.pth is damaged: it has 9 class counts for 10 classes"):
        Predictor.load(tmp_path / "short.pth", prior="uniform")
