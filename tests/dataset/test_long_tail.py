"""The published subset: its sizes, and the very images."""
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.dataset.long_tail import long_tail_counts, long_tail_subset
from lib.utils.errors import InputError


@pytest.mark.parametrize(("largest", "classes", "ratio", "total"), [
    (5000, 10, 0.01, 12_406), (5000, 10, 0.02, 13_996), (500, 100, 0.01, 10_847), (500, 100, 0.02, 12_608)])
def test_published_sizes(largest, classes, ratio, total):
    counts = long_tail_counts(largest, classes, ratio, "exp")
    assert sum(counts) == total
    assert (counts[0], counts[-1]) == (largest, int(largest * ratio))


def test_step_profile():
    assert long_tail_counts(500, 5, 0.1, "step") == [500, 500, 50, 50, 50]


def published_subset(targets: np.ndarray, counts: list[int], seed: int) -> list[int]:
    """What the published class does, on the global generator."""
    np.random.seed(seed)
    chosen = []
    for the_class, the_count in enumerate(counts):
        own = np.where(targets == the_class)[0]
        np.random.shuffle(own)
        chosen.extend(own[:the_count])
    return chosen


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("profile", ["exp", "step"])
def test_the_very_images_of_the_published_code(seed, profile):
    labels = torch.randint(10, (5000,), generator=torch.Generator().manual_seed(1))
    largest = int(torch.bincount(labels).min())
    counts = long_tail_counts(largest, 10, 0.05, profile)
    state = np.random.get_state()[1].copy()
    subset = long_tail_subset(labels, 10, 0.05, seed, profile)
    assert np.array_equal(np.random.get_state()[1], state), "the global generator was touched"
    assert subset.tolist() == published_subset(labels.numpy(), counts, seed)


@given(classes=st.integers(1, 30), size=st.integers(1, 40), ratio=st.floats(0.001, 1.0), seed=st.integers(0, 2**32 - 1))
def test_counts_fall_and_every_image_is_there_once(classes, size, ratio, seed):
    labels = torch.arange(classes).repeat(size)
    if int(size * ratio ** (1 if classes > 1 else 0)) == 0:
        with pytest.raises(InputError, match="RATIO"):
            long_tail_subset(labels, classes, ratio, seed, "exp")
        return
    subset = long_tail_subset(labels, classes, ratio, seed, "exp")
    counts = torch.bincount(labels[subset], minlength=classes).tolist()
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == size
    assert len(set(subset.tolist())) == len(subset)


def test_the_largest_class_is_as_large_as_the_smallest_class_of_an_uneven_source():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 40)
    assert torch.bincount(labels[long_tail_subset(labels, 3, 0.1, 0, "exp")]).tolist() == [30, 9, 3]


def test_a_class_without_images_is_named():
    with pytest.raises(InputError, match=r"^data/x: no image of class 1, of 3 classes"):
        long_tail_subset(torch.tensor([0, 0, 2, 2]), 3, 1.0, 0, "exp", "data/x")
