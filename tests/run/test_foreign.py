"""Checkpoints of other codes, and of this project before its cosine classifiers were (C, D)."""
import argparse
import copy
import logging
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from lib.backbone import BACKBONES
from lib.modules import CLASSIFIERS, POOLINGS
from lib.net import Network
from lib.run.checkpoint import Start, load, load_backbone, load_network, read_start
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
    caplog.set_level("INFO", logger="lib.run.checkpoint")
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


# --- a backbone, in whatever is around it

def other_projects() -> dict[str, tuple[dict, str]]:
    """Files as they are published, each of the network of seed 0 with others' weights beside it, and what must be left out."""
    first, second = network(), network(seed=7)
    plain, noise = first.backbone.state_dict(), second.backbone.state_dict()
    options = argparse.Namespace(arch="resnet", output=Path("runs/1"))

    def named(prefix: str, weights: dict) -> dict:
        return {prefix + name: value for name, value in weights.items()}

    dino_head = {"head.mlp.0.weight": torch.ones(8, 64), "head.last_layer.weight_g": torch.ones(5, 1)}
    return {
        "torchvision": (bare(first, "fc"), "fc.weight, fc.bias"),
        "LDAM-DRW": ({"epoch": 3, "state_dict": bare(first, "linear", "module."), "best_acc1": torch.ones(())},
                     "linear.weight, linear.bias"),
        "last_linear": (bare(first, "last_linear"), "last_linear.weight"),
        "classifier": ({"model": bare(first, "classifier"), "args": options}, "classifier.weight"),
        "head": ({"model": bare(first, "head"), "optimizer": {"state": {}}, "args": options}, "head.weight"),
        "timm, averaged": ({"state_dict": named("", noise), "state_dict_ema": bare(first, "fc"), "epoch": 3}, "fc.weight"),
        "averaged model": ({"model": named("", noise), "model_ema": bare(first, "head")}, "head.weight"),
        "DINO, whole": ({"student": named("module.backbone.", noise), "teacher": named("backbone.", plain) | dino_head,
                         "epoch": 9, "args": options}, "head.mlp.0.weight"),
        "DINO, teacher": (named("module.backbone.", plain) | named("module.", dino_head), "module.head.mlp.0.weight"),
        "MoCo": ({"state_dict": named("module.encoder_k.", noise) | named("module.encoder_q.", plain)
                  | {"module.encoder_q.fc.0.weight": torch.ones(8, 64), "module.queue": torch.ones(8, 5)}}, "fc.0.weight"),
        "MoCo v3": ({"state_dict": named("module.momentum_encoder.", noise) | named("module.base_encoder.", plain)
                     | {"module.predictor.0.weight": torch.ones(3, 3)}}, "module.momentum_encoder.conv1.weight"),
        "BYOL": ({"target_encoder": named("", noise), "online_encoder": named("", plain)}, ""),
        "SwAV": (named("module.", plain) | {"module.projection_head.0.weight": torch.ones(2, 64), "module.prototypes.weight":
                 torch.ones(3, 2)}, "projection_head.0.weight, prototypes.weight"),
        "Lightning": ({"state_dict": named("model.encoder.", plain) | {"model.projector.0.weight": torch.ones(2, 64)},
                       "pytorch-lightning_version": "2.0"}, "model.projector.0.weight"),
        "compiled": (named("_orig_mod.module.", plain), ""),
        "OLTR": ({"state_dict_best": {"feat_model": named("module.", plain), "classifier": {"module.fc.weight": torch.ones(5)}}},
                 ""),
        "this project": ({"state_dict": first.state_dict(), "class_counts": torch.ones(10), **OURS},
                         "classifier.weight, classifier.bias"),
    }


@pytest.mark.parametrize("kind", other_projects())
def test_a_backbone_is_found_and_what_is_left_out_is_told(tmp_path, kind, said):
    state, left_out = other_projects()[kind]
    torch.save(state, tmp_path / "a.pth")
    whole = network(seed=1)
    before = copy.deepcopy(whole.classifier)
    start = read_start("backbone", tmp_path / "a.pth", "BACKBONE.PRETRAINED_MODEL")
    start.load_weights(whole)
    assert equal(whole.backbone, network().backbone)
    assert equal(whole.classifier, before)
    lines = [line for line in said() if "left out: " in line]
    assert len(lines) == (left_out != "")
    assert all(line.startswith(f"BACKBONE.PRETRAINED_MODEL {tmp_path / 'a.pth'}: left out: {left_out}") for line in lines)
    several = [line for line in said() if " is taken, of " in line]
    assert len(several) == (kind in ("timm, averaged", "averaged model", "DINO, whole", "MoCo", "MoCo v3", "BYOL"))


def test_several_networks_of_which_none_is_known_are_refused():
    inner = network().backbone.state_dict(), network(seed=1).backbone.state_dict()
    state = {f"{side}.{name}": value for side, weights in zip(("left", "right"), inner) for name, value in weights.items()}
    with pytest.raises(InputError, match=r"f\.pth has several networks that fit: .*left\..*; .*right\..*file of its own"):
        load_backbone(network().backbone, state, "BACKBONE.PRETRAINED_MODEL f.pth")


def test_the_same_network_twice_is_no_question():
    weights = network().backbone.state_dict()
    other = network(seed=1).backbone
    load_backbone(other, {f"{side}.{name}": value for side in "ab" for name, value in weights.items()}, "f.pth")
    assert equal(other, network().backbone)


