"""Optimizers without torch's compiler step as torch's own do."""
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from lib.engine.uncompiled import uncompiled

OPTIONS = {"lr": 0.1, "weight_decay": 0.01, "fused": True}
CASES = [(SGD, {"momentum": 0.9, "nesterov": True}), (SGD, {}), (Adam, {}), (AdamW, {"betas": (0.8, 0.99)})]


def trained(kind, more: dict, scaled: bool) -> list[torch.Tensor]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer, calls = kind(network.parameters(), **OPTIONS, **more), []
    optimizer.register_step_post_hook(lambda *given: calls.append(given))
    scaler = torch.amp.GradScaler("cpu", enabled=scaled)
    for number in range(5):
        if number == 2:   # as after a checkpoint
            optimizer.load_state_dict(optimizer.state_dict())
        optimizer.zero_grad()
        scaler.scale(network(torch.full((3, 4), number / 5)).square().sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert len(calls) == 5
    moments = [value for state in optimizer.state.values() for value in state.values() if value is not None]
    return [*network.parameters(), *moments]


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(("kind", "more"), CASES)
def test_it_steps_as_torch_s_own(kind, more, scaled):
    own, expected = trained(uncompiled(kind), more, scaled), trained(kind, more, scaled)
    assert all(torch.equal(one, other) for one, other in zip(own, expected, strict=True))


def test_gradients_of_a_step_are_not_recorded():
    weight = nn.Parameter(torch.ones(2))
    optimizer = uncompiled(SGD)([weight], lr=0.1)
    weight.sum().backward()
    optimizer.step()
    assert weight.is_leaf
    assert isinstance(optimizer, SGD)
    assert type(optimizer).__name__ == "SGD"
