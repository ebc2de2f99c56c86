"""Invariants of mixing."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib.core.combiner import COMBINERS
from lib.dataset import Batch
from lib.loss import LOSSES
from lib.net import Output
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
        return Output(self.linear(features), features)


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


def test_default_is_the_loss_of_the_batch():
    result, network = step("default", batch())
    expected = F.cross_entropy(network.linear(batch().images.flatten(1)), LABELS)
    torch.testing.assert_close(result.loss, expected)
    assert torch.equal(result.targets, LABELS)


@pytest.mark.parametrize("name", ["default", "mix_up", "bbn_mix"])
def test_one_forward_pass(name):
    assert len(step(name, batch())[1].seen) == 1


@pytest.mark.parametrize("loss", ["CrossEntropy", "CostSensitiveCE", "BalancedSoftmaxCE"])
def test_a_whole_share_is_no_mixture(loss):
    mixed, plain = step("mix_up", batch(share=1.0), loss)[0], step("default", batch(), loss)[0]
    torch.testing.assert_close(mixed.loss, plain.loss)
    assert torch.equal(mixed.targets.argmax(1), LABELS)


def test_mixed_cross_entropy_is_cross_entropy_with_soft_targets():
    result, _ = step("mix_up", batch())
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


def test_shares_are_beta_distributed():
    """Beta(a, a) has mean ½ and variance 1 / (4 (2a + 1))."""
    combiner = COMBINERS["mix_up"](COUNTS, alpha=0.5)
    shares = np.array([combiner.share(batch(seed)) for seed in range(4000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.02)
    assert shares.var() == pytest.approx(1 / 8, abs=0.01)


def test_bbn_mix_mixes_the_first_row_with_the_second():
    given = batch(share=0.25)
    result, network = step("bbn_mix", given)
    torch.testing.assert_close(network.seen[0], 0.25 * given.images[:3] + 0.75 * given.images[3:])
    expected = 0.25 * F.one_hot(LABELS[:3], 3) + 0.75 * F.one_hot(LABELS[3:], 3)
    torch.testing.assert_close(result.targets, expected)
    torch.testing.assert_close(result.loss, F.cross_entropy(result.logits, expected))
