"""Names, ranges and combinations that are refused, each with its reason."""
import pytest

from lib.config import TREE, validate

GOOD = {"BACKBONE.TYPE": "res32_cifar", "INPUT_SIZE": [32, 32]}
FIRST = {"NETWORK.PRETRAINED": True, "NETWORK.PRETRAINED_MODEL": "./output/first/models/last.pth"}


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
    ("TRAIN.OPTIMIZER.WEIGHT_DECAY", -1e-9), ("TRAIN.COMBINER.ALPHA", 0.0), ("DATASET.IMBALANCECIFAR.RATIO", 0.0),
    ("DATASET.IMBALANCECIFAR.RATIO", 1.01), ("DATASET.IMBALANCECIFAR.RANDOM_SEED", 2**32),
    ("TRAIN.LR_SCHEDULER.LR_STEP", [180, 160]), ("TRAIN.LR_SCHEDULER.LR_STEP", [0]), ("INPUT_SIZE", [32]),
    ("INPUT_SIZE", [30, 30]), ("INPUT_SIZE", [0, 0]), ("DATASET.MEAN", [0.5]), ("DATASET.STD", [0.1, 0.0, 0.1]),
    ("DATASET.MEAN", ["a", "b", "c"]), ("TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP.SCALE", [0.5, 0.1]),
    ("TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP.RATIO", [0.0, 1.0]), ("COLOR_SPACE", "HSV"), ("RESUME_MODE", "half"),
    ("DATASET.IN_MEMORY", "yes"), ("TRAIN.AMP_BACKEND", "amp"), ("TRAIN.MEMORY_FORMAT", "nhwc"),
    ("TRAIN.OPTIMIZER.TYPE", "AdamW"), ("TRAIN.LR_SCHEDULER.TYPE", "step"), ("DATASET.IMBALANCECIFAR.TYPE", "linear"),
    ("TEST.TAU_NORM.TAU", -0.1), ("TEST.TAU_NORM.SWEEP", [-1.0]), ("TEST.TAU_NORM.SWEEP", ["a"]),
    ("TEST.TAU_NORM.SWEEP", [float("nan")]), ("TEST.TAU_NORM.SWEEP", [float("inf")]), ("TEST.TAU_NORM.SWEEP", [True]),
    ("NAME", "a/b"), ("NAME", ".."), ("NAME", ""),
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
    assert "TRANSFORMS.TRAIN_TRANSFORMS: unknown transform 'randomcrop'; did you mean 'random_crop'?" in check(
        {"TRANSFORMS.TRAIN_TRANSFORMS": ["randomcrop"]})


@pytest.mark.parametrize(("changes", "key", "reason"), [
    ({"TRAIN.COMBINER.TYPE": "bbn_mix"}, "TRAIN.COMBINER.TYPE", "'bbn sampler'"),
    ({"LOSS.LOSS_TYPE": "LDAMLoss"}, "LOSS.LOSS_TYPE", "FCNorm"),
    ({"TRAIN.TWO_STAGE.DRS": True}, "TRAIN.TWO_STAGE.DRS", "weighted sampler"),
    ({"TRAIN.TWO_STAGE.DRS": True, "TRAIN.SAMPLER.TYPE": "bbn sampler"}, "TRAIN.TWO_STAGE.DRS", "two rows"),
    ({"TRAIN.TWO_STAGE.DRW": True, "TRAIN.TWO_STAGE.START_EPOCH": 60}, "TRAIN.TWO_STAGE.START_EPOCH", "MAX_EPOCH is 60"),
    ({"TRAIN.SHUFFLE": False, "TRAIN.SAMPLER.TYPE": "weighted sampler"}, "TRAIN.SHUFFLE", "weighted sampler"),
    ({"NETWORK.PRETRAINED": True}, "NETWORK.PRETRAINED", "PRETRAINED_MODEL"),
    ({"BACKBONE.FREEZE_BN": True}, "BACKBONE.FREEZE_BN", "FREEZE True"),
    ({"CLASSIFIER.TYPE": "cRT"}, "CLASSIFIER.TYPE", "NETWORK.PRETRAINED_MODEL"),
    ({"CLASSIFIER.TYPE": "LWS"}, "CLASSIFIER.TYPE", "NETWORK.PRETRAINED_MODEL"),
    ({"CLASSIFIER.TYPE": "LWS", "BACKBONE.PRETRAINED_MODEL": "./a.pth"}, "CLASSIFIER.TYPE", "NETWORK.PRETRAINED_MODEL"),
    ({"TEST.TAU_NORM.SWEEP": [0.0, 1.0]}, "TEST.TAU_NORM.SWEEP", "USE_TAU_NORM True"),
    ({"TEST.TAU_NORM.USE_TAU_NORM": True, "CLASSIFIER.TYPE": "FCNorm"}, "TEST.TAU_NORM.USE_TAU_NORM", "length 1"),
    ({"TEST.TAU_NORM.USE_TAU_NORM": True, "CLASSIFIER.TYPE": "LWS"}, "TEST.TAU_NORM.USE_TAU_NORM", "scales are learned"),
    ({"DATASET.USE_CAM_BASED_DATASET": True}, "DATASET.USE_CAM_BASED_DATASET", "not there yet"),
])
def test_combinations_that_make_no_sense(changes, key, reason):
    assert any(line.startswith(key) and reason in line for line in check(changes))


@pytest.mark.parametrize("changes", [
    {"TRAIN.LR_SCHEDULER.LR_STEP": [320, 360]}, {"TRAIN.LR_SCHEDULER.TYPE": "multistep", "TRAIN.LR_SCHEDULER.WARM_EPOCH": 5},
    {"TRAIN.DISTRIBUTED": True, "TRAIN.SYNCBN": True}, {"TRAIN.LR_SCHEDULER.LR_STEP": []},
    {"TRAIN.SAMPLER.TYPE": "bbn sampler"}, {"TRAIN.SAMPLER.TYPE": "bbn sampler", "TRAIN.COMBINER.TYPE": "bbn_mix"},
    {"LOSS.LOSS_TYPE": "LDAMLoss", "CLASSIFIER.TYPE": "FCNorm", "TRAIN.TWO_STAGE.DRW": True},
    {"TRAIN.TWO_STAGE.DRS": True, "TRAIN.SAMPLER.TYPE": "weighted sampler", "TRAIN.TWO_STAGE.START_EPOCH": 59},
    {"CLASSIFIER.TYPE": "cRT", **FIRST, "BACKBONE.FREEZE_BN": True}, {"CLASSIFIER.TYPE": "LWS", **FIRST, "EVAL_MODE": True},
    {"CLASSIFIER.TYPE": "LWS", **FIRST, "TRAIN.TWO_STAGE.DRW": True}, {"CLASSIFIER.TYPE": "cRT", "RESUME_MODEL": "last.pth"},
    {"TEST.TAU_NORM.USE_TAU_NORM": True, "TEST.TAU_NORM.SWEEP": [0, 0.5, 1]},
    {"TEST.TAU_NORM.USE_TAU_NORM": True, "CLASSIFIER.TYPE": "cRT", **FIRST},
])
def test_what_published_recipes_do_is_legal(changes):
    assert check(changes) == []
