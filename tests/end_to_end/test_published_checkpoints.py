"""Checkpoints as the published code writes them go on as this project's own do, bit for bit."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR

from lib.config import load_config
from lib.core import build
from lib.run.checkpoint import load
from main import train, valid

pytestmark = pytest.mark.usefixtures("no_figures")
DIGITS = "configs/test/digits_lt.yaml"
FAMILIES = {
    "SGD": [],
    "ADAM": ["TRAIN.OPTIMIZER.TYPE", "ADAM", "TRAIN.OPTIMIZER.BASE_LR", "1e-3", "TRAIN.LR_SCHEDULER.TYPE", "cosine"],
    "LDAM": ["LOSS.LOSS_TYPE", "LDAMLoss", "CLASSIFIER.TYPE", "FCNorm"],
    "cRT": ["CLASSIFIER.TYPE", "cRT"],
    "LWS": ["CLASSIFIER.TYPE", "LWS"],
}


def run(folder: Path, words: list[str]) -> int:
    return train.main(["--cfg", DIGITS, "--gpus", "cpu", *words, "OUTPUT_DIR", str(folder), "TRAIN.MAX_EPOCH", "3"])


def as_published(own: dict, words: list[str]) -> dict:
    """What the published code would have saved at this point.

    It had one parameter group for each trained parameter, DataParallel's names, a scheduler, its best accuracy as a numpy
    scalar, and apex's state, empty without apex. Its cRT kept its layer in ``classifier.fc``.
    """
    cfg = load_config([DIGITS], words)
    network = build.build_network(cfg, 10)
    network.load_state_dict(own["state_dict"])
    groups = [{"params": parameter} for parameter in network.parameters() if parameter.requires_grad]
    optimizer, scheduler = published_optimizer(groups, cfg.TRAIN.OPTIMIZER.TYPE, own["optimizer"]["state"])
    renamed = "classifier.fc." if cfg.CLASSIFIER.TYPE == "cRT" else "classifier."
    return {
        "state_dict": {f"module.{name}".replace("classifier.", renamed): value for name, value in network.state_dict().items()},
        "epoch": own["epoch"], "best_result": np.float64(own["best_result"]), "best_epoch": own["best_epoch"],
        "scheduler": scheduler.state_dict(), "optimizer": optimizer, "amp": {},
    }


def published_optimizer(groups: list[dict], kind: str, moments: dict) -> tuple[dict, object]:
    optimizer: Optimizer = (Adam(groups, lr=1e-3, betas=(0.9, 0.999)) if kind == "ADAM" else
                            SGD(groups, lr=0.1, momentum=0.9, weight_decay=2e-4, nesterov=True))
    scheduler = CosineAnnealingLR(optimizer, 3, eta_min=1e-4) if kind == "ADAM" else MultiStepLR(optimizer, [2], gamma=0.01)
    state = {number: {name: int(value) if name == "step" else value.contiguous() for name, value in entry.items()}
             for number, entry in moments.items()}   # torch counted Adam's steps by a plain number
    saved = optimizer.state_dict()
    assert len(saved["param_groups"]) == len(groups) == len(state)
    return saved | {"state": state}, scheduler


def last(folder: Path) -> dict:
    state = torch.load(folder / "run/models/last.pth", weights_only=True)   # with nothing but tensors and plain values in it
    return {name: state[name] for name in ("state_dict", "optimizer", "epoch")}   # another directory has a best epoch of its own


def same(first: object, second: object) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


@pytest.mark.parametrize("family", ["LDAM", *(pytest.param(name, marks=pytest.mark.long) for name in FAMILIES if name != "LDAM")])
def test_a_published_run_is_resumed_bit_for_bit(tmp_path, tiny, family, capsys):
    words = [*tiny, *FAMILIES[family]]
    if family in ("cRT", "LWS"):
        assert run(tmp_path / "first", tiny) == 0
        words += ["NETWORK.PRETRAINED", "True", "NETWORK.PRETRAINED_MODEL", str(tmp_path / "first/run/models/last.pth")]
    assert run(tmp_path / "own", words) == 0
    published = as_published(load(tmp_path / "own/run/models/epoch_2.pth"), words)

    torch.save(published, tmp_path / "epoch_2.pth")
    capsys.readouterr()
    assert run(tmp_path / "named", [*words, "RESUME_MODEL", str(tmp_path / "epoch_2.pth")]) == 0
    assert same(last(tmp_path / "own"), last(tmp_path / "named"))
    assert "not used: scheduler, amp" in capsys.readouterr().out

    models = tmp_path / "auto/run/models"   # what its --ar finds in a folder of its own
    models.mkdir(parents=True)
    for name in ("epoch_2.pth", "best_model.pth"):
        torch.save(published, models / name, _use_new_zipfile_serialization=False)   # torch's format before 1.6
    assert run(tmp_path / "auto", [*words, "--ar", "True"]) == 0
    assert same(last(tmp_path / "own"), last(tmp_path / "auto"))
    history = [json.loads(line) for line in (tmp_path / "auto/run/history.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in history] == [3]

    assert valid.main(["--cfg", DIGITS, "--gpus", "cpu", *words, "OUTPUT_DIR", str(tmp_path / "judged"), "TEST.MODEL_FILE",
                       str(tmp_path / "epoch_2.pth")]) == 0
    assert "Top1" in capsys.readouterr().out


def test_one_of_another_network_is_refused_with_what_differs(tmp_path, tiny, capsys):
    words = [*tiny, "TRAIN.OPTIMIZER.MOMENTUM", "0.9"]
    network = build.build_network(load_config([DIGITS], words), 10)
    groups = [{"params": parameter} for parameter in network.parameters()]
    optimizer, _ = published_optimizer(groups, "SGD", dict(enumerate([{"momentum_buffer": torch.zeros_like(g["params"])}
                                                                      for g in groups])))
    optimizer["param_groups"].pop()
    state = {"state_dict": network.state_dict(), "epoch": 2, "best_result": 0, "best_epoch": 0, "optimizer": optimizer}
    torch.save(state, tmp_path / "epoch_2.pth")
    assert run(tmp_path, [*words, "RESUME_MODEL", str(tmp_path / "epoch_2.pth")]) == 2
    error = capsys.readouterr().err
    assert f"there it had {len(groups) - 1} parameters, here {len(groups)}" in error
    assert "RESUME_MODE state_dict" in error
    assert not (tmp_path / "run").exists()
