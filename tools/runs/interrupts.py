"""Ctrl-C, SIGTERM and the end of the terminal, where a process must not be lost between its start and its entry in a list."""
import signal
import time
from types import FrameType, TracebackType

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]   # Windows has no SIGHUP


class Interrupts:
    """A context: the first signal raises KeyboardInterrupt at the end of the next ``sleep``, a second one at once."""

    def __init__(self) -> None:
        self.pending = False

    def __enter__(self) -> "Interrupts":
        self.before = {number: signal.signal(number, self.handle) for number in SIGNALS
                       if signal.getsignal(number) is not signal.SIG_IGN}   # nohup, and "&" in a script, stay what they are
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.pending:
            raise KeyboardInterrupt
        self.pending = True

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
        if self.pending:
            raise KeyboardInterrupt
