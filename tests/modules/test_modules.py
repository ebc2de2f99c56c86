"""Pooling and classifiers."""
import pytest
import torch

from lib.modules import CLASSIFIERS, POOLINGS


def test_gap_is_the_mean_over_positions():
    maps = torch.randn(2, 5, 3, 4)
    pooled = POOLINGS["GAP"]()(maps)
    torch.testing.assert_close(pooled.flatten(1), maps.flatten(2).mean(2))
    assert POOLINGS["GAP"]().num_outputs(5, 3, 4) == pooled.flatten(1).shape[1]


def test_identity_keeps_all_positions():
    maps = torch.randn(2, 5, 3, 4)
    assert POOLINGS["Identity"]().num_outputs(5, 3, 4) == POOLINGS["Identity"]()(maps).flatten(1).shape[1] == 60


@pytest.mark.parametrize("bias", [True, False])
def test_fc_has_a_bias_where_it_is_asked_for(bias):
    assert (CLASSIFIERS["FC"](4, 3, bias=bias).bias is not None) == bias


def test_fcnorm_gives_cosines():
    torch.manual_seed(0)
    classifier = CLASSIFIERS["FCNorm"](6, 4)
    features = torch.randn(3, 6)
    torch.testing.assert_close(classifier.weight.norm(dim=0), torch.ones(4))
    expected = torch.cosine_similarity(features[:, None], classifier.weight.T[None], dim=2)
    torch.testing.assert_close(classifier(features), expected)
    torch.testing.assert_close(classifier(100 * features), expected)
    with torch.no_grad():
        classifier.weight.mul_(7)
    torch.testing.assert_close(classifier(features), expected)


def test_fcnorm_of_a_zero_feature_is_finite():
    classifier = CLASSIFIERS["FCNorm"](6, 4)
    logits = classifier(torch.zeros(1, 6, requires_grad=True))
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert torch.isfinite(classifier.weight.grad).all()
