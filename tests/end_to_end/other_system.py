"""Makes Python here lack what it lacks on another system, then imports everything and trains with worker processes.

    python tests/end_to_end/other_system.py macos WORDS    (or windows; WORDS are main/train.py's)

Only this project finds the modules gone: torch and the standard library have ways of their own.
"""
import builtins
import multiprocessing
import os
import signal
import sys
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

OPTIONAL = ("tools.convert_from_tfrecords",)   # imports TensorFlow
LACKS = {   # modules, and names of os and signal
    "macos": ((), {os: ("sched_getaffinity", "sched_setaffinity"), signal: ("sigtimedwait",)}),
    "windows": (("fcntl", "resource"), {
        os: ("sched_getaffinity", "sched_setaffinity", "O_DIRECTORY"),
        signal: ("sigtimedwait", "pthread_sigmask", "SIGHUP")}),
}


def take_away(system: str) -> None:
    modules, names = LACKS[system]
    for owner, lacking in names.items():
        for name in lacking:
            delattr(owner, name)
    multiprocessing.get_all_start_methods = lambda: ["spawn"]
    find = builtins.__import__

    def import_here(name, globals=None, *rest, **named):
        ours = (globals or {}).get("__name__", "").split(".")[0] in ("lib", "main", "tools")
        if ours and name in modules:
            raise ImportError(f"No module named {name!r}")
        return locks if ours and name == "msvcrt" and system == "windows" else find(name, globals, *rest, **named)

    locks = windows_locks()
    builtins.__import__ = import_here


def windows_locks() -> types.ModuleType:
    """msvcrt.locking by what Linux has: one byte at the file's position."""
    import fcntl
    module = types.ModuleType("msvcrt")
    module.LK_NBLCK = 2

    def locking(handle: int, mode: int, count: int) -> None:
        assert (mode, count) == (module.LK_NBLCK, 1)
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, count, os.lseek(handle, 0, os.SEEK_CUR))

    module.locking = locking
    return module


take_away(sys.argv[1])   # in worker processes too, which begin with this file

if __name__ == "__main__":
    import importlib

    root = Path(__file__).resolve().parents[2]
    for path in sorted(path for room in ("lib", "main", "tools") for path in (root / room).rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        if name not in OPTIONAL:
            importlib.import_module(name)
    from lib.utils.workers import worker_context
    from main import train

    assert worker_context().get_start_method() == "spawn"
    sys.exit(train.main(sys.argv[2:]))
