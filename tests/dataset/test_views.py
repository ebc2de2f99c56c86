"""Further views of each image: from memory and from files, by any number of workers, each with random numbers of its own."""
import pytest
import torch

from lib.data_transform import TRANSFORMS
from lib.dataset import FileLoader, MemoryLoader
from tests.dataset.test_loader import CPU, equal_set, to_float, train_batches, transforms


def views():
    return [transforms("random_horizontal_flip"), transforms("random_crop", "color_jitter")]


def read(loader) -> list[list[torch.Tensor]]:
    loader.on_epoch(1)
    return [[batch.images, *batch.views] for batch in loader]


def memory(*names, others=()):
    return MemoryLoader(equal_set(), train_batches(), transforms(*names), to_float, CPU, views=others)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_memory_and_files_agree_to_the_last_bit(workers):
    files = FileLoader(equal_set(), train_batches(), transforms("random_crop"), to_float, CPU, workers, views=views())
    found, expected = read(files), read(memory("random_crop", others=views()))
    files.close()
    assert [len(batch) for batch in expected] == [3] * len(expected)
    for one, other in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_views_leave_the_first_one_as_it_is():
    alone, beside = read(memory("random_crop")), read(memory("random_crop", others=views()))
    assert all(torch.equal(one[0], other[0]) for one, other in zip(alone, beside, strict=True))


def test_equal_views_differ_by_their_random_numbers():
    same = [transforms("random_crop")] * 2
    for first, second, third in read(memory("random_crop", others=same)):
        assert not torch.equal(first, second)
        assert not torch.equal(second, third)


def test_views_of_nothing_are_the_image():
    for first, second in read(memory(others=[[]])):
        assert torch.equal(first, second)


def test_evaluation_and_looks_have_no_views():
    loader = memory("random_crop", others=views())
    plan = [(torch.tensor([3, 1, 2]), 5)]
    batch, = loader.read(plan)
    assert batch.views == ()
    again, = loader.read(plan)
    assert torch.equal(batch.images, again.images)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_images_of_different_sizes(workers):
    """Workers make all views of one decoded image."""
    images = equal_set()
    images.image_size = None
    chain = [TRANSFORMS["random_resized_crop"]((6, 6))]
    other = [TRANSFORMS["random_resized_crop"]((6, 6)), TRANSFORMS["random_horizontal_flip"]((6, 6))]
    loaders = [FileLoader(images, train_batches(), chain, to_float, CPU, number, views=[other]) for number in (0, workers)]
    found = [read(loader) for loader in loaders]
    for loader in loaders:
        loader.close()
    for one, again in zip(*found, strict=True):
        assert [view.shape[2:] for view in one] == [(6, 6), (6, 6)]
        assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
        assert not torch.equal(*one)
