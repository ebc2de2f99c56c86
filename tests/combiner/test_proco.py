"""ProCo: its Bessel function against SciPy's, its class means against plain means, and what a step and an epoch leave."""
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from scipy.special import ive
from torch import nn

from lib.combiner import COMBINERS
from lib.combiner.von_mises_fisher import Directions, class_sums, concentrations, log_bessel, log_expectations, random_means
from lib.dataset import Batch
from lib.loss import LOSSES
from lib.net import Output
from lib.update import UPDATES
from lib.utils.errors import InputError
from lib.utils.seed import Stream

random = torch.Generator().manual_seed(0)
COUNTS, LABELS, DIMS = torch.tensor([5, 3, 2, 0]), torch.tensor([0, 0, 0, 2, 1, 0, 2, 1]), 16


def unit(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=random, dtype=torch.double), dim=-1)


@pytest.mark.parametrize(("num_dims", "error"), [(16, 2e-6), (128, 1e-10), (1024, 1e-10)])
def test_the_bessel_function_against_scipy(num_dims, error):
    order, k = num_dims / 2 - 1, torch.logspace(0, 5, 41, dtype=torch.double)
    exact = torch.from_numpy(ive(order, k.numpy())).log() + k - order * k.log()
    known = exact.isfinite()   # of high orders SciPy's is 0 in float64 at small k
    assert known.sum() > 10
    torch.testing.assert_close(log_bessel(k.square(), num_dims)[known], exact[known], rtol=1e-12, atol=error)


@pytest.mark.parametrize(("num_dims", "error"), [(16, 2e-6), (128, 1e-10)])
def test_the_bessel_function_at_zero(num_dims, error):
    """I_ν(k) / k^ν is 1 / (2^ν Γ(ν + 1)) there."""
    order = num_dims / 2 - 1
    exact = torch.tensor([-order * math.log(2) - math.lgamma(order + 1)], dtype=torch.double)
    for k in (0.0, 1e-6):
        torch.testing.assert_close(log_bessel(torch.tensor([k**2], dtype=torch.double), num_dims), exact, rtol=0, atol=error)


@pytest.mark.parametrize("num_dims", [16, 128, 1024])
def test_the_slope_of_the_bessel_function_is_between_0_and_1_and_rises(num_dims):
    k = torch.logspace(-3, 5, 200, dtype=torch.double, requires_grad=True)
    slope, = torch.autograd.grad(log_bessel(k.square(), num_dims).sum(), k)
    assert (slope > 0).all()
    assert (slope < 1 + 1e-9).all()
    assert (slope.diff() > -1e-9).all()


def test_concentrations():
    direction = unit(1, DIMS)
    lengths = torch.tensor([[0.0], [1e-4], [0.9], [1.0], [1.5]], dtype=torch.double)
    expected = torch.tensor([0.0, 1e-4 * DIMS / (1 - 1e-8), 90 * DIMS / 19, 1e5, 1e5], dtype=torch.double)
    torch.testing.assert_close(concentrations(lengths * direction), expected)


def test_no_vector_is_alike_to_nothing():
    means = random_means(4, DIMS, random)
    expected = log_expectations(torch.zeros(2, DIMS), means, 0.1)
    torch.testing.assert_close(expected, torch.zeros(2, 4, dtype=torch.double), rtol=0, atol=1e-12)


def test_the_expected_similarity_against_samples():
    """A von Mises-Fisher distribution sampled by rejection from the uniform one on a sphere in 3 dimensions, κ = 2."""
    length = (math.sqrt(9 + 16) - 3) / 4   # R · 3 / (1 − R²) = 2
    mean, vector = torch.tensor([[0.0, 0.0, length]], dtype=torch.double), unit(1, 3)
    points = F.normalize(torch.randn(1_000_000, 3, generator=random, dtype=torch.double), dim=1)
    kept = points[torch.rand(len(points), generator=random, dtype=torch.double) < (2 * points[:, 2] - 2).exp()]
    sampled = (kept @ vector[0] / 0.8).exp().mean().log()
    assert concentrations(mean).item() == pytest.approx(2)
    assert log_expectations(vector, mean, 0.8).item() == pytest.approx(sampled.item(), abs=0.02)


def test_gradients():
    vectors, means = unit(5, DIMS).requires_grad_(), 0.5 * unit(4, DIMS)
    assert torch.autograd.gradcheck(lambda f: log_expectations(f, means, 0.3), vectors)


def test_means_over_batches_are_means():
    vectors, labels = unit(60, DIMS), torch.randint(3, (60,), generator=random)
    directions = Directions(random_means(4, DIMS, random).double(), torch.zeros(4, dtype=torch.double))
    unseen = directions.means[3].clone()
    for own, of in zip(vectors.split(13), labels.split(13)):
        sums = class_sums(own, of, 4)
        directions = directions.added(sums[:, :-1], sums[:, -1])
    for number in range(3):
        torch.testing.assert_close(directions.means[number], vectors[labels == number].mean(dim=0))
    assert torch.equal(directions.means[3], unseen)
    assert directions.counts.tolist() == [*labels.bincount().tolist(), 0]


