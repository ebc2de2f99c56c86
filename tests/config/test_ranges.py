"""Every key of the tree, with values that it must not have: one message each, and none for what is in range."""
import math
from typing import Any

import pytest
import torch

from lib.config import TREE, ConfigError, load_config
from lib.config.ranges import RANGES, Range
from lib.config.validate import CHOICES, REGISTRIES, validate
from lib.core import build
from lib.utils.output import Output
from tests.config.test_sections import WITH_ONE_TYPE

LEAVES = TREE.flat()
GOOD = {"BACKBONE.TYPE": "res32_cifar", "INPUT_SIZE": [32, 32]}
PAIR = ([], [0.5], [0.1, 0.5, 1.0], [0.5, 0.1], [0.0, 1.0], [-1.0, 1.0], [0.5, math.inf], [math.nan, 1.0], [0.5, 1e9],
        [1e-9, 1.0], [True, 1.0], ["a", 1.0], [[0.1], [0.5]])
CHANNEL = ([0.5], [0.5] * 2, [0.5] * 4, [0.5, 0.5, math.inf], [0.5, 0.5, math.nan], [0.5, 0.5, -0.1], [0.5, 0.5, 1.1],
           [0.5, True, 0.5], ["a"] * 3, [[0.5]] * 3, [123.675, 116.28, 103.53], [1e30] * 3)
LISTS = {   # values that are refused
    "INPUT_SIZE": ([], [32], [32] * 3, [0, 32], [-32, 32], [10**6, 10**6], [2**62, 32], [30, 30], [8192, 8193], [32.5, 32],
                   [[32], [32]], ["a", "b"], [True, True]),
    "TRAIN.LR_SCHEDULER.LR_STEP": ([0], [-1, 5], [180, 160], [160, 160], [10**12], list(range(1, 1003)), ["a"], [[1]], [True],
                                   [math.nan]),
    "DATASET.MEAN": CHANNEL, "DATASET.STD": (*CHANNEL, [0.1, 0.1, 0.0], [0.1, 0.1, 1e-9]),
    "TRANSFORMS.TRAIN_TRANSFORMS": (["randomcrop"], [""], [3], [["random_crop"]], ["a" * 10**5], [None]),
    "TRANSFORMS.TEST_TRANSFORMS": (["centercrop"], [True]), "TEST.AGGREGATION.TRANSFORMS": (["randomcrop"], [3]),
    "TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP.SCALE": (*PAIR, [0.5, 1.1]),
    "TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP.RATIO": PAIR,
    "TEST.TAU_NORM.SWEEP": ([-0.1], [10.1], [math.nan], [math.inf], ["a"], [True], [[1.0]], [0.5, 1, 0.5],
                            [n / 100 for n in range(101)]),
    "TEST.SWEEP": ([-0.1], [10.1], [math.nan], ["a"], [True], [[1.0]], [0.5, 1, 0.5]),
    "TEST.SHIFTS": ([0.5], [0], [-2], [math.nan], [math.inf], ["a"], [True], [[2.0]], [2, 2]),
    "HEADS.TYPES": (["projektion"], [3], [["projection"]], ["projection", "projection"]),
    "LOSS.BalPoE.TAUS": ([], [10.1], [-11], [math.nan], ["a"], [True], [[1.0]], [0.0] * 65),
    "TRANSFORMS.VIEWS": (["random_crop"], [3], [["randomcrop"]], [[None]]),
    "TRAIN.OPTIMIZER.LR_FACTORS": (["backbone"], ["backbone=-1"], ["backbone=inf"], ["backbone=nan"], ["=1"], [3], [["a=1"]],
                                   ["a=1", "a=2"]),
}
NEEDED = {   # other keys that must be set for a key to be of use
    "TEST.TAU_NORM.SWEEP": {"TEST.TAU_NORM.USE_TAU_NORM": True},
    "TRAIN.COMBINER.MANIFOLD_MIX_UP.LOCATION": {"TRAIN.COMBINER.TYPE": "manifold_mix_up"},
    "BACKBONE.TIMM.MODEL": {"BACKBONE.TYPE": "timm"}, "NETWORK.EXPERTS.FROM": {"NETWORK.EXPERTS.NUM": 2},
    "TRANSFORMS.VIEWS": {"TRAIN.COMBINER.TYPE": "bcl"},
    "TEST.FEW_SHOT": {"TEST.MANY_SHOT": 10**9},
}


