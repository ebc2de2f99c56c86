"""Where this process runs: its device, rank and threads, and communication with the other ranks."""
import inspect
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from lib.device.gpus import select_gpus
from lib.device.ranks import read_place, read_restarts
from lib.utils.errors import InputError
from lib.utils.system import cpu_count

log = logging.getLogger(__name__)

# DDP's switch of the broadcast at every step, which newer releases of torch have renamed
BUFFER_OPTION = next(name for name in ("forward_sync_buffers", "broadcast_buffers")
                     if name in inspect.signature(DistributedDataParallel).parameters)


Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Runtime:
    """One process of a training: the CPU, one GPU, all GPUs of DataParallel, or one rank of DDP."""

    device: torch.device
    rank: int = 0
    world_size: int = 1
    replicas: int = 1      # GPUs that DataParallel spreads a batch over
    restarts: int = 0      # how often torchrun has restarted this rank (--max-restarts)

    @classmethod
    def start(cls, gpus: str = "cpu", num_threads: int = 0, deterministic: bool = True) -> "Runtime":
        """Reads torchrun's environment (``read_place``); without it, this is the only process.

        Args:
            gpus: "cpu", GPU numbers such as "0" or "0,1" (then this must be the first use of CUDA in this process), or
                "auto": every GPU that is visible, else the CPU.
            num_threads: CPU threads of this process; 0 shares the cores out among the local processes, unless
                OMP_NUM_THREADS says otherwise.

        Raises:
            InputError: GPUs that are not there, half an environment, ranks that cannot meet.
        """
        rank, world_size, local_rank, local_size = read_place()
        restarts = read_restarts()
        num_gpus = select_gpus(gpus, local_size)
        set_threads(num_threads, local_size)
        device = torch.device("cuda", local_rank if world_size > 1 else 0) if num_gpus else torch.device("cpu")
        if num_gpus:
            torch.cuda.set_device(device)
            choose_kernels(deterministic)
        if world_size > 1:
            store = dist.PrefixStore(f"start_{restarts}", meet())   # the launcher's store still has the addresses of ended ranks
            dist.init_process_group("nccl" if num_gpus else "gloo", store=store, rank=rank, world_size=world_size,
                                    device_id=device if num_gpus else None)
        return cls(device, rank, world_size, replicas=max(num_gpus, 1) if world_size == 1 else 1, restarts=restarts)

    def __enter__(self) -> "Runtime":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leaves the process group, unless only this rank has failed: leaving would wait for the others."""
        if error is None or getattr(error, "agreed", False):
            self.stop()

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def describe(self) -> str:
        if self.device.type == "cpu":
            where = f"CPU, {torch.get_num_threads()} threads"
        else:
            where = torch.cuda.get_device_name(self.device)
        if self.world_size > 1:
            return f"{self.world_size} processes (DDP), each on {where}"
        return f"{self.replicas} × {where} (DataParallel)" if self.replicas > 1 else where

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network as the training step calls it.

        DDP does not broadcast buffers at every step: in training nothing reads them, and ``synchronise_buffers`` gives
        every rank those of rank 0, which is what the broadcasts would have left.
        """
        if self.world_size > 1:
            options: dict[str, Any] = {BUFFER_OPTION: False}
            return DistributedDataParallel(network, **options)
        return DataParallel(network) if self.replicas > 1 else network

    def synchronise_buffers(self, network: nn.Module) -> None:
        """Gives all ranks the buffers of rank 0 (BatchNorm statistics), before evaluation and checkpoints."""
        if self.world_size > 1:
            for buffer in unwrap(network).buffers():
                dist.broadcast(buffer, src=0)

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Sums over the ranks, in place."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Concatenates the ranks' rows (n_r, ...) in rank order, on every rank; n_r may differ and may be 0."""
        if self.world_size == 1:
            return rows
        sizes = self.gather_objects(len(rows))
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[:len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes)])

    def gather_objects(self, value: Any) -> list[Any]:
        """Gathers a small Python value of every rank, in rank order."""
        if self.world_size == 1:
            return [value]
        values = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def broadcast_object(self, value: Any) -> Any:
        """Sends the value of rank 0 to every rank."""
        if self.world_size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    @contextmanager
    def agree(self) -> Iterator[None]:
        """A context that ranks leave together: if one raises an InputError, all do, and none waits for a lost rank."""
        error = None
        try:
            yield
        except InputError as caught:
            error = caught
        messages = self.gather_objects(str(error) if error else "")
        if any(messages):
            if len(set(messages)) > 1:
                lines = [f"rank {rank}: {message}" for rank, message in enumerate(messages) if message]
                error = InputError("\n".join(lines))
            agreed = error or InputError(next(message for message in messages if message))
            agreed.agreed = True
            raise agreed

    def check_equal(self, what: str, values: dict[str, Any]) -> None:
        """Raises InputError on all ranks if one has other values than rank 0; to be called on all ranks."""
        everywhere = self.gather_objects(values)
        with self.agree():
            for rank, own in enumerate(everywhere):
                names = [name for name in everywhere[0] | own if own.get(name) != everywhere[0].get(name)]
                if names:
                    shown = ", ".join(f"{name} is {everywhere[0].get(name)!r} and {own.get(name)!r}" for name in names[:5])
                    raise InputError(f"ranks 0 and {rank} have different {what}: {shown}{', …' * (len(names) > 5)}; "
                                     "start all ranks with the same files and arguments")

    def stop(self) -> None:
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()