def test_a_run_is_resumed_from_the_weights_that_were_trained_not_from_their_average():
    first, averaged, other = network(), network(seed=1), network(seed=2)
    state = {"state_dict": first.state_dict(), "state_dict_ema": averaged.state_dict(), "epoch": 1, "optimizer": {}}
    Start("run", "RESUME_MODEL f.pth", state).load_weights(other)
    assert equal(other, first)
    Start("weights", "NETWORK.PRETRAINED_MODEL f.pth", state).load_weights(other)
    assert equal(other, averaged)


def test_what_is_no_head_is_not_left_out():
    weights = network().backbone.state_dict() | {"layer4.0.conv1.weight": torch.ones(1)}
    with pytest.raises(InputError, match=r"unexpected: layer4\.0\.conv1\.weight"):
        load_backbone(network().backbone, weights, "f.pth")


@pytest.mark.parametrize("state", [{}, {"state_dict": {}}, {"a": {"b": {"c": {"d": torch.ones(1)}}}},
                                   {"cls_token": torch.ones(1, 64)}, torchvision.models.resnet18(weights=None).state_dict()])
def test_another_backbone_is_refused_as_such(state):
    with pytest.raises(InputError, match=r"f\.pth does not fit this network; missing: .*another backbone than BACKBONE\.TYPE"):
        load_backbone(network().backbone, state, "f.pth")


@pytest.mark.parametrize("name", ["res50", "resnext50"])
def test_torchvision_s_file_is_a_backbone(tmp_path, name, said):
    kind = {"res50": "resnet50", "resnext50": "resnext50_32x4d"}[name]
    whole = torchvision.models.get_model(kind)
    torch.save(whole.state_dict(), tmp_path / f"{kind}.pth")
    backbone = BACKBONES[name]()
    load_backbone(backbone, load(tmp_path / f"{kind}.pth"), "f.pth")
    assert torch.equal(backbone.layer4[2].conv3.weight, whole.layer4[2].conv3.weight)
    assert said() == ["f.pth: left out: fc.weight, fc.bias"]


# --- a whole network

@pytest.mark.parametrize("head", ["linear", "fc", "last_linear", "head", "classifier"])
def test_a_network_of_other_words_is_a_network(head, said):
    first, other = network(), network(seed=1)
    load_network(other, {"state_dict": bare(first, head, "module.")}, "TEST.MODEL_FILE f.pth")
    assert equal(first, other)
    assert said() == [f"TEST.MODEL_FILE f.pth: {head}.* is taken as the classifier"] * (head != "classifier")


def test_a_network_of_other_words_is_a_first_stage():
    first, second = network(), network("LWS", seed=1)
    Start("first stage", "f.pth", bare(first, "linear")).load_weights(second)
    assert equal(first.classifier, second.classifier.fc)


def test_published_crt_keeps_its_layer_deeper():
    first = network("cRT")
    state = {name.replace("classifier.", "module.classifier.fc.").replace("backbone.", "module.backbone."): value
             for name, value in first.state_dict().items()}
    for kind in ("cRT", "FC"):
        other = network(kind, seed=1)
        load_network(other, {"state_dict": state}, "f.pth")
        assert equal(first, other)
    second = network("LWS", seed=1)
    Start("first stage", "f.pth", {"state_dict": state}).load_weights(second)
    assert equal(first.classifier, second.classifier.fc)


def test_another_number_of_classes_names_the_other_keys():
    state = {"state_dict": network(num_classes=100).state_dict()}
    with pytest.raises(InputError, match=r"classifier\.weight \(100, 64\) for \(10, 64\).*for 100 classes, but the data have "
                                         r"10; BACKBONE\.PRETRAINED_MODEL takes it.*CLASSIFIER\.TYPE cRT"):
        Start("weights", "NETWORK.PRETRAINED_MODEL f.pth", state).load_weights(network())
    with pytest.raises(InputError, match=r"trained for 100 classes, but the data have 10$"):
        load_network(network(), state, "TEST.MODEL_FILE f.pth")


@pytest.mark.parametrize(("there", "here", "hint"), [
    (network("FCNorm"), network("FC"), r"missing: classifier\.bias; its classifier has no bias: CLASSIFIER\.TYPE FCNorm, or"),
    (network("FC"), network("FCNorm"), r"unexpected: classifier\.bias; its classifier has a bias: CLASSIFIER\.TYPE FC with"),
    (network("LWS"), network("FC"), r"missing: classifier\.bias, classifier\.weight; unexpected: classifier\.fc\.bias")])
def test_another_classifier_without_a_configuration_is_told_by_its_tensors(there, here, hint):
    with pytest.raises(InputError, match=hint):
        load_network(here, {"state_dict": there.state_dict()}, "TEST.MODEL_FILE f.pth")


@pytest.mark.parametrize("state", [bare(network(num_classes=1000), "fc"), bare(network()),
                                   {"model": bare(network(), prefix="backbone.")}])
def test_a_backbone_given_as_a_network_names_the_other_key(state):
    with pytest.raises(InputError, match=r"NETWORK\.PRETRAINED_MODEL f\.pth .*BACKBONE\.PRETRAINED_MODEL takes it"):
        Start("weights", "NETWORK.PRETRAINED_MODEL f.pth", state).load_weights(network())
