"""Which precision is chosen, and what the apex adapter asks of apex."""
import logging
import sys
from contextlib import contextmanager
from types import ModuleType

import pytest
import torch
from torch import nn

from lib.device import precision as precisions
from lib.device.precision import ApexAmp, BFloat16, Precision, TorchAmp, choose_precision
from lib.utils.errors import InputError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class StandIn(ModuleType):
    """Has apex.amp's interface; scales losses by 8, notes its calls."""

    def __init__(self) -> None:
        super().__init__("apex.amp")
        self.calls, self.loaded = [], None

    def initialize(self, network, optimizer, opt_level, verbosity):
        self.calls.append(("initialize", opt_level))
        return network, optimizer

    @contextmanager
    def scale_loss(self, loss, optimizer):
        yield loss * 8
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad /= 8

    def state_dict(self):
        return {"loss_scaler0": {"loss_scale": 8.0, "unskipped": 3}}

    def load_state_dict(self, state):
        self.loaded = state


@pytest.fixture
def apex(monkeypatch):
    amp = StandIn()
    monkeypatch.setitem(sys.modules, "apex", ModuleType("apex"))
    monkeypatch.setitem(sys.modules, "apex.amp", amp)
    return amp


@pytest.fixture
def no_apex(monkeypatch):
    monkeypatch.setitem(sys.modules, "apex", None)
    monkeypatch.setitem(sys.modules, "apex.amp", None)


def test_a_cpu_is_float32_and_says_so(apex, caplog):
    with caplog.at_level(logging.INFO, logger="lib.device.precision"):
        precision = choose_precision(CPU, mixed=True)
    assert type(precision) is Precision
    assert "float32" in caplog.text


@pytest.mark.parametrize(("backend", "kind"), [("auto", ApexAmp), ("apex", ApexAmp), ("torch", TorchAmp)])
def test_choice_with_apex(apex, backend, kind):
    assert type(choose_precision(CUDA, True, backend)) is kind


def test_choice_without_apex(no_apex):
    assert type(choose_precision(CUDA, True, "auto")) is TorchAmp
    with pytest.raises(InputError, match=r"TRAIN\.AMP_BACKEND"):
        choose_precision(CUDA, True, "apex")


def test_the_other_apex_on_pypi_is_not_taken(apex, monkeypatch):
    monkeypatch.setitem(sys.modules, "apex.amp", ModuleType("apex.amp"))
    assert type(choose_precision(CUDA, True, "auto")) is TorchAmp


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_bfloat16_is_for_cpus_too_and_never_apex(apex, monkeypatch, backend):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **options: True)
    for device in (CPU, CUDA):
        precision = choose_precision(device, True, backend, "bfloat16")
        assert type(precision) is BFloat16
        assert (precision.device_type, precision.scales, precision.state_dict()) == (device.type, False, {})
    assert type(choose_precision(CPU, False, backend, "bfloat16")) is Precision


@pytest.mark.parametrize(("device", "backend", "dtype", "key"), [
    (CPU, "auto", "float16", "AMP_DTYPE"), (CPU, "apex", "bfloat16", "AMP_DTYPE"), (CUDA, "apex", "bfloat16", "AMP_DTYPE")])
def test_what_a_device_or_backend_does_not_have_is_refused(apex, device, backend, dtype, key):
    with pytest.raises(InputError, match=f"TRAIN.{key}: "):
        choose_precision(device, True, backend, dtype)


@pytest.mark.parametrize(("fast", "dtype", "text"), [
    (True, "auto", "bfloat16 is faster"), (False, "auto", None), (True, "bfloat16", None),
    (False, "bfloat16", "slower than float32")])
def test_it_says_whether_this_cpu_is_fast_at_bfloat16(monkeypatch, caplog, fast, dtype, text):
    monkeypatch.setattr(precisions, "has_fast_bfloat16", lambda: fast)
    with caplog.at_level(logging.INFO, logger="lib.device.precision"):
        choose_precision(CPU, True, dtype=dtype)
    assert text is None or text in caplog.text
    assert ("bfloat16" in caplog.text) == (text is not None)


def test_bfloat16_leaves_parameters_gradients_and_statistics_in_float32():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    precision, images = BFloat16(CPU), torch.rand(2, 3, 5, 5)
    with precision.autocast():
        output = network(images)
        assert network[0](images).dtype == torch.bfloat16
    precision.step(output.float().square().mean(), torch.optim.SGD(network.parameters(), 0.1))
    kept = [*network.parameters(), *(parameter.grad for parameter in network.parameters()), network[1].running_mean]
    assert {tensor.dtype for tensor in kept} == {torch.float32}


def test_off_is_float32_everywhere(apex):
    assert type(choose_precision(CUDA, False)) is Precision


def test_apex_steps_like_float32(apex):
    def step(precision):
        torch.manual_seed(0)
        network = nn.Linear(3, 2)
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        network = precision.prepare(network, optimizer)
        with precision.autocast():
            loss = network(torch.ones(4, 3)).square().mean()
        precision.step(loss, optimizer)
        return network.weight

    torch.testing.assert_close(step(ApexAmp(apex)), step(Precision()))
    assert apex.calls == [("initialize", "O1")]


def test_state_goes_back_to_its_own_backend_only(apex):
    state = ApexAmp(apex).state_dict()
    ApexAmp(apex).load_state_dict(state)
    assert apex.loaded == state["apex O1"]
    apex.loaded = None
    ApexAmp(apex).load_state_dict({"torch.amp": {"scale": 2.0}})
    assert apex.loaded is None
    Precision().load_state_dict(state)


def test_skipped_steps_are_counted_where_the_scaler_found_them():
    """The scaler's own finding, taken over without asking the host; torch.amp's scaler runs on a CPU as well."""
    precision = TorchAmp(CPU)
    parameter = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], 0.1, fused=True)
    precision.prepare(nn.Identity(), optimizer)
    skipped = []
    for factor in (1.0, torch.inf, 1.0, torch.nan):
        optimizer.zero_grad()
        skipped.append(float(precision.step((parameter * factor).sum(), optimizer)))
    assert skipped == [0, 1, 0, 1]
    assert parameter.item() == pytest.approx(0.8)


def test_skipped_steps_of_apex_are_those_that_lower_its_scale(apex, monkeypatch):
    scales = iter([8.0, 8.0, 8.0, 4.0])   # before and after each of two steps
    monkeypatch.setattr(apex, "state_dict", lambda: {"loss_scaler0": {"loss_scale": next(scales)}})
    parameter = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], 0.1)
    assert [ApexAmp(apex).step(parameter.sum(), optimizer) for _ in range(2)] == [0, 1]
