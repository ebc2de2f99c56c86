"""The files of one run: OUTPUT_DIR/NAME/{config.yaml, environment.json, log.txt, history.jsonl, models/, figures/, …}."""
import errno
import json
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tensorboardX import SummaryWriter
from torch import Tensor

from lib.run import checkpoint, own_files
from lib.run.environment import environment, git_state, launch
from lib.run.own_files import BEST, LAST, PART, PREVIOUS
from lib.utils.errors import InputError, RunFailedError
from lib.utils.files import LockedError, append_line, lock_file, write_text_atomically
from lib.utils.log import log_to_file
from lib.utils.system import LIMITS

log = logging.getLogger(__name__)

LOCK = ".lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)   # errors of file systems without locks
SCALARS = ("rate", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "balanced", "macro_f1", "many",
           "medium", "few")


class Run:
    """The directory of a run, with all files of the run; only rank 0 writes to it. As a context manager, it closes its files and
    releases its lock on exit.

    Args:
        directory: OUTPUT_DIR/NAME.

    Attributes:
        claimed: whether ``lock`` has succeeded.
        kept: text for messages: the checkpoint from which the run can be resumed after a failure.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.models, self.figures = directory / "models", directory / "figures"
        self.history_file = directory / "history.jsonl"
        self.board: SummaryWriter | None = None
        self.lock_held: IO[str] | None = None
        self.claimed = False
        self.kept, self.saved_last = "nothing is saved yet", False

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def lock(self) -> None:
        """Creates the directory and locks it for this process, until the process ends or closes the run. Reading stays possible.

        On NFS the lock holds for all machines (Linux passes flock on to the server), unless it is mounted with ``nolock``.

        Raises:
            InputError: another process trains in the directory, or it is not writable.
        """
        owner = f"process {os.getpid()} on {platform.node()} since {datetime.now().isoformat(' ', 'seconds')}"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.lock_held = lock_file(self.directory / LOCK, owner)
        except LockedError as error:
            raise InputError(f"{self.directory} is in use by {error}; wait until it ends, or choose another NAME") from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise self.cannot_write(error) from error
            log.warning("%s: this file system does not support locks; make sure that no two runs use this directory",
                        self.directory)
        self.claimed = True

    def cannot_write(self, error: OSError) -> InputError:
        return InputError(f"OUTPUT_DIR/NAME: cannot write to {self.directory} ({error.strerror})")

    @contextmanager
    def writing(self, advice: str = "") -> Iterator[None]:
        """Converts the error of a full or missing disk to a RunFailedError with advice. The old files remain, since files are
        replaced atomically.

        Args:
            advice: how to continue after the failure; by default, which checkpoint is kept and how to resume from it.
        """
        try:
            yield
        except OSError as error:
            if error.errno in LIMITS:
                raise   # not caused by the disk
            advice = advice or f"{self.kept}; once there is room, --ar True resumes from it"
            raise RunFailedError(f"cannot write to {self.directory} ({error.strerror or error}); {advice}") from error

    def holds_a_run(self) -> bool:
        """Whether the directory has a history or checkpoints of a run. Files of a start that failed before the first epoch do not
        count, nor do files with other names in models/."""
        return bool(self.history()) or bool(own_files.checkpoints(self.models))

    def check_free(self) -> None:
        """Raises InputError if the directory already holds a run, or if its path is a file."""
        if self.directory.exists() and not self.directory.is_dir():
            raise InputError(f"OUTPUT_DIR/NAME: {self.directory} is a file; choose another NAME")
        if self.holds_a_run():
            raise InputError(f"{self.directory} already holds a run; resume it with --ar True, "
                             "replace it with --overwrite, or choose another NAME")

    def clear(self) -> None:
        """Deletes the files that a run wrote, and no other files in the directory."""
        own_files.delete(self.directory, list(own_files.written(self.directory)))

    def rewind(self, source: Path, position: own_files.Position) -> None:
        """Deletes the files that are newer than the checkpoint ``source`` of this run. Later, ``open`` truncates the history.

        If the process is killed at any moment, --ar can still resume the run, from its old last epoch or from ``position``.
        """
        own_files.delete(self.directory, list(own_files.after(self.directory, position)))
        last = self.models / LAST
        if position[1] == 0 and checkpoint.position(checkpoint.peek(last)) != position:
            own_files.second_name(source, last)

    def open(self, config: str, first_epoch: int, hardware: str, tensorboard: bool, precision: str = "float32") -> None:
        """Creates the folders, writes configuration and environment, and removes the history from ``first_epoch`` on."""
        try:
            self.models.mkdir(parents=True, exist_ok=True)
            self.figures.mkdir(exist_ok=True)
            own_files.remove_unfinished(self.directory)
            log_to_file(self.directory / "log.txt")
            write_text_atomically(self.directory / "config.yaml", config)
            self._record_environment(environment(hardware, precision), first_epoch)
            kept = [entry for entry in self.history() if entry["epoch"] < first_epoch]
            write_text_atomically(self.history_file, "".join(json.dumps(entry) + "\n" for entry in kept))
            if tensorboard:
                self.board = SummaryWriter(str(self.directory / "tensorboard"), purge_step=first_epoch)
        except OSError as error:
            raise self.cannot_write(error) from error

    def _record_environment(self, facts: dict[str, Any], first_epoch: int) -> None:
        """Appends an entry to environment.json, which has one entry per start, so that it lists all machines of a resumed run."""
        git, diff = git_state()
        entry = facts | {"launch": launch(), "first_epoch": first_epoch, "git": git}
        write_text_atomically(self.directory / "environment.json", json.dumps([*self.sessions(), entry], indent=2) + "\n")
        if diff:
            write_text_atomically(self.directory / "uncommitted.diff", diff)

    def sessions(self) -> list[dict[str, Any]]:
        """Reads the entries of environment.json, one per start."""
        path = self.directory / "environment.json"
        sessions = parse_json(path.read_text(encoding="utf-8", errors="replace"), path) if path.exists() else []
        if not isinstance(sessions, list) or not all(isinstance(session, dict) for session in sessions):
            raise damaged(path, "it is not a list of starts")
        return sessions

    def begun_by_this_launch(self) -> bool:
        """Whether the launcher of this process already started this run, and has now restarted its ranks."""
        return launch() is not None and any(session.get("launch") == launch() for session in self.sessions())

    def record_indices(self, indices: Tensor | None) -> None:
        """Writes indices.json: the indices, in the source set, of the images of a long-tailed subset, in order."""
        if indices is not None:
            write_text_atomically(self.directory / "indices.json", json.dumps(indices.tolist()) + "\n")

    def history(self) -> list[dict[str, Any]]:
        if not self.history_file.exists():
            return []
        lines = self.history_file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        entries = [parse_json(line, self.history_file) for line in lines if line.endswith("\n")]   # no partial line
        if not all(map(is_epoch, entries)):
            raise damaged(self.history_file, "a line that is no epoch")
        return entries

    def last_epoch(self) -> int | None:
        """The last finished epoch, from the history or from last.pth; None if neither has it."""
        with suppress(InputError):   # a validation works with a damaged history too
            if history := self.history():
                return history[-1]["epoch"]
        return checkpoint.peek(self.models / LAST).get("epoch")

    def record(self, entry: dict[str, Any]) -> None:
        """Appends one epoch to history.jsonl and to TensorBoard."""
        with self.writing():
            append_line(self.history_file, json.dumps(entry))
            if self.board is not None:
                for name in SCALARS:
                    if entry.get(name) is not None:
                        self.board.add_scalar(name, entry[name], entry["epoch"])
                self.board.flush()

    def save(self, state: dict[str, Any], is_best: bool, every: int) -> None:
        """Writes last.pth, also best_model.pth if ``is_best``, and epoch_N.pth every ``every`` epochs.

        The old last.pth becomes previous.pth if this process wrote it, since it is then known to be undamaged.
        """
        names = [BEST] * is_best + [f"epoch_{state['epoch']}.pth"] * (state["epoch"] % every == 0) + [LAST]
        with self.writing():
            if self.saved_last:
                keep_second_name(self.models / LAST, self.models / PREVIOUS)
            checkpoint.save(state, [self.models / name for name in names])   # last.pth comes last: it decides where to resume
            (self.models / PART).unlink(missing_ok=True)
        self.kept, self.saved_last = f"{self.models / LAST} holds epoch {state['epoch']}", True

    def save_part(self, state: dict[str, Any]) -> None:
        """Writes mid_epoch.pth, which is deleted once last.pth of the same epoch is written."""
        with self.writing():
            checkpoint.save(state, [self.models / PART])
        self.kept = f"{self.models / PART} holds epoch {state['epoch'] + 1} up to batch {state['batch']}"

    def find_model(self, name: str) -> Path:
        """The path of a checkpoint: a bare file name is a file in models/, any other name is a path."""
        return Path(name) if len(Path(name).parts) > 1 or name.startswith(("./", ".\\")) else self.models / name

    def close(self) -> None:
        if self.board is not None:
            self.board.close()
            self.board = None
        if self.lock_held is not None:
            self.lock_held.close()
            self.lock_held = None


def is_epoch(entry: Any) -> bool:
    """Whether a value is a valid line of history.jsonl, in which null stands for values that are not finite."""
    return (isinstance(entry, dict) and isinstance(entry.get("epoch"), int)
            and all(isinstance(entry.get(name), int | float | None) for name in (*SCALARS, "seconds")))


def keep_second_name(path: Path, name: Path) -> None:
    """Keeps a file that is about to be replaced under a second name: as a hard link, or by renaming it without links."""
    name.unlink(missing_ok=True)
    try:
        os.link(path, name)
    except OSError:
        os.replace(path, name)


def parse_json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path, str(error)) from error


def damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is damaged ({reason}); repair it, or start over with --overwrite")