def meet() -> "dist.Store":
    """Connects the ranks at MASTER_ADDR and MASTER_PORT."""
    try:
        store, _, _ = next(dist.rendezvous("env://"))
        return store
    except (RuntimeError, ValueError, OSError) as error:
        where = " and ".join(f"{name} {os.environ.get(name)}" for name in ("MASTER_ADDR", "MASTER_PORT"))
        raise InputError(f"the ranks cannot connect at {where} ({str(error).strip().splitlines()[0]}); all of them need the same "
                         "address, and a port that is free on that machine") from error


def set_threads(num_threads: int, local_size: int) -> None:
    if num_threads == 0 and "OMP_NUM_THREADS" in os.environ:
        return
    torch.set_num_threads(num_threads or max(1, cpu_count() // local_size))


def choose_kernels(deterministic: bool) -> None:
    """Selects deterministic CUDA kernels, or the fastest ones that cuDNN finds."""
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")   # read when cuBLAS starts
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]   # costs time, and nothing reads such memory
        torch.use_deterministic_algorithms(True, warn_only=True)


def num_ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(tensor: Tensor) -> None:
    """Sums a tensor over the ranks, in place."""
    if num_ranks() > 1:
        dist.all_reduce(tensor)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Averages gradients that DDP does not handle over the ranks."""
    average(parameter.grad for parameter in parameters if parameter.grad is not None)


def average(tensors: Iterable[Tensor]) -> None:
    """Averages each tensor over the ranks, in place."""
    for tensor in tensors:
        dist.all_reduce(tensor)
        tensor /= num_ranks()


def num_chunks(network: nn.Module) -> int:
    """Parts into which DataParallel cuts a batch, by ``torch.chunk``; 1 without it."""
    return max(len(network.device_ids), 1) if isinstance(network, DataParallel) else 1


def unwrap(network: nn.Module) -> nn.Module:
    return network.module if isinstance(network, (DataParallel, DistributedDataParallel)) else network


def compiled(network: nn.Module, runtime: Runtime) -> nn.Module:
    """The wrapped network compiled by torch.compile; the module and its parameter names do not change.

    Raises:
        InputError: the C++ compiler that torch.compile needs is missing.
    """
    if runtime.replicas > 1:
        log.info("TRAIN.COMPILE: not compiled, since DataParallel copies the network at each step; DDP does not")
        return network
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise InputError(f"TRAIN.COMPILE: there is no C++ compiler {compiler!r}; install it, or set the environment variable CXX "
                         "to another")
    return cast(nn.Module, torch.compile(network, dynamic=False))


def to_device(network: Module, runtime: Runtime, memory_format: torch.memory_format,
              sync_batchnorm: bool) -> Module:
    """Moves the network to its device; to be called before the optimizer is built.

    SyncBN needs CUDA and several ranks; elsewhere it is BatchNorm, and the log says so once.
    """
    network.to(runtime.device, memory_format=memory_format)  # type: ignore[call-overload]  # which torch does not declare
    if sync_batchnorm and runtime.world_size > 1 and runtime.device.type == "cuda":
        return cast(Module, nn.SyncBatchNorm.convert_sync_batchnorm(network))
    if sync_batchnorm:
        why = "SyncBN does not work on a CPU" if runtime.device.type == "cpu" else "there is only one process"
        log.info("TRAIN.SYNCBN: plain BatchNorm is used, since %s", why)
    return network
