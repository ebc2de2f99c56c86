"""Draws: what comes how often, in which order, on which rank."""
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.dataset import SAMPLERS, EpochBatches, EvalBatches, Ordered
from lib.utils.errors import InputError
from lib.utils.schedule import Deferred
from lib.utils.seed import shared_generator

COUNTS = torch.tensor([400, 100, 25, 0, 4])
LABELS = torch.arange(5).repeat_interleave(COUNTS)[torch.randperm(529, generator=torch.Generator().manual_seed(0))]


def draw(name: str, epoch: int = 1, seed: int = 0, **options) -> torch.Tensor:
    made = SAMPLERS[name](LABELS, COUNTS, 10, **options)
    return made(epoch, shared_generator(seed, epoch))


def frequencies(name: str, row: int, epoch: int = 1, **options) -> torch.Tensor:
    rows = [draw(name, epoch, seed, **options)[row] for seed in range(60)]
    return torch.bincount(LABELS[torch.cat(rows)], minlength=5) / sum(map(len, rows))


def test_default_is_a_permutation():
    rows = draw("default")
    assert rows.shape == (1, 529)
    assert rows[0].sort().values.tolist() == list(range(529))
    assert rows[0].tolist() != list(range(529))


def test_ordered_keeps_the_order():
    assert Ordered(LABELS, COUNTS, 10)(3, shared_generator(0, 3)).tolist() == [list(range(529))]


@pytest.mark.parametrize(("kind", "expected"), [
    ("balance", [0.25, 0.25, 0.25, 0, 0.25]),
    ("square", [20 / 37, 10 / 37, 5 / 37, 0, 2 / 37]),
])
def test_frequencies_of_the_weighted_sampler(kind, expected):
    torch.testing.assert_close(frequencies("weighted sampler", 0, type_=kind), torch.tensor(expected), atol=0.01, rtol=0)


@pytest.mark.parametrize("epoch", [1, 5, 10])
def test_progressive_moves_from_frequency_to_balance(epoch):
    done = epoch / 10
    expected = done / 5 + (1 - done) * COUNTS / 529
    expected = torch.where(COUNTS > 0, expected, 0)
    expected = expected / expected.sum()
    torch.testing.assert_close(frequencies("weighted sampler", 0, epoch, type_="progressive"), expected, atol=0.01, rtol=0)


@pytest.mark.parametrize(("kind", "expected"), [
    ("reverse", [1 / 400, 1 / 100, 1 / 25, 0, 1 / 4]), ("balance", [1, 1, 1, 0, 1]), ("uniform", [400, 100, 25, 0, 4])])
def test_frequencies_of_the_second_bbn_row(kind, expected):
    expected = torch.tensor(expected, dtype=torch.float) / sum(expected)
    torch.testing.assert_close(frequencies("bbn sampler", 1, type_=kind), expected, atol=0.01, rtol=0)


def test_the_first_bbn_row_is_a_permutation():
    rows = draw("bbn sampler", type_="reverse")
    assert rows.shape == (2, 529)
    assert rows[0].sort().values.tolist() == list(range(529))


def test_images_of_a_class_are_drawn_alike():
    rows = torch.cat([draw("weighted sampler", seed=seed, type_="balance")[0] for seed in range(60)])
    rarest = torch.bincount(rows, minlength=529)[LABELS == 4]   # 4 images, 60 · 529 / 4 draws: 1984 ± 39 each
    assert rarest.min() > 1984 - 4 * 39
    assert rarest.max() < 1984 + 4 * 39


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_draws_depend_on_seed_and_epoch_only(name):
    options = {"default": {}, "weighted sampler": {"type_": "balance"}, "bbn sampler": {"type_": "reverse"}}[name]
    first = draw(name, 3, 1, **options)
    torch.rand(10)
    assert torch.equal(first, draw(name, 3, 1, **options))
    assert not torch.equal(first, draw(name, 4, 1, **options))
    assert not torch.equal(first, draw(name, 3, 2, **options))


