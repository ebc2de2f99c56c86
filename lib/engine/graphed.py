"""A whole training step as one CUDA graph, recorded once and replayed for every batch.

A small network's kernels are done before the host has launched them one by one; a replay is one launch.
"""
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lib.combiner import Combiner
from lib.dataset import Batch
from lib.device.precision import ApexAmp
from lib.device.runtime import Runtime
from lib.engine.replay_check import TOLERANCE, compare, kept_tensors
from lib.engine.step import EagerStep, TrainStep
from lib.utils.errors import InputError
from lib.utils.seed import seed_globals

log = logging.getLogger(__name__)

WARM_UP = 3   # steps before the recording, in which libraries choose kernels and get their memory
PLAIN = (bool, int, float, str, tuple, type(None))


class Recorder(Protocol):
    """What keeps a computation, so that it can be repeated on whatever lies in its inputs' memory."""

    def aside(self) -> AbstractContextManager[None]:
        """A place to run a computation that will be recorded."""

    def record(self, compute: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Notes the device's work of ``compute`` and does none of it. The result repeats all of it, and nothing of the host's
        part, into the same output."""


class CudaRecorder:
    """Recording on a stream of its own, where the computation has also run before, as CUDA graphs ask for."""

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
    """The step of ``step``, to the same results: its draw as it is, all that follows as a recording.

    What differs between batches lies in memory that the recording reads: images, labels and what the combiner draws are
    copied there; a loss gets its seed and the optimizer its rate in place. All else that the step depends on is host state:
    where any of it changes (DRW begins, another batch size), the next ``WARM_UP`` batches are trained on step by step, and the
    step is recorded anew. To record is to compute nothing, so every batch is trained on once.

    The second batch of a recording is trained on in both ways, from the same state; they must agree. The first one could not tell
    whether the recording reads its batch, or repeats the one that it was made with.

    A loss whose Python state changes from batch to batch cannot be recorded; its training goes on step by step, which is logged.

    Args:
        step: of one device, with a precision that keeps its state there.

    Raises:
        InputError: a step that waits for the device, or moves data to it, cannot be recorded; a replay is not the step.
    """

    def __init__(self, step: EagerStep, recorder: Recorder) -> None:
        self.step, self.recorder = step, recorder
        self.key: Any = None                             # what the recording is made for
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
        self.step.begin(batch)
        inputs = [batch.images, batch.labels, *self.step.combiner.draw(batch, num_chunks=1)]
        self.look_for_changes(inputs)
        self.taken += 1
        if self.gives_up or self.taken <= WARM_UP:
            with self.recorder.aside():
                return self.compute(inputs)
        if self.replay is None:
            self.record(inputs)
        for own, given in zip(self.inputs, inputs):
            own.copy_(given, non_blocking=True)
        return self.check(batch, inputs) if self.taken == WARM_UP + 2 else self.replay()

    def compute(self, inputs: list[Tensor]) -> Tensor:
        step = self.step
        return step.update(lambda: step.combiner.combine(step.network, step.criterion, *inputs))

    def look_for_changes(self, inputs: list[Tensor]) -> None:
        """Drops a recording that no longer is the step; the end of an epoch has waited for its last replay."""
        if self.begins:
            self.state = host_state(self.step.network) + host_state(self.step.combiner)
        key = self.state, host_state(self.step.criterion), [(given.shape, given.stride(), given.dtype) for given in inputs]
        if key != self.key and not self.begins and not self.gives_up:
            self.gives_up = True   # what was recorded is kept, since it may be running
            log.warning("TRAIN.CUDA_GRAPHS: eager steps from here on, since %s keeps in Python what changes with the batch; "
                        "buffers that are changed in place can be recorded", type(self.step.criterion).__name__)
        elif key != self.key:
            self.key, self.replay, self.taken = key, None, 0
        self.begins = False

    def record(self, inputs: list[Tensor]) -> None:
        self.inputs = [given.clone() for given in inputs]
        try:
            with capturable(self.step.optimizer):
                self.replay = self.recorder.record(lambda: self.compute(self.inputs))
        except RuntimeError as error:
            reason = str(error).strip().split("\n")[0]
            raise InputError(f"TRAIN.CUDA_GRAPHS: this step cannot be recorded ({reason}); False trains without") from error
        self.gradients = [parameter.grad for parameter in self.step.network.parameters() if parameter.grad is not None]

    def check(self, batch: Batch, inputs: list[Tensor]) -> Tensor:
        def eager() -> Tensor:
            with self.recorder.aside():
                return self.compute(inputs)

        def replay() -> Tensor:
            seed_globals(batch.stream.seed)   # for dropout, which has drawn in the eager step
            return self.replay()

        row, shares = compare(self.step, eager, replay, self.gradients)
        self.step.optimizer.zero_grad(set_to_none=True)   # the eager step's, which take memory
        worst = max(shares, key=shares.get)
        if not shares[worst] <= TOLERANCE:
            raise InputError(
                f"TRAIN.CUDA_GRAPHS: a replay of this step is not the step; in its {worst} it is off by {shares[worst]:.2g} of "
                f"what they should be, and {TOLERANCE:g} is rounding. Something in the step depends on what a graph keeps as it "
                "was: a number that Python computes, or a tensor on the CPU. False trains without")
        log.info("the training step is recorded as a CUDA graph; on a batch that both took, it differs from the eager one by "
                 "%.1g", shares[worst])
        return row


def host_state(root: nn.Module) -> list[Any]:
    """What the Python code of modules can depend on: their plain attributes, and where their tensors lie."""
    state = []
    for module in root.modules():
        state.append({name: value for name, value in vars(module).items() if isinstance(value, PLAIN)})
        tensors = (*module.parameters(recurse=False), *kept_tensors(module))
        state.append([(tensor.data_ptr(), tensor.requires_grad) for tensor in tensors])
    return state


@contextmanager
def capturable(optimizer: Optimizer) -> Iterator[None]:
    """While a step is recorded, Adam asks that its groups say they can be; fused ones can, and compute the same."""
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
    """Why a step cannot be recorded; empty if nothing is known to be in the way."""
    if runtime.device.type != "cuda":
        return "this is a CPU"
    if runtime.world_size > 1 or runtime.replicas > 1:
        return "several devices train together"
    if isinstance(step.precision, ApexAmp):
        return "apex keeps its loss scale on the host; TRAIN.AMP_BACKEND torch does not"
    if type(step.combiner).forward is not Combiner.forward:
        return f"{type(step.combiner).__name__} does not draw apart from what it computes"
    return ""
