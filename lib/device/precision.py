"""Float32 and mixed precision behind one interface: autocast, step, state."""
import importlib
import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lib.utils.errors import InputError

log = logging.getLogger(__name__)


class Precision:
    """Plain float32; the base of the mixed forms."""

    name, scales = "float32", False   # scales: whether losses are scaled, so that a step may be skipped

    def prepare(self, network: Any, optimizer: Optimizer) -> Any:
        """Prepares network and optimizer; to be called once, after the optimizer is built and before the network is wrapped."""
        return network

    def autocast(self) -> AbstractContextManager:
        return nullcontext()

    def step(self, loss: Tensor, optimizer: Optimizer) -> Tensor | float:
        """Backward and update; gradients must be clear before. Returns what ``update`` does."""
        self.backward(loss, optimizer)
        return self.update(optimizer)

    def backward(self, loss: Tensor, optimizer: Optimizer, keep_graph: bool = False) -> None:
        """Adds the gradient of the loss, multiplied by the loss scale if there is one, to the existing gradients.

        Args:
            keep_graph: keeps the graph for a further backward pass.
        """
        loss.backward(retain_graph=keep_graph or None)

    def unscale(self, optimizer: Optimizer) -> None:
        """Divides the gradients by the loss scale, so that their norm can be clipped; at most once before ``update``."""

    def update(self, optimizer: Optimizer) -> Tensor | float:
        """The optimizer's step.

        Returns:
            1 if the update was skipped because scaled gradients overflowed, else 0; on the device if it is computed there.
        """
        optimizer.step()
        return 0.0

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads a state; that of another precision is ignored, since its loss scale has no meaning here."""


class BFloat16(Precision):
    """``torch.amp`` with bfloat16: it has the range of float32, so that losses need no scaling, and 8 bits of precision.

    Parameters, BatchNorm statistics, losses and metrics stay float32.
    """

    name = "bfloat16"

    def __init__(self, device: torch.device) -> None:
        self.device_type = device.type

    def autocast(self) -> AbstractContextManager:
        return torch.autocast(self.device_type, dtype=torch.bfloat16)


class TorchAmp(Precision):
    """``torch.amp`` with float16 and a dynamic loss scale.

    The optimizers are fused ones, which skip a step with overflown gradients on the device itself; others would make
    the host wait for the device.
    """

    name, scales = "torch.amp", True

    def __init__(self, device: torch.device) -> None:
        self.device_type = device.type
        self.scaler = torch.amp.GradScaler(device.type)
        self.overflown: Tensor | float = 0.0

    def prepare(self, network: Any, optimizer: Optimizer) -> Any:
        optimizer.register_step_pre_hook(self.note_overflow)
        return network

    def note_overflow(self, optimizer: Any, args: tuple, options: dict) -> None:
        """Stores whether gradients overflowed, 0 or 1 on the device; the scaler gives it to fused optimizers as an attribute."""
        self.overflown = optimizer.found_inf.double()

    def autocast(self) -> AbstractContextManager:
        return torch.autocast(self.device_type, dtype=torch.float16)

    def backward(self, loss: Tensor, optimizer: Optimizer, keep_graph: bool = False) -> None:
        self.scaler.scale(loss).backward(retain_graph=keep_graph or None)

    def unscale(self, optimizer: Optimizer) -> None:
        self.scaler.unscale_(optimizer)

    def update(self, optimizer: Optimizer) -> Tensor | float:
        self.scaler.step(optimizer)
        self.scaler.update()
        return self.overflown

    def state_dict(self) -> dict[str, Any]:
        return {self.name: self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.name in state:
            self.scaler.load_state_dict(state[self.name])


class ApexAmp(Precision):
    """NVIDIA apex, opt level O1: functions are patched, parameters stay float32."""

    name, scales = "apex O1", True

    def __init__(self, amp: Any) -> None:
        self.amp, self.before = amp, 1.0

    def prepare(self, network: Any, optimizer: Optimizer) -> Any:
        network, _ = self.amp.initialize(network, optimizer, opt_level="O1", verbosity=0)   # patches optimizer in place
        return network

    def backward(self, loss: Tensor, optimizer: Optimizer, keep_graph: bool = False) -> None:
        self.before = self.scale()
        with self.amp.scale_loss(loss, optimizer) as scaled:   # which unscales at its end
            scaled.backward(retain_graph=keep_graph or None)

    def update(self, optimizer: Optimizer) -> Tensor | float:
        optimizer.step()
        return float(self.scale() < self.before)

    def scale(self) -> float:
        """The loss scale, which apex keeps on the host and lowers at an overflow."""
        return min((scaler["loss_scale"] for scaler in self.amp.state_dict().values()), default=1.0)

    def state_dict(self) -> dict[str, Any]:
        return {self.name: self.amp.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.name in state:
            self.amp.load_state_dict(state[self.name])


def choose_precision(device: torch.device, mixed: bool, backend: str = "auto", dtype: str = "auto") -> Precision:
    """Args:
        mixed: TRAIN.APEX, whether mixed precision is wanted.
        backend: "apex", "torch", or "auto": apex where one is installed that still has ``amp`` (releases until 2025-05).
        dtype: "float16", "bfloat16", or "auto": float16 on CUDA, as published; float32 on a CPU.

    Raises:
        InputError: the device or the backend does not have what was asked for.
    """
    if not mixed:
        return Precision()
    if dtype == "bfloat16":
        return choose_bfloat16(device, backend)
    if device.type == "cpu":
        if dtype == "float16":
            raise InputError("TRAIN.AMP_DTYPE: float16 needs a GPU; a CPU trains in bfloat16, or with auto in float32")
        hint = "; TRAIN.AMP_DTYPE bfloat16 is faster on this CPU" if has_fast_bfloat16() else ""
        log.info("TRAIN.APEX: training uses float32, since the device is a CPU%s", hint)
        return Precision()
    amp = find_apex() if backend in ("auto", "apex") else None
    if backend == "apex" and amp is None:
        raise InputError("TRAIN.AMP_BACKEND: no apex with apex.amp is installed; 'torch' needs no other package")
    return ApexAmp(amp) if amp else TorchAmp(device)


def choose_bfloat16(device: torch.device, backend: str) -> Precision:
    if backend == "apex":
        raise InputError("TRAIN.AMP_DTYPE: apex computes in float16 only; bfloat16 needs TRAIN.AMP_BACKEND torch or auto")
    if device.type == "cpu" and not has_fast_bfloat16():
        log.warning("TRAIN.AMP_DTYPE: this CPU has no instructions for bfloat16, so that it is slower than float32 (auto)")
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        log.warning("TRAIN.AMP_DTYPE: this GPU has no instructions for bfloat16, so that it is slower than float16 (auto)")
    return BFloat16(device)


def has_fast_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16 matrix products: AVX-512 BF16 or AMX."""
    return any(getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


def find_apex() -> Any | None:
    """``apex.amp`` of NVIDIA's apex; None if it is not installed. The package called apex on PyPI is another project."""
    try:
        amp = importlib.import_module("apex.amp")
    except ImportError:
        return None
    return amp if all(hasattr(amp, name) for name in ("initialize", "scale_loss", "state_dict")) else None
