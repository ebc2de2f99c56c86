"""Tricks of different families combine: every loss × combiner × draw × stage trains, or is refused for a reason given here.

The registries are walked through, so that a new member is tested with all others.
"""
from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import pytest
import torch
import torch.distributed as dist

from lib.combiner import COMBINERS
from lib.config import Config, load_config, validate
from lib.core import build
from lib.dataset import SAMPLERS, ArraySet
from lib.dataset.sampler import bbn, weighted
from lib.device.precision import Precision
from lib.device.runtime import Runtime
from lib.engine.epoch import train_one_epoch
from lib.engine.step import EagerStep
from lib.loss import LOSSES
from lib.run import checkpoint
from lib.utils.seed import seed_globals

DIGITS = "configs/test/digits_lt.yaml"
ALONE = Runtime(torch.device("cpu"))
COUNTS = torch.tensor([4, 2, 1, 1])   # one batch of 8 an epoch, so two epochs are two steps, one before DRW and DRS, one after
TINY = {
    "INPUT_SIZE": [8, 8], "BACKBONE.TYPE": "res20_cifar", "TRAIN.BATCH_SIZE": 8, "TRAIN.MAX_EPOCH": 2,
    "TRAIN.TWO_STAGE.START_EPOCH": 1, "TRAIN.OPTIMIZER.BASE_LR": 0.01,
    "TRAIN.OPTIMIZER.WEIGHT_DECAY": 0.0,   # so that weights change by their gradients only
    "LOSS.SEQL.LAMBDA": 0.2,               # the two classes of one image are rare
}
STAGES = ("plain", "DRW", "DRS")


class Case(NamedTuple):
    """One combination."""

    loss: str
    combiner: str
    draw: str
    stage: str


# The key that a refusal begins with, and what it is about. Whatever is not in this table trains.
REFUSALS: list[tuple[str, Callable[[Case], bool]]] = [
    ("TRAIN.TWO_STAGE.DRS", lambda case: case.stage == "DRS" and case.draw in ("default", "bbn sampler")),
    ("TRAIN.TWO_STAGE.DRW", lambda case: case.stage == "DRW" and case.loss in ("SEQL", "BalPoE", "LADE", "SADE")),
    ("TRAIN.COMBINER.TYPE", lambda case: case.combiner in ("bbn_mix", "cmo", "h2t") and case.draw != "bbn sampler"),
    ("TRAIN.COMBINER.TYPE", lambda case: case.combiner == "dive" and case.loss != "DiVEKLD"),
    ("LOSS.LOSS_TYPE", lambda case: case.combiner != "dive" and case.loss == "DiVEKLD"),
    ("LOSS.LOSS_TYPE", lambda case: case.loss == "LADE" and COMBINERS[case.combiner].mixes),
    ("HEADS.TYPES", lambda case: case.combiner == "bcl" and LOSSES[case.loss].needs_experts),   # prototypes are of one classifier
]


