"""Weights of experts that are learned without labels."""
import pytest
import torch
from torch import nn

from lib.dataset import Batch, Chosen
from lib.device.precision import Precision
from lib.engine.aggregation import AggregationSettings, agreement, expert, learn_weights, weighted_experts
from lib.net import Output
from lib.utils.seed import Stream

random = torch.Generator().manual_seed(0)


class Experts(nn.Module):
    """The first expert says of both views what the image is; the others' logits are the noise in its other channels."""

    def forward(self, images):
        return Output(images.mean(dim=1), None, {"experts": images})


class Views(list):
    """Batches of (B, E, C) "images" in two views, whose first expert is the same in both."""

    def __init__(self, stable: int, batches: int = 20) -> None:
        for _ in range(batches):
            first, second = (3 * torch.randn(32, 3, 5, generator=random) for _ in range(2))
            second[:, stable] = first[:, stable]
            self.append(Batch(first, torch.zeros(32, dtype=torch.long), torch.arange(32), Stream(0), (second,)))
        self.epochs: list[int] = []

    def on_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


@pytest.mark.parametrize("stable", [0, 1, 2])
def test_the_expert_whose_predictions_are_stable_gains(stable):
    weights = learn_weights(Experts(), Views(stable), Precision(), AggregationSettings())
    assert weights.sum().item() == pytest.approx(1)
    assert weights.argmax().item() == stable
    assert weights.max() > 0.6


def test_equal_experts_keep_equal_weights():
    class Same(Experts):
        def forward(self, images):
            return super().forward(images[:, :1].expand(-1, 3, -1))

    weights = learn_weights(Same(), Views(0), Precision(), AggregationSettings())
    torch.testing.assert_close(weights, torch.full((3,), 1 / 3))


def test_it_stops_once_a_weight_is_small():
    views = Views(0)
    learn_weights(Experts(), views, Precision(), AggregationSettings(epochs=3, least=0.32))
    assert views.epochs == [1]
    views = Views(0)
    learn_weights(Experts(), views, Precision(), AggregationSettings(epochs=3, least=0.0))
    assert views.epochs == [1, 2, 3]


def test_agreement_is_1_of_equal_views_and_0_of_opposite_certainties():
    sure = 100 * torch.eye(5)[:2].expand(3, 2, 5).transpose(0, 1)   # (2, 3, 5): each image of a class of its own
    weights = torch.tensor([0.2, 0.3, 0.5])
    assert agreement(weights, sure, sure).item() == pytest.approx(1)
    assert agreement(weights, sure, sure.flip(0)).item() == pytest.approx(0, abs=1e-6)


def test_heads():
    logits = torch.randn(4, 3, 5, generator=random)
    output = Output(logits.mean(dim=1), None, {"experts": logits})
    torch.testing.assert_close(weighted_experts(torch.full((3,), 1 / 3))(output), output.logits)
    torch.testing.assert_close(weighted_experts(torch.tensor([0.0, 1.0, 0.0]), 2.0)(output), 2 * expert(1)(output))


def test_chosen_images_are_all_drawn_in_another_order_each_epoch():
    rows = torch.tensor([3, 5, 8, 9, 11, 12, 19])
    draw = Chosen(torch.zeros(20, dtype=torch.long), torch.tensor([20]), 5, rows)
    first, second = draw(1, random)[0], draw(2, random)[0]
    assert first.sort().values.tolist() == second.sort().values.tolist() == rows.tolist()
    assert first.tolist() != second.tolist()
