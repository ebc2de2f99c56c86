"""What holds for every loss: DRW, sample weights, gradients, extreme logits, empty classes."""
import itertools

import pytest
import torch
from loss_cases import CLASSES, COUNTS, DEFERRABLE, LOGITS, LONG_TAILED, NAMES, SIZE, call, labels_of, make

from lib.loss import LOSSES
from lib.utils.errors import InputError
from lib.utils.schedule import Deferred

REBALANCES_ONLY_UNDER_DRW = {
    "CrossEntropy", "CrossEntropyLabelSmooth", "CrossEntropyLabelAwareSmooth", "FocalLoss", "LDAMLoss", "LogitAdjustedCE",
    "VSLoss", "RIDE", "GCL"}
NO_CLASS_WEIGHTS = {"CDT", "SEQL", "DiVEKLD"}   # a label of an empty class costs something


@pytest.mark.parametrize("name", DEFERRABLE)
def test_drw_begins_after_its_start_epoch(name):
    deferred, off, on = (LOSSES[name](LONG_TAILED, Deferred(start)) for start in (160, 10**6, 0))
    assert not torch.isclose(call(off), call(on))
    for epoch, same in ((1, off), (160, off), (161, on), (200, on)):
        deferred.on_epoch(epoch)
        assert torch.equal(call(deferred), call(same)), epoch


@pytest.mark.parametrize("name", DEFERRABLE)
def test_without_drw_a_loss_keeps_its_own_habit(name):
    same = make(name, active=name not in REBALANCES_ONLY_UNDER_DRW)
    assert torch.equal(call(LOSSES[name](LONG_TAILED)), call(same))


@pytest.mark.parametrize("name", sorted({*NAMES} - {*DEFERRABLE}))
def test_a_loss_that_cannot_be_deferred_says_so(name):
    assert name in ("SEQL", "BalPoE", "LADE", "SADE")
    with pytest.raises(InputError, match=rf"TRAIN\.TWO_STAGE\.DRW: {name} has no re-balancing to defer"):
        LOSSES[name](LONG_TAILED, Deferred(1))


@pytest.mark.parametrize("name", sorted({*DEFERRABLE} - {"InfluenceBalancedLoss"}))   # which balances examples as well
def test_equal_counts_leave_nothing_to_rebalance(name):
    first, second = (call(make(name, COUNTS["equal"], active)) for active in (False, True))
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("active", [False, True], ids=["stage 1", "stage 2"])
@pytest.mark.parametrize("name", NAMES)
def test_a_constant_sample_weight_is_a_factor(name, active):
    loss = make(name, active=active)
    share = call(loss, sample_weight=torch.full((SIZE,), 0.3, dtype=torch.double))
    torch.testing.assert_close(share, 0.3 * call(loss))


@pytest.mark.parametrize("active", [False, True], ids=["stage 1", "stage 2"])
@pytest.mark.parametrize("name", NAMES)
def test_sample_weights_split_the_loss(name, active):
    """Weights s and 1 − s give parts that add up to the whole, whatever s is; none and one are among it."""
    loss = make(name, active=active)
    weight = torch.rand(SIZE, dtype=torch.double, generator=torch.Generator().manual_seed(3))
    weight[:2] = torch.tensor([0.0, 1.0])
    torch.testing.assert_close(call(loss, sample_weight=weight) + call(loss, sample_weight=1 - weight), call(loss))


@pytest.mark.parametrize("name", sorted({*NAMES} - {"LADE"}))   # whose regulariser is of the whole batch
def test_an_example_of_no_weight_does_not_matter(name):
    loss = make(name)
    weight = torch.ones(SIZE, dtype=torch.double)
    weight[3] = 0
    changed = LOGITS.clone()
    changed[3] += torch.arange(CLASSES)
    assert torch.equal(call(loss, sample_weight=weight), call(loss, changed, sample_weight=weight))


@pytest.mark.parametrize("active", [False, True], ids=["stage 1", "stage 2"])
@pytest.mark.parametrize("profile", COUNTS)
@pytest.mark.parametrize("name", NAMES)
def test_gradients(name, profile, active):
    loss, labels = make(name, COUNTS[profile], active), labels_of(COUNTS[profile])[:4]
    logits = (LOGITS[:4] / 10).requires_grad_()   # cosines for LDAM
    assert torch.autograd.gradcheck(lambda z: call(loss, z, labels), logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", NAMES)
def test_finite_for_logits_of_a_thousand_in_float32(name, dtype):
    rows = torch.tensor([[1000.0, -1000, 0, 5, 1], [-1000, 1000, 3, 0, 0], [0, 0, 0, 0, 0]], dtype=dtype)
    labels = ([4, 0, 2], [0, 0, 0])   # the second: certain and right, certain and wrong
    for profile, active, chosen in itertools.product(COUNTS.values(), (False, True), labels):
        logits = rows.clone().requires_grad_()
        value = call(make(name, profile, active), logits, torch.tensor(chosen))
        value.backward()
        assert value.dtype == torch.float32
        assert torch.isfinite(value), (profile, active)
        assert torch.isfinite(logits.grad).all(), (profile, active)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_loses_nothing(name, dtype):
    """With or without autocast, inputs that half precision holds exactly give the loss of float64 up to float32's rounding."""
    loss = make(name)
    with torch.autocast("cpu", dtype=dtype):
        mixed = call(loss, LOGITS.to(dtype))
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, call(loss, LOGITS.to(dtype)))
    torch.testing.assert_close(mixed.double(), call(loss), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", sorted({*NAMES} - {"LADE", "RIDE"}))   # parts of which ignore the labels
def test_labels_of_empty_classes_alone_break_nothing(name):
    loss = make(name, COUNTS["an empty class"])
    logits = torch.zeros(2, 5, requires_grad=True)
    value = call(loss, logits, torch.tensor([1, 1]))
    value.backward()
    assert (value.item() > 0) == (name in NO_CLASS_WEIGHTS)
    assert torch.isfinite(logits.grad).all()
    assert name in NO_CLASS_WEIGHTS or (logits.grad == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_class_constants_are_buffers_that_no_checkpoint_holds(name):
    loss = LOSSES[name](LONG_TAILED)
    assert torch.equal(loss.class_counts, LONG_TAILED)
    assert len(list(loss.buffers())) > 0
    assert loss.state_dict() == {}
    assert not list(loss.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_no_training_images_at_all_is_an_error(name):
    with pytest.raises(InputError, match=rf"{name}: there are no training images"):
        LOSSES[name](torch.zeros(3, dtype=torch.long))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_depends_on_the_global_random_state(name):
    loss = make(name)
    loss.on_batch(5)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = call(loss)
    assert torch.equal(torch.get_rng_state(), state), "nothing is drawn from it"
    torch.manual_seed(2)
    assert torch.equal(call(loss), first)
