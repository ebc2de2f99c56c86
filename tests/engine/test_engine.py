"""Totals and rates of the training loop."""
import pytest
import torch
from torch import nn

from lib.combiner import Combiner, Step
from lib.dataset import Batch
from lib.device.precision import Precision
from lib.device.runtime import Runtime
from lib.engine.epoch import train_one_epoch
from lib.engine.evaluation import evaluate, evaluate_heads, own_logits
from lib.engine.step import EagerStep, set_rate
from lib.engine.totals import Sums, num_correct, summands
from lib.net import Output
from lib.utils.seed import Stream

CPU = torch.device("cpu")


def test_credit_of_labels_and_of_shares():
    logits = torch.tensor([[5.0, 1, 0], [0, 1, 3], [0, 2, 1]])
    assert num_correct(logits, torch.tensor([0, 1, 1])) == 2
    shares = torch.tensor([[0.7, 0.3, 0], [0.4, 0.6, 0], [0, 1, 0]])
    assert num_correct(logits, shares).item() == pytest.approx(0.7 + 0 + 1)


def test_totals_are_means_over_images_not_over_batches():
    sums = Sums(CPU)
    sums.add(summands(Step(torch.tensor(1.0), torch.tensor([[1.0, 0]] * 3), torch.tensor([0, 0, 1]))))
    sums.add(summands(Step(torch.tensor(5.0), torch.tensor([[1.0, 0]]), torch.tensor([1]))))
    assert sums.means(Runtime(CPU)) == (2.0, 0.5, 0)
    assert sums.means(Runtime(CPU)) == (2.0, 0.5, 0)   # asking changes nothing


def test_totals_of_a_million_batches_keep_their_digits():
    sums = Sums(CPU)
    sums.total += torch.tensor([1e9, 0, 1e9, 0], dtype=torch.double)
    sums.add(summands(Step(torch.tensor(3.0), torch.zeros(1, 2), torch.tensor([0]))))
    assert sums.total[0].item() == 1e9 + 3


def test_rate_reaches_all_groups():
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.ones(1))]}, {"params": [nn.Parameter(torch.ones(1))]}], 0.5)
    set_rate(optimizer, 0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1]


class Loader(list):
    """Batches that lie ready."""

    device = CPU

    @property
    def num_images(self) -> int:
        return sum(len(batch.labels) for batch in self)


class Seeds(nn.Module):
    """A criterion that keeps the seed of the batch at hand."""

    def on_batch(self, seed: int) -> None:
        self.seed = seed


def test_several_heads_see_the_images_once():
    class Echo(nn.Module):
        calls = 0

        def forward(self, images):
            self.calls += 1
            return Output(images, -images)

    images, labels = torch.randn(7, 3), torch.arange(7) % 3
    loader = Loader(Batch(images[rows], labels[rows], rows, Stream(0)) for rows in torch.arange(7).split(3))
    network = Echo()
    plain, turned = evaluate_heads(network, [own_logits(), lambda output: output.features], loader, Precision(), Runtime(CPU))
    assert network.calls == 3
    assert torch.equal(plain.predicted, images.argmax(1))
    assert torch.equal(turned.predicted, images.argmin(1))
    assert torch.equal(plain.labels, labels)
    alone = evaluate(network, loader, Precision(), Runtime(CPU))
    assert all(torch.equal(one, other) for one, other in zip(alone, plain))


def loader(*numbers: float) -> Loader:
    """Batches of one number each."""
    return Loader(Batch(torch.tensor(n), torch.zeros(1), torch.zeros(1), Stream(int(n))) for n in numbers)


def test_one_epoch_is_a_step_per_batch():
    """A parameter p with loss p · mean(images) falls by rate · mean(images) at each batch, whose seed the criterion knows."""
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.p = nn.Parameter(torch.tensor(1.0))

    class Product(Combiner):
        def combine(self, network, criterion, images, labels):
            assert criterion.seed == int(images)
            return Step(network.p * images, torch.zeros(1, 2), torch.zeros(1, dtype=torch.long))

    network, seen, combiner = Linear(), [], Product(torch.ones(2))
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    train_one_epoch(EagerStep(network, Seeds(), combiner, optimizer, Precision()), loader(1.0, 3.0),
                    lambda sums: seen.append((sums.batches, sums.total[2].item())))
    assert network.p.item() == pytest.approx(1 - 0.1 - 0.3)
    assert seen == [(1, 1.0), (2, 2.0)]
    assert network.training


def test_the_first_batch_whose_loss_is_not_finite_is_known():
    sums = Sums(CPU)
    for loss in (1.0, torch.inf, torch.nan, 2.0):
        sums.add(summands(Step(torch.tensor(loss), torch.zeros(1, 2), torch.tensor([0]))))
    assert sums.gather(Runtime(CPU))[0, -1] == 2
    assert not torch.tensor(sums.means(Runtime(CPU)).loss).isfinite()


def test_totals_go_on_where_they_were_saved():
    def add(sums, losses):
        for loss in losses:
            sums.add(summands(Step(torch.tensor(loss), torch.zeros(3, 2), torch.tensor([0, 1, 0])), skipped=1))
        return sums

    whole, first = add(Sums(CPU), [0.1, 0.2, 0.3]), add(Sums(CPU), [0.1])
    rest = Sums(CPU)
    rest.restore(first.gather(Runtime(CPU))[0], first.batches)
    add(rest, [0.2, 0.3])
    assert torch.equal(whole.gather(Runtime(CPU)), rest.gather(Runtime(CPU)))
    assert (rest.batches, rest.means(Runtime(CPU)).skipped_steps) == (3, 3)


def test_what_draws_without_a_generator_depends_on_its_batch_only():
    """Dropout of the second batch is the same, whether the first was trained on in this session or not."""
    class Drawing(Combiner):
        def combine(self, network, criterion, images, labels):
            drawn.append(torch.rand(3))
            return Step(network.weight.sum(), torch.zeros(1, 2), torch.zeros(1, dtype=torch.long))

    drawn, network, combiner = [], nn.Linear(1, 1), Drawing(torch.ones(2))
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for batches in (loader(1, 2), loader(2)):
        torch.rand(5)
        train_one_epoch(EagerStep(network, Seeds(), combiner, optimizer, Precision()), batches)
    assert torch.equal(drawn[1], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
