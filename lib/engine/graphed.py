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

WARM_UP = 3   # steps before the capture, in which libraries choose kernels and get their memory
PLAIN = (bool, int, float, str, tuple, type(None))


class Recorder(Protocol):
    """Captures a computation, so that it can be replayed on whatever lies in its inputs' memory."""

    def aside(self) -> AbstractContextManager[None]:
        """A stream on which to run a computation that will be captured."""

    def record(self, compute: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Captures the device operations of ``compute`` without executing them. Calling the result replays them into the same
        output."""


class CudaRecorder:
    """Captures on a stream of its own, where the computation has also run before, as CUDA graphs require."""

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
        # thread_local: a thread that reads ahead may pin memory meanwhile
        with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            output = compute()

        def replay() -> Tensor:
            graph.replay()
            return output

        return replay


class GraphedStep:
    """A training step that replays a captured graph, with the results of ``step``: its draw stays as it is, the rest is captured.

    What differs between batches lies in memory that the graph reads: images, labels and what the combiner draws are
    copied there; a loss gets its seed and the optimizer its rate in place. All else that the step depends on is host state:
    where any of it changes (DRW begins, another batch size), the next ``WARM_UP`` batches are trained on step by step, and the
    step is captured again. Capturing executes nothing, so every batch is trained on once.

    The second batch of a graph is trained on in both ways, from the same state; they must agree. The first one could not tell
    whether the graph reads its batch, or repeats the one that it was captured with.

    A loss whose Python state changes from batch to batch cannot be captured; its training continues with eager steps, which is
    logged.

    Args:
        step: of one device, with a precision that keeps its state there.

    Raises:
        InputError: a step that waits for the device, or moves data to it, cannot be captured; a replay is not the step.
    """

    def __init__(self, step: EagerStep, recorder: Recorder) -> None:
        self.step, self.recorder = step, recorder
        self.key: Any = None                             # what the graph was captured for
        self.replay: Callable[[], Tensor] | None = None
        self.inputs: list[Tensor] = []                   # the memory that it reads
        self.gradients: list[Tensor] = []                # and some that it writes
        self.taken = 0                                   # steps since something changed
        self.begins, self.gives_up = True, False
        for group in step.optimizer.param_groups:
            device = group["params"][0].device
            group["lr"] = torch.tensor(float(group["lr"]), device=device)   # float32, as fused optimizers on CUDA want it

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
        """Drops a graph that is out of date. Its last replay has finished, since the end of an epoch waits for it."""
        if self.begins:
            self.state = host_state(self.step.network) + host_state(self.step.combiner)
        key = self.state, host_state(self.step.criterion), [(given.shape, given.stride(), given.dtype) for given in inputs]
        if key != self.key and not self.begins and not self.gives_up:
            self.gives_up = True   # the graph is kept, since it may be running
            log.warning("TRAIN.CUDA_GRAPHS: eager steps from here on, since %s keeps in Python what changes with the batch; "
                        "buffers that are changed in place can be captured", type(self.step.criterion).__name__)
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
            raise InputError(f"TRAIN.CUDA_GRAPHS: this step cannot be captured ({reason}); False trains without") from error
        self.gradients = [parameter.grad for parameter in self.step.network.parameters() if parameter.grad is not None]
        self.replay = replay
        return replay

    def check(self, batch: Batch, inputs: list[Tensor], captured: Callable[[], Tensor]) -> Tensor:
        def eager() -> Tensor:
            with self.recorder.aside():
                return self.compute(inputs)

        def replay() -> Tensor:
            seed_globals(batch.stream.seed)   # for dropout, which has drawn in the eager step
            return captured()

        row, shares = compare(self.step, eager, replay, self.gradients)
        self.step.optimizer.zero_grad(set_to_none=True)   # the eager step's, which take memory
        worst = max(shares, key=lambda name: shares[name])
        if not shares[worst] <= TOLERANCE:
            raise InputError(
                f"TRAIN.CUDA_GRAPHS: a replay of this step is not the step; in its {worst} it is off by {shares[worst]:.2g} of "
                f"what they should be, and {TOLERANCE:g} is rounding. Something in the step depends on what a graph keeps as it "
                "was: a number that Python computes, or a tensor on the CPU. False trains without")
        log.info("the training step is captured as a CUDA graph; on a batch that both took, it differs from the eager one by "
                 "%.1g", shares[worst])
        return row


def host_state(root: nn.Module) -> list[Any]:
    """The host state on which modules can depend: their plain attributes, and the addresses of their tensors."""
    state: list[Any] = []
    for module in root.modules():
        state.append({name: value for name, value in vars(module).items() if isinstance(value, PLAIN)})
        tensors = (*module.parameters(recurse=False), *kept_tensors(module))
        state.append([(tensor.data_ptr(), tensor.requires_grad) for tensor in tensors])
    return state


@contextmanager
def capturable(optimizer: Optimizer) -> Iterator[None]:
    """Marks the groups as capturable while a step is captured, as Adam demands; fused optimizers compute the same."""
    groups = [group for group in optimizer.param_groups if "capturable" in group]
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in groups:
            group["capturable"] = False


def graphed(step: EagerStep, runtime: Runtime) -> TrainStep:
    """The step as a CUDA graph, or as it is where it cannot be one, which the log says once."""
    why_not = obstacle(step, runtime)
    if why_not:
        log.info("TRAIN.CUDA_GRAPHS: eager steps, since %s", why_not)
        return step
    return GraphedStep(step, CudaRecorder(runtime.device))


def obstacle(step: EagerStep, runtime: Runtime) -> str:
    """Why a step cannot be captured; empty if nothing is known to be in the way."""
    if runtime.device.type != "cuda":
        return "this is a CPU"
    if runtime.world_size > 1 or runtime.replicas > 1:
        return "several devices train together"
    if isinstance(step.precision, ApexAmp):
        return "apex keeps its loss scale on the host; TRAIN.AMP_BACKEND torch does not"
    if step.pieces > 1:
        return "TRAIN.UPDATE.ACCUMULATE makes several pieces of a batch"
    if step.update.passes > 1 and any(drops(module) for module in step.network.modules()):
        return "a graph would draw other numbers for dropout in each pass"
    return ""


def drops(module: nn.Module) -> bool:
    """Whether it leaves out at random."""
    return "drop" in type(module).__name__.lower() and any(vars(module).get(name) for name in ("p", "drop_prob"))
