"""The files of CAM-based sampling: they appear whole or not at all."""
import errno
import io
import json
import re
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor

from lib.cam_sampling.plan import Plan
from lib.dataset.enlarged import read_added
from lib.utils.errors import InputError, RunFailedError
from lib.utils.files import remove_unfinished_copies, write_text_atomically

COMPRESSION = 1   # of 9: for photographs faster by half than the usual 6, files 9 % larger
THREADS = 4       # more than there may be cores, since a file system keeps its caller waiting; many more compete for the GIL
FAILING = (errno.ENOSPC, errno.EDQUOT, errno.EIO)   # a disk's failures, which are no mistake of the user's
OWN_FILE = re.compile(r"class_\d{4,}(/cam_\d{6,}\.png)?")


class SetFiles(NamedTuple):
    """The files of a generated set, ``folder/class_0003/cam_000012.png``, and its annotations, which are written last."""

    folder: Path      # CAM_DATA_SAVE_PATH
    json_file: Path   # CAM_DATA_JSON_SAVE_PATH

    @property
    def unfinished(self) -> Path:
        """The folder while it is being filled, beside its final place."""
        return self.folder.parent / f".{self.folder.name}.unfinished"

    @property
    def replaced(self) -> Path:
        """The folder of an earlier set, until it is deleted."""
        return self.folder.parent / f".{self.folder.name}.replaced"

    @property
    def mark(self) -> Path:
        """A marker file: it exists while the folder has its final name and its annotations are not yet written."""
        return self.folder.parent / f".{self.folder.name}.without_annotations"

    def is_torn(self) -> bool:
        """Whether a generation was killed between its images and its annotations, so that its images are unusable."""
        return self.mark.exists() and not self.json_file.exists()

    def check_free(self, overwrite: bool) -> None:
        """Raises InputError if files would be lost that must not be overwritten or were not written by a generation."""
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"DATASET.CAM_DATA_SAVE_PATH: {self.folder} is a file; choose another path")
        if self.json_file.is_dir():
            raise InputError(f"DATASET.CAM_DATA_JSON_SAVE_PATH: {self.json_file} is a folder; name a file in it")
        self.check_own()
        taken = [str(path) for path in (self.folder, self.json_file) if path.is_file() or any(path.glob("*"))]
        if taken and not overwrite and not self.is_torn():
            raise InputError(f"DATASET.CAM_DATA_SAVE_PATH: {' and '.join(taken)} already exists; replace it with --overwrite, "
                             "keep a finished set with --ar True, or choose other paths")

    def check_own(self) -> None:
        """Raises InputError for files that were not written by a generation: these are never deleted."""
        for path in self.folder.rglob("*"):
            if path != self.json_file and not OWN_FILE.fullmatch(path.relative_to(self.folder).as_posix()):
                raise InputError(f"DATASET.CAM_DATA_SAVE_PATH: {path} is not an image of CAM-based sampling, but its folder "
                                 "would be replaced; choose a folder for these images alone")
        try:
            if self.json_file.exists():
                read_added(self.json_file)
        except InputError as error:
            raise InputError(f"{error}. The file would be replaced; delete it, or choose another path") from error

    @contextmanager
    def filling(self) -> Iterator[Path]:
        """A context with the unfinished folder, empty at first; it is deleted at the end, also after an error or Ctrl-C."""
        try:
            with writing(self.unfinished):
                self.remove_leftovers()
                self.unfinished.mkdir(parents=True)
            yield self.unfinished
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt("no image was kept; the same command starts from scratch") from interrupt
        finally:
            remove(self.unfinished, self.replaced)

    def has_leftovers(self) -> bool:
        return any(path.exists() for path in (self.unfinished, self.replaced, self.mark))

    def remove_leftovers(self) -> None:
        """Deletes what a killed generation has left, except images under their final name."""
        remove(self.unfinished, self.replaced)
        remove_unfinished_copies(self.json_file)
        if not self.is_torn():
            self.mark.unlink(missing_ok=True)

    def commit(self, content: dict[str, Any]) -> None:
        """Moves the folder to its final name, then the annotations, so that annotations never belong to images of another set."""
        with writing(self.folder):
            self.mark.touch()
            self.json_file.unlink(missing_ok=True)
            if self.folder.exists():
                self.folder.rename(self.replaced)
            self.unfinished.rename(self.folder)
            self.json_file.parent.mkdir(parents=True, exist_ok=True)
            write_text_atomically(self.json_file, json.dumps(content) + "\n")
            self.mark.unlink()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = RunFailedError if error.errno in FAILING else InputError
        raise kind(f"DATASET.CAM_DATA_SAVE_PATH: cannot write to {path} ({error.strerror})") from error


def remove(*folders: Path) -> None:
    """Deletes folders of folders in threads, since some file systems take milliseconds for every file."""
    for folder in folders:
        if folder.is_dir():
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(shutil.rmtree, [path for path in folder.iterdir() if path.is_dir()]))
            shutil.rmtree(folder)


def file_name(label: int, place: int) -> str:
    return f"class_{label:04d}/cam_{place:06d}.png"


class Writer:
    """Encodes and writes PNG files in threads. At most a few batches wait, so that memory stays bounded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pool = ThreadPoolExecutor(THREADS)
        self.waiting: deque[Future] = deque()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Waits for all submitted images; after an exception, only for those that have started."""
        self.pool.shutdown(cancel_futures=kind is not None)
        if kind is None:
            self.collect(0)

    def begin(self, plan: Plan) -> None:
        for label in plan.labels.unique().tolist():
            (self.folder / file_name(label, 0)).parent.mkdir()

    def write(self, names: list[str], images: Tensor) -> None:
        """Args:
            images: uint8 (B, 3, H, W), on the CPU.
        """
        share = -(-len(names) // THREADS)
        for start in range(0, len(names), share):
            part = slice(start, start + share)
            self.waiting.append(self.pool.submit(write_pngs, self.folder, names[part], images[part]))
        self.collect(4 * THREADS)

    def collect(self, allowed: int) -> None:
        """Waits until no more than ``allowed`` parts are unfinished. Raises InputError for a disk that is full, and the like."""
        with writing(self.folder):
            while len(self.waiting) > allowed:
                self.waiting.popleft().result()


def write_pngs(folder: Path, names: list[str], images: Tensor) -> None:
    for name, pixels in zip(names, images.permute(0, 2, 3, 1).contiguous().numpy()):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=COMPRESSION)
        with open(f"{folder}/{name}", "wb") as file:   # a Path would cost half as much as the file itself
            file.write(buffer.getbuffer())   # in one go, which is faster than PIL's many small ones
