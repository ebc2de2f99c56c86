"""What systems lack has a fallback: cores, locks, folders, memory, signals."""
import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from lib.utils import system
from lib.utils.errors import InputError
from lib.utils.files import LockedError, lock_file, write_text_atomically


def test_cores_are_those_of_this_process_or_all(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 6}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert system.cpu_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert system.cpu_count() == 16
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert system.cpu_count() == 1


class WindowsLocks:
    """msvcrt, by locks of a byte that Linux has; they hold between processes."""

    LK_NBLCK = 2

    @staticmethod
    def locking(handle: int, mode: int, count: int) -> None:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, count, os.lseek(handle, 0, os.SEEK_CUR))


def in_another_process(function) -> str:
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, function().encode())
        os._exit(0)
    os.wait()
    return os.read(reading, 1000).decode()


@pytest.mark.parametrize("windows", [False, True])
def test_a_second_process_is_told_who_has_the_lock(tmp_path, monkeypatch, windows):
    if windows:
        monkeypatch.setattr(system, "fcntl", None)
        monkeypatch.setattr(system, "msvcrt", WindowsLocks)
    path = tmp_path / ".lock"

    def attempt() -> str:
        try:
            lock_file(path, "the second").close()
        except LockedError as error:
            return f"refused: {error}"
        return "locked"

    path.write_text("one that has ended")
    held = lock_file(path, "the first")
    assert in_another_process(attempt) == "refused: the first"   # it could read what is locked
    held.close()
    assert in_another_process(attempt) == "locked"


def test_a_system_without_locks_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(system, "fcntl", None)
    monkeypatch.setattr(system, "msvcrt", None)
    with pytest.raises(OSError) as raised:
        lock_file(tmp_path / ".lock", "me")
    assert raised.value.errno == errno.ENOSYS   # which a run warns of, and goes on


def test_folders_that_cannot_be_opened_or_synchronised_lose_no_file(tmp_path, monkeypatch):
    opened = []
    open_really, sync_really = os.open, os.fsync
    monkeypatch.setattr(os, "open", lambda path, *rest: opened.append(path) or open_really(path, *rest))
    write_text_atomically(tmp_path / "a", "first")
    assert tmp_path in opened

    def refuse(number: int):
        def sync(handle: int) -> None:
            if os.path.isdir(f"/proc/self/fd/{handle}"):
                raise OSError(number, os.strerror(number))
            sync_really(handle)
        return sync

    monkeypatch.setattr(os, "fsync", refuse(errno.EINVAL))
    write_text_atomically(tmp_path / "a", "second")
    assert (tmp_path / "a").read_text() == "second"
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        write_text_atomically(tmp_path / "a", "third")
    monkeypatch.delattr(os, "O_DIRECTORY")
    opened.clear()
    write_text_atomically(tmp_path / "a", "fourth")
    assert tmp_path not in opened


def test_memory_is_in_mebibytes(monkeypatch):
    assert 20 < system.peak_memory() < 50_000
    here = system.peak_memory()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert system.peak_memory() < here / 500   # 1,024 times as many bytes would be as high
    monkeypatch.setattr(system, "resource", None)
    with pytest.raises(InputError, match="Linux and macOS only"):
        system.peak_memory()


def test_one_process_is_interrupted_where_that_is_possible(monkeypatch):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stderr=subprocess.DEVNULL) as process:
        monkeypatch.setattr(os, "name", "nt")
        system.interrupt(process)   # no ValueError, and nothing sent
        monkeypatch.undo()
        assert process.poll() is None
        system.interrupt(process, signal.SIGTERM)
        assert process.wait(20) == -signal.SIGTERM
