"""Methods since 2021 on real digits: each trains, combines with mixup where it may, is resumed, evaluated and predicted from."""
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from lib.inference import Predictor
from lib.loss import LOSSES
from main import predict, train, valid
from tests.engine.test_update import Learned

DIGITS = "configs/test/digits_lt.yaml"
EXPERTS = ["NETWORK.EXPERTS.NUM", "2", "CLASSIFIER.TYPE", "CosineFC", "LOSS.LOSS_TYPE", "BalPoE"]
MIXUP = ["TRAIN.COMBINER.TYPE", "mix_up"]
SAM = ["TRAIN.UPDATE.TYPE", "sam", "TRAIN.UPDATE.SAM.RHO", "0.1"]
VIEWS = ["TRAIN.COMBINER.TYPE", "bcl", "HEADS.TYPES", "[projection, prototypes]", "TRANSFORMS.VIEWS",
         "[[random_crop], [random_crop, color_jitter]]", "LOSS.LOSS_TYPE", "BalancedSoftmaxCE"]
CURRICULUM = ["TRANSFORMS.TRAIN_TRANSFORMS", "[random_crop, curriculum]"]
WAYS = {
    "SAM and mixup": [*SAM, *MIXUP], "experts and mixup": [*EXPERTS, *MIXUP], "experts and SAM": [*EXPERTS, *SAM],
    "ASAM and views": [*VIEWS, "TRAIN.UPDATE.TYPE", "asam"], "ImbSAM and experts": [*EXPERTS, "TRAIN.UPDATE.TYPE", "imb_sam"],
    "Focal-SAM and CMO": ["TRAIN.UPDATE.TYPE", "focal_sam", "TRAIN.COMBINER.TYPE", "cmo", "TRAIN.SAMPLER.TYPE", "bbn sampler",
                          "TRAIN.SAMPLER.BBN_SAMPLER.TYPE", "balance", "TRAIN.COMBINER.CMO.WARM_UP", "0"],
    "LADE": ["LOSS.LOSS_TYPE", "LADE"], "VS, UniMix and DRW": ["LOSS.LOSS_TYPE", "VSLoss", "TRAIN.COMBINER.TYPE", "uni_mix",
                                                               "TRAIN.TWO_STAGE.DRW", "True", "TRAIN.TWO_STAGE.START_EPOCH", "1"],
    "GCL, mixup and DRW": ["LOSS.LOSS_TYPE", "GCL", "CLASSIFIER.TYPE", "FCNorm", "LOSS.GCL.FOCAL_GAMMA", "1", *MIXUP,
                           "TRAIN.TWO_STAGE.DRW", "True", "TRAIN.TWO_STAGE.START_EPOCH", "1"],
    "views": VIEWS, "views, SAM and experts' classifier": [*VIEWS, *SAM, "CLASSIFIER.TYPE", "CosineFC"],
    "curriculum and mixup": [*CURRICULUM, *MIXUP], "curriculum and experts": [*CURRICULUM, *EXPERTS],
    "an average": ["TRAIN.EMA_DECAY", "0.9"],
    "pieces": ["TRAIN.UPDATE.ACCUMULATE", "4", "TRAIN.UPDATE.CLIP_NORM", "1.0", *MIXUP],
    "pieces of views": ["TRAIN.UPDATE.ACCUMULATE", "2", *VIEWS],
    "warm-up of a cosine": ["TRAIN.LR_SCHEDULER.TYPE", "cosine", "TRAIN.LR_SCHEDULER.WARMUP_EPOCHS", "2"],
}


