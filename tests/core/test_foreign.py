"""Checkpoints of other codes, and of this project before its cosine classifiers were (C, D)."""
import copy
import logging

import pytest
import torch
from torch import nn

from lib.backbone import BACKBONES
from lib.core.checkpoint import Start, load_network
from lib.modules import CLASSIFIERS, POOLINGS
from lib.net import Network
from lib.utils.errors import InputError


def network(kind: str = "FC", num_classes: int = 10, seed: int = 0, **options) -> Network:
    torch.manual_seed(seed)
    return Network(BACKBONES["res20_cifar"](), POOLINGS["GAP"](), CLASSIFIERS[kind](64, num_classes, **options))


def equal(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def bare(whole: Network, head: str = "", prefix: str = "") -> dict:
    """Names as torchvision, timm and LDAM-DRW have them."""
    inner = dict(whole.backbone.state_dict())
    if head:
        inner |= {f"{head}.{name}": value for name, value in whole.classifier.state_dict().items()}
    return {prefix + name: value for name, value in inner.items()}


@pytest.fixture
def said(caplog):
    """What was logged, line by line."""
    caplog.set_level("INFO", logger="lib.core.checkpoint")
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]


# --- (D, C) and (C, D)

def flipped(state: dict) -> dict:
    """The cosine classifier as this project stored it before format 2, and LDAM-DRW does."""
    weights = {name: value.T.contiguous() if name.endswith(("classifier.weight", "linear.weight")) else value
               for name, value in state["state_dict"].items()}
    return state | {"state_dict": weights}


OURS = {"config": {"CLASSIFIER.TYPE": "FCNorm"}}


@pytest.mark.parametrize("num_classes", [10, 64])
@pytest.mark.parametrize(("form", "turned"), [
    (lambda net: flipped({"state_dict": net.state_dict(), **OURS}), True),                                # ours, before
    (lambda net: {"state_dict": net.state_dict(), **OURS, "format": 2}, False),                           # ours
    (lambda net: {"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}, False),         # published
    (lambda net: flipped({"state_dict": bare(net, "linear", "module."), "arch": "resnet32"}), True),      # LDAM-DRW
    (lambda net: flipped({"state_dict": bare(net, "linear"), "arch": "resnet32"}), True)])
def test_cosine_classifiers_come_as_they_are_meant(form, turned, num_classes, said):
    first, other = network("FCNorm", num_classes), network("FCNorm", num_classes, seed=1)
    load_network(other, form(first), "TEST.MODEL_FILE last.pth")
    assert equal(first, other)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(first.eval()(images).logits, other.eval()(images).logits)
    lines = [line for line in said() if "transposed from (features, classes)" in line]
    assert len(lines) == turned
    assert all(line.startswith("TEST.MODEL_FILE last.pth: classifier.weight is transposed") for line in lines)
    assert all(("square" in line) == (num_classes == 64) for line in lines)


def test_a_square_one_of_unknown_origin_is_told(said):
    first, other = network("FCNorm", 64), network("FCNorm", 64, seed=1)
    load_network(other, {"state_dict": first.state_dict()}, "file")
    assert equal(first, other)
    assert any("square" in line and "taken as (classes, features)" in line for line in said())


def test_of_another_shape_altogether_is_refused():
    state = flipped({"state_dict": network("FCNorm", 12).state_dict(), **OURS})
    with pytest.raises(InputError, match=r"classifier\.weight \(64, 12\) for \(10, 64\)"):
        load_network(network("FCNorm", 10), state, "file")


@pytest.mark.parametrize(("there", "here"), [("FCNorm", "FC"), ("FC", "FCNorm"), ("cRT", "FCNorm"), ("FCNorm", "cRT")])
def test_linear_weights_are_not_cosines_though_they_have_their_shape(there, here):
    own = network(here, **({} if here == "FCNorm" else {"bias": False}))
    state = {"state_dict": own.state_dict(), "config": {"CLASSIFIER.TYPE": there}, "format": 2}
    with pytest.raises(InputError, match=f"RESUME_MODEL f.pth was trained with CLASSIFIER.TYPE {there}.*TYPE {there} takes it"):
        load_network(own, state, "RESUME_MODEL f.pth")


@pytest.mark.parametrize("num_classes", [10, 64])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_moments_turn_with_their_weights(kind, num_classes):
    """The next step from an older file of ours, and of LDAM-DRW, is that from the file as it would be written today."""
    options = {"momentum": 0.9, "nesterov": True} if kind is torch.optim.SGD else {}
    first = network("FCNorm", num_classes)

    def step(net: Network, optimizer: torch.optim.Optimizer) -> None:
        torch.manual_seed(5)
        optimizer.zero_grad()
        nn.functional.cross_entropy(30 * net(torch.randn(16, 3, 8, 8)).logits, torch.randint(10, (16,))).backward()
        optimizer.step()

    optimizer = kind(first.parameters(), lr=0.1, fused=True, **options)
    for _ in range(2):
        step(first, optimizer)
    saved = optimizer.state_dict()
    last = len(saved["state"]) - 1
    turned = {name: value.T.contiguous() if value.dim() == 2 else value for name, value in saved["state"][last].items()}
    old = saved | {"state": saved["state"] | {last: turned}}
    states = [{"state_dict": first.state_dict(), "optimizer": saved, **OURS, "format": 2},
              flipped({"state_dict": first.state_dict(), "optimizer": old, **OURS}),
              flipped({"state_dict": bare(first, "linear", "module."), "optimizer": old})]
    states = [copy.deepcopy(state) for state in states]
    step(first, optimizer)
    for state in states:
        other = network("FCNorm", num_classes, seed=1)
        start = Start("run", "RESUME_MODEL last.pth", state)
        start.load_weights(other)
        resumed = kind(other.parameters(), lr=0.1, fused=True, **options)
        start.load_optimizer(resumed, other)
        step(other, resumed)
        assert equal(first, other)
