"""What a checkpoint says of its classes and data, compared with what is here."""
import pytest
import torch
from torch import nn

from lib.dataset import ArraySet
from lib.run.checkpoint import Start
from lib.run.identity import (
    ADDED,
    TRAINING,
    VALIDATION,
    Identity,
    OtherDataError,
    check_same_data,
    class_places,
    compare_data,
    compare_preprocessing,
    reorder_classes,
)
from lib.utils.errors import InputError

NAMES = ["ant", "bee", "cat"]


def images(pixel: int = 0, names=NAMES, labels=(0, 0, 0, 1, 1, 2)) -> ArraySet:
    pixels = torch.full((len(labels), 1, 2, 2), pixel, dtype=torch.uint8)
    return ArraySet("set", pixels, torch.tensor(labels), names, [0.5] * 3, [0.5] * 3)


def identity(train=None, valid=None, **preprocessing) -> Identity:
    return Identity.of(train or images(), valid or images(1), {"color_space": "RGB", "mean": [0.5, 0.5, 0.5]} | preprocessing)


def resumed(state) -> Start:
    return Start("run", "--ar last.pth", dict(state))


def test_the_same_data_are_resumed_on():
    check_same_data(resumed(identity()._asdict()), identity(exif=False))


@pytest.mark.parametrize(("here", "told"), [
    (identity(train=images(7)), "training set: pixels, or names of files"),
    (identity(valid=images(7)), "validation set: pixels, or names of files"),
    (identity(train=images(labels=(0, 0, 0, 1, 2, 2))), "training set: images per class, labels or their order"),
    (identity(train=images(labels=(0, 0, 1, 0, 1, 2))), "training set: labels or their order"),
    (identity(train=images(names=["ant", "bee", "dog"])), "the checkpoint has 'cat'.*the data have 'dog'"),
    (identity(train=images(names=["bee", "ant", "cat"])), "classes: another order")])
def test_other_data_are_not_and_what_differs_is_told(here, told):
    with pytest.raises(OtherDataError, match=f"--ar last.pth was trained on other data .*{told}.*RESUME_MODE state_dict"):
        check_same_data(resumed(identity()._asdict()), here)


@pytest.mark.parametrize("state", [{}, {"data": 3, "class_names": "abc"}, {"data": {"path": "x"}, "class_names": [1, 2]},
                                   {"preprocessing": {"mean": torch.zeros(3)}}])
def test_files_that_do_not_tell_are_taken(state):
    check_same_data(resumed(state), identity())
    assert class_places(resumed(state), NAMES) is None
    named = [difference.key for difference in compare_preprocessing(state, identity())]
    assert named == ["DATASET.MEAN"] * ("preprocessing" in state)


def test_class_counts_are_all_that_an_earlier_version_tells():
    check_same_data(resumed({"class_counts": torch.tensor([3, 2, 1])}), identity())
    with pytest.raises(OtherDataError, match="training set: images per class"):
        check_same_data(resumed({"class_counts": torch.tensor([3, 3, 1])}), identity())


def test_only_the_sets_that_are_asked_for_are_compared():
    state, here = identity()._asdict(), identity(valid=images(7))
    assert [difference.key for difference in compare_data(state, here)] == [VALIDATION]
    assert not compare_data(state, here, (TRAINING, ADDED))


def test_preparation_is_named_by_its_keys():
    differences = compare_preprocessing(identity()._asdict(), identity(color_space="BGR", mean=[0.1, 0.2, 0.3]))
    assert list(map(str, differences)) == ['COLOR_SPACE "RGB" in the checkpoint, "BGR" here',
                                           "DATASET.MEAN [0.5, 0.5, 0.5] in the checkpoint, [0.1, 0.2, 0.3] here"]


def test_outputs_follow_the_names():
    places = class_places(resumed({"class_names": ["cat", "ant", "bee"]}), NAMES)
    classifier = nn.Linear(4, 3)
    before = classifier.weight.detach().clone(), classifier.bias.detach().clone()
    reorder_classes(classifier, places, "a file")
    for value, old in zip((classifier.weight, classifier.bias), before):
        assert torch.equal(value, old[[1, 2, 0]])


def test_a_classifier_without_values_per_class_is_refused():
    with pytest.raises(InputError, match="a file numbers the classes in another order than the data, and weight of its"):
        reorder_classes(nn.Linear(3, 5), [1, 0, 2], "a file")
    reorder_classes(nn.Linear(3, 5), [0, 1, 2], "a file")
    reorder_classes(nn.Linear(3, 5), None, "a file")