@pytest.fixture(scope="module")
def images() -> ArraySet:
    pixels = torch.randint(256, (int(COUNTS.sum()), 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(len(COUNTS)).repeat_interleave(COUNTS)
    return ArraySet("noise", pixels, labels, list("abcd"), [0.5] * 3, [0.25] * 3)


@pytest.fixture(scope="module")
def configure(tmp_path_factory) -> Callable[..., Config]:
    """The configuration of a case, and what else is put into it; not validated."""
    tiny = load_config(DIGITS).clone()
    tiny.defrost()
    for key, value in TINY.items():
        tiny.put(key, value)
    teacher = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    checkpoint.save({"state_dict": build.build_network(tiny, len(COUNTS)).state_dict(), "config": tiny.flat()}, [teacher])
    tiny.put("TRAIN.COMBINER.DIVE.TEACHER_MODEL", str(teacher))

    def configured(case: Case, changes: dict | None = None) -> Config:
        cfg = tiny.clone()
        values = {"LOSS.LOSS_TYPE": case.loss, "TRAIN.COMBINER.TYPE": case.combiner, "TRAIN.SAMPLER.TYPE": case.draw,
                  "CLASSIFIER.TYPE": LOSSES[case.loss].needs_classifier or "FC",
                  "NETWORK.EXPERTS.NUM": (LOSSES[case.loss].num_experts or 2) if LOSSES[case.loss].needs_experts else 1,
                  "HEADS.TYPES": list(COMBINERS[case.combiner].needs_heads),
                  "TRANSFORMS.VIEWS": [["random_horizontal_flip"]] * COMBINERS[case.combiner].views, **(changes or {})}
        if case.stage != "plain":
            values[f"TRAIN.TWO_STAGE.{case.stage}"] = True
        for key, value in values.items():
            cfg.put(key, value)
        return cfg

    return configured


def faults(cfg: Config, images: ArraySet, wrap: Callable = lambda network: network) -> list[str]:
    """Trains two steps; returns what went wrong with them."""
    seed_globals(0)
    network = build.build_network(cfg, images.num_classes)
    optimizer, _ = build.build_optimizer(cfg, network)
    criterion, combiner = build.build_criterion(cfg, images.class_counts), build.build_combiner(cfg, images.class_counts)
    loader, _ = build.build_loaders(cfg, images, images, ALONE)
    wrapped = wrap(network)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    found = []
    for epoch in (1, 2):
        criterion.on_epoch(epoch)
        loader.on_epoch(epoch)
        loss = train_one_epoch(EagerStep(wrapped, criterion, combiner, optimizer, Precision()), loader).means(ALONE).loss
        if not torch.tensor(loss).isfinite():
            found.append(f"step {epoch}: loss {loss}")
        found += [f"step {epoch}: gradient of {name}" for name, parameter in network.named_parameters()
                  if parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.any()]
    return found + [f"{name} did not change" for name, parameter in network.named_parameters() if parameter.equal(before[name])]


def refused(case: Case) -> set[str]:
    return {key for key, applies in REFUSALS if applies(case)}


def all_cases(loss: str) -> list[Case]:
    return [Case(loss, *rest) for rest in product(COMBINERS, SAMPLERS, STAGES)]


@pytest.mark.slow
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_what_is_not_refused_trains(loss, configure, images):
    outcomes = {case: faults(configure(case), images) for case in all_cases(loss) if not refused(case)}
    assert len(outcomes) >= 5
    assert {case: found for case, found in outcomes.items() if found} == {}


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_refusals_are_those_of_the_table(loss, configure):
    """None more: a combination that could be trained is not refused; none less: no other one goes through."""
    for case in all_cases(loss):
        assert {line.partition(":")[0] for line in validate(configure(case))} == refused(case), case


MANIFOLD = Case("CrossEntropy", "manifold_mix_up", "default", "plain")


@pytest.mark.parametrize("location", ["stem", "layer1", "layer2", "layer3", "layer4", "pool", "fc"])
@pytest.mark.parametrize("backbone", ["res20_cifar", "res10"])
def test_every_place_to_mix(backbone, location, configure, images):
    cfg = configure(MANIFOLD, {"BACKBONE.TYPE": backbone, "TRAIN.COMBINER.MANIFOLD_MIX_UP.LOCATION": location})
    key = "TRAIN.COMBINER.MANIFOLD_MIX_UP.LOCATION"
    if (backbone, location) == ("res20_cifar", "layer4"):
        assert validate(cfg) == [f"{key}: res20_cifar has no 'layer4'; it has stem, layer1, layer2, layer3, pool, fc"]
    else:
        assert validate(cfg) == []
        assert faults(cfg, images) == []


@pytest.mark.parametrize(("key", "kinds", "draw"), [
    ("TRAIN.SAMPLER.WEIGHTED_SAMPLER.TYPE", weighted.TYPES, "weighted sampler"),
    ("TRAIN.SAMPLER.BBN_SAMPLER.TYPE", bbn.TYPES, "bbn sampler")])
def test_every_kind_of_draw(key, kinds, draw, configure, images):
    for kind in kinds:
        cfg = configure(Case("BalancedSoftmaxCE", "remix", draw, "plain"), {key: kind})
        assert validate(cfg) == []
        assert faults(cfg, images) == [], kind


@pytest.mark.parametrize("changes", [{"TRAIN.COMBINER.REMIX.PER_SAMPLE": False}, {"TRAIN.OPTIMIZER.TYPE": "ADAM"}])
def test_other_options(changes, configure, images):
    assert faults(configure(Case("CostSensitiveCE", "remix", "default", "DRW"), changes), images) == []


def test_every_combiner_trains_under_ddp(configure, images):
    """DDP does not look for parameters without gradients: it would fail at the second step if the first left any out."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        for combiner in COMBINERS:
            loss = COMBINERS[combiner].needs_loss or "CrossEntropy"
            draw = "bbn sampler" if COMBINERS[combiner].rows else "default"
            cfg = configure(Case(loss, combiner, draw, "plain"))
            assert faults(cfg, images, Runtime(ALONE.device, world_size=2).wrap) == [], combiner   # as if there were two
    finally:
        dist.destroy_process_group()