def batches(world_size: int = 1, rank: int = 0, batch_size: int = 8, name: str = "default", labels=LABELS, **options):
    made = SAMPLERS[name](labels, torch.bincount(labels), 10, **options)
    return EpochBatches(made, batch_size, seed=5, rank=rank, world_size=world_size).batches()


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize(("name", "options"), [("default", {}), ("weighted sampler", {"type_": "square"}), ("bbn sampler", {})])
def test_ranks_see_together_what_one_process_sees_with_the_larger_batch(world_size, name, options):
    labels = LABELS[:500]
    one = batches(batch_size=8 * world_size, name=name, labels=labels, **options)
    ranks = [batches(world_size, rank, 8, name=name, labels=labels, **options) for rank in range(world_size)]
    assert {len(own) for own in ranks} == {len(one)}
    for step, whole in enumerate(one):
        together = torch.cat([own[step] for own in ranks])
        assert together.sort().values.tolist() == whole.sort().values.tolist()


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 90), world_size=st.integers(1, 5), batch_size=st.integers(1, 40))
def test_ranks_are_disjoint_and_equally_long_and_only_partial_batches_are_dropped(size, world_size, batch_size):
    labels = torch.zeros(size, dtype=torch.long)
    if size < world_size:
        with pytest.raises(InputError, match="divided"):
            batches(world_size, 0, batch_size, labels=labels)
        return
    ranks = [batches(world_size, rank, batch_size, labels=labels) for rank in range(world_size)]
    share = size // world_size
    expected = [min(batch_size, share)] * max(share // batch_size, 1)
    assert all([len(batch) for batch in own] == expected for own in ranks)
    seen = torch.cat([batch for own in ranks for batch in own]).tolist()
    assert len(seen) == len(set(seen))


def test_a_set_smaller_than_a_batch_is_one_batch():
    assert [len(batch) for batch in batches(batch_size=1000)] == [529]


def test_bbn_batches_hold_row_after_row():
    rows = draw("bbn sampler", seed=5, type_="reverse")
    first = batches(name="bbn sampler", type_="reverse", labels=LABELS)[0]
    assert len(first) == 16
    assert first[:8].tolist() == rows[0, :8].tolist()


@pytest.mark.parametrize(("epoch", "balanced"), [(1, False), (6, False), (7, True), (10, True)])
def test_drs_begins_after_its_start_epoch(epoch, balanced):
    plain, weighted = (SAMPLERS[name](LABELS, COUNTS, 10) for name in ("default", "weighted sampler"))
    made = EpochBatches(weighted, 8, first_stage=plain, deferred=Deferred(6), seed=1)
    made.on_epoch(epoch)
    seen = torch.cat(made.batches())
    assert (len(seen.unique()) < len(seen)) == balanced
    expected = EpochBatches(weighted if balanced else plain, 8, seed=1)
    expected.on_epoch(epoch)
    assert torch.equal(seen, torch.cat(expected.batches()))


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [1, 7, 8, 9, 37, 40])
def test_evaluation_sees_every_image_once_in_the_batches_of_one_process(world_size, size):
    one = [batch.tolist() for batch in EvalBatches(size, 8).batches()]
    ranks = [[batch.tolist() for batch in EvalBatches(size, 8, rank, world_size).batches()] for rank in range(world_size)]
    assert sorted(itertools.chain(*ranks)) == one
    assert list(itertools.chain(*one)) == list(range(size))


def test_an_epoch_of_iNat18_size():
    """437,000 images of 8,142 classes; torch.multinomial over images would stop at 2 ** 24 of them, here it is over classes."""
    counts = torch.linspace(6.9, 0.7, 8142).exp().long().clamp_min(2)
    labels = torch.arange(8142).repeat_interleave(counts)
    rows = SAMPLERS["weighted sampler"](labels, counts, 10, type_="balance")(1, shared_generator(0, 1))
    expected = len(labels) / 8142
    assert rows.shape == (1, len(labels))
    assert torch.bincount(labels[rows[0]]).float().std().item() == pytest.approx(expected ** 0.5, rel=0.05)   # Poisson
