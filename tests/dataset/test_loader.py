"""From memory or from files: the same batches, to the last bit."""
import pytest
import torch

from lib.data_transform import TRANSFORMS, normalize
from lib.dataset import SAMPLERS, ArraySet, EpochBatches, EvalBatches, FileLoader, ImageSet, MemoryLoader, make_loader
from lib.utils.errors import InputError

CPU = torch.device("cpu")
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.1]
LABELS = torch.arange(50) % 7


def pixels() -> torch.Tensor:
    return torch.randint(256, (50, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def to_float(images: torch.Tensor) -> torch.Tensor:
    return normalize(images, torch.tensor(MEAN), torch.tensor(STD))


class Uneven(ImageSet):
    """Images of different sizes, each filled with its number."""

    def __init__(self) -> None:
        super().__init__("uneven", LABELS, [str(c) for c in range(7)], MEAN, STD)

    def read(self, index: int) -> torch.Tensor:
        noise = torch.Generator().manual_seed(index)
        return torch.randint(256, (3, 9 + index % 5, 12), dtype=torch.uint8, generator=noise)


def equal_set() -> ArraySet:
    return ArraySet("even", pixels(), LABELS, [str(c) for c in range(7)], MEAN, STD)


def transforms(*names: str) -> list:
    options = {"random_crop": {"padding": 2}, "random_resized_crop": {}}
    return [TRANSFORMS[name]((8, 8), **options.get(name, {})) for name in names]


def train_batches(seed: int = 3, rank: int = 0, world_size: int = 1) -> EpochBatches:
    return EpochBatches(SAMPLERS["default"](LABELS, torch.bincount(LABELS), 5), 12, seed=seed, rank=rank, world_size=world_size)


def read_all(loader, epochs=(1, 2)) -> list:
    result = []
    for epoch in epochs:
        loader.on_epoch(epoch)
        for images, labels, indices, stream, _ in loader:
            result.append((images, labels, indices, torch.rand(3, generator=stream.generator), stream.host.random()))
    return result


def same(first: list, second: list) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for one, two in zip(first, second) for a, b in zip(one, two))


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("names", [(), ("random_crop", "random_horizontal_flip", "color_jitter"),
                                   ("random_grayscale",), ("gaussian_blur",),
                                   ("random_crop", "gaussian_blur", "random_grayscale")])
def test_memory_and_files_agree_to_the_last_bit(workers, names):
    memory = MemoryLoader(equal_set(), train_batches(), transforms(*names), to_float, CPU)
    files = FileLoader(equal_set(), train_batches(), transforms(*names), to_float, CPU, workers)
    assert same(read_all(memory), read_all(files))


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing():
    chain = transforms("random_resized_crop", "random_horizontal_flip")
    loaders = [FileLoader(Uneven(), train_batches(), chain, to_float, CPU, workers) for workers in (0, 1, 2)]
    first, *others = map(read_all, loaders)
    assert all(same(first, other) for other in others)


def test_images_come_in_the_order_of_the_draw():
    loader = MemoryLoader(equal_set(), train_batches(), [], to_float, CPU)
    for (images, labels, indices, *_), expected in zip(loader, train_batches().batches()):
        assert torch.equal(indices, expected)
        assert torch.equal(labels, LABELS[expected])
        torch.testing.assert_close(images, to_float(pixels()[expected]))


def test_an_epoch_repeats_and_epochs_differ():
    loader = MemoryLoader(equal_set(), train_batches(), transforms("random_crop"), to_float, CPU)
    first, second, again = (read_all(loader, [epoch]) for epoch in (1, 2, 1))
    assert same(first, again)
    assert not same(first, second)


def test_ranks_draw_their_own_augmentation():
    streams = [read_all(MemoryLoader(equal_set(), train_batches(rank=rank, world_size=2), [], to_float, CPU), [1])[0][3]
               for rank in (0, 1)]
    assert not torch.equal(*streams)


def test_lengths_are_known_before():
    loader = MemoryLoader(equal_set(), train_batches(), [], to_float, CPU)
    assert (len(loader), loader.num_images) == (4, 48)
    evaluation = MemoryLoader(equal_set(), EvalBatches(50, 12), [], to_float, CPU)
    assert (len(evaluation), evaluation.num_images) == (5, 50)
    assert sum(len(batch.labels) for batch in evaluation) == 50


def test_the_last_fixing_transform_ends_the_workers_part():
    chain = transforms("shorter_resize_for_crop", "center_crop", "color_jitter")
    loader = FileLoader(Uneven(), train_batches(), chain, to_float, CPU, 0)
    assert [type(t).__name__ for t in loader.transforms] == ["ColorJitter"]
    assert next(iter(loader)).images.shape == (12, 3, 8, 8)


def test_sizes_that_differ_need_a_transform_that_fixes_them():
    with pytest.raises(InputError, match="TRANSFORMS: the images of uneven differ in size"):
        FileLoader(Uneven(), train_batches(), transforms("random_horizontal_flip"), to_float, CPU, 0)


def choose(images, in_memory):
    return type(make_loader(images, train_batches(), transforms("random_resized_crop"), to_float, CPU, in_memory=in_memory,
                            num_workers=0, pin_memory=False))


def test_where_images_live(monkeypatch):
    assert choose(equal_set(), "auto") is MemoryLoader
    assert choose(equal_set(), "never") is FileLoader
    assert choose(Uneven(), "auto") is FileLoader
    with pytest.raises(InputError, match=r"DATASET\.IN_MEMORY"):
        choose(Uneven(), "always")
    monkeypatch.setattr("lib.dataset.loader.MEMORY_LIMIT", 50 * 3 * 8 * 8)
    assert choose(equal_set(), "auto") is FileLoader
    assert choose(equal_set(), "always") is MemoryLoader
