"""The validation images of a folder: how many, which, and what keeps together."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.dataset.folder import choose_validation, describe_counts, describe_equal, number_groups


def make(counts, offset: int = 0):
    """Labels, and a digest for each image; no two are equal."""
    labels = np.repeat(np.arange(len(counts)), counts)
    digests = [(offset + number).to_bytes(4, "big") for number in range(len(labels))]
    return labels, digests, np.arange(len(labels))


def held(labels, chosen, classes: int) -> list[int]:
    return np.bincount(labels[chosen], minlength=classes).tolist()


@pytest.mark.parametrize(("share", "counts", "expected"), [
    (0.2, [300, 12, 7, 5, 4, 3, 2, 1, 0, 1], [60, 2, 1, 1, 1, 1, 1, 0, 0, 0]),
    (0.01, [300, 12, 2, 1], [3, 1, 1, 0]), (0.99, [300, 12, 2, 1], [297, 11, 1, 0]), (0.5, [5, 4], [2, 2])])
def test_a_rounded_share_of_each_class_and_one_of_two(share, counts, expected):
    labels, digests, groups = make(counts)
    assert held(labels, choose_validation(labels, digests, groups, share), len(counts)) == expected


def test_a_larger_minimum_takes_at_most_half_of_a_class():
    labels, digests, groups = make([100, 20, 9, 3, 2, 1])
    assert held(labels, choose_validation(labels, digests, groups, 0.1, minimum=5), 6) == [10, 5, 4, 1, 1, 0]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.randoms(use_true_random=False), st.integers(0, 3))
def test_the_order_of_the_images_and_their_names_do_not_matter(counts, random, seed):
    """Copies among them; classes come in another order, too."""
    labels, _, _ = make(counts)
    digests = [bytes([random.randrange(8)]) for _ in labels]
    order = list(range(len(labels)))
    random.shuffle(order)
    chosen = choose_validation(labels, digests, number_groups(digests), 0.3, seed)
    again = choose_validation(labels[order], [digests[index] for index in order], number_groups([digests[i] for i in order]), 0.3,
                              seed)
    assert again.tolist() == chosen[order].tolist()


def test_it_is_a_function_of_the_seed():
    labels, digests, groups = make([50])
    one, same, other = (choose_validation(labels, digests, groups, 0.2, seed).tolist() for seed in (1, 1, 2))
    assert one == same != other


def test_an_image_that_is_added_moves_few():
    labels, digests, groups = make([50])
    before = choose_validation(labels, digests, groups, 0.2)
    after = choose_validation(np.append(labels, 0), [*digests, b"new"], np.append(groups, 50), 0.2)
    assert (before != after[:50]).sum() <= 1


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_groups_stay_together_and_no_class_loses_all_its_training_images(counts, random):
    """Groups within a class: each class with two has a validation image."""
    labels, digests, _ = make(counts)
    groups = np.array([10 * label + random.randrange(4) for label in labels])
    chosen = choose_validation(labels, digests, groups, 0.3)
    for label, count in enumerate(counts):
        own = labels == label
        assert {len({*chosen[groups == group]}) for group in groups[own]} == {1}
        if len({*groups[own]}) > 1:
            assert 1 <= chosen[own].sum() < count
        else:
            assert chosen[own].sum() == 0


def test_a_group_is_taken_where_it_brings_its_class_closer_to_the_share():
    """Ten images in groups of 4, 3 and 3, of which 2 would validate: 3 are closer than none or 4."""
    labels, digests, _ = make([10])
    groups = np.repeat([0, 1, 2], [4, 3, 3])
    assert held(labels, choose_validation(labels, digests, groups, 0.2), 1) == [3]


def test_groups_across_classes_stay_together():
    """As of photographs from twenty places, each of which has all kinds of animals."""
    random = np.random.default_rng(0)
    labels, groups = np.repeat(np.arange(4), [60, 40, 20, 6]), random.integers(20, size=126)
    _, digests, _ = make([126])
    chosen = choose_validation(labels, digests, groups, 0.25)
    assert all(len({*chosen[groups == group]}) == 1 for group in range(20))
    counts = np.array(held(labels, chosen, 4))
    assert (counts >= 1).all()
    assert (abs(counts - [15, 10, 5, 2]) <= 4).all()


def test_few_and_no_images_are_named():
    counts = {"train": np.array([0, 1, 2, 9, 9]), "valid": np.array([2, 0, 0, 4, 5])}
    assert describe_counts(["a", "b", "c", "d", "e"], counts) == [
        "no training images: 1 of 5 classes ('a')", "only one image, which is used for training: 1 of 5 classes ('b')",
        "no validation images: 1 of 5 classes ('c')",
        "fewer than 5 validation images, so that their recall is not reliable: 2 of 5 classes ('a', 'd')"]


def test_equal_images_are_told_by_kind():
    names = ["t/ant/1", "t/ant/2", "t/cat/1", "t/cat/2", "v/ant/1", "v/cat/1", "v/cat/2"]
    digests = [*b"xyxzpzq"]   # ant 1 is also a cat; cat 2 validates, too
    labels, parts = np.array([0, 0, 1, 1, 0, 1, 1]), np.array([0, 0, 0, 0, 1, 1, 1])
    assert describe_equal(number_groups(digests), labels, parts, names.__getitem__) == [
        "in several classes, of which at most one is correct: 1 image, 't/ant/1' = 't/cat/1'",
        "in several parts, so that accuracy is also measured on training images: 1 image, 't/cat/2' = 'v/cat/1'"]
    copies = describe_equal(number_groups([*b"aaabbc"]), np.zeros(6, int), np.zeros(6, int), "012345".__getitem__)
    assert copies == ["copies within their class: 3 images, '0' = '1', '3' = '4'"]
    assert describe_equal(number_groups([*b"abc"]), np.zeros(3, int), np.zeros(3, int), "012".__getitem__) == []
