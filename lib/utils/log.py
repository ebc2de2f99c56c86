"""Logging to the screen and to the run's log file, from rank 0; other ranks log warnings only, to the screen."""
import io
import logging
import os
import select
import sys
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import IO

from lib.utils.text import without_surrogates

LOGGERS = ("lib", "main", "tools")


class Readable(logging.Formatter):
    """A formatter whose text can be written to every file and terminal, even if it contains file names that are not UTF-8."""

    def format(self, record: logging.LogRecord) -> str:
        return without_surrogates(super().format(record))


FORMAT = Readable("%(asctime)s  %(message)s", "%H:%M:%S")
FILE_FORMAT = Readable("%(asctime)s  %(levelname)s  %(message)s", "%Y-%m-%d %H:%M:%S")


class Screen(logging.StreamHandler):
    """Log handler for standard output. If its reader is gone (a pipe to head) or the disk is full, it stops writing, and the run
    continues."""

    def handleError(self, record: logging.LogRecord) -> None:
        self.setLevel(logging.CRITICAL + 1)


class LogFile(logging.FileHandler):
    """Log handler for a run's log.txt. If the disk is full, it stops writing; the run reports this at its next checkpoint."""

    def handleError(self, record: logging.LogRecord) -> None:
        self.setLevel(logging.CRITICAL + 1)


def start_logging(rank: int = 0) -> None:
    """Sends the project's log records to standard output, and keeps them for ``log_to_file``; it can be called repeatedly."""
    take_all_text()
    screen = Screen(sys.stdout)
    screen.setFormatter(FORMAT if rank == 0 else Readable(f"rank {rank}: %(message)s"))
    waiting = MemoryHandler(capacity=10_000, flushLevel=logging.CRITICAL, flushOnClose=False)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        close_handlers(logger)
        logger.addHandler(screen)
        logger.addHandler(waiting)
        logger.setLevel(logging.INFO if rank == 0 else logging.WARNING)
        logger.propagate = False


def take_all_text() -> None:
    """Lets the standard streams accept any text: characters that their encoding lacks are escaped, such as × in ASCII as
    \\xd7."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def output_is_lost() -> bool:
    """Whether standard output can no longer be written; if so, the remaining output is discarded silently."""
    try:
        sys.stdout.flush()
        lost = has_no_reader(sys.stdout)
    except (OSError, ValueError):   # ValueError: it was closed
        lost = True
    own = sys.__stdout__
    if lost and own is not None and sys.stdout is own and not own.closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), own.fileno())
    return lost


def has_no_reader(stream: IO[str]) -> bool:
    """Whether the stream is a pipe whose other end is closed. A flush may not tell, since it does not repeat a failed write."""
    if stream is not sys.__stdout__ or not hasattr(select, "poll"):   # Windows
        return False
    poll = select.poll()
    poll.register(stream, 0)
    return any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))


def log_to_file(path: Path) -> None:
    """Appends the log to ``path`` as well: everything since ``start_logging``, and all later records."""
    handler = LogFile(path, encoding="utf-8")
    handler.setFormatter(FILE_FORMAT)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        for waiting in [kept for kept in logger.handlers if isinstance(kept, MemoryHandler)]:
            waiting.setTarget(handler)
            waiting.flush()   # all loggers share this handler, so it is empty after the first
            logger.removeHandler(waiting)
        logger.addHandler(handler)


def close_handlers(logger: logging.Logger) -> None:
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
