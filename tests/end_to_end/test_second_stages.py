"""Chains of configs/chains whose second stage trains a first stage's classifier on: what each changes, and what it leaves."""
import json
import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from lib.config import load_config
from lib.core import build
from main import train, valid
from tools import run_chain

DIGITS, BASELINE = "configs/test/digits_lt.yaml", "configs/cao_cifar/baseline/cifar100_im100.yaml"
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
LINEAR = {"classifier.weight": "classifier.weight", "classifier.bias": "classifier.bias"}
SCALED = {"classifier.fc.weight": "classifier.weight", "classifier.fc.bias": "classifier.bias"}


class Chain(NamedTuple):
    """What is expected of a chain."""

    first: str               # NAME of its first stage, and of its second one behind it
    second: str
    moves: bool              # BatchNorm statistics in the second stage
    rate: float              # of its first epoch
    trained: dict[str, str]  # what it trains, by its names: the names in the first stage
    extra: set[str] = set()  # what only the second stage has


CHAINS = {
    "gcl": Chain("digits_lt_gcl_input_mixup_epochs200", "gcl_stage2", False, 0.002, {"classifier.weight": "classifier.weight"}),
    "mislas": Chain("digits_lt_input_mixup_epochs200", "mislas", True, 0.1, SCALED, {"classifier.scales"}),
    "h2t": Chain("digits_lt_input_mixup_epochs200", "h2t", True, 0.1, LINEAR),
    "los": Chain("digits_lt_weight_decay", "los", True, 5e-4, LINEAR),
    "weight_balancing": Chain("digits_lt_weight_decay", "max_norm", True, 0.01, LINEAR, {"classifier.radius"}),
}


@pytest.fixture(scope="module", params=CHAINS)
def chain(request, tmp_path_factory, tiny_in, no_figures) -> tuple[Chain, Path]:
    """A chain that has run for two epochs a stage, and the folder of its stages."""
    folder, words = tmp_path_factory.mktemp(request.param), tiny_in(Path("unused"))
    pairs = [word for pair in zip(words[::2], words[1::2]) if pair[0] not in ("NAME", "OUTPUT_DIR") for word in pair]
    argv = ["--chain", f"configs/chains/{request.param}.yaml", "--cfg", DIGITS, "--gpus", "cpu", *pairs, "TRAIN.MAX_EPOCH", "2",
            "OUTPUT_DIR", str(folder), "NAME", "chain"]
    assert run_chain.main(argv, lambda command: train.main(command[2:])) == 0
    return CHAINS[request.param], folder / "chain"


def runs(chain: tuple[Chain, Path]) -> tuple[Path, Path]:
    expected, folder = chain
    return folder / expected.first, folder / f"{expected.first}_{expected.second}"


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "models/last.pth")["state_dict"]


def changed_in_backbone(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {key for key in before if key.startswith("backbone.") and not torch.equal(before[key], after[key])}


def check_backbone(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], moves: bool) -> None:
    """Weights are equal to the bit; statistics have all moved, or none."""
    statistics = {key for key in before if key.startswith("backbone.") and key.endswith(STATISTICS)}
    assert changed_in_backbone(before, after) == (statistics if moves else set())


