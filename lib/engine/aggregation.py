"""Test-time aggregation: weights of a network's experts, learned on images without their labels."""
from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.dataset import Batch, Loader
from lib.device.failures import VALIDATION, during
from lib.device.precision import Precision
from lib.engine.evaluation import Head
from lib.net import Output


class AggregationSettings(NamedTuple):
    """How the weights are learned; published values are the defaults."""

    epochs: int = 5
    rate: float = 0.1
    least: float = 0.05   # learning stops after an epoch that leaves a weight below this


@during(VALIDATION)
def learn_weights(network: nn.Module, loader: Loader, precision: Precision, settings: AggregationSettings) -> Tensor:
    """Learns weights w = softmax(θ) of the experts, (E,), so that the predictions for two views of an image agree. They sum to 1.

    Maximises the mean over the images of cos(softmax(Σ_e w_e z_e), softmax(Σ_e w_e z′_e)), z and z′ the experts' logits for the
    two views. No label is used: an expert that fits the test distribution has stable predictions. θ starts at 0 and is trained by
    SGD with Nesterov momentum 0.9 and weight decay 5e-4; the network is not trained. Zhang et al., SADE, NeurIPS 2022,
    arXiv:2107.09249, section 4.2.

    Args:
        network: in eval mode, with several experts.
        loader: yields the test images, each with one additional view.
    """
    theta: Tensor | None = None
    optimizer: torch.optim.Optimizer | None = None
    for epoch in range(1, settings.epochs + 1):
        loader.on_epoch(epoch)
        for first, second in views_of(network, loader, precision):
            if theta is None or optimizer is None:
                theta = torch.zeros(first.shape[1], device=first.device, requires_grad=True)
                optimizer = torch.optim.SGD([theta], settings.rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
            optimizer.zero_grad()
            (-agreement(theta.softmax(dim=0), first, second)).backward()
            optimizer.step()
        if theta is not None and float(theta.detach().softmax(dim=0).min()) < settings.least:
            break
    if theta is None:
        raise ValueError("there are no images to learn the weights of the experts from")
    return theta.detach().softmax(dim=0)


def views_of(network: nn.Module, loader: Iterable[Batch], precision: Precision) -> Iterable[tuple[Tensor, Tensor]]:
    """The experts' logits for both views of each batch, (B, E, C) each."""
    for batch in loader:
        with torch.no_grad(), precision.autocast():
            both = network(torch.cat([batch.images, *batch.views])).heads["experts"]
        first, second = both.chunk(2)
        yield first, second


def agreement(weights: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Mean cosine of the class probabilities for two views.

    Args:
        weights: (E,).
        first, second: (B, E, C).
    """
    one, other = (torch.einsum("e,bec->bc", weights, logits).softmax(dim=1) for logits in (first, second))
    return F.cosine_similarity(one, other, dim=1).mean()


def weighted_experts(weights: Tensor, scale: float = 1.0) -> Head:
    """Σ_e w_e z_e; with equal weights 1 / E it is the mean that the network itself returns."""
    return lambda output: scale * torch.einsum("e,bec->bc", weights, output.heads["experts"].float())


def expert(number: int, scale: float = 1.0) -> Head:
    """The logits of one expert, counted from 0."""
    def head(output: Output) -> Tensor:
        return scale * output.heads["experts"][:, number]
    return head
