"""Functions that differ between operating systems: cores, locks, folders, memory, signals. Linux is tested; macOS and Windows
have fallbacks."""
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from lib.utils.errors import InputError

fcntl: Any
msvcrt: Any
resource: Any
try:
    import fcntl
except ImportError:   # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:   # everything else
    msvcrt = None
try:
    import resource
except ImportError:   # Windows
    resource = None

LOCKED_BYTE = 2**30   # position of the locked byte on Windows, where a locked byte cannot be read; far beyond all content
LIMITS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)   # limits of the process or machine, which are not the file's fault
TAKEN = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)


def cpu_count() -> int:
    """Number of cores that this process may use; on macOS and Windows, which do not report this, the number of all cores."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def lock(file: IO[str]) -> None:
    """Locks an open file until it is closed. Processes that inherit the file hold the lock too, except on Windows.

    Raises:
        BlockingIOError: another process has the lock.
        OSError: the file system, or the operating system, does not support locks.
    """
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt is not None:
            lock_byte(file.fileno())
        else:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    except OSError as error:
        if error.errno in TAKEN:
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK)) from error
        raise


def lock_byte(handle: int) -> None:
    place = os.lseek(handle, 0, os.SEEK_CUR)
    os.lseek(handle, LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    finally:
        os.lseek(handle, place, os.SEEK_SET)


def sync_folder(folder: Path) -> None:
    """Makes new names in a folder survive a power cut. Does nothing on Windows, and on file systems that do not support it."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def peak_memory() -> float:
    """Peak resident memory of this process so far, in MiB.

    Raises:
        InputError: the operating system does not report it.
    """
    if resource is None:
        raise InputError("memory can be measured on Linux and macOS only: this Python has no module resource")
    unit = 2**20 if sys.platform == "darwin" else 2**10   # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def most_open_files() -> str:
    """The limit on open files of this process, as text; "unknown" if the system does not report it."""
    return str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]) if resource is not None else "unknown"


def interrupt(process: subprocess.Popen, number: int = signal.SIGINT) -> None:
    """Sends a signal. Windows cannot send SIGINT to a single process; there, Ctrl-C reaches all processes of the terminal."""
    if os.name != "nt" or number != signal.SIGINT:
        process.send_signal(number)


def unblock(*numbers: int) -> None:
    """Lets this thread receive signals that were blocked before it started; does nothing on Windows, which cannot block them."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
