"""DisAlign and MARC: a few numbers that calibrate a first stage. Facts of spec/methods.md, section 6."""
import pytest
import torch
import torch.nn.functional as F

from lib.loss import LOSSES
from lib.modules import CLASSIFIERS
from lib.modules.classifiers import Origin
from lib.utils.errors import InputError

TENSORS = {"weight": torch.randn(4, 6, generator=torch.Generator().manual_seed(0)), "bias": torch.arange(4.0)}
FEATURES = torch.randn(50, 6, generator=torch.Generator().manual_seed(1)).relu()


def loaded(name: str):
    classifier = CLASSIFIERS[name](6, 4)
    missing, unexpected = classifier.load_state_dict(classifier.from_first_stage(TENSORS, Origin("here")), strict=False)
    assert not unexpected
    assert all(one.startswith(classifier.fresh) for one in missing)
    return classifier, F.linear(FEATURES, TENSORS["weight"], TENSORS["bias"])


def test_marc_begins_with_the_margins_of_its_class_vectors():
    classifier, before = loaded("MARC")
    torch.testing.assert_close(classifier(FEATURES), before + TENSORS["weight"].norm(dim=1))
    with torch.no_grad():
        classifier.shifts.zero_()
    torch.testing.assert_close(classifier(FEATURES), before)


def test_disalign_begins_without_changing_a_prediction():
    """z' = (1 + σ) z; with a = b = 0 it is z."""
    classifier, before = loaded("DisAlign")
    sigma = torch.sigmoid(classifier.confidence(FEATURES))
    torch.testing.assert_close(classifier(FEATURES), (1 + sigma) * before)
    assert torch.equal(classifier(FEATURES).argmax(1), before.argmax(1))
    with torch.no_grad():
        classifier.scales.zero_()
    torch.testing.assert_close(classifier(FEATURES), before)


@pytest.mark.parametrize(("name", "numbers"), [("MARC", 2 * 4), ("DisAlign", 2 * 4 + 6 + 1)])
def test_few_numbers_are_trained(name, numbers):
    classifier, _ = loaded(name)
    assert sum(parameter.numel() for parameter in classifier.parameters() if parameter.requires_grad) == numbers
    assert classifier.from_first_stage(classifier.state_dict(), Origin("here")).keys() == classifier.state_dict().keys()


@pytest.mark.parametrize("name", ["MARC", "DisAlign"])
def test_cosines_are_refused(name):
    with pytest.raises(InputError, match=f"the cosine classifier FCNorm, but {name} needs a linear one"):
        CLASSIFIERS[name](6, 4).from_first_stage({"weight": TENSORS["weight"]}, Origin("here", "FCNorm"))


def test_generalised_weights_of_rho_1_have_a_known_mean():
    """Σ_c p_c w_c = C² / Σ_k (1 / p_k); rho 0 is cross-entropy."""
    counts = torch.tensor([60, 30, 8, 2])
    weights, p = LOSSES["GeneralizedReweightCE"](counts, rho=1.0).class_weights.double(), counts.double() / 100
    assert (p * weights).sum().item() == pytest.approx(16 / (1 / p).sum().item(), rel=1e-6)
    assert LOSSES["GeneralizedReweightCE"](counts, rho=0.0).class_weights.tolist() == [1.0] * 4
