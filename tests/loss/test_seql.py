"""What SEQL leaves out, how often, and on what that depends."""
import pytest
import torch
import torch.nn.functional as F
from loss_cases import LABELS, LOGITS, LONG_TAILED
from loss_reference import Given, seql
from torch import nn

from lib.combiner import COMBINERS
from lib.dataset import Batch
from lib.device.precision import Precision
from lib.engine.epoch import train_one_epoch
from lib.engine.step import EagerStep
from lib.loss import LOSSES
from lib.net import Output
from lib.utils.seed import Stream, batch_seeds

SEQL = LOSSES["SEQL"]


def ignored(loss, logits, labels) -> torch.Tensor:
    """Where the loss does not depend on a logit, (B, C)."""
    logits = logits.clone().requires_grad_()
    loss(logits, labels).backward()
    return logits.grad == 0


def test_with_gamma_one_every_rare_negative_is_left_out():
    logits = LOGITS.clone()
    rare = torch.tensor([False, False, True, True, True])   # below a tenth of 668 images
    for row, label in zip(logits, LABELS):
        row[rare & (torch.arange(5) != label)] = -torch.inf
    torch.testing.assert_close(SEQL(LONG_TAILED, gamma=1.0, lambda_=0.1)(LOGITS, LABELS), F.cross_entropy(logits, LABELS))


def test_with_every_class_rare_and_gamma_one_nothing_is_left_to_learn():
    assert SEQL(LONG_TAILED, gamma=1.0, lambda_=1.0)(LOGITS, LABELS).item() == 0


def test_a_class_at_lambda_itself_is_not_rare():
    assert SEQL(torch.tensor([995, 5]), lambda_=0.005).rare.tolist() == [False, False]
    assert SEQL(torch.tensor([995, 5, 0]), lambda_=0.00501).rare.tolist() == [False, True, True]


@pytest.mark.parametrize("gamma", [0.1, 0.5, 0.9])
def test_rare_negatives_are_left_out_with_probability_gamma(gamma):
    """Within 4.5 standard deviations of a binomial, over examples, classes and seeds; others never."""
    loss = SEQL(torch.tensor([1000, 4, 1000, 3, 2]), gamma=gamma)
    logits, labels = torch.zeros(500, 5), torch.arange(500) % 5
    rare = torch.tensor([False, True, False, True, True]) & ~F.one_hot(labels, 5).bool()
    for seed in (1, 2**62 + 3):
        loss.on_batch(seed)
        left_out = ignored(loss, logits, labels)
        assert not left_out[~rare].any()
        for part in (left_out[rare], left_out[:250][rare[:250]], left_out[:, 1][rare[:, 1]], left_out[:, 4][rare[:, 4]]):
            assert abs(part.double().mean() - gamma) < 4.5 * (gamma * (1 - gamma) / len(part)) ** 0.5


@pytest.mark.parametrize("seed", [1, 2**63 - 1])
def test_the_seed_of_the_batch_decides(seed):
    loss = SEQL(LONG_TAILED, gamma=0.5, lambda_=0.1)
    before = loss(LOGITS, LABELS)
    loss.on_batch(seed)
    given = Given(LOGITS.tolist(), LABELS.tolist(), [], [], [])
    assert loss(LOGITS, LABELS).item() == pytest.approx(seql(given, LONG_TAILED.tolist(), True, 0.5, 0.1, seed), rel=1e-6)
    assert loss(LOGITS, LABELS).item() != before.item()


def test_both_labels_of_a_mixture_meet_the_same_softmax():
    """Elements that are rare and neither label are left out for both or for none."""
    loss = SEQL(torch.tensor([1000, 1000, 3, 3, 3]), gamma=0.5)
    loss.on_batch(9)
    first, second = (ignored(loss, LOGITS, torch.full((12,), label)) for label in (0, 1))
    assert torch.equal(first, second)
    assert 0 < first.sum() < 36


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(6, 5)

    def forward(self, images, mix=None):
        return Output(self.linear(images), images)


class Loader(list):
    device = torch.device("cpu")


@pytest.mark.parametrize("combiner", ["default", "mix_up"])
def test_training_does_not_depend_on_where_it_was_interrupted(combiner):
    """Four batches in one go, or one and three with other random numbers drawn in between."""
    def batches():
        images = torch.randn(4, 8, 6, generator=torch.Generator().manual_seed(1))
        labels = torch.arange(8) % 5
        return [Batch(image, labels, torch.arange(8), Stream(seed)) for image, seed in zip(images, batch_seeds(42, 0, 1, 4))]

    def weights(*cuts):
        network = Flat()
        optimizer = torch.optim.SGD(network.parameters(), 0.5)
        for start, stop in cuts:
            loss = SEQL(LONG_TAILED, gamma=0.5, lambda_=0.1)
            part = Loader(batches()[start:stop])
            train_one_epoch(EagerStep(network, loss, COMBINERS[combiner](LONG_TAILED), optimizer, Precision()), part)
            torch.rand(start + 3)
        return network.linear.weight.detach()

    assert torch.equal(weights((0, 4)), weights((0, 1), (1, 4)))
    assert not torch.equal(weights((0, 4)), weights((0, 1), (0, 3)))
