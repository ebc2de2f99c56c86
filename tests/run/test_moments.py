"""Moments of an optimizer that come from a checkpoint."""
import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from lib.run.moments import load_moments
from lib.utils.errors import InputError


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3))


def stepped(kind, network, **options):
    optimizer = kind(network.parameters(), lr=0.5, **options)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


def resume(optimizer: Optimizer, saved: Optimizer) -> None:
    load_moments(optimizer, saved.state_dict(), set(), "RESUME_MODEL last.pth")


def test_moments_come_from_the_file_and_options_from_the_configuration():
    """A published optimizer knows nothing of fused kernels, and the rate of this run is in its own yaml."""
    saved = stepped(torch.optim.SGD, small(), momentum=0.9)
    network = small()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.8, fused=True)
    resume(optimizer, saved)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["fused"]) == (0.1, 0.8, True)
    assert all((optimizer.state[p]["momentum_buffer"] == 1).all() for p in network.parameters())


@pytest.mark.parametrize(("kind", "options"), [(torch.optim.SGD, {"momentum": 0.9}), (torch.optim.Adam, {})])
def test_moments_of_another_memory_format_are_those_of_the_same_elements(kind, options):
    """A fused kernel walks through memory, whatever the strides are."""
    def convolution() -> nn.Module:
        torch.manual_seed(0)
        return nn.Conv2d(3, 4, 3, bias=False)

    grown = []
    for before, after in ((torch.contiguous_format, torch.channels_last), (torch.channels_last, torch.contiguous_format),
                          (torch.contiguous_format, torch.contiguous_format)):
        network = convolution().to(memory_format=before)
        optimizer = kind(network.parameters(), lr=0.5, fused=True, **options)
        gradient = torch.randn(network.weight.shape, generator=torch.Generator().manual_seed(1))
        network.weight.grad = gradient.to(memory_format=before)
        optimizer.step()
        moved = convolution().to(memory_format=after)
        resumed = kind(moved.parameters(), lr=0.5, fused=True, **options)
        resume(resumed, optimizer)
        moved.weight.grad = torch.zeros_like(moved.weight)
        resumed.step()
        grown.append(moved.weight.detach())
    for weight in grown[:2]:
        torch.testing.assert_close(weight, grown[2])


@pytest.mark.parametrize("saved", [lambda: stepped(torch.optim.Adam, small()),
                                   lambda: stepped(torch.optim.SGD, nn.Linear(2, 2), momentum=0.9)])
def test_another_optimizer_is_refused(saved):
    optimizer = torch.optim.SGD(small().parameters(), lr=0.1, momentum=0.9)
    with pytest.raises(InputError, match=r"RESUME_MODEL last\.pth holds the state of another optimizer"):
        resume(optimizer, saved())


def test_what_another_optimizer_lacks_is_named():
    optimizer = torch.optim.Adam(small().parameters())
    with pytest.raises(InputError, match="than Adam of this run \\(it has no exp_avg\\)"):
        resume(optimizer, stepped(torch.optim.SGD, small(), momentum=0.9))


@pytest.mark.parametrize("saved", [{}, {"state": {}, "param_groups": 3}, {"state": {0: 1}, "param_groups": []}])
def test_what_no_optimizer_made_is_refused(saved):
    optimizer = torch.optim.SGD(small().parameters(), lr=0.1, momentum=0.9)
    with pytest.raises(InputError, match="holds the state of another optimizer"):
        load_moments(optimizer, saved, set(), "file")


@pytest.mark.parametrize("step", ["x", None, torch.ones(2), {}])
def test_a_step_that_is_no_number_is_refused(step):
    saved = stepped(torch.optim.Adam, small()).state_dict()
    saved["state"][2]["step"] = step
    with pytest.raises(InputError, match="no optimizer's"):
        load_moments(torch.optim.Adam(small().parameters()), saved, set(), "file")
