"""Folds: each image validates once; groups stay together; names and order change nothing."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.dataset.folder.folds import choose_folds
from lib.dataset.folder.groups import Groups, name_groups


def make(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    return labels, [number.to_bytes(4, "big") for number in range(len(labels))], np.arange(len(labels))


@given(st.lists(st.integers(0, 23), min_size=1, max_size=8), st.integers(2, 6), st.integers(0, 5))
def test_each_class_is_spread_evenly(counts, folds, seed):
    """So each image of a class with at most as many images as folds validates in a fold of its own."""
    labels, digests, groups = make(counts)
    fold = choose_folds(labels, digests, groups, folds, seed)
    for label, count in enumerate(counts):
        held = np.bincount(fold[labels == label], minlength=folds)
        assert held.sum() == count
        assert held.max() - held.min() <= 1
    assert np.ptp(np.bincount(fold, minlength=folds)) <= len(counts)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.randoms(use_true_random=False), st.integers(2, 5))
def test_order_changes_nothing(counts, random, folds):
    labels, digests, groups = make(counts)
    groups = groups // 2   # pairs, some of two classes
    order = list(range(len(labels)))
    random.shuffle(order)
    fold = choose_folds(labels, digests, groups, folds)
    again = choose_folds(labels[order], [digests[number] for number in order], groups[order], folds)
    assert (again == fold[order]).all()


def test_groups_stay_together_and_are_spread():
    labels = np.repeat([0, 1], [30, 12])
    groups = np.concatenate([np.arange(30) // 5, 100 + np.arange(12) // 3])   # six of five, four of three
    fold = choose_folds(labels, [bytes([number]) for number in range(42)], groups, 2)
    assert all(len({*fold[groups == group]}) == 1 for group in groups)
    assert np.bincount(fold[labels == 0]).tolist() == [15, 15]
    assert np.bincount(fold[labels == 1]).tolist() == [6, 6]


def test_seeds_differ():
    labels, digests, groups = make([20, 10])
    assert any((choose_folds(labels, digests, groups, 5, seed) != choose_folds(labels, digests, groups, 5)).any()
               for seed in (1, 2, 3))


def test_joined_pairs_are_one_group():
    groups = Groups(6)
    groups.join(4, 1)
    groups.join_equal(["a", "", "b", "a", "", "b"])
    groups.join(1, 3)
    assert groups.numbers().tolist() == [0, 0, 2, 0, 0, 2]


@pytest.mark.parametrize(("given_names", "expected"), [
    (["", "", "", ""], ["copies-0a", "copies-0a", "", ""]), (["", "b", "a", "c"], ["b", "b", "a", "c"]),
    (["z", "b", "", ""], ["b", "b", "", ""])])
def test_names_of_groups(given_names, expected):
    """Those that were given go before those that are made of the content."""
    assert name_groups(np.array([0, 0, 1, 2]), given_names, ["1b", "0a", "2c", "3d"]) == expected
