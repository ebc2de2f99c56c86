"""The optimizers, and parameter groups with their own learning rates (LR_FACTORS)."""
import logging
import math
from collections.abc import Sequence
from itertools import groupby
from typing import Annotated, Any

import torch
from torch import nn
from torch.nn import Parameter
from torch.optim import SGD, Adam, AdamW, Optimizer

from lib.engine.uncompiled import uncompiled
from lib.utils.errors import InputError
from lib.utils.options import BELOW_ONE, Range
from lib.utils.registry import Registry, closest

log = logging.getLogger(__name__)

# ``OPTIMIZERS.build(name, options, groups, rate)``. All are fused: fused optimizers are the fastest on CPU and GPU, and under
# mixed precision they need no synchronisation with the host.
OPTIMIZERS = Registry("optimizer")
Group = dict[str, Any]
Decay = Annotated[float, Range(0, 10)]
BETAS = 0.9, 0.999

KEY = "TRAIN.OPTIMIZER.LR_FACTORS"
FACTOR = "factor"   # key in an optimizer's group; missing if the factor is 1
SHOWN = 12          # number of known names in a message


def parse_factors(texts: Sequence[Any]) -> dict[str, float]:
    """Parses texts such as "backbone=0.1" into {prefix: factor}. Raises InputError for any other form or a repeated prefix."""
    factors: dict[str, float] = {}
    for text in texts:
        prefix, _, number = text.partition("=") if isinstance(text, str) else ("", "", "")
        prefix = prefix.strip().rstrip(".")
        try:
            factor = float(number)
        except ValueError:
            factor = math.nan
        if not prefix or not 0 <= factor < math.inf:
            raise InputError(f"{KEY}: {text!r} is not of the form \"prefix=factor\" with a factor of 0 or more, such as "
                             "backbone=0.1")
        if prefix in factors:
            raise InputError(f"{KEY}: {prefix!r} is given twice; give it one factor")
        factors[prefix] = factor
    return factors


def factor_of(name: str, factors: dict[str, float]) -> float:
    """The factor of a parameter: that of its longest matching prefix, or 1 if none matches."""
    fitting = [prefix for prefix in factors if is_within(name, prefix)]
    return factors[max(fitting, key=len)] if fitting else 1.0


def is_within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def freeze_zeros(network: nn.Module, factors: dict[str, float]) -> None:
    """Freezes parameters with the factor 0. BatchNorm statistics are still updated, as with BACKBONE.FREEZE.

    Raises:
        InputError: no parameter has a given prefix.
    """
    named = dict(network.named_parameters())
    for prefix in factors:
        if not any(is_within(name, prefix) for name in named):
            raise InputError(f"{KEY}: no parameter begins with {prefix!r}; {known_prefixes(network, prefix)}")
    for name, parameter in named.items():
        if factor_of(name, factors) == 0:
            parameter.requires_grad_(False)


def known_prefixes(network: nn.Module, meant: str) -> str:
    names = [name for name, module in network.named_modules() if name and any(True for _ in module.parameters())]
    near = closest(meant, names)
    top = [name for name in names if name.count(".") <= 1][:SHOWN]
    return near if near.startswith("did") else f"there are {', '.join(top)}, …"


def parameter_groups(network: nn.Module, factors: dict[str, float], rate: float) -> list[dict[str, Any]]:
    """The trained parameters in the network's order, one group for each run of consecutive parameters with the same factor.

    The order of all parameters is the same for all factors, so the optimizer state of a checkpoint, which is stored in this
    order, always fits.
    """
    trained = [(factor_of(name, factors), parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    if not trained:
        raise InputError(f"{KEY}: no parameter is left to train, since all are frozen or have the factor 0")
    groups = []
    for factor, members in groupby(trained, key=lambda pair: pair[0]):
        parameters: list[Parameter] = [parameter for _, parameter in members]
        groups.append({"params": parameters} if factor == 1 else {"params": parameters, "lr": rate * factor, FACTOR: factor})
    if len(trained) < len(list(network.parameters())):
        count, total = (f"{sum(p.numel() for p in some):,}" for some in ((p for _, p in trained), network.parameters()))
        log.info("%s of %s parameters are trained; the others are frozen", count, total)
    if factors:
        log.info("%s: %s", KEY, ", ".join(f"{sum(p.numel() for p in group['params']):,} parameters × {group.get(FACTOR, 1):g}"
                                          for group in groups))
    return groups


@OPTIMIZERS.register("SGD")
def sgd(groups: list[Group], rate: float, *, momentum: Annotated[float, BELOW_ONE] = 0.9, weight_decay: Decay = 0.0001,
        nesterov: bool = True) -> Optimizer:
    """Stochastic gradient descent with momentum, by default Nesterov's; weight decay is added to the gradient (L2)."""
    optimizer = uncompiled(SGD)(groups, lr=rate, momentum=momentum, nesterov=nesterov and momentum > 0,
                                weight_decay=weight_decay, fused=True)
    begin_moments(optimizer)
    return optimizer


@OPTIMIZERS.register("ADAM")
def adam(groups: list[Group], rate: float, *, weight_decay: Decay = 0.0001) -> Optimizer:
    """Adam; weight decay is added to the gradient (L2). Kingma and Ba, ICLR 2015, arXiv:1412.6980."""
    return uncompiled(Adam)(groups, lr=rate, betas=BETAS, weight_decay=weight_decay, fused=True)


@OPTIMIZERS.register("ADAMW")
def adamw(groups: list[Group], rate: float, *, weight_decay: Decay = 0.0001) -> Optimizer:
    """AdamW, with decoupled weight decay. Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019,
    arXiv:1711.05101."""
    return uncompiled(AdamW)(groups, lr=rate, betas=BETAS, weight_decay=weight_decay, fused=True)


def begin_moments(optimizer: SGD) -> None:
    """Sets the momentum buffers to zero, which does not change the first step. Without this, a fused optimizer whose first step
    is skipped (gradients overflowed in mixed precision) would continue from uninitialised memory."""
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else ():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
