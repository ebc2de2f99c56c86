"""MaxNorm: a first stage's classifier, trained on with a limit on its class vectors."""
import pytest
import torch

from lib.modules import CLASSIFIERS
from lib.modules.classifiers import Origin
from lib.utils.errors import InputError

WEIGHT = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None]


def loaded(**options):
    classifier = CLASSIFIERS["MaxNorm"](6, 4, **options)
    tensors = classifier.from_first_stage({"weight": WEIGHT, "bias": torch.arange(4.0)}, Origin("here"))
    classifier.load_state_dict(tensors)
    return classifier


def lengths(classifier):
    return classifier.weight.detach().norm(dim=1)


@pytest.mark.parametrize("delta", [0.0, 0.1, 0.7])
def test_norms_are_limited_and_directions_kept(delta):
    classifier, norms = loaded(delta=delta), WEIGHT.norm(dim=1)
    radius = norms.min() + delta * (norms.max() - norms.min())
    torch.testing.assert_close(classifier.radius, radius)
    before = classifier.weight.detach().clone()
    classifier.after_epoch()
    torch.testing.assert_close(lengths(classifier), norms.clamp(max=radius))
    torch.testing.assert_close(torch.cosine_similarity(before, classifier.weight.detach()), torch.ones(4))
    assert classifier.bias.tolist() == [0, 1, 2, 3]
    once = classifier.weight.detach().clone()
    classifier.after_epoch()
    torch.testing.assert_close(classifier.weight.detach(), once)


def test_a_limit_of_the_longest_changes_nothing():
    classifier = loaded(delta=1.0)
    classifier.after_epoch()
    assert torch.equal(classifier.weight, WEIGHT)


@pytest.mark.parametrize(("every", "event"), [("epoch", "after_epoch"), ("step", "after_step")])
def test_when_it_projects(every, event):
    for name in ("after_epoch", "after_step"):
        classifier = loaded(every=every)
        getattr(classifier, name)()
        assert torch.equal(classifier.weight, WEIGHT) == (name != event)


def test_the_limit_is_in_the_checkpoint_and_infinite_before():
    assert CLASSIFIERS["MaxNorm"](6, 4).radius == torch.inf
    assert "radius" in loaded().state_dict()


@pytest.mark.parametrize(("tensors", "origin"), [
    ({"weight": WEIGHT}, Origin("here", "FCNorm")), ({"weight": WEIGHT[:3]}, Origin("here")), ({}, Origin("here"))])
def test_what_has_no_norms_to_limit_is_refused(tensors, origin):
    with pytest.raises(InputError, match=r"here has no linear classifier of shape \(4, 6\)"):
        CLASSIFIERS["MaxNorm"](6, 4).from_first_stage(tensors, origin)
