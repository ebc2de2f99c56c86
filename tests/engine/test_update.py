"""Update rules, accumulation, clipping, averaged weights and parameters of losses: what a whole step does."""
import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib.combiner import COMBINERS, Step
from lib.dataset import Batch
from lib.device.precision import Precision, TorchAmp
from lib.engine.average import WeightAverage
from lib.engine.optimizer import begin_moments
from lib.engine.step import EagerStep, split
from lib.loss import LOSSES
from lib.loss.base import LongTailLoss
from lib.net import Output
from lib.update import UPDATES, Piece, Weights
from lib.utils.seed import Stream

COUNTS = torch.tensor([50, 20, 5])
CPU = torch.device("cpu")


class Net(nn.Module):
    """Linear, BatchNorm, dropout, linear."""

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.first, self.norm, self.dropout = nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout(dropout)
        self.last = nn.Linear(8, 3)

    def forward(self, images, mix=None):
        features = self.dropout(F.relu(self.norm(self.first(images.flatten(1)))))
        return Output(self.last(features), features)


class Scalar(nn.Module):
    """The weight itself."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(values, dtype=torch.double))


def batch(number: int = 1, size: int = 12) -> Batch:
    generator = torch.Generator().manual_seed(number)
    images, labels = torch.randn(size, 3, 2, 2, generator=generator), torch.randint(3, (size,), generator=generator)
    return Batch(images, labels, torch.arange(size), Stream(number))


def make(update="plain", combiner="default", rate=0.1, momentum=0.9, dropout=0.3, criterion=None, pieces=1, clip_norm=0.0,
         **options):
    torch.manual_seed(0)
    network = Net(dropout)
    criterion = criterion or LOSSES["CostSensitiveCE"](COUNTS)
    optimizer = torch.optim.SGD([*network.parameters(), *criterion.parameters()], rate, momentum=momentum, fused=True)
    begin_moments(optimizer)
    return EagerStep(network.train(), criterion, COMBINERS[combiner](COUNTS), optimizer, Precision(), UPDATES[update](**options),
                     pieces, clip_norm)


def train(step: EagerStep, batches: int = 4) -> list[torch.Tensor]:
    return [step(batch(number)) for number in range(1, batches + 1)]


def quadratic(network: Scalar) -> list[Piece]:
    """L = ½ ‖w‖²."""
    return [Piece(1.0, lambda: Step(network.w.square().sum() / 2, torch.zeros(1, 2), torch.zeros(1, dtype=torch.long)))]


def stepped(values: list[float], rule: str, rate: float = 0.5, **options) -> torch.Tensor:
    network = Scalar(*values)
    UPDATES[rule](**options)(quadratic(network), Weights(network, torch.optim.SGD(network.parameters(), rate), Precision()))
    return network.w.detach()


@pytest.mark.parametrize("rho", [0.05, 0.3, 2.0])
def test_sam_on_a_quadratic(rho):
    """Its gradient is w (1 + ρ / ‖w‖)."""
    w = torch.tensor([3.0, -4.0], dtype=torch.double)
    torch.testing.assert_close(stepped(w.tolist(), "sam", rho=rho), w - 0.5 * w * (1 + rho / 5))


def test_sam_without_radius_is_plain():
    plain, sam = make(), make("sam", rho=0.0)
    for one, other in zip(train(plain), train(sam)):
        assert torch.equal(one, other)
    for one, other in zip(plain.network.parameters(), sam.network.parameters()):
        assert torch.equal(one, other)   # dropout too is the same in both passes


def test_sam_is_the_gradient_at_the_worse_place(monkeypatch):
    """Against two gradients by hand, with mixup, dropout and BatchNorm; and the length of ε is ρ."""
    step, seen = make("sam", combiner="mix_up", momentum=0.0, rho=0.4), []
    network, twin = step.network, copy.deepcopy(step.network)
    given = batch()
    drawn = step.combiner.draw(batch(), 1)

    def gradient(at: nn.Module) -> list[torch.Tensor]:
        step.begin(given.stream.seed)
        loss = step.combiner.combine(at, step.criterion, given.images, given.labels, *drawn).loss
        return torch.autograd.grad(loss, list(at.parameters()))

    first = gradient(twin)
    norm = torch.cat([g.flatten() for g in first]).norm()
    before = [parameter.detach().clone() for parameter in twin.parameters()]
    with torch.no_grad():
        for parameter, g in zip(twin.parameters(), first):
            parameter += 0.4 * g / norm
            seen.append((0.4 * g / norm).flatten())
    assert torch.cat(seen).norm().item() == pytest.approx(0.4, rel=1e-6)
    second = gradient(twin)
    step(given)
    for own, start, g in zip(network.parameters(), before, second):
        torch.testing.assert_close(own.detach(), start - 0.1 * g)


@pytest.mark.parametrize(("bn", "moves"), [("both", 2), ("first", 1)])
def test_passes_that_move_batchnorm(bn, moves):
    step = make("sam", bn=bn, rho=0.1)
    step(batch())
    assert step.network.norm.num_batches_tracked == moves
    assert step.network.norm.momentum == 0.1
    plain = make()
    plain(batch())
    assert torch.equal(plain.network.norm.running_mean, step.network.norm.running_mean) == (moves == 1)


class Steep(LongTailLoss):
    """Cross-entropy times a thousand."""

    def forward(self, output, targets, sample_weight=None):
        return 1000 * F.cross_entropy(Output.of(output).logits, targets)


@pytest.mark.parametrize("rule", ["plain", "sam"])
def test_a_step_that_overflows_in_either_pass_is_left_out(rule):
    """Weights, moments and BatchNorm statistics stay finite, and the next step is taken."""
    step = make(rule, criterion=Steep(COUNTS))
    precision = TorchAmp(CPU)
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    precision.autocast = lambda: torch.enable_grad()
    precision.prepare(step.network, step.optimizer)
    step = step._replace(precision=precision)
    before = [parameter.detach().clone() for parameter in step.network.parameters()]
    skipped = 0
    while (row := step(batch(1)))[3] == 1:
        skipped += 1
        assert all(torch.equal(own, start) for own, start in zip(step.network.parameters(), before))
        assert step.network.norm.running_mean.isfinite().all()
    assert skipped > 0
    assert row.isfinite()[:4].all()
    assert not torch.equal(before[0], step.network.first.weight)


def test_not_a_number_in_the_first_pass_is_not_hidden():
    network = Scalar(1.0)
    losses = [Piece(1.0, lambda: Step((network.w * torch.nan).sum(), torch.zeros(1, 2), torch.zeros(1, dtype=torch.long)))]
    UPDATES["sam"]()(losses, Weights(network, torch.optim.SGD(network.parameters(), 0.1), Precision()))
    assert network.w.isnan().all()


@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_accumulated_gradients_are_those_of_the_batch(pieces):
    """Of a plain mean, without BatchNorm and dropout, to rounding; uneven pieces count by their size."""
    whole, cut = (make(dropout=0.0, criterion=LOSSES["CrossEntropy"](COUNTS), pieces=number) for number in (1, pieces))
    for step in (whole, cut):
        step.network.norm = nn.Identity()
    for one, other in zip(train(whole), train(cut)):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    for one, other in zip(whole.network.parameters(), cut.network.parameters()):
        torch.testing.assert_close(one, other)


def test_pieces_have_a_part_of_every_row_and_view():
    rows = torch.arange(12)
    given = Batch(rows[:, None], rows, rows, Stream(3), (10 * rows, 100 * rows))
    first, second = split(given, 2, rows=2)
    assert first.labels.tolist() == [0, 1, 2, 6, 7, 8]
    assert second.labels.tolist() == [3, 4, 5, 9, 10, 11]
    assert first.views[1].tolist() == [100 * n for n in (0, 1, 2, 6, 7, 8)]
    assert first.stream.seed != second.stream.seed
    assert split(given, 1, rows=2) == [given]


def test_a_gradient_is_shortened_to_the_norm():
    free, short = stepped([3.0, -4.0], "plain"), Scalar(3.0, -4.0)
    weights = Weights(short, torch.optim.SGD(short.parameters(), 0.5), Precision(), clip_norm=1.0)
    UPDATES["plain"]()(quadratic(short), weights)
    torch.testing.assert_close(free, torch.tensor([1.5, -2.0], dtype=torch.double))
    torch.testing.assert_close(short.w.detach(), torch.tensor([2.7, -3.6], dtype=torch.double), atol=1e-6, rtol=0)


def test_a_norm_is_that_of_gradients_without_their_scale():
    plain, mixed = (make(clip_norm=0.01) for _ in range(2))
    precision = TorchAmp(CPU)
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    precision.autocast = lambda: torch.enable_grad()
    precision.prepare(mixed.network, mixed.optimizer)
    train(plain)
    train(mixed._replace(precision=precision))
    for one, other in zip(plain.network.parameters(), mixed.network.parameters()):
        torch.testing.assert_close(one, other)


class Learned(LongTailLoss):
    """Cross-entropy of logits with a learned shift per class, which also counts its batches."""

    def __init__(self, class_counts, deferred=None) -> None:
        super().__init__(class_counts, deferred)
        self.shift = nn.Parameter(torch.zeros(len(class_counts)))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def forward(self, output, targets, sample_weight=None):
        self.batches += 1
        return F.cross_entropy(Output.of(output).logits + self.shift, targets)


def test_a_loss_may_learn():
    step = make(criterion=Learned(COUNTS))
    train(step)
    assert step.criterion.shift.detach().abs().sum() > 0
    assert step.criterion.batches == 4
    assert step.criterion.state_dict().keys() == {"shift", "batches"}


def test_averaged_weights():
    """Two steps by hand; whole numbers are copied, and the weights come back as they were."""
    network = nn.BatchNorm1d(2)
    average = WeightAverage(network, 0.999)
    values = [torch.full((2,), 1.0)]
    for step, weight in ((1, 2.0), (2, 5.0)):
        with torch.no_grad():
            network.weight.fill_(weight)
            network.num_batches_tracked += 1
        average.after_step()
        decay = (1 + step) / (10 + step)
        values.append(decay * values[-1] + (1 - decay) * weight)
        torch.testing.assert_close(average.weights()["weight"], values[-1])
    with average.applied():
        torch.testing.assert_close(network.weight.detach(), values[-1])
        assert network.num_batches_tracked == 2
    assert network.weight.tolist() == [5.0, 5.0]


def test_an_average_in_the_long_run_is_exponential():
    network = nn.Linear(1, 1, bias=False)
    average = WeightAverage(network, 0.5)
    with torch.no_grad():
        network.weight.fill_(0.0)
    for _ in range(30):
        average.after_step()
    before = average.weights()["weight"].clone()
    with torch.no_grad():
        network.weight.fill_(1.0)
    average.after_step()
    torch.testing.assert_close(average.weights()["weight"], (before + 1) / 2)
