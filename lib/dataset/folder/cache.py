"""A cache of findings about image files, kept between starts."""
import base64
import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from lib.dataset.decode import ReadOptions
from lib.dataset.folder.verify import Look
from lib.utils.progress import Throttle

log = logging.getLogger(__name__)

FLUSH_SECONDS = 10
VERSION = 1   # of what a line says


class LookCache:
    """A file of JSON lines, one per look at a file, which later ones replace. It only grows, so that several processes may add to
    it, and a line that was cut short by a kill is read over.

    A file that was changed since, in size or time of modification, is not known.

    Args:
        folder: where the file is; empty: nothing is kept.
        root: of the images, for the file's name.
        options: how they are read.
    """

    def __init__(self, folder: str, root: Path, options: ReadOptions) -> None:
        place = os.path.abspath(root)
        name = hashlib.sha256(os.fsencode(place) + repr((VERSION, options)).encode()).hexdigest()[:16]
        self.file = Path(folder) / f"{name}.jsonl" if folder else None
        self.known: dict[str, tuple[list[int], Look]] = {}
        self.lines: list[str] = []
        self.throttle = Throttle(FLUSH_SECONDS)
        if self.file is not None and self.file.is_file():
            self.read(self.file)

    def read(self, file: Path) -> None:
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    entry = json.loads(line)
                    self.known[entry["path"]] = entry["state"], from_json(entry)
                except (ValueError, KeyError, TypeError):   # cut short
                    log.debug("%s: a line that is damaged", file)

    def get(self, path: str) -> Look | None:
        """The cached findings about a file, if it has not changed."""
        if path not in self.known:
            return None
        state, look = self.known[path]
        return look if state == state_of(path) else None

    def put(self, path: str, look: Look) -> None:
        """Stores the findings about a file. Files that could not be read are examined again at the next start."""
        if self.file is None or look.mistake:
            return
        self.lines.append(json.dumps({"path": path, "state": state_of(path), **to_json(look)}))
        if self.throttle.due():
            self.flush()

    def flush(self) -> None:
        if not self.lines or self.file is None:
            return
        text = "\n" + "\n".join(self.lines) + "\n"   # the first ends a line that was cut short
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            log.warning("DATASET.FOLDER.CACHE: cannot write to %s (%s); the next start decodes all images again", self.file,
                        error.strerror)
            self.file = None
        self.lines = []


def state_of(path: str) -> list[int]:
    """Size and modification time; empty for a file that no longer exists."""
    try:
        info = os.stat(path)
    except OSError:
        return []
    return [info.st_size, info.st_mtime_ns]


def to_json(look: Look) -> dict[str, Any]:
    return {"size": look.size, "file": look.file.hex(), "pixels": look.pixels.hex(),
            "thumbnail": base64.b64encode(look.thumbnail).decode(), "remarks": look.remarks}


def from_json(entry: dict[str, Any]) -> Look:
    height, width = entry["size"]
    return Look((height, width), bytes.fromhex(entry["file"]), bytes.fromhex(entry["pixels"]), "",
                base64.b64decode(entry["thumbnail"]), tuple(entry["remarks"]))
