"""Interruptions between two batches: a signal, a checkpoint that is due, a loss that is not finite. All ranks agree on them."""
import signal
import time
from types import FrameType, TracebackType

import torch
import torch.distributed as dist

from lib.device.runtime import Runtime
from lib.utils.workers import STOPPING

GO_ON, SAVE, BROKEN = 0, 1, 1000   # verdicts; any other value is the number of the signal that asks to stop


class Watch:
    """A context that catches SIGINT and SIGTERM, and lets all ranks act on them at the same batch.

    A signal may reach only some ranks, and clocks differ, so after every batch each rank casts a vote and the highest vote counts
    for all. The votes are exchanged over gloo while the next batch is computed, so that no rank waits for a device; a stop takes
    effect one batch after the vote (immediately, if there is one process). A second Ctrl-C ends the process immediately.

    Args:
        minutes: time between two checkpoints inside an epoch, by rank 0's clock; 0 for none.
    """

    def __init__(self, runtime: Runtime, minutes: float) -> None:
        self.runtime, self.seconds = runtime, minutes * 60
        self.noted = GO_ON
        self.saved_at = time.monotonic()
        self.vote: tuple[dist.Work, torch.Tensor] | None = None

    def __enter__(self) -> "Watch":
        self.group = dist.new_group(backend="gloo") if self.runtime.world_size > 1 else None
        self.before = {number: signal.signal(number, self.note) for number in STOPPING}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        if kind is None:
            self.verdict()   # waits for a vote that is still being exchanged
        else:   # this process ends; a SIGTERM, which launchers send to all remaining processes, would disturb its clean-up
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def note(self, number: int, frame: FrameType | None) -> None:
        if number == self.noted == signal.SIGINT:
            raise KeyboardInterrupt
        self.noted = number

    def restart_clock(self) -> None:
        """Call it when a checkpoint has been written."""
        self.saved_at = time.monotonic()

    def agree(self, broken: bool = False) -> int:
        """The verdict of all ranks; every rank must call it after every batch.

        Args:
            broken: whether this rank has seen a loss that is not finite.
        """
        due = self.runtime.is_main and 0 < self.seconds <= time.monotonic() - self.saved_at
        wish = BROKEN if broken else self.noted or (SAVE if due else GO_ON)
        if self.group is None:
            return wish
        verdict = self.verdict()
        ballot = torch.tensor([GO_ON if wish == verdict == SAVE else wish])
        self.vote = dist.all_reduce(ballot, dist.ReduceOp.MAX, self.group, async_op=True), ballot  # type: ignore[assignment, arg-type]  # the group is there
        return verdict

    def verdict(self) -> int:
        """The verdict of the last votes."""
        if self.vote is None:
            return GO_ON
        work, ballot = self.vote
        work.wait()
        self.vote = None
        return int(ballot)
