"""Atomic writing of files, and locks for folders that only one process may use."""
import os
import tempfile
from pathlib import Path
from typing import IO

from lib.utils.system import lock, sync_folder
from lib.utils.text import without_surrogates

UNFINISHED = ".tmp"   # suffix of files that are still being written


class LockedError(Exception):
    """Another process has locked the file; the message is the description that this process wrote into it."""


def write_bytes_atomically(path: Path, data: bytes | memoryview) -> None:
    """Replaces ``path`` in one step: a reader finds either the old content or the new one, even after a crash."""
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
    """Replaces ``path`` in one step by a text in UTF-8; characters that UTF-8 cannot encode are replaced (file names can contain
    such, see ``without_surrogates``)."""
    write_bytes_atomically(path, without_surrogates(text).encode("utf-8"))


def append_line(path: Path, line: str) -> None:
    """Adds a line and waits until it is on the disk."""
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def remove_unfinished_copies(path: Path) -> None:
    """Deletes the temporary files that killed processes left while they were writing ``path``."""
    for copy in path.parent.glob(f".*{UNFINISHED}"):
        if copy.name.startswith(f".{path.name}."):
            copy.unlink(missing_ok=True)


def lock_file(path: Path, owner: str) -> IO[str]:
    """Locks ``path`` as long as the returned file is open; the lock ends with the process, even if it is killed.

    Args:
        owner: description of this process, written into the file; another process that finds the lock shows it.

    Raises:
        LockedError: another process has the lock.
        OSError: the file cannot be written, or its file system does not support locks.
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
