"""Names, ranges and combinations that are refused, each with its reason."""
import re

import pytest

from lib.config import TREE, validate
from lib.loss import LOSSES
from lib.modules import CLASSIFIERS

GOOD = {"BACKBONE.TYPE": "res32_cifar", "INPUT_SIZE": [32, 32]}
FIRST = {"NETWORK.PRETRAINED": True, "NETWORK.PRETRAINED_MODEL": "./output/first/models/last.pth"}

SHARE, BELOW_ONE, NOT_NEGATIVE, POSITIVE = (-0.1, 1.1), (-0.1, 1.0), (-0.1, float("inf")), (0.0, -1.0)
TAUS = (-0.1, 10.1, float("nan"))
LOSS_OPTIONS = {   # values out of range, just outside where that can be
    "CostSensitiveCE.GAMMA": NOT_NEGATIVE, "ClassBalanceCE.BETA": BELOW_ONE, "ClassBalanceFocal.BETA": BELOW_ONE,
    "ClassBalanceFocal.GAMMA": NOT_NEGATIVE, "CrossEntropyLabelSmooth.EPSILON": BELOW_ONE,
    "CrossEntropyLabelAwareSmooth.SMOOTH_HEAD": BELOW_ONE, "CrossEntropyLabelAwareSmooth.SMOOTH_TAIL": BELOW_ONE,
    "CrossEntropyLabelAwareSmooth.SHAPE": ("concav", ""), "FocalLoss.GAMMA": NOT_NEGATIVE, "LDAMLoss.SCALE": POSITIVE,
    "LDAMLoss.MAX_MARGIN": NOT_NEGATIVE, "GCL.SCALE": POSITIVE, "GCL.NOISE": NOT_NEGATIVE,
    "GCL.MARGIN": NOT_NEGATIVE, "GCL.FOCAL_GAMMA": NOT_NEGATIVE,
    "CDT.GAMMA": NOT_NEGATIVE, "SEQL.GAMMA": SHARE, "SEQL.LAMBDA": SHARE,
    "InfluenceBalancedLoss.ALPHA": POSITIVE, "DiVEKLD.POWER": POSITIVE, "DiVEKLD.TEMPERATURE": POSITIVE, "DiVEKLD.ALPHA": SHARE,
    "DiVEKLD.FACTOR": POSITIVE,
    "DiVEKLD.BASELOSS": ("BSCE", "DiVEKLD"), "ClassBalancedBCE.BETA": BELOW_ONE, "BalPoE.TAUS": ([], [11.0]),
    "LogitAdjustedCE.TAU": TAUS, "VSLoss.TAU": TAUS, "VSLoss.GAMMA": NOT_NEGATIVE, "LADE.ALPHA": NOT_NEGATIVE,
    "SADE.TAU": (-11.0, 11.0), "RIDE.DIVERSITY": (-101.0, 101.0), "RIDE.REWEIGHT_FACTOR": SHARE,
    "RIDE.MAX_MARGIN": NOT_NEGATIVE, "RIDE.SCALE": POSITIVE,
    "GeneralizedReweightCE.RHO": NOT_NEGATIVE, "LADE.LAMBDA": NOT_NEGATIVE,
}

CAM = {"DATASET.GENERATE_CAM_BASED_DATASET": True, "DATASET.CAM_DATA_JSON_SAVE_PATH": "cam.json",
       "DATASET.CAM_DATA_SAVE_PATH": "cam", "NETWORK.PRETRAINED": True, "NETWORK.PRETRAINED_MODEL": "first/last.pth"}


def check(changes: dict) -> list[str]:
    cfg = TREE.clone()
    for key, value in {**GOOD, **changes}.items():
        cfg.put(key, value)
    return validate(cfg)


def test_the_usual_is_accepted():
    assert check({}) == []