def test_vectors_that_are_not_finite_do_not_count():
    vectors = torch.ones(3, 2)
    vectors[1] = torch.nan
    assert class_sums(vectors, torch.tensor([0, 0, 1]), 2).tolist() == [[1, 1, 1], [1, 1, 1]]


class Pixels(nn.Module):
    """Logits and vectors are made of the pixels; counts its forward passes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.projection, self.passes = nn.Linear(12, 4), nn.Linear(12, DIMS), 0

    def forward(self, images, mix=None):
        self.passes += 1
        features = images.flatten(1)
        return Output(self.linear(features), features, {"projection": F.normalize(self.projection(features), dim=1)})


def made(**options):
    torch.manual_seed(1)
    combiner = COMBINERS["proco"](COUNTS, **options)
    combiner.expect({"projection": DIMS})
    return combiner


def batch(seed: int = 0) -> Batch:
    views = torch.randn(3, 8, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
    return Batch(views[0], LABELS, torch.arange(8), Stream(seed), (views[1], views[2]))


def begin_epoch(combiner, seed: int) -> None:
    with torch.inference_mode():
        combiner.before_epoch(SimpleNamespace(generator=torch.Generator().manual_seed(seed)))


def test_a_step_by_hand():
    """View 2 is compared with means that include it, view 3 with means that include both; empty classes are left out."""
    combiner, criterion = made(contrast_weight=0.5, temperature=0.2), LOSSES["BalancedSoftmaxCE"](COUNTS)
    torch.manual_seed(2)
    network, given = Pixels(), batch()
    step = combiner(network, criterion, given)
    assert network.passes == 1
    first, *views = (network(view) for view in (given.images, *given.views))
    prior, losses = (COUNTS[:3] / COUNTS.sum()).double().log(), []
    seen, expected_means = torch.zeros(0, DIMS), combiner.means[0].clone()
    for number, view in enumerate(views, start=1):
        seen = torch.cat([seen, view.heads["projection"]])
        for c in range(3):
            expected_means[c] = seen[LABELS.repeat(number) == c].mean(dim=0).detach()
        logits = log_expectations(view.heads["projection"], expected_means, 0.2)[:, :3]
        losses.append(F.cross_entropy(logits + prior, LABELS))
    expected = criterion(first, LABELS) + 0.5 * (losses[0] + losses[1]) / 2
    torch.testing.assert_close(step.loss.double(), expected.double())
    torch.testing.assert_close(combiner.next_means[0], expected_means)
    assert combiner.next_counts.tolist() == [[8, 4, 4, 0]] * 2
    step.loss.backward()
    assert all(parameter.grad.any() for parameter in network.parameters())


def test_a_step_stays_when_it_is_over_and_passes_begin_alike():
    combiner, criterion, network = made(), LOSSES["BalancedSoftmaxCE"](COUNTS), Pixels()
    before = combiner.means.clone()
    first, second = (combiner(network, criterion, batch()).loss for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(combiner.means, before)
    combiner.after_step()
    assert combiner.counts.tolist() == [[8, 4, 4, 0]] * 2
    assert not torch.equal(combiner(network, criterion, batch()).loss, first)


def test_an_epoch_is_compared_with_the_one_before():
    """After an epoch on fixed features a class's mean is exactly that of its vectors, and the next epoch begins with it."""
    combiner, criterion, network = made(), LOSSES["BalancedSoftmaxCE"](COUNTS), Pixels()
    begin_epoch(combiner, 1)
    initial, vectors = combiner.means[0].clone(), []
    for seed in range(3):
        given = batch(seed)
        combiner(network, criterion, given)
        combiner.after_step()
        vectors += [network(view).heads["projection"].detach() for view in given.views]
    begin_epoch(combiner, 2)
    means, labels = combiner.means[0], LABELS.repeat(6)
    for c in range(3):
        torch.testing.assert_close(means[c], torch.cat(vectors)[labels == c].mean(dim=0))
    assert combiner.counts.tolist() == [[24, 12, 12, 0], [0, 0, 0, 0]]
    assert torch.equal(initial[0], made().means[0, 0])
    torch.testing.assert_close(combiner.means[1].norm(dim=1), torch.full((4,), 0.9))


def test_its_state_continues_where_it_was():
    combiner, criterion, network = made(), LOSSES["BalancedSoftmaxCE"](COUNTS), Pixels()
    begin_epoch(combiner, 1)
    combiner(network, criterion, batch())
    combiner.after_step()
    torch.manual_seed(5)
    other = COMBINERS["proco"](COUNTS)
    other.expect({"projection": DIMS})
    assert set(combiner.state_dict()) == {"means", "counts"}
    other.load_state_dict(combiner.state_dict())
    for seed in (1, 2):
        assert torch.equal(combiner(network, criterion, batch(seed)).loss, other(network, criterion, batch(seed)).loss)
        combiner.after_step()
        other.after_step()


def test_two_dimensions_are_refused():
    with pytest.raises(InputError, match=r"HEADS\.PROJECTION\.DIM: proco needs 3 or more, got 2"):
        COMBINERS["proco"](COUNTS).expect({"projection": 2})


def test_rules_that_weigh_classes_apart_are_declared_not_to_fit():
    assert any(UPDATES[name].splits_loss for name in UPDATES)
    assert not COMBINERS["proco"].sums_examples
