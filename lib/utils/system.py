"""What operating systems differ in: cores, locks, folders, memory, signals. Linux is tested, macOS and Windows have fallbacks."""
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

LOCKED_BYTE = 2**30   # of a file on Windows, where others cannot read what is locked; far behind all that is read
LIMITS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)   # of a process or the machine, whatever file it met them at
TAKEN = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)


def cpu_count() -> int:
    """Cores that this process may use; where the system does not tell (macOS, Windows), those that there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def lock(file: IO[str]) -> None:
    """Locks an open file until it is closed. Processes that inherit the file hold the lock too, except on Windows.

    Raises:
        BlockingIOError: another process has the lock.
        OSError: the file system, or the system, has no locks.
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
    """Makes a new name survive a power cut; Windows cannot open folders, and some file systems leave it to themselves."""
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
    """Highest resident set of this process so far, in MiB.

    Raises:
        InputError: the system does not tell.
    """
    if resource is None:
        raise InputError("memory is measured on Linux and macOS only: this Python has no module resource")
    unit = 2**20 if sys.platform == "darwin" else 2**10   # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def most_open_files() -> str:
    """The limit of this process, in words where there is none to tell."""
    return str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]) if resource is not None else "unknown"


def interrupt(process: subprocess.Popen, number: int = signal.SIGINT) -> None:
    """Sends a signal. Windows knows no SIGINT for one process; there, Ctrl-C reaches all that the terminal has started."""
    if os.name != "nt" or number != signal.SIGINT:
        process.send_signal(number)


def unblock(*numbers: int) -> None:
    """Lets this thread get signals that were blocked before it was started; nothing can block them on Windows."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
