"""A whole training step as one CUDA graph, captured once and replayed for every batch.

The kernels of a small network finish faster than the host can launch them one by one; a replay is a single launch.
"""
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lib.dataset import Batch
from lib.device.precision import ApexAmp
from lib.device.runtime import Runtime
from lib.engine.replay_check import TOLERANCE, compare, kept_tensors
from lib.engine.step import EagerStep, TrainStep
from lib.utils.errors import InputError
from lib.utils.seed import seed_globals

log = logging.getLogger(__name__)

WARM_UP = 3   # eager steps before the capture, in which libraries choose kernels and allocate memory
PLAIN = (bool, int, float, str, tuple, type(None))


class Recorder(Protocol):
    """Captures a computation, so that it can be replayed with new values in the memory of its inputs."""

    def aside(self) -> AbstractContextManager[None]:
        """A context that runs a computation on the stream on which it will be captured."""

    def record(self, compute: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Captures the device operations of ``compute`` without executing them. Calling the result replays them into the same
        output."""


class CudaRecorder:
    """Captures on its own stream, on which the computation has also run before, as CUDA graphs require."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)

    @contextmanager
    def aside(self) -> Iterator[None]:
        current = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            yield
        current.wait_stream(self.stream)

    def record(self, compute: Callable[[], Tensor]) -> Callable[[], Tensor]:
        graph = torch.cuda.CUDAGraph()
        # thread_local: a prefetching thread may pin memory during the capture
        with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            output = compute()

        def replay() -> Tensor:
            graph.replay()
            return output

        return replay


class GraphedStep:
    """A training step that replays a captured CUDA graph, with the same results as ``step``. Random numbers are drawn eagerly,
    everything after them is captured.

    What differs between batches is in memory that the graph reads: images, labels and random numbers of the combiner are copied
    there; the seed of a loss and the learning rate are written in place. Everything else that the step depends on is host state.
    If host state changes (DRW begins, another batch size), the next ``WARM_UP`` batches are trained eagerly, and the step is
    captured again. Capturing executes nothing, so the network is trained on every batch once.

    On the second batch of a graph, the eager step and the replay both run from the same state, and their results are compared.
    (On the first batch, a graph that ignored its inputs would give the right result.)

    A loss whose Python state changes from batch to batch cannot be captured; training then continues with eager steps, and a
    warning is logged.

    Args:
        step: on one device, with a precision that keeps its state on that device.

    Raises:
        InputError: the step cannot be captured, since it waits for the device or copies data to it; or the replay has another
            result than the eager step.
    """

    def __init__(self, step: EagerStep, recorder: Recorder) -> None:
        self.step, self.recorder = step, recorder
        self.key: Any = None                             # host state and input shapes that the graph was captured for
        self.replay: Callable[[], Tensor] | None = None
        self.inputs: list[Tensor] = []                   # memory that the graph reads
        self.gradients: list[Tensor] = []                # memory to which it writes the gradients
        self.taken = 0                                   # steps since ``key`` changed
        self.begins, self.gives_up = True, False
        for group in step.optimizer.param_groups:
            device = group["params"][0].device
            group["lr"] = torch.tensor(float(group["lr"]), device=device)   # float32, as fused optimizers on CUDA require

    def begin_epoch(self) -> None:
        self.step.begin_epoch()
        self.begins = True

    def __call__(self, batch: Batch) -> Tensor:
        self.step.begin(batch.stream.seed)
        inputs = self.step.draw(batch)
        self.look_for_changes(inputs)
        self.taken += 1
        if self.gives_up or self.taken <= WARM_UP:
            with self.recorder.aside():
                return self.compute(inputs)
        replay = self.replay or self.record(inputs)
        for own, given in zip(self.inputs, inputs):
            own.copy_(given, non_blocking=True)
        return self.check(batch, inputs, replay) if self.taken == WARM_UP + 2 else replay()

    def compute(self, inputs: list[Tensor]) -> Tensor:
        return self.step.compute([inputs], [None])

    def look_for_changes(self, inputs: list[Tensor]) -> None:
        """Drops the graph if host state has changed. Its last replay has finished, since the end of an epoch synchronises."""
        if self.begins:
            self.state = host_state(self.step.network) + host_state(self.step.combiner)
        key = self.state, host_state(self.step.criterion), [(given.shape, given.stride(), given.dtype) for given in inputs]
        if key != self.key and not self.begins and not self.gives_up:
            self.gives_up = True   # the graph is not freed, since it may still be running
            log.warning("TRAIN.CUDA_GRAPHS: training continues with eager steps, since Python attributes of %s change with every "
                        "batch; to be captured, such state must be in buffers that are changed in place",
                        type(self.step.criterion).__name__)
        elif key != self.key:
            self.key, self.replay, self.taken = key, None, 0
        self.begins = False

    def record(self, inputs: list[Tensor]) -> Callable[[], Tensor]:
        self.inputs = [given.clone() for given in inputs]
        try:
            with capturable(self.step.optimizer):
                replay = self.recorder.record(lambda: self.compute(self.inputs))
        except RuntimeError as error:
            reason = str(error).strip().split("\n")[0]
            raise InputError(f"TRAIN.CUDA_GRAPHS: this training step cannot be captured ({reason}); set it to False") from error
        self.gradients = [parameter.grad for parameter in self.step.network.parameters() if parameter.grad is not None]
        self.replay = replay
        return replay

    def check(self, batch: Batch, inputs: list[Tensor], captured: Callable[[], Tensor]) -> Tensor:
        def eager() -> Tensor:
            with self.recorder.aside():
                return self.compute(inputs)

        def replay() -> Tensor:
            seed_globals(batch.stream.seed)   # again, since dropout in the eager step has advanced the generator
            return captured()

        row, shares = compare(self.step, eager, replay, self.gradients)
        self.step.optimizer.zero_grad(set_to_none=True)   # frees the gradients of the eager step
        worst = max(shares, key=lambda name: shares[name])
        if not shares[worst] <= TOLERANCE:
            raise InputError(
                "TRAIN.CUDA_GRAPHS: the captured step has another result than the eager step: the relative difference of the "
                f"{worst} is {shares[worst]:.2g}, and {TOLERANCE:g} is allowed for rounding. Something in the step depends on a "
                "value that the graph keeps from its capture: a number from Python, or a tensor on the CPU. Set it to False")
        log.info("the training step is captured as a CUDA graph; on a test batch its result differs from the eager step by a "
                 "relative %.1g", shares[worst])
        return row


def host_state(root: nn.Module) -> list[Any]:
    """The host state that modules can depend on: their plain attributes, and the addresses of their tensors."""
    state: list[Any] = []
    for module in root.modules():
        state.append({name: value for name, value in vars(module).items() if isinstance(value, PLAIN)})
        tensors = (*module.parameters(recurse=False), *kept_tensors(module))
        state.append([(tensor.data_ptr(), tensor.requires_grad) for tensor in tensors])
    return state


@contextmanager
def capturable(optimizer: Optimizer) -> Iterator[None]:
    """Marks the groups as capturable while a step is captured, as Adam requires; it does not change what is computed."""
    groups = [group for group in optimizer.param_groups if "capturable" in group]
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in groups:
            group["capturable"] = False


def graphed(step: EagerStep, runtime: Runtime) -> TrainStep:
    """The step as a CUDA graph; the eager step if it cannot be captured, with one line in the log that says why."""
    why_not = obstacle(step, runtime)
    if why_not:
        log.info("TRAIN.CUDA_GRAPHS: the step is not captured, since %s", why_not)
        return step
    return GraphedStep(step, CudaRecorder(runtime.device))


def obstacle(step: EagerStep, runtime: Runtime) -> str:
    """Why a step cannot be captured; empty if no reason is known."""
    if runtime.device.type != "cuda":
        return "the device is a CPU"
    if runtime.world_size > 1 or runtime.replicas > 1:
        return "several devices train together"
    if isinstance(step.precision, ApexAmp):
        return "apex keeps its loss scale on the host; TRAIN.AMP_BACKEND torch does not"
    if step.pieces > 1:
        return "TRAIN.UPDATE.ACCUMULATE splits a batch into several pieces"
    if step.update.passes > 1 and any(drops(module) for module in step.network.modules()):
        return "dropout in a graph would draw other random numbers in each pass of TRAIN.UPDATE.TYPE"
    return ""


def drops(module: nn.Module) -> bool:
    """Whether the module is a dropout layer with a probability above 0."""
    return "drop" in type(module).__name__.lower() and any(vars(module).get(name) for name in ("p", "drop_prob"))
