"""What a changed key means for a run that is resumed, and for a validation."""
import pytest

from lib.config import TREE
from lib.config.effects import EARLIER, NO_RESULT, VALIDATION, changed, changed_for_validation


def flat(**changes):
    return TREE.flat() | changes


def test_the_lists_name_keys_that_there_are():
    keys = TREE.flat()
    assert keys.keys() >= NO_RESULT
    assert EARLIER.keys() <= keys.keys()
    assert all(any(key.startswith(prefix) for key in keys) for prefix in VALIDATION)


@pytest.mark.parametrize("key", ["SEED", "TRAIN.BATCH_SIZE", "DATASET.MEAN", "DATASET.EXIF", "TRANSFORMS.TRAIN_TRANSFORMS",
                                 "TRAIN.OPTIMIZER.BASE_LR", "LOSS.LOSS_TYPE", "DATASET.IMBALANCECIFAR.RATIO", "TRAIN.MAX_EPOCH"])
def test_what_changes_results_is_not_among_what_does_not(key):
    assert key in TREE.flat()
    assert key not in NO_RESULT


def test_keys_of_another_version_are_not_compared():
    there = flat(SEED=1, GONE=2)
    del there["TRAIN.SHUFFLE"]
    assert changed(TREE, there) == {"SEED": (42, 1)}


def test_what_an_earlier_version_did_without_a_key():
    there = flat()
    del there["DATASET.EXIF"]
    assert changed(TREE, there) == {"DATASET.EXIF": (True, False)}


def test_only_some_keys_matter_to_a_validation():
    there = flat(SEED=1, COLOR_SPACE="BGR", **{"TRAIN.BATCH_SIZE": 7, "CLASSIFIER.BIAS": False, "BACKBONE.FREEZE": True})
    assert set(changed_for_validation(TREE, there)) == {"COLOR_SPACE", "CLASSIFIER.BIAS"}
