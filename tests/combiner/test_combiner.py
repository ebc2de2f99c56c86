"""Invariants of mixing."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lib.combiner import COMBINERS
from lib.combiner.base import draw_partners
from lib.dataset import Batch
from lib.loss import LOSSES
from lib.net import Output
from lib.net.network import blend
from lib.utils.seed import Stream

COUNTS = torch.tensor([50, 10, 4])
LABELS = torch.tensor([0, 1, 2, 0, 1, 0])


class Flat(nn.Module):
    """Counts its calls and keeps what it saw."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.seen = nn.Linear(12, 3), []

    def forward(self, images, mix=None):
        self.seen.append(images)
        features = images.flatten(1)
        return Output(blend(self.linear(features), mix, "fc"), features)


# every way to mix examples of a batch with each other
MIXING = {"mix_up": {}, "manifold_mix_up": {"location": "fc"}, "remix": {"per_sample": True}, "averaged": {"per_sample": False}}


def batch(seed: int = 7, share: float | None = None) -> Batch:
    images = torch.randn(6, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    stream = Stream(seed)
    if share is not None:
        stream.host = FixedShare(share)
    return Batch(images, LABELS, torch.arange(6), stream)


class FixedShare:
    def __init__(self, share: float) -> None:
        self.share = share

    def beta(self, first: float, second: float) -> float:
        assert first == second
        return self.share


def step(name: str, given: Batch, loss: str = "CrossEntropy", **options):
    network = Flat()
    return COMBINERS[name](COUNTS, **options)(network, LOSSES[loss](COUNTS), given), network


def mixed_by(way: str, given: Batch, loss: str = "CrossEntropy"):
    return step("remix" if way == "averaged" else way, given, loss, **MIXING[way])[0]


def test_default_is_the_loss_of_the_batch():
    result, network = step("default", batch())
    expected = F.cross_entropy(network.linear(batch().images.flatten(1)), LABELS)
    torch.testing.assert_close(result.loss, expected)
    assert torch.equal(result.targets, LABELS)


@pytest.mark.parametrize("name", sorted(set(COMBINERS) - {"dive", "bcl", "proco", "h2t"}))   # test_teacher.py, …
def test_one_forward_pass(name):
    options = {"location": "fc"} if name == "manifold_mix_up" else {}
    assert len(step(name, batch(), **options)[1].seen) == 1


@pytest.mark.parametrize("loss", ["CrossEntropy", "CostSensitiveCE", "BalancedSoftmaxCE"])
@pytest.mark.parametrize("way", MIXING)
def test_a_whole_share_is_no_mixture(way, loss):
    mixed, plain = mixed_by(way, batch(share=1.0), loss), step("default", batch(), loss)[0]
    torch.testing.assert_close(mixed.loss, plain.loss)
    torch.testing.assert_close(mixed.logits, plain.logits)
    assert torch.equal(mixed.targets, F.one_hot(LABELS, 3).float())


@pytest.mark.parametrize("loss", ["CrossEntropy", "CostSensitiveCE", "BalancedSoftmaxCE"])
@pytest.mark.parametrize("way", MIXING)
def test_no_share_gives_the_partners(way, loss):
    """The loss of the same images in another order, with the labels that go with them."""
    mixed, plain = mixed_by(way, batch(share=0.0), loss), step("default", batch(), loss)[0]
    partner, _ = draw_partners(6, 1, Stream(7).generator)
    assert not torch.equal(LABELS[partner], LABELS)
    torch.testing.assert_close(mixed.loss, plain.loss)
    torch.testing.assert_close(mixed.logits, plain.logits[partner])
    assert torch.equal(mixed.targets, F.one_hot(LABELS[partner], 3).float())


@pytest.mark.parametrize("way", MIXING)
@pytest.mark.parametrize("share", [0.25, 0.6])
def test_mixing_with_an_equal_is_no_mixture(way, share):
    given = batch(share=share)
    given = given._replace(images=given.images[:1].expand(6, -1, -1, -1), labels=LABELS[2:3].expand(6))
    torch.testing.assert_close(mixed_by(way, given).loss, step("default", given)[0].loss)


@pytest.mark.parametrize("way", MIXING)
def test_mixed_cross_entropy_is_cross_entropy_with_soft_targets(way):
    """For each way the logits of the mixture and its targets fit together; not for averaged shares of unlike examples."""
    result = mixed_by(way, batch(share=0.25))
    torch.testing.assert_close(result.loss, F.cross_entropy(result.logits, result.targets))
    torch.testing.assert_close(result.targets.sum(1), torch.ones(6))


def test_images_and_targets_are_mixed_with_the_same_partners_and_share():
    """Images that encode their label one-hot come out as the targets."""
    given = batch(share=0.3)
    images = F.one_hot(LABELS, 3).float()[:, :, None, None].expand(-1, -1, 2, 2)
    result, network = step("mix_up", given._replace(images=images))
    torch.testing.assert_close(network.seen[0][:, :, 0, 0], result.targets)
    torch.testing.assert_close(result.targets.sum(0), torch.tensor([3.0, 2.0, 1.0]))   # partners are a permutation


def test_the_stream_decides_everything():
    first, again, other = (step("mix_up", batch(seed))[0] for seed in (7, 7, 8))
    assert torch.equal(first.loss, again.loss)
    assert not torch.equal(first.loss, other.loss)


@pytest.mark.parametrize("way", MIXING)
def test_shares_are_of_the_images_type(way):
    """A network in float64 gets its images and targets mixed in float64."""
    given, combiner = batch(), COMBINERS["remix" if way == "averaged" else way](COUNTS, **MIXING[way])
    result = combiner(Flat().double(), LOSSES["CrossEntropy"](COUNTS), given._replace(images=given.images.double()))
    assert result.loss.dtype == result.targets.dtype == torch.float64


def test_shares_are_beta_distributed():
    """Beta(a, a) has mean ½ and variance 1 / (4 (2a + 1))."""
    combiner = COMBINERS["mix_up"](COUNTS, alpha=0.5)
    shares = np.array([float(combiner.share(batch(seed))) for seed in range(4000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.02)
    assert shares.var() == pytest.approx(1 / 8, abs=0.01)


@given(size=st.integers(1, 40), num_chunks=st.integers(1, 9), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_partners_stay_in_their_chunk(size, num_chunks, seed):
    """Each chunk finds, by positions in itself, the partners that the whole batch finds; all are somebody's partner once."""
    values = torch.arange(size) * 10
    in_batch, in_chunk = draw_partners(size, num_chunks, torch.Generator().manual_seed(seed))
    assert in_batch.sort().values.tolist() == list(range(size))
    parts = [part[index] for part, index in zip(values.chunk(num_chunks), in_chunk.chunk(num_chunks))]
    assert torch.equal(torch.cat(parts), values[in_batch])


def test_one_chunk_is_one_permutation():
    in_batch, in_chunk = draw_partners(9, 1, torch.Generator().manual_seed(3))
    assert torch.equal(in_batch, torch.randperm(9, generator=torch.Generator().manual_seed(3)))
    assert torch.equal(in_batch, in_chunk)


def test_bbn_mix_mixes_the_first_row_with_the_second():
    given = batch(share=0.25)
    result, network = step("bbn_mix", given)
    torch.testing.assert_close(network.seen[0], 0.25 * given.images[:3] + 0.75 * given.images[3:])
    expected = 0.25 * F.one_hot(LABELS[:3], 3) + 0.75 * F.one_hot(LABELS[3:], 3)
    torch.testing.assert_close(result.targets, expected)
    torch.testing.assert_close(result.loss, F.cross_entropy(result.logits, expected))