@pytest.mark.parametrize(("key", "value"), [
    ("VALID_STEP", 0), ("SAVE_STEP", 0), ("SHOW_STEP", -1), ("TRAIN.BATCH_SIZE", 0), ("TRAIN.MAX_EPOCH", 0),
    ("TEST.BATCH_SIZE", 0), ("SEED", -1), ("TRAIN.NUM_WORKERS", -1), ("TRAIN.OPTIMIZER.BASE_LR", 0.0),
    ("TRAIN.OPTIMIZER.BASE_LR", float("nan")), ("TRAIN.OPTIMIZER.BASE_LR", float("inf")), ("TRAIN.OPTIMIZER.MOMENTUM", 1.0),
    ("TRAIN.OPTIMIZER.WEIGHT_DECAY", -1e-9), ("TRAIN.COMBINER.ALPHA", 0.0),
    ("TRAIN.COMBINER.REMIX.KAPPA", 0.9), ("TRAIN.COMBINER.REMIX.TAU", 1.1), ("TRAIN.COMBINER.REMIX.TAU", -0.1),
    ("DATASET.IMBALANCECIFAR.RATIO", 0.0), ("DATASET.IMBALANCECIFAR.RATIO", 1.01), ("DATASET.IMBALANCECIFAR.RANDOM_SEED", 2**32),
    ("TRAIN.LR_SCHEDULER.LR_STEP", [180, 160]), ("TRAIN.LR_SCHEDULER.LR_STEP", [0]), ("INPUT_SIZE", [32]),
    ("INPUT_SIZE", [30, 30]), ("INPUT_SIZE", [0, 0]), ("DATASET.MEAN", [0.5]), ("DATASET.STD", [0.1, 0.0, 0.1]),
    ("DATASET.MEAN", ["a", "b", "c"]), ("TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP.SCALE", [0.5, 0.1]),
    ("TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP.RATIO", [0.0, 1.0]), ("COLOR_SPACE", "HSV"), ("RESUME_MODE", "half"),
    ("DATASET.IN_MEMORY", "yes"), ("TRAIN.AMP_BACKEND", "amp"), ("TRAIN.MEMORY_FORMAT", "nhwc"),
    ("TRAIN.OPTIMIZER.TYPE", "AdamW"), ("TRAIN.LR_SCHEDULER.TYPE", "step"), ("DATASET.IMBALANCECIFAR.TYPE", "linear"),
    ("TEST.MANY_SHOT", -1), ("TEST.FEW_SHOT", -1),
    ("TEST.TAU_NORM.TAU", -0.1), ("TEST.TAU_NORM.SWEEP", [-1.0]), ("TEST.TAU_NORM.SWEEP", ["a"]),
    ("TEST.TAU_NORM.SWEEP", [float("nan")]), ("TEST.TAU_NORM.SWEEP", [float("inf")]), ("TEST.TAU_NORM.SWEEP", [True]),
    ("NAME", "a/b"), ("NAME", ".."), ("NAME", ""), ("TRAIN.OPTIMIZER.LR_FACTORS", ["backbone"]),
])
def test_out_of_range(key, value):
    found = check({key: value})
    assert found
    assert found[0].startswith(key)


@pytest.mark.parametrize(("key", "name", "meant"), [
    ("LOSS.LOSS_TYPE", "LDAM", "LDAMLoss"), ("DATASET.DATASET", "IMBALANCEDCIFAR10", "IMBALANCECIFAR10"),
    ("BACKBONE.TYPE", "res32", "res32_cifar"),
    ("TRAIN.SAMPLER.TYPE", "weighted_sampler", "weighted sampler"), ("TRAIN.COMBINER.TYPE", "mixup", "mix_up"),
    ("CLASSIFIER.TYPE", "fc", "FC"), ("MODULE.TYPE", "gap", "GAP")])
def test_unknown_names_are_told_the_nearest(key, name, meant):
    assert any(line.startswith(key) and f"did you mean {meant!r}" in line for line in check({key: name}))


def test_unknown_transform():
    assert any("TEST_TRANSFORMS: unknown transform []" in line for line in check({"TRANSFORMS.TEST_TRANSFORMS": [[]]}))
    assert "TRANSFORMS.TRAIN_TRANSFORMS: unknown transform 'randomcrop'; did you mean 'random_crop'?" in check(
        {"TRANSFORMS.TRAIN_TRANSFORMS": ["randomcrop"]})