def of_kind(kind: type) -> list[str]:
    return [key for key, value in LEAVES.items() if type(value) is kind]


def check(key: str, value: Any) -> list[str]:
    """What is said of the key."""
    cfg = TREE.clone()
    for other, needed in {**GOOD, **NEEDED.get(key, {}), key: value}.items():
        cfg.put(other, value if other == key else needed)
    return [line for line in validate(cfg) if line.startswith(f"{key}:")]


def test_every_list_has_its_place():
    assert sorted(of_kind(list)) == sorted(LISTS)
    assert len(LEAVES) == sum(len(of_kind(kind)) for kind in (bool, int, float, str, list))   # and of bool any value is legal


@pytest.mark.parametrize("key", LEAVES)
def test_the_default_is_in_range(key):
    assert [line for line in validate(TREE) if line.startswith(f"{key}:")] == []


def below(key: str, span: Range) -> float:
    if type(LEAVES[key]) is int:
        return span.low - 1
    return span.low if span.without_low else math.nextafter(span.low, -math.inf)


def above(key: str, span: Range) -> float:
    if type(LEAVES[key]) is int:
        return span.high + 1
    return span.high if span.without_high else math.nextafter(span.high, math.inf)


@pytest.mark.parametrize("key", RANGES)
def test_a_number_has_two_bounds_and_is_finite(key):
    span = RANGES[key]
    wrong = [below(key, span), above(key, span), *[-1] * (span.low >= 0), -10**30, 10**30]
    wrong += [] if type(LEAVES[key]) is int else [math.nan, math.inf, -math.inf]
    if key == "TRAIN.OPTIMIZER.BASE_LR":
        wrong.remove(10**30)   # ends with a loss that is not finite, and says so
    for value in wrong:
        value = type(LEAVES[key])(value)
        assert [line for line in check(key, value) if line == f"{key}: {span.complaint(value)}" and str(value) in line]
    for value in (lowest(key, span), highest(key, span)):
        assert check(key, value) == []


def lowest(key: str, span: Range) -> float:
    return type(LEAVES[key])(math.nextafter(span.low, math.inf) if span.without_low else span.low)


def highest(key: str, span: Range) -> float:
    return type(LEAVES[key])(math.nextafter(span.high, -math.inf) if span.without_high else span.high)


@pytest.mark.parametrize("key", LISTS)
def test_a_list_has_the_right_elements(key):
    for value in LISTS[key]:
        lines = check(key, value)
        assert len(lines) == 1, (value, lines)
        assert len(lines[0]) < 500


@pytest.mark.parametrize("key", [*REGISTRIES, *CHOICES, *WITH_ONE_TYPE, "NAME"])
def test_a_text_is_one_of_those_that_are_known(key):
    for value in ("", "nothing of the kind", "a\nb", "x" * 1000, "../x", "\ud800"):
        if key != "NAME" or " " not in value:
            lines = check(key, value)
            assert lines, value
            assert max(map(len, lines)) < 3000


@pytest.mark.parametrize("key", LEAVES)
def test_what_is_of_another_kind_is_refused_by_file_and_key(tmp_path, key):
    """As it is written in a file, and as a word of the command line: one message each."""
    kind = type(LEAVES[key])
    wrong = {bool: ["2", "maybe", "0.5", "[True]", "''"], int: ["1.5", "one", "true", "[1]", "''", "1_000", "1e400", "0x",
    "9" * 30],
             float: ["one", "true", "[0.5]", "''", "1:30", "1,5"], str: ["[a]", "[]"],
             list: ["5", "one", "true", "''", "{a: 1}"] if LEAVES[key] != [] else ["5", "one", "true", "''"]}[kind]
    for text in wrong:
        (tmp_path / "own.yaml").write_text(f"{key}: {text}\n")
        with pytest.raises(ConfigError) as caught:
            load_config(tmp_path / "own.yaml")
        lines = str(caught.value).split("\n")
        found = [line for line in lines if f"own.yaml: {key} takes" in line or f"unknown key {key}.a" in line]
        assert len(found) == 1, (text, caught.value)
        if kind is not str and "'" not in text and "{" not in text:
            with pytest.raises(ConfigError, match=rf"command line: {key} takes"):
                load_config([], [key, text])