def history(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("way", WAYS)
def test_it_trains_and_is_evaluated_as_it_was_trained(tmp_path, tiny, capsys, no_figures, way):
    words = [*tiny, "TRAIN.MAX_EPOCH", "2", "VALID_STEP", "2", *WAYS[way]]
    assert train.main(["--cfg", DIGITS, "--gpus", "cpu", *words]) == 0
    run = tmp_path / "run"
    last = history(run)[-1]
    assert 0 < last["train_loss"] < 20
    capsys.readouterr()
    assert valid.main(["--cfg", str(run / "config.yaml"), "--gpus", "cpu"]) == 0
    assert f"Top1: {100 * last['valid_accuracy']:.2f}%" in capsys.readouterr().out
    state = torch.load(run / "models/last.pth")
    assert ("ema" in state) == (way == "an average")
    assert all(value.isfinite().all() for value in state["state_dict"].values())


def test_the_average_is_what_is_evaluated_predicted_from_and_stored(tmp_path, tiny, capsys, no_figures):
    """Of weights that move far, those trained and their average differ in every prediction's confidence."""
    words = [*tiny, "TRAIN.MAX_EPOCH", "1", "TRAIN.EMA_DECAY", "0.99", "TRAIN.OPTIMIZER.BASE_LR", "0.2"]
    assert train.main(["--cfg", DIGITS, "--gpus", "cpu", *words]) == 0
    run = tmp_path / "run"
    state, image = torch.load(run / "models/last.pth"), torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
    plain = {key: value for key, value in state.items() if key not in ("ema", "format")}
    torch.save(plain, tmp_path / "trained.pth")
    torch.save(plain | {"state_dict": state["ema"]}, tmp_path / "averaged.pth")
    both, averaged, trained = (Predictor.load(path).logits(image.float()) for path in (
        run / "models/last.pth", tmp_path / "averaged.pth", tmp_path / "trained.pth"))
    assert torch.equal(both, averaged)
    assert not torch.allclose(both, trained)


def test_what_a_loss_learns_is_saved_and_resumed(tmp_path, tiny, no_figures, monkeypatch, capsys):
    monkeypatch.setitem(LOSSES._builders, "Learned", Learned)
    monkeypatch.setitem(LOSSES._sections, "Learned", "Learned")
    words = ["--cfg", DIGITS, "--gpus", "cpu", *tiny, "LOSS.LOSS_TYPE", "Learned", "SAVE_STEP", "1"]
    assert train.main([*words, "TRAIN.MAX_EPOCH", "3", "NAME", "whole"]) == 0
    source = str(tmp_path / "whole/models/epoch_1.pth")
    assert train.main([*words, "TRAIN.MAX_EPOCH", "3", "NAME", "resumed", "RESUME_MODEL", source]) == 0
    whole, resumed = (torch.load(tmp_path / name / "models/last.pth") for name in ("whole", "resumed"))
    state, again = whole["parts"]["criterion"], resumed["parts"]["criterion"]
    assert state["shift"].any()
    assert state["batches"] > 3
    assert all(torch.equal(state[name], again[name]) for name in state)
    assert all(torch.equal(value, resumed["state_dict"][name]) for name, value in whole["state_dict"].items())
    capsys.readouterr()
    words[words.index("Learned")] = "CrossEntropy"
    assert train.main([*words, "TRAIN.MAX_EPOCH", "3", "NAME", "other", "RESUME_MODEL", source]) == 2   # other moments, too
    assert "holds the state of another optimizer or of other parameters" in capsys.readouterr().err


def test_a_second_stage_with_short_class_vectors(tmp_path, tiny, no_figures):
    assert train.main(["--cfg", DIGITS, "--gpus", "cpu", *tiny, "NAME", "first", "TRAIN.MAX_EPOCH", "2"]) == 0
    first = tmp_path / "first/models/last.pth"
    words = [*tiny, "NAME", "second", "CLASSIFIER.TYPE", "MaxNorm", "LOSS.LOSS_TYPE", "ClassBalancedBCE", "TRAIN.MAX_EPOCH", "2",
             "NETWORK.PRETRAINED", "True", "NETWORK.PRETRAINED_MODEL", str(first)]
    assert train.main(["--cfg", DIGITS, "--gpus", "cpu", *words]) == 0
    before, after = (torch.load(path)["state_dict"] for path in (first, tmp_path / "second/models/last.pth"))
    lengths = before["classifier.weight"].norm(dim=1)
    radius = lengths.min() + 0.1 * (lengths.max() - lengths.min())
    torch.testing.assert_close(after["classifier.radius"], radius)
    assert after["classifier.weight"].norm(dim=1).max() <= radius * (1 + 1e-6)
    changed = {key for key in before if key.startswith("backbone.") and not torch.equal(before[key], after[key])}
    assert all("running" in key or "num_batches" in key for key in changed)


def test_predictions_of_experts(tmp_path, tiny, capsys, no_figures):
    assert train.main(["--cfg", DIGITS, "--gpus", "cpu", *tiny, "TRAIN.MAX_EPOCH", "1", *EXPERTS]) == 0
    Image.new("RGB", (8, 8)).save(tmp_path / "black.png")
    capsys.readouterr()
    assert predict.main([str(tmp_path / "run/models/last.pth"), str(tmp_path / "black.png")]) == 0
    assert "black.png" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "message"), [
    (["LOSS.LOSS_TYPE", "BalPoE"], "LOSS.LOSS_TYPE: BalPoE needs NETWORK.EXPERTS.NUM 2 or more, got 1"),
    (["TRAIN.COMBINER.TYPE", "bcl"], "TRAIN.COMBINER.TYPE: bcl needs projection, prototypes in HEADS.TYPES, got []"),
    (["TRAIN.COMBINER.TYPE", "bcl", "HEADS.TYPES", "[projection, prototypes]"], "needs 2 further views of each image"),
    (["TRANSFORMS.VIEWS", "[[random_crop]]"], "TRANSFORMS.VIEWS: TRAIN.COMBINER.TYPE default does not use further views"),
    ([*VIEWS, "NETWORK.EXPERTS.NUM", "2"], "HEADS.TYPES: prototypes needs a single classifier"),
    (["NETWORK.EXPERTS.NUM", "2", "NETWORK.EXPERTS.FROM", "stem"], "has no stage 'stem'; choose auto, layer1, layer2, layer3"),
    (["TRAIN.LR_SCHEDULER.TYPE", "warmup", "TRAIN.LR_SCHEDULER.WARMUP_EPOCHS", "2"], "has its own warm-up"),
    ([*VIEWS, "TRAIN.UPDATE.TYPE", "focal_sam"], "focal_sam weights the loss of each example by class, but the loss of"),
    (["TRAIN.UPDATE.TYPE", "sham"], "TRAIN.UPDATE.TYPE: unknown update rule 'sham'; did you mean 'sam'?"),
    (["TRANSFORMS.VIEWS", "[[randomcrop]]"], "TRANSFORMS.VIEWS: unknown transform 'randomcrop'; did you mean 'random_crop'?")])
def test_what_does_not_go_together_says_so(tmp_path, tiny, capsys, words, message):
    assert train.main(["--cfg", DIGITS, "--gpus", "cpu", *tiny, *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
