"""What GCL disturbs, by how much, and when it draws again."""
import math

import pytest
import torch
import torch.nn.functional as F
from loss_cases import LABELS, LOGITS, LONG_TAILED
from torch import Tensor, nn

from lib.combiner import COMBINERS
from lib.dataset import Batch
from lib.device.precision import Precision
from lib.engine.epoch import train_one_epoch
from lib.engine.step import EagerStep
from lib.loss import LOSSES
from lib.net import Output
from lib.update import UPDATES
from lib.utils.seed import Stream, batch_seeds

GCL = LOSSES["GCL"]
COSINES = LOGITS / 10
MANY = 20_000
HALF_NORMAL = 0.2657   # mean of |ε|, cut off at 1
SPREAD = 0.2           # above the deviation of |ε|


def lowered(loss: nn.Module, labels: Tensor) -> Tensor:
    """By how much each cosine is lowered, less that of class 0, (B, C), which the gradient at equal cosines shows."""
    size, classes = len(labels), len(loss.class_counts)
    cosines = torch.zeros(size, classes, dtype=torch.double, requires_grad=True)
    loss(cosines, labels).backward()
    logs = (cosines.grad * size / loss.scale + F.one_hot(labels, classes)).log()
    return (logs[:, :1] - logs) / loss.scale


def test_without_noise_and_margin_it_is_cross_entropy_of_scaled_cosines():
    loss = GCL(LONG_TAILED, noise=0.0, scale=7.0)
    torch.testing.assert_close(loss(COSINES, LABELS), F.cross_entropy(7 * COSINES, LABELS))


def test_the_most_frequent_classes_are_left_alone_and_the_rarest_has_all_of_the_noise():
    """One in the middle of their logarithms has half of it."""
    loss = GCL(torch.tensor([100, 100, 10, 1]), noise=0.8, scale=2.0)
    loss.on_batch(2)
    shifts = lowered(loss, torch.arange(MANY) % 4)
    torch.testing.assert_close(shifts[:, 1], torch.zeros(MANY, dtype=torch.double))
    for place, share in ((2, 0.5), (3, 1.0)):
        sizes = shifts[:, place] / (0.8 * share)
        assert sizes.min() > -1e-9
        assert sizes.max() < 1 + 1e-6
        assert abs(sizes.mean() - HALF_NORMAL) < 4.5 * SPREAD / MANY ** 0.5
        for limit in (0.1, 0.3, 0.6):   # three places of the distribution: P(|ε| < limit)
            expected = math.erf(limit * 3 / 2 ** 0.5)
            assert abs((sizes < limit).double().mean() - expected) < 4.5 * (expected * (1 - expected) / MANY) ** 0.5
    assert abs(torch.corrcoef(shifts[:, 2:].T)[0, 1]) < 4.5 / MANY ** 0.5


def test_rarer_classes_are_lowered_more_as_a_label_and_beside_it():
    loss, labels = GCL(LONG_TAILED, scale=2.0), torch.arange(MANY) % 5
    shifts = lowered(loss, labels)
    own = F.one_hot(labels, 5).bool()
    for chosen in (own, ~own):
        means = torch.stack([shifts[chosen[:, c], c].mean() for c in range(5)])
        assert (means.diff() > 0.01).all()


def test_the_margin_is_of_the_label_only():
    loss, labels = GCL(LONG_TAILED, noise=0.0, margin=0.3, scale=2.0), torch.tensor([1, 2, 4])
    torch.testing.assert_close(lowered(loss, labels), 0.3 * F.one_hot(labels, 5).double())


def test_an_empty_class_and_classes_of_one_size_have_no_noise():
    assert GCL(torch.tensor([50, 0, 5])).clouds.tolist() == [0, 0, 0.5]
    assert GCL(torch.tensor([8, 8, 0, 8])).clouds.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_the_focal_factor_weights_examples_and_has_no_gradient(gamma):
    plain, focal = GCL(LONG_TAILED, margin=0.1, scale=4.0), GCL(LONG_TAILED, margin=0.1, scale=4.0, focal_gamma=gamma)
    rows = []
    for loss in (plain, focal):
        cosines = COSINES.clone().requires_grad_()
        losses = torch.stack([loss(cosines, LABELS, sample_weight=weight) for weight in torch.eye(len(LABELS)).double()])
        losses.sum().backward()
        rows.append((losses.detach() * len(LABELS), cosines.grad))
    (losses, gradient), (weighted, weighted_gradient) = rows
    factors = (1 - (-losses).exp()) ** gamma
    torch.testing.assert_close(weighted, factors * losses)
    torch.testing.assert_close(weighted_gradient, factors[:, None] * gradient)


def test_another_batch_and_another_label_draw_again_and_the_same_one_does_not():
    loss, zeros = GCL(LONG_TAILED, scale=2.0), torch.zeros(4000, dtype=torch.long)
    loss.on_batch(5)
    first, again, other = (lowered(loss, labels)[:, 3:] for labels in (zeros, zeros, zeros + 1))
    loss.on_batch(6)
    later = lowered(loss, zeros)[:, 3:]
    assert torch.equal(first, again)
    for drawn in (other, later):
        assert abs(torch.corrcoef(torch.stack([first.flatten(), drawn.flatten()]))[0, 1]) < 4.5 / first.numel() ** 0.5


def test_evaluation_multiplies_the_cosines_as_the_loss_does():
    assert GCL(LONG_TAILED, scale=20.0).evaluation_scale == 20


class Cosines(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(5, 6))

    def forward(self, images, mix=None):
        return Output(F.linear(F.normalize(images), F.normalize(self.weight)), images)


class Loader(list):
    device = torch.device("cpu")


def trained(rule: str = "plain", cuts: tuple[tuple[int, int], ...] = ((0, 4),), **options: float) -> Tensor:
    """Weights after four batches with mixup, each cut with a loss and global random numbers of its own."""
    images, network = torch.randn(4, 8, 6, generator=torch.Generator().manual_seed(1)), Cosines()
    batches = [Batch(image, torch.arange(8) % 5, torch.arange(8), Stream(seed))
               for image, seed in zip(images, batch_seeds(42, 0, 1, 4))]
    optimizer, update = torch.optim.SGD(network.parameters(), 0.5), UPDATES[rule](**options)
    update.class_counts = LONG_TAILED
    for start, stop in cuts:
        step = EagerStep(network, GCL(LONG_TAILED), COMBINERS["mix_up"](LONG_TAILED), optimizer, Precision(), update)
        train_one_epoch(step, Loader(batches[start:stop]))
        torch.rand(start + 3)
    return network.weight.detach()


def test_a_second_pass_over_a_batch_meets_the_same_noise():
    """At a radius of 0 the second gradient of SAM is the first one, so that its step is the plain one."""
    assert torch.equal(trained("sam", rho=0.0), trained())
    assert not torch.equal(trained("sam", rho=0.5), trained())


def test_parts_of_the_loss_meet_the_same_noise():
    """Focal-SAM adds up the gradients of two parts, each from calls of its own; at a radius of 0 they are that of the whole."""
    torch.testing.assert_close(trained("focal_sam", rho=0.0), trained())
    assert not torch.allclose(trained("focal_sam", rho=0.5), trained())


def test_training_does_not_depend_on_where_it_was_interrupted():
    assert torch.equal(trained(), trained(cuts=((0, 1), (1, 4))))
    assert not torch.equal(trained(), trained(cuts=((0, 1), (0, 3))))