@pytest.mark.parametrize(("changes", "key", "reason"), [
    ({"TRAIN.COMBINER.TYPE": "bbn_mix"}, "TRAIN.COMBINER.TYPE", "'bbn sampler'"),
    ({"TRAIN.COMBINER.TYPE": "manifold_mix_up", "TRAIN.COMBINER.MANIFOLD_MIX_UP.LOCATION": "layer4"},
     "TRAIN.COMBINER.MANIFOLD_MIX_UP.LOCATION", "res32_cifar has no 'layer4'; it has stem, layer1, layer2, layer3, pool, fc"),
    ({"TRAIN.COMBINER.TYPE": "dive", "TRAIN.COMBINER.DIVE.TEACHER_MODEL": "x.pth"}, "TRAIN.COMBINER.TYPE", "DiVEKLD"),
    ({"TRAIN.LR_SCHEDULER.TYPE": "warmup_cosine", "TRAIN.LR_SCHEDULER.WARM_EPOCH": 60}, "TRAIN.LR_SCHEDULER.WARM_EPOCH",
     "the warm-up takes 60 epochs, but the cosine decay ends at epoch 60"),
    ({"TRAIN.COMBINER.TYPE": "dive"}, "TRAIN.COMBINER.DIVE.TEACHER_MODEL", "must name the checkpoint of the teacher"),
    ({"LOSS.LOSS_TYPE": "LDAMLoss"}, "LOSS.LOSS_TYPE", "FCNorm"), ({"LOSS.LOSS_TYPE": "GCL"}, "LOSS.LOSS_TYPE", "FCNorm"),
    ({"TRAIN.TWO_STAGE.DRS": True}, "TRAIN.TWO_STAGE.DRS", "weighted sampler"),
    ({"TRAIN.TWO_STAGE.DRS": True, "TRAIN.SAMPLER.TYPE": "bbn sampler"}, "TRAIN.TWO_STAGE.DRS", "two rows"),
    ({"TRAIN.TWO_STAGE.DRW": True, "TRAIN.TWO_STAGE.START_EPOCH": 60}, "TRAIN.TWO_STAGE.START_EPOCH", "MAX_EPOCH is 60"),
    ({"TRAIN.SHUFFLE": False, "TRAIN.SAMPLER.TYPE": "weighted sampler"}, "TRAIN.SHUFFLE", "weighted sampler"),
    ({"NETWORK.PRETRAINED": True}, "NETWORK.PRETRAINED", "PRETRAINED_MODEL"),
    ({"BACKBONE.FREEZE_BN": True}, "BACKBONE.FREEZE_BN", "FREEZE True"),
    ({"CLASSIFIER.TYPE": "cRT"}, "CLASSIFIER.TYPE", "NETWORK.PRETRAINED_MODEL"),
    ({"CLASSIFIER.TYPE": "LWS"}, "CLASSIFIER.TYPE", "NETWORK.PRETRAINED_MODEL"),
    ({"CLASSIFIER.TYPE": "LWS", "BACKBONE.PRETRAINED_MODEL": "./a.pth"}, "CLASSIFIER.TYPE", "NETWORK.PRETRAINED_MODEL"),
    ({"TEST.FEW_SHOT": 101}, "TEST.FEW_SHOT", "is above TEST.MANY_SHOT 100"),
    ({"TEST.TAU_NORM.SWEEP": [0.0, 1.0]}, "TEST.TAU_NORM.SWEEP", "USE_TAU_NORM True"),
    ({"TEST.TAU_NORM.USE_TAU_NORM": True, "CLASSIFIER.TYPE": "FCNorm"}, "TEST.TAU_NORM.USE_TAU_NORM", "length 1"),
    ({"TEST.TAU_NORM.USE_TAU_NORM": True, "CLASSIFIER.TYPE": "LWS"}, "TEST.TAU_NORM.USE_TAU_NORM", "learned scales already"),
    ({"LOSS.LOSS_TYPE": "SEQL", "TRAIN.TWO_STAGE.DRW": True}, "TRAIN.TWO_STAGE.DRW", "SEQL has no re-balancing to defer"),
    ({"LOSS.LOSS_TYPE": "DiVEKLD", "TRAIN.TWO_STAGE.DRW": True, "LOSS.DiVEKLD.BASELOSS": "SEQL"}, "TRAIN.TWO_STAGE.DRW", "SEQL"),
    ({"LOSS.LOSS_TYPE": "DiVEKLD"}, "LOSS.LOSS_TYPE", "needs TRAIN.COMBINER.TYPE dive, got default"),
    ({"LOSS.LOSS_TYPE": "DiVEKLD", "LOSS.DiVEKLD.BASELOSS": "LDAMLoss"}, "LOSS.DiVEKLD.BASELOSS", "FCNorm"),
    ({"DATASET.USE_CAM_BASED_DATASET": True}, "DATASET.USE_CAM_BASED_DATASET", "CAM_DATA_JSON_SAVE_PATH must name"),
    ({**CAM, "DATASET.USE_CAM_BASED_DATASET": True}, "DATASET.GENERATE_CAM_BASED_DATASET", "one of the two"),
    ({**CAM, "DATASET.CAM_DATA_JSON_SAVE_PATH": ""}, "DATASET.GENERATE_CAM_BASED_DATASET", "CAM_DATA_JSON_SAVE_PATH must name"),
    ({**CAM, "DATASET.CAM_DATA_SAVE_PATH": ""}, "DATASET.GENERATE_CAM_BASED_DATASET", "CAM_DATA_SAVE_PATH must name"),
    ({**CAM, "NETWORK.PRETRAINED": False}, "DATASET.GENERATE_CAM_BASED_DATASET", "set NETWORK.PRETRAINED to True"),
    ({**CAM, "MODULE.TYPE": "Identity"}, "DATASET.GENERATE_CAM_BASED_DATASET", "need MODULE.TYPE GAP, got Identity"),
])
def test_combinations_that_make_no_sense(changes, key, reason):
    assert any(line.startswith(key) and reason in line for line in check(changes))


