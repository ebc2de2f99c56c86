"""Pooling and classifiers."""
import pytest
import torch
import torch.nn.functional as F

from lib.modules import CLASSIFIERS, POOLINGS, TauNormalized
from lib.utils.errors import InputError


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
    expected = torch.cosine_similarity(features[:, None], classifier.weight[None], dim=2)
    torch.testing.assert_close(classifier(features), expected)
    torch.testing.assert_close(classifier(100 * features), expected)
    torch.testing.assert_close(classifier.class_vectors().norm(dim=1), torch.ones(4))
    with torch.no_grad():
        classifier.weight.mul_(7)
    torch.testing.assert_close(classifier(features), expected)


def test_fcnorm_of_a_zero_feature_is_finite():
    classifier = CLASSIFIERS["FCNorm"](6, 4)
    logits = classifier(torch.zeros(1, 6, requires_grad=True))
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert torch.isfinite(classifier.weight.grad).all()


def linear(bias: bool = True) -> torch.nn.Module:
    torch.manual_seed(0)
    return CLASSIFIERS["FC"](6, 4, bias=bias)


@pytest.mark.parametrize("bias", [True, False])
def test_lws_with_scales_of_one_is_the_linear_layer(bias):
    classifier, features = CLASSIFIERS["LWS"](6, 4, bias=bias), torch.randn(3, 6)
    assert set(classifier.state_dict()) == {"scales", "fc.weight", *["fc.bias"] * bias}
    assert torch.equal(classifier(features), classifier.fc(features))


def test_lws_scales_logits_and_learns_nothing_else():
    classifier, features = CLASSIFIERS["LWS"](6, 4), torch.randn(3, 6)
    scales = torch.tensor([1.0, 2.0, 0.0, -1.0])
    classifier.scales.data.copy_(scales)
    torch.testing.assert_close(classifier(features), (features @ classifier.fc.weight.T + classifier.fc.bias) * scales)
    classifier(features).sum().backward()
    torch.testing.assert_close(classifier.scales.grad, classifier.fc(features).sum(0))
    assert [name for name, parameter in classifier.named_parameters() if parameter.requires_grad] == ["scales"]


def test_lws_may_train_its_linear_layer_as_well():
    """Which is the same function; where scales are 1, the gradient is that of a linear layer."""
    torch.manual_seed(0)
    classifier, plain, features = CLASSIFIERS["LWS"](6, 4, train_fc=True), CLASSIFIERS["FC"](6, 4), torch.randn(3, 6)
    plain.load_state_dict(classifier.fc.state_dict())
    targets = torch.tensor([0, 1, 3])
    for module in (classifier, plain):
        F.cross_entropy(module(features), targets).backward()
    torch.testing.assert_close(classifier.fc.weight.grad, plain.weight.grad)
    torch.testing.assert_close(classifier.fc.bias.grad, plain.bias.grad)
    logits = plain(features)
    slopes = (logits.softmax(1) - F.one_hot(targets, 4)) / 3   # of the mean loss by the logits
    torch.testing.assert_close(classifier.scales.grad, (slopes * logits).sum(0))


def test_crt_is_a_linear_layer_by_its_published_names():
    assert CLASSIFIERS["cRT"](6, 4).state_dict().keys() == CLASSIFIERS["FC"](6, 4).state_dict().keys()


@pytest.mark.parametrize("bias", [True, False])
def test_tau_zero_changes_nothing(bias):
    classifier, features = linear(bias), torch.randn(3, 6)
    assert torch.equal(TauNormalized(classifier, 0.0)(features), classifier(features))


def test_tau_one_gives_rows_of_length_one_and_keeps_the_bias():
    classifier, features = linear(), torch.randn(3, 6)
    normalized = TauNormalized(classifier, 1.0)
    torch.testing.assert_close(normalized.rows().norm(dim=1), torch.ones(4))
    torch.testing.assert_close(normalized(features), features @ F.normalize(classifier.weight, dim=1).T + classifier.bias)
    torch.testing.assert_close(normalized(torch.zeros(1, 6)), classifier.bias[None])


@pytest.mark.parametrize("tau", [0.3, 0.7, 2.0])
def test_lengths_become_their_power(tau):
    classifier = linear()
    before = classifier.weight.detach().clone()
    rows = TauNormalized(classifier, tau).rows()
    torch.testing.assert_close(rows.norm(dim=1), before.norm(dim=1) ** (1 - tau))
    torch.testing.assert_close(torch.cosine_similarity(rows, before), torch.ones(4))
    assert torch.equal(classifier.weight, before)


def test_tau_of_a_zero_row_is_a_zero_row():
    classifier = linear()
    classifier.weight.data[2] = 0
    rows = TauNormalized(classifier, 1.0).rows()
    assert torch.equal(rows[2], torch.zeros(6))
    assert rows.isfinite().all()


def test_a_tau_that_float32_cannot_hold():
    with pytest.raises(InputError, match=r"TEST\.TAU_NORM: tau 500 is too large"):
        TauNormalized(linear(), 500.0)
