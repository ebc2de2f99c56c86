"""Atomic writing of files, and locks of folders that one process owns."""
import os
import tempfile
from pathlib import Path
from typing import IO

from lib.utils.system import lock, sync_folder
from lib.utils.text import without_surrogates

UNFINISHED = ".tmp"   # how the names of files end that are still being written


class LockedError(Exception):
    """A file that another process has locked; the message is what that process says of itself."""


def write_bytes_atomically(path: Path, data: bytes | memoryview) -> None:
    """Replaces ``path`` in one step: whoever reads it, also after a crash, finds the old content or the new one."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~current_umask())   # mkstemp makes private files
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_text_atomically(path: Path, text: str) -> None:
    """As UTF-8, which has no file names that are none; see ``without_surrogates``."""
    write_bytes_atomically(path, without_surrogates(text).encode("utf-8"))


def append_line(path: Path, line: str) -> None:
    """Adds a line and waits until it is on the disk."""
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def remove_unfinished_copies(path: Path) -> None:
    """Deletes what writers of this one file that were killed have left beside it."""
    for copy in path.parent.glob(f".*{UNFINISHED}"):
        if copy.name.startswith(f".{path.name}."):
            copy.unlink(missing_ok=True)


def lock_file(path: Path, owner: str) -> IO[str]:
    """Locks ``path`` for as long as the file that is returned stays open; the lock ends with the process, however it ends.

    Args:
        owner: written into the file, for whoever comes second.

    Raises:
        LockedError: another process has the lock.
        OSError: the file cannot be written, or its file system has no locks.
    """
    file = path.open("a+", encoding="utf-8")
    try:
        lock(file)
    except BlockingIOError as error:
        file.seek(0)
        other = file.read().strip() or "another process"
        file.close()
        raise LockedError(other) from error
    except OSError:
        file.close()
        raise
    file.truncate(0)
    file.write(owner)
    file.flush()
    return file


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