def test_every_option_of_a_loss_has_a_range():
    unchecked = {"LOSS_TYPE", "DiVEKLD.POWER_NORM"}   # a name, which is looked up, and True or False
    assert {key for key in TREE.flat() if key.startswith("LOSS.")} == {f"LOSS.{key}" for key in LOSS_OPTIONS.keys() | unchecked}


@pytest.mark.parametrize("number", [0, 1])
def test_options_of_losses_out_of_range_are_all_found_at_once(number):
    found = check({f"LOSS.{key}": values[number] for key, values in LOSS_OPTIONS.items()})
    assert sorted(line.partition(":")[0] for line in found) == sorted(f"LOSS.{key}" for key in LOSS_OPTIONS)


def test_options_of_losses_at_their_bounds_are_legal():
    lowest = {key: 0.0 for key, values in LOSS_OPTIONS.items() if values in (SHARE, BELOW_ONE, NOT_NEGATIVE)}
    highest = {key: 1.0 if values is SHARE else 0.999999 for key, values in LOSS_OPTIONS.items() if values in (SHARE, BELOW_ONE)}
    for values in (lowest, highest):
        assert check({f"LOSS.{key}": value for key, value in values.items()}) == []


@pytest.mark.parametrize("name", sorted({*LOSSES} - {"LDAMLoss", "GCL", "SEQL", "DiVEKLD", "BalPoE", "LADE", "SADE", "RIDE"}))
def test_losses_that_can_be_deferred_need_nothing_else(name):
    assert check({"LOSS.LOSS_TYPE": name, "TRAIN.TWO_STAGE.DRW": True}) == []


@pytest.mark.parametrize("changes", [
    {"TRAIN.LR_SCHEDULER.LR_STEP": [320, 360]}, {"TRAIN.LR_SCHEDULER.TYPE": "multistep", "TRAIN.LR_SCHEDULER.WARM_EPOCH": 5},
    {"TRAIN.DISTRIBUTED": True, "TRAIN.SYNCBN": True}, {"TRAIN.LR_SCHEDULER.LR_STEP": []},
    {"TRAIN.SAMPLER.TYPE": "bbn sampler"}, {"TRAIN.SAMPLER.TYPE": "bbn sampler", "TRAIN.COMBINER.TYPE": "bbn_mix"},
    {"LOSS.LOSS_TYPE": "LDAMLoss", "CLASSIFIER.TYPE": "FCNorm", "TRAIN.TWO_STAGE.DRW": True},
    {"TRAIN.TWO_STAGE.DRS": True, "TRAIN.SAMPLER.TYPE": "weighted sampler", "TRAIN.TWO_STAGE.START_EPOCH": 59},
    {"TRAIN.COMBINER.MANIFOLD_MIX_UP.LOCATION": "layer4"},   # of a combiner that is not used
    {"BACKBONE.TYPE": "res10", "TRAIN.COMBINER.TYPE": "manifold_mix_up", "TRAIN.COMBINER.MANIFOLD_MIX_UP.LOCATION": "layer4"},
    {"CLASSIFIER.TYPE": "cRT", **FIRST, "BACKBONE.FREEZE_BN": True}, {"CLASSIFIER.TYPE": "LWS", **FIRST, "EVAL_MODE": True},
    {"CLASSIFIER.TYPE": "LWS", **FIRST, "TRAIN.TWO_STAGE.DRW": True}, {"CLASSIFIER.TYPE": "cRT", "RESUME_MODEL": "last.pth"},
    {"TEST.TAU_NORM.USE_TAU_NORM": True, "TEST.TAU_NORM.SWEEP": [0, 0.5, 1]},
    {"TEST.TAU_NORM.USE_TAU_NORM": True, "CLASSIFIER.TYPE": "cRT", **FIRST},
    CAM, {"DATASET.USE_CAM_BASED_DATASET": True, "DATASET.CAM_DATA_JSON_SAVE_PATH": "cam.json"},
    {**CAM, "CLASSIFIER.TYPE": "FCNorm"}, {**CAM, "CLASSIFIER.TYPE": "LWS"},
])
def test_what_published_recipes_do_is_legal(changes):
    assert check(changes) == []


def test_a_classifier_without_class_vectors_has_no_maps(monkeypatch):
    monkeypatch.delattr(CLASSIFIERS["LWS"], "class_vectors")
    line, = check({**CAM, "CLASSIFIER.TYPE": "LWS"})
    assert line.startswith("DATASET.GENERATE_CAM_BASED_DATASET: CLASSIFIER.TYPE LWS")
    assert re.search(r"use .*FC, FCNorm, .*cRT$", line)