@pytest.mark.parametrize(("key", "value", "message"), [
    ("DATASET.MEAN", [123.675, 116.28, 103.53],
    "in units of [0, 1], from 0 to 1, got [123.675, 116.28, 103.53]; divide by 255: "
                                               "[0.485, 0.456, 0.406]"),
    ("DATASET.STD", [58.395, 57.12, 57.375], "divide by 255: [0.229, 0.224, 0.225]"),
    ("DATASET.STD", [math.inf] * 3, "got [inf, inf, inf]"),
    ("TRAIN.BATCH_SIZE", 10**9, "must be at most 1,048,576, got 1000000000"),
    ("TRAIN.NUM_WORKERS", 10**6, "must be at most 1,024"), ("TRAIN.COMBINER.ALPHA", 1e-300, "must be at least 0.001, got 1e-300"),
    ("TRAIN.CHECKPOINT_MINUTES", 1e12, "must be at most 527,040"), ("TEST.TAU_NORM.SWEEP", [0.0, 0.5, 0.5], "names 0.5 twice"),
    ("INPUT_SIZE", [10**6, 10**6], "must be height and width, such as [32, 32], from 1 to 8192 pixels each, got [1000000, 1000"),
    ("TRAIN.OPTIMIZER.MOMENTUM", 1.0, "must be below 1, got 1.0"), ("TRAIN.OPTIMIZER.WEIGHT_DECAY", 1e9, "must be at most 10"),
])
def test_the_message_says_what_would_do(key, value, message):
    line, = check(key, value)
    assert message in line


@pytest.mark.parametrize(("size", "padding", "transforms", "refused"), [
    ([32, 32], 32, ["random_crop"], True), ([32, 40], 39, ["random_crop"], True), ([32, 32], 31, ["random_crop"], False),
    ([32, 32], 100, ["center_crop"], False)])
def test_a_crop_has_something_of_the_image_in_it(size, padding, transforms, refused):
    cfg, key = TREE.clone(), "TRANSFORMS.PROCESS_DETAIL.RANDOM_CROP.PADDING"
    for other, value in {**GOOD, "INPUT_SIZE": size, key: padding, "TRANSFORMS.TRAIN_TRANSFORMS": transforms}.items():
        cfg.put(other, value)
    assert any(line.startswith(f"{key}: must be below INPUT_SIZE") for line in validate(cfg)) == refused


@pytest.mark.parametrize("key", [key for key in RANGES if key.startswith("LOSS.") and not key.startswith("LOSS.DiVEKLD.")])
@pytest.mark.parametrize("bound", [lowest, highest])
def test_every_loss_is_finite_at_the_bounds_of_its_options(key, bound):
    """For classes of very different sizes, one of them empty, and logits of any size."""
    cfg = TREE.clone()
    cfg.put(key, bound(key, RANGES[key]))
    cfg.LOSS.LOSS_TYPE = key.split(".")[1]
    criterion = build.build_criterion(cfg, torch.tensor([100_000, 1000, 10, 1, 0]))
    criterion.on_epoch(1)
    generator = torch.Generator().manual_seed(0)
    targets = torch.tensor([0, 0, 1, 1, 2, 3, 0, 0])
    for scale in (1, 30, 1000):
        logits = torch.randn(8, 5, generator=generator) * scale
        cosines = type(criterion).needs_classifier == "FCNorm"
        logits = (logits.tanh() if cosines else logits).requires_grad_()
        if hasattr(criterion, "on_batch"):
            criterion.on_batch(torch.tensor(5))
        number = type(criterion).num_experts or 2
        experts = {"experts": torch.stack([logits, -logits, logits.flip(1)][:number], dim=1)}
        loss = criterion(Output(logits, torch.rand(8, 16, generator=generator), experts), targets)
        loss.backward()
        assert loss.isfinite()
        assert logits.grad.isfinite().all()
