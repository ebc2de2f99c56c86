"""Settings from facts: what follows from what, and where one becomes another."""
import pytest

from lib.config.auto import AUTO
from lib.core.choices import LONGEST, Facts, Pace, StartWeights, choose, epochs_in, follow
from lib.run.recognise import Kind

FACTS = Facts(images=948, classes=12, side=600, one_size=None, device="cpu", cores=8)
IMAGENET = StartWeights(Kind("res50"), (224, 224), (), ())
TRAIN, TEST = "TRANSFORMS.TRAIN_TRANSFORMS", "TRANSFORMS.TEST_TRANSFORMS"


def values(facts: Facts, given: dict | None = None) -> dict:
    return {key: choice.value for key, choice in choose(facts, given or {}).items()}


def test_every_open_key_is_chosen_with_a_reason():
    chosen = choose(FACTS, {})
    assert chosen.keys() == AUTO.keys()
    assert all(choice.reason for choice in chosen.values())


@pytest.mark.parametrize(("side", "backbone", "size"), [
    (8, "res32_cifar", 16), (17, "res32_cifar", 20), (28, "res32_cifar", 28), (32, "res32_cifar", 32), (48, "res32_cifar", 48),
    (49, "res18", 64), (100, "res18", 96), (600, "res18", 128)])
def test_the_network_goes_with_the_size_of_the_pictures(side, backbone, size):
    chosen = values(FACTS._replace(side=side))
    assert (chosen["BACKBONE.TYPE"], chosen["INPUT_SIZE"]) == (backbone, [size, size])
    train = "random_crop" if "cifar" in backbone else "random_resized_crop"
    assert train in chosen[TRAIN]


def test_a_gpu_takes_larger_photographs():
    assert values(FACTS._replace(device="cuda"))["INPUT_SIZE"] == [224, 224]


def test_small_pictures_of_one_size_are_not_resized():
    chosen = values(FACTS._replace(side=28, one_size=(28, 28)))
    assert (chosen[TRAIN], chosen[TEST]) == (["random_crop", "random_horizontal_flip"], [])
    assert values(FACTS._replace(side=28))[TEST] == ["normal_resize"]
    assert values(FACTS._replace(side=28, one_size=(28, 40)))[TEST] == ["normal_resize"]


@pytest.mark.parametrize("images", [40, 200, 948, 5000, 50_000])
@pytest.mark.parametrize("weights", [None, IMAGENET])
def test_there_are_steps_enough_for_every_number_of_images(images, weights):
    """At least five per epoch, as below the log warns, and hundreds in all."""
    chosen = values(FACTS._replace(images=images, weights=weights))
    steps = images // chosen["TRAIN.BATCH_SIZE"]
    assert steps >= 5
    assert steps * chosen["TRAIN.MAX_EPOCH"] >= (500 if weights is None else 300) or chosen["TRAIN.MAX_EPOCH"] >= 100
    assert 0 <= chosen["TRAIN.LR_SCHEDULER.WARM_EPOCH"] < chosen["TRAIN.MAX_EPOCH"]


def test_batches_grow_and_epochs_shrink_with_the_images():
    rows = [values(FACTS._replace(images=images)) for images in (20, 100, 300, 1000, 3000, 10_000, 100_000)]
    for key, sign in (("TRAIN.BATCH_SIZE", 1), ("TRAIN.OPTIMIZER.BASE_LR", 1), ("TRAIN.MAX_EPOCH", -1)):
        numbers = [sign * row[key] for row in rows]
        assert numbers == sorted(numbers), key


@pytest.mark.parametrize(("given", "balanced", "loss"), [
    ({}, False, "BalancedSoftmaxCE"), ({}, True, "CrossEntropy"),
    ({"TRAIN.SAMPLER.TYPE": "weighted sampler"}, False, "CrossEntropy"),
    ({"TRAIN.SAMPLER.TYPE": "default", "TEST.TAU_NORM.USE_TAU_NORM": False}, False, "BalancedSoftmaxCE"),
    ({"TEST.TAU_NORM.USE_TAU_NORM": True}, False, "CrossEntropy")])
def test_classes_are_balanced_once(given, balanced, loss):
    assert values(FACTS._replace(balanced=balanced), given)["LOSS.LOSS_TYPE"] == loss


def test_processes_share_the_batch():
    many = FACTS._replace(images=20_000)
    one, four = values(many), values(many._replace(processes=4))
    assert 4 * four["TRAIN.BATCH_SIZE"] == one["TRAIN.BATCH_SIZE"]
    assert four["TRAIN.OPTIMIZER.BASE_LR"] == one["TRAIN.OPTIMIZER.BASE_LR"]
    assert values(FACTS._replace(images=100, processes=8))["TRAIN.BATCH_SIZE"] == 8   # BatchNorm needs some


