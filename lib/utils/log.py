"""One log: to the screen and to the run's file, from rank 0 only; other ranks report warnings."""
import logging
import sys
from logging.handlers import MemoryHandler
from pathlib import Path

from lib.utils.text import without_surrogates

LOGGERS = ("lib", "main", "tools")


class Readable(logging.Formatter):
    """Makes text that every file and terminal takes, of file names that are no UTF-8 too."""

    def format(self, record: logging.LogRecord) -> str:
        return without_surrogates(super().format(record))


FORMAT = Readable("%(asctime)s  %(message)s", "%H:%M:%S")
FILE_FORMAT = Readable("%(asctime)s  %(levelname)s  %(message)s", "%Y-%m-%d %H:%M:%S")


class LogFile(logging.FileHandler):
    """A run's log.txt. Where the disk is full it falls silent; the run says so itself at its next checkpoint."""

    def handleError(self, record: logging.LogRecord) -> None:
        self.setLevel(logging.CRITICAL + 1)


def start_logging(rank: int = 0) -> None:
    """Sends the project's log records to standard output, and keeps them for ``log_to_file``; may be called again."""
    screen = logging.StreamHandler(sys.stdout)
    screen.setFormatter(FORMAT if rank == 0 else Readable(f"rank {rank}: %(message)s"))
    waiting = MemoryHandler(capacity=10_000, flushLevel=logging.CRITICAL, flushOnClose=False)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        close_handlers(logger)
        logger.addHandler(screen)
        logger.addHandler(waiting)
        logger.setLevel(logging.INFO if rank == 0 else logging.WARNING)
        logger.propagate = False


def log_to_file(path: Path) -> None:
    """Appends the log to ``path`` as well: what was logged since ``start_logging``, and from now on."""
    handler = LogFile(path, encoding="utf-8")
    handler.setFormatter(FILE_FORMAT)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        for waiting in [kept for kept in logger.handlers if isinstance(kept, MemoryHandler)]:
            waiting.setTarget(handler)
            waiting.flush()   # shared by all loggers, so it is empty after the first
            logger.removeHandler(waiting)
        logger.addHandler(handler)


def close_handlers(logger: logging.Logger) -> None:
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