def test_the_second_stage_trains_the_classifier_and_leaves_the_backbone(chain):
    expected, (first, second) = chain[0], runs(chain)
    before, after = weights(first), weights(second)
    check_backbone(before, after, expected.moves)
    classifier = {key for key in after if key.startswith("classifier.")}
    assert classifier == {*expected.trained, *expected.extra}
    assert not any(torch.equal(after[own], before[there]) for own, there in expected.trained.items())
    for own, there in expected.trained.items():   # trained on, not anew
        assert torch.cosine_similarity(after[own].flatten(), before[there].flatten(), dim=0) > 0.8
    history = [json.loads(line) for line in (second / "history.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in history] == [1, 2]
    assert history[1]["rate"] < history[0]["rate"] <= expected.rate * (1 + 1e-9)


def test_it_is_evaluated_as_it_was_trained(chain, capsys):
    _, second = runs(chain)
    top1 = json.loads((second / "history.jsonl").read_text().splitlines()[-1])["valid_accuracy"]
    capsys.readouterr()
    assert valid.main(["--cfg", str(second / "config.yaml"), "--gpus", "cpu"]) == 0
    assert f"Top1: {100 * top1:.2f}%" in capsys.readouterr().out


@pytest.mark.slow
def test_the_switch_of_batchnorm_and_a_factor_of_0(chain, tmp_path, no_figures):
    """The other way round than in the chain; and at the factor 0 scales alone are trained, as by LWS of old."""
    expected, (first, second) = chain[0], runs(chain)
    words = ["--cfg", str(second / "config.yaml"), "--gpus", "cpu", "OUTPUT_DIR", str(tmp_path), "NAME", "other",
             "BACKBONE.FREEZE_BN", str(expected.moves)]
    if expected.extra == {"classifier.scales"}:
        words += ["TRAIN.OPTIMIZER.LR_FACTORS", "['classifier.fc=0']"]
    assert train.main(words) == 0
    before, after = weights(first), weights(tmp_path / "other")
    check_backbone(before, after, not expected.moves)
    if expected.extra == {"classifier.scales"}:
        assert all(torch.equal(after[own], before[there]) for own, there in expected.trained.items())
        assert (after["classifier.scales"] != 1).all()


@pytest.mark.parametrize(("stack", "epochs", "rate"), [   # of epoch e, from 0, as the authors' loops count
    (["gcl", "gcl_stage2"], 30, lambda e: 0.1 * 0.1 * 0.1 * (1 + math.cos(math.pi * e / 30))),
    (["mislas"], 10, lambda e: 0.1 * (1 + math.cos(math.pi * e / 10)) / 2),
    (["h2t"], 10, lambda e: 0.1 * (1 + math.cos(math.pi * e / 10)) / 2),   # times 0.2, LR_FACTORS
    (["los"], 20, lambda e: 5e-4 * (1 + math.cos(math.pi * e / 20)) / 2),
    (["weight_decay"], 200, lambda e: 0.01 * (1 + math.cos(math.pi * e / 200)) / 2),
    (["input_mixup", "epochs200"], 200, lambda e: 0.1 * min((e + 1) / 5 * 2 / 3 + 1 / 3, 1) * 0.1 ** ((e >= 160) + (e >= 180)))])
def test_rates_are_the_authors_own(stack, epochs, rate):
    """But for the warm-up, which here begins at a third."""
    cfg = load_config([BASELINE, *(f"configs/tricks/{name}.yaml" for name in stack)])
    schedule, options = build.build_schedule(cfg), cfg.TRAIN
    rates = [options.OPTIMIZER.BASE_LR * schedule(epoch) for epoch in range(1, options.MAX_EPOCH + 1)]
    assert rates == pytest.approx([rate(e) for e in range(epochs)])


def test_a_second_stage_undoes_what_its_first_one_had():
    """Mixup, deferral, sampler and factors of rates of whatever is stacked before it."""
    before = [BASELINE, *(f"configs/tricks/{name}.yaml" for name in ("cut_mix", "square_sampling", "csce", "drw"))]
    expected = {"mislas": ("default", "balance"), "los": ("default", None), "gcl_stage2": ("mix_up", "balance"),
                "h2t": ("h2t", None)}
    for name, (combiner, draw) in expected.items():
        options = load_config([*before, f"configs/tricks/{name}.yaml"]).TRAIN
        weighted = options.SAMPLER.WEIGHTED_SAMPLER.TYPE if options.SAMPLER.TYPE == "weighted sampler" else None
        assert (options.COMBINER.TYPE, weighted, options.TWO_STAGE.DRW) == (combiner, draw, False)
