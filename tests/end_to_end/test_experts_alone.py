"""A network of experts, validated: each expert alone, and with weights that are learned without labels."""
import json
from pathlib import Path

import pytest
import torch

from lib.config import load_config
from lib.core import build
from lib.dataset import DATASETS
from lib.run import checkpoint
from main import train, valid

pytestmark = pytest.mark.usefixtures("no_figures")
DIGITS = "configs/test/digits_lt.yaml"
EXPERTS = ["NETWORK.EXPERTS.NUM", "3", "CLASSIFIER.TYPE", "CosineFC", "LOSS.LOSS_TYPE", "SADE"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_in) -> tuple[list[str], Path]:
    folder = tmp_path_factory.mktemp("experts")
    words = ["--cfg", DIGITS, "--gpus", "cpu", *tiny_in(folder), *EXPERTS, "TRAIN.MAX_EPOCH", "3"]
    assert train.main(words) == 0
    return words, folder / "run"


@pytest.fixture(scope="module")
def logits(trained) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each expert for the validation images, (N, E, C), and their labels."""
    words, run = trained
    cfg = load_config([DIGITS], words[4:])
    network = build.build_network(cfg, 10)
    checkpoint.load_network(network, checkpoint.load(run / "models/last.pth", "it"), "it")
    images = DATASETS["IMBALANCEDIGITS"](False, "", (8, 8), ratio=0.1, random_seed=0, type_="exp")
    normalize = build.build_normalize(cfg, images, torch.device("cpu"))
    with torch.inference_mode():
        return network.eval()(normalize(images.pixels())).heads["experts"], images.labels


def test_each_expert_is_reported_beside_their_mean(trained, logits, capsys):
    words, run = trained
    assert valid.main(words) == 0
    shown, metrics = capsys.readouterr().out, json.loads((run / "metrics.json").read_text())
    top1 = [(logits[0][:, number].argmax(dim=1) == logits[1]).double().mean().item() for number in range(3)]
    assert [expert["top1"] for expert in metrics["experts"]] == pytest.approx(top1)
    assert set(metrics["experts"][0]) == {"top1", "balanced_accuracy", "many", "medium", "few", "ece"}
    assert metrics["top1"] == pytest.approx((logits[0].mean(dim=1).argmax(dim=1) == logits[1]).double().mean().item())
    assert "By expert, as they were trained" in shown
    page = (run / "report.html").read_text()
    assert page.count("<th scope=\"row\">expert ") == 3
    assert "mean logits" in page


def test_weights_are_learned_without_labels_on_the_whole_set_and_on_shifted_ones(trained, logits, capsys):
    words, run = trained
    more = ["TEST.AGGREGATION.USE", "True", "TEST.AGGREGATION.EPOCHS", "2", "TEST.AGGREGATION.BATCH_SIZE", "32",
            "TEST.SHIFTS", "[5]"]
    assert valid.main([*words, *more]) == 0
    first = json.loads((run / "expert_weights.json").read_text())["aggregation"]
    assert [row["test_set"] for row in first] == ["all images", "forward-5", "backward-5"]
    for row in first:
        assert sum(row["weights"]) == pytest.approx(1)
    weighted = torch.einsum("e,bec->bc", torch.tensor(first[0]["weights"]), logits[0])
    assert first[0]["learned"] == pytest.approx((weighted.argmax(dim=1) == logits[1]).double().mean().item())
    assert first[0]["equal"] == pytest.approx((logits[0].mean(dim=1).argmax(dim=1) == logits[1]).double().mean().item())
    assert "learned weights" in capsys.readouterr().out
    assert valid.main([*words, *more]) == 0
    assert json.loads((run / "expert_weights.json").read_text())["aggregation"] == first   # the same seed
    assert json.loads((run / "metrics.json").read_bytes())["top1"] == pytest.approx(first[0]["equal"])   # the mean's report


def test_a_network_without_experts_has_nothing_to_weigh(tiny, capsys):
    assert valid.main(["--cfg", DIGITS, "--gpus", "cpu", *tiny, "TEST.AGGREGATION.USE", "True"]) == 2
    assert "TEST.AGGREGATION.USE: weighs the experts of a network" in capsys.readouterr().err
