"""The two parts of DiVEKLD: what it distils, and the loss that stands beside."""
import pytest
import torch
from loss_cases import LABELS, LOGITS, LONG_TAILED, NAMES, SEEN, TEACHER, call, make

from lib.loss import LOSSES
from lib.utils.errors import InputError, UnknownNameError
from lib.utils.output import Output
from lib.utils.schedule import Deferred

BASES = [name for name in NAMES if name != "DiVEKLD"]


@pytest.mark.parametrize("active", [False, True], ids=["stage 1", "stage 2"])
@pytest.mark.parametrize("base", BASES)
def test_without_distillation_it_is_its_base_loss(base, active):
    deferred = Deferred(0 if active else 10**6) if LOSSES[base].deferrable else None
    loss, alone = LOSSES["DiVEKLD"](LONG_TAILED, deferred, alpha=0.0, baseloss=base), make(base, active=active)
    weight = torch.linspace(0, 1, 12, dtype=torch.double)
    for criterion in (loss, alone):
        criterion.on_batch(7)
    torch.testing.assert_close(call(loss, sample_weight=weight), call(alone, sample_weight=weight))


def distilled(student, teacher, **options) -> torch.Tensor:
    return make("DiVEKLD", alpha=1.0, **options)(Output(student, SEEN, {"teacher": teacher}), LABELS)


def test_an_equal_teacher_leaves_nothing_to_distil():
    assert distilled(LOGITS, LOGITS).item() == pytest.approx(0, abs=1e-12)
    assert distilled(LOGITS, LOGITS + 3).item() == pytest.approx(0, abs=1e-12)   # a constant is no information
    assert distilled(LOGITS, TEACHER).item() > 0.01


def test_a_power_of_the_teacher_is_renormalised():
    """The student that has exactly those shares is the one to end at."""
    shares = (TEACHER / 3).softmax(1) ** 0.5
    ideal = 3 * (shares / shares.sum(1, keepdim=True)).log()
    assert distilled(ideal, TEACHER, power_norm=True).item() == pytest.approx(0, abs=1e-12)
    assert distilled(ideal, TEACHER).item() > 0.01


def test_power_counts_only_where_it_is_switched_on():
    assert torch.equal(distilled(LOGITS, TEACHER, power=0.1), distilled(LOGITS, TEACHER, power=0.9))
    torch.testing.assert_close(distilled(LOGITS, TEACHER, power=1.0, power_norm=True), distilled(LOGITS, TEACHER))


def test_scaling_logits_and_temperature_scales_by_the_square():
    """softmax(cz / cT) = softmax(z / T), so only the factor T² changes."""
    torch.testing.assert_close(distilled(2 * LOGITS, 2 * TEACHER, temperature=6.0), 4 * distilled(LOGITS, TEACHER))


def test_at_high_temperature_logits_are_matched_by_least_squares():
    """T² KL → ½ variance over the classes of the difference of the logits."""
    expected = (TEACHER - LOGITS).var(dim=1, unbiased=False).mean() / 2
    torch.testing.assert_close(distilled(LOGITS, TEACHER, temperature=1e4), expected, rtol=1e-3, atol=0)


def test_a_certain_teacher_at_temperature_one_is_cross_entropy():
    teacher = torch.full_like(LOGITS, -1000).scatter(1, LABELS[:, None], 1000)
    plain = make("CrossEntropy", active=False)(LOGITS, LABELS)
    torch.testing.assert_close(distilled(LOGITS, teacher, temperature=1.0), plain)


def test_wild_teachers_give_finite_numbers():
    student = torch.tensor([[1000.0, -1000, 0], [-1000, 1000, 0]], requires_grad=True)
    loss = LOSSES["DiVEKLD"](torch.tensor([3, 2, 1]), power_norm=True)
    value = loss(Output(student, None, {"teacher": -student.detach()}), torch.tensor([0, 0]))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(student.grad).all()


def test_on_batch_and_on_epoch_reach_the_base_loss():
    seql = LOSSES["DiVEKLD"](LONG_TAILED, baseloss="SEQL")
    seql.on_batch(11)
    assert seql.base.seed.item() == 11
    deferred = LOSSES["DiVEKLD"](LONG_TAILED, Deferred(3))
    for epoch, active in ((3, False), (4, True)):
        deferred.on_epoch(epoch)
        assert deferred.base.active is active


@pytest.mark.parametrize(("base", "deferred", "error", "message"), [
    ("SEQL", Deferred(1), InputError, "SEQL has no re-balancing to defer"),
    ("DiVEKLD", None, InputError, r"LOSS\.DiVEKLD\.BASELOSS"),
    ("BSCE", None, UnknownNameError, "unknown loss 'BSCE'")])
def test_base_losses_that_are_refused(base, deferred, error, message):
    with pytest.raises(error, match=message):
        LOSSES["DiVEKLD"](LONG_TAILED, deferred, baseloss=base)


def test_a_teacher_is_asked_for():
    with pytest.raises(ValueError, match="needs the head 'teacher'"):
        make("DiVEKLD")(Output(LOGITS, SEEN), LABELS)


def test_the_distillation_of_ride():
    """RIDE's loss + T² KL from the teacher to the mean of the experts, by the values of configs/tricks/ride_distilled.yaml."""
    experts = torch.randn(len(LABELS), 3, LOGITS.shape[1], generator=torch.Generator().manual_seed(3)).double()
    teacher = torch.randn(LOGITS.shape, generator=torch.Generator().manual_seed(4)).double()
    output = Output(experts.mean(dim=1), None, {"experts": experts, "teacher": teacher})
    own = LOSSES["RIDE"](LONG_TAILED)
    loss = LOSSES["DiVEKLD"](LONG_TAILED, alpha=0.5, temperature=1.5, factor=2.0, baseloss=own)
    target, student = (teacher / 1.5).softmax(dim=1), (experts.mean(dim=1) / 1.5).softmax(dim=1)
    divergence = (target * (target / student).log()).sum(dim=1).mean()
    torch.testing.assert_close(loss(output, LABELS), own(output, LABELS) + 1.5**2 * divergence)
    taught = Output(experts.mean(dim=1), None, {"experts": experts, "teacher": experts.mean(dim=1)})
    torch.testing.assert_close(loss(taught, LABELS), own(taught, LABELS))
