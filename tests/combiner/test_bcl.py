"""Balanced contrastive learning: its loss against a loop over pairs, what leaves it as it is, and one forward pass."""
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.combiner import COMBINERS
from lib.combiner.bcl import balanced_contrast
from lib.dataset import Batch
from lib.loss import LOSSES
from lib.modules import CLASSIFIERS, HEADS
from lib.net import Output
from lib.utils.seed import Stream

random = torch.Generator().manual_seed(0)
VECTORS = F.normalize(torch.randn(8, 5, generator=random, dtype=torch.double), dim=1)
PROTOTYPES = F.normalize(torch.randn(4, 5, generator=random, dtype=torch.double), dim=1)
LABELS = torch.tensor([0, 0, 0, 2, 1, 0, 2, 1])   # class 3 is not in the batch


def by_hand(vectors: Tensor, labels: Tensor, prototypes: Tensor, temperature: float) -> float:
    candidates = [*zip(vectors, labels.tolist()), *zip(prototypes, range(len(prototypes)))]
    terms = []
    for i, (anchor, label) in enumerate(zip(vectors, labels.tolist())):
        others = [(j, vector, of) for j, (vector, of) in enumerate(candidates) if j != i]
        similar = {j: float(anchor @ vector) / temperature for j, vector, _ in others}
        total = 0.0
        for c in range(len(prototypes)):
            members = [j for j, _, of in others if of == c]
            total += sum(math.exp(similar[j]) for j in members) / len(members)
        positives = [j for j, _, of in others if of == label]
        terms.append(-sum(similar[j] - math.log(total) for j in positives) / len(positives))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_against_a_loop(temperature):
    value = balanced_contrast(VECTORS, LABELS, PROTOTYPES, temperature)
    assert value.item() == pytest.approx(by_hand(VECTORS, LABELS, PROTOTYPES, temperature), rel=1e-9)


def test_equal_vectors_cost_the_logarithm_of_the_number_of_classes():
    same = F.normalize(torch.ones(12, 5), dim=1)
    torch.testing.assert_close(balanced_contrast(same[:8], LABELS, same[8:], 0.1), torch.tensor(4.0).log())


def test_order_and_views_do_not_matter():
    value = balanced_contrast(VECTORS, LABELS, PROTOTYPES, 0.1)
    order = torch.randperm(8, generator=random)
    torch.testing.assert_close(balanced_contrast(VECTORS[order], LABELS[order], PROTOTYPES, 0.1), value)


def test_gradients():
    vectors, prototypes = VECTORS.clone().requires_grad_(), PROTOTYPES.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v, p: balanced_contrast(v, LABELS, p, 0.3), (vectors, prototypes))


class Flat(nn.Module):
    """Features are the pixels; counts its forward passes."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = CLASSIFIERS["CosineFC"](12, 4)
        self.heads = nn.ModuleDict({"projection": HEADS["projection"](12, dim=6), "prototypes": HEADS["prototypes"](12, dim=6)})
        self.passes = 0

    def forward(self, images, mix=None):
        self.passes += 1
        features = images.flatten(1)
        heads = {name: head(features, self.classifier) for name, head in self.heads.items()}
        return Output(self.classifier(features), features, heads)


def test_a_step_is_the_loss_of_the_first_view_and_the_contrast_of_the_others():
    views = [torch.randn(8, 3, 2, 2, generator=random) for _ in range(3)]
    batch = Batch(views[0], LABELS, torch.arange(8), Stream(1), tuple(views[1:]))
    counts, network = torch.tensor([5, 3, 2, 1]), Flat()
    combiner, criterion = COMBINERS["bcl"](counts, contrast_weight=0.5), LOSSES["BalancedSoftmaxCE"](counts)
    step = combiner(network, criterion, batch)
    assert network.passes == 1
    whole = network(torch.cat(views))
    contrast = balanced_contrast(whole.heads["projection"][8:], LABELS.repeat(2), whole.heads["prototypes"][0], 0.07)
    torch.testing.assert_close(step.loss, criterion(whole.logits[:8], LABELS) + 0.5 * contrast)
    assert torch.equal(step.logits, whole.logits[:8])
    lengths = whole.heads["projection"].norm(dim=1), whole.heads["prototypes"].norm(dim=2)
    assert all(torch.allclose(own, torch.ones_like(own)) for own in lengths)
    step.loss.backward()
    assert all(parameter.grad.any() for parameter in network.parameters() if parameter.dim() == 2)


def test_a_class_counts_as_much_however_many_images_it_has():
    """With a prototype equal to its images, copies of them leave the anchors of another class as they are."""
    prototypes = torch.stack([PROTOTYPES[0], VECTORS[3]])

    def loss(copies: int, anchors: int = 2) -> Tensor:
        vectors = torch.cat([VECTORS[:anchors], VECTORS[3:4].expand(copies, -1)])
        labels = torch.tensor([0] * anchors + [1] * copies)
        return balanced_contrast(vectors, labels, prototypes, 0.5) * len(labels)

    # all copies cost the same, so the sum over the anchors of class 0 is what is left
    of_copy = [(loss(n + 1) - loss(n)).item() for n in (1, 2, 3, 4)]
    assert max(of_copy) - min(of_copy) < 1e-9