def test_what_is_given_changes_what_follows():
    usual, given = values(FACTS), values(FACTS, {"TRAIN.BATCH_SIZE": 64, "BACKBONE.TYPE": "res20_cifar"})
    assert given["TRAIN.OPTIMIZER.BASE_LR"] > usual["TRAIN.OPTIMIZER.BASE_LR"]
    assert given["INPUT_SIZE"] == [48, 48]
    assert "random_crop" in given[TRAIN]
    assert values(FACTS, {"TRAIN.MAX_EPOCH": 200})["VALID_STEP"] == 10


def test_fine_tuning_takes_a_third_of_the_epochs_and_a_second_stage_its_own():
    scratch, tuned = values(FACTS)["TRAIN.MAX_EPOCH"], values(FACTS._replace(weights=IMAGENET))["TRAIN.MAX_EPOCH"]
    assert tuned == pytest.approx(scratch / 3, abs=1)
    stage = IMAGENET._replace(config={"INPUT_SIZE": [224, 224]})
    assert values(FACTS._replace(weights=stage))["TRAIN.MAX_EPOCH"] == scratch


def test_mixup_takes_longer():
    assert values(FACTS._replace(mixes=True))["TRAIN.MAX_EPOCH"] > values(FACTS)["TRAIN.MAX_EPOCH"]


def test_weights_bring_their_backbone_and_their_size():
    chosen = values(FACTS._replace(weights=StartWeights(Kind("timm", "test_vit"), (160, 160), (), ()), batchnorm=False))
    assert (chosen["BACKBONE.TYPE"], chosen["INPUT_SIZE"], chosen["TRAIN.OPTIMIZER.TYPE"]) == ("timm", [160, 160], "ADAMW")
    chosen = values(FACTS._replace(weights=IMAGENET))
    assert (chosen["BACKBONE.TYPE"], chosen["INPUT_SIZE"], chosen["TRAIN.OPTIMIZER.TYPE"]) == ("res50", [224, 224], "SGD")
    small = StartWeights(Kind("res20_cifar"), (16, 16), (), ())
    assert values(FACTS._replace(weights=small, side=28))["INPUT_SIZE"] == [16, 16]


def test_a_second_stage_sees_images_as_the_first_did():
    config = {TRAIN: ["random_crop"], TEST: ["normal_resize"],
              "TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP.SCALE": [0.5, 1.0]}
    chosen = values(FACTS._replace(weights=StartWeights(Kind("res10"), (72, 72), (), (), config)))
    assert chosen["INPUT_SIZE"] == [72, 72]
    assert {key: chosen[key] for key in config} == config


def test_what_a_file_says_of_its_images():
    """This project's checkpoints since they say it, older ones, and files of others."""
    images = {"input_size": [40, 40], "mean": [0.1] * 3, "std": [0.2] * 3}
    new = StartWeights.of_file({"config": {"INPUT_SIZE": [40, 40]}, "preprocessing": images}, Kind("res10"), "last", whole=True)
    assert new == (Kind("res10"), [40, 40], [0.1] * 3, [0.2] * 3, {"INPUT_SIZE": [40, 40]})
    old = StartWeights.of_file({"config": {"INPUT_SIZE": [40, 40]}}, Kind("res10"), "last", whole=False)
    assert old == (Kind("res10"), [40, 40], (), (), {})
    assert StartWeights.of_file({}, Kind("res34"), "x", whole=False).size == (224, 224)
    for stem in ("test_vit.r160_in1k", "model", "test_vit.mine"):
        of_timm = StartWeights.of_file({}, Kind("timm", "test_vit"), stem, whole=False)
        assert of_timm == (Kind("timm", "test_vit"), (160, 160), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), {})
    clip = "vit_base_patch16_clip_224"
    assert StartWeights.of_file({}, Kind("timm", clip), f"{clip}.openai", whole=False).mean[0] == pytest.approx(0.4815, abs=1e-4)


PACE = Pace(step=0.1, steps=10, valid_step=0.2, valid_steps=5, saving=0.5, start=3.0)


def test_the_time_of_epochs_is_that_of_their_steps_validations_and_checkpoints():
    assert PACE.of(10) == pytest.approx(10 * (0.1 * 10 + 0.5) + 10 * 0.2 * 5)   # each is validated
    every = follow(100)["VALID_STEP"].value
    assert PACE.of(100) == pytest.approx(100 * 1.5 + 100 / every * 1.0)


@pytest.mark.parametrize("seconds", [0.1, 2.6, 30, 100, 1000])
def test_as_many_epochs_as_fit_at_least_one_and_no_endless_training(seconds):
    epochs = epochs_in(seconds, PACE, usual=60)
    assert 1 <= epochs <= LONGEST * 60
    assert PACE.of(epochs) <= seconds or epochs == 1
    assert PACE.of(epochs + 1) > seconds or epochs == LONGEST * 60
