"""Finds the images below a folder, and sorts the other files by kind."""
import errno
import os
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from PIL import Image

from lib.utils.errors import InputError
from lib.utils.image_header import FORMATS, read_size
from lib.utils.text import name_some

# folders and files of macOS, Windows and network disks, in lower case; names that begin with a dot are hidden as well
SYSTEM = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
# of pictures that need another program. Some begin as a TIFF does, and what Pillow would find in them is a thumbnail
OTHER_PICTURES = {
    ".heic", ".heif", ".avif", ".jp2", ".j2k", ".jpx", ".jxl", ".svg", ".psd", ".ico", ".icns", ".tga", ".eps", ".pdf",
    ".exr", ".hdr", ".pcx", ".dcm", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2",
    ".raf", ".pef"}
NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)   # what a link to nothing, or to itself, ends in

FOLDER, IMAGE = "folder", "image"
# kinds of what is left out
HIDDEN = "hidden, or of the operating system"
EMPTY = "files of zero bytes"
NO_IMAGES = "no images"
OTHER_FORMATS = "images in a format that is not supported; convert them to JPEG or PNG"
NO_FILES = "neither files nor folders"
DEAD_LINKS = "links to nothing"
KNOWN_FOLDERS = "links to folders that are already listed, or that contain this link"
STRAYS = "images in no class folder"
NO_PARTS = "folders that are not train, val or test"


@cache
def image_suffixes() -> frozenset[str]:
    """The file suffixes of the supported formats that Pillow knows, in lower case."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS)


class Finder:
    """Searches folders, follows links, and records what it leaves out.

    Args:
        root: folder whose name begins the paths in messages.

    Attributes:
        left_out: kind to paths.
        by_content: images without an image's suffix, which their first bytes tell.
        unreadable: what the system refuses to open, each with the reason.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left_out: dict[str, list[Path]] = {}
        self.by_content: list[Path] = []
        self.unreadable: list[str] = []

    def identity(self, folder: Path) -> tuple[int, int] | None:
        """An identity of a folder, equal for all its paths."""
        try:
            info = os.stat(folder)
        except OSError as error:
            self.complain(folder, error)
            return None
        return info.st_dev, info.st_ino

    def entries(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """Folders and images that lie in a folder, each in the order of their names."""
        try:
            with os.scandir(folder) as content:
                names = sorted(entry.name for entry in content)
        except OSError as error:
            self.complain(folder, error)
            return [], []
        places = [(folder / name, self.kind(folder / name)) for name in names]
        return [place for place, kind in places if kind == FOLDER], [place for place, kind in places if kind == IMAGE]

    def images(self, folder: Path) -> Iterator[Path]:
        """All images below a folder, each folder of them once; a link to one that holds this one is not followed."""
        above = (*folder.absolute().parents, *Path(os.path.realpath(folder)).parents)
        waiting, seen = [folder], {self.identity(place) for place in above}
        while waiting:
            place = waiting.pop()
            identity = self.identity(place)
            if identity is None:
                continue
            if identity in seen:
                self.leave_out(KNOWN_FOLDERS, place)
                continue
            seen.add(identity)
            folders, images = self.entries(place)
            yield from images
            waiting += reversed(folders)

    def kind(self, path: Path) -> str:
        """FOLDER, IMAGE, or empty for an entry that is left out, which is recorded."""
        if path.name.startswith(".") or path.name.lower() in SYSTEM:
            return self.leave_out(HIDDEN, path)
        try:
            info = os.stat(path)
            if stat.S_ISDIR(info.st_mode):
                return FOLDER
            return self.leave_out(NO_FILES, path) if not stat.S_ISREG(info.st_mode) else self.kind_of_file(path, info.st_size)
        except OSError as error:
            return self.leave_out(DEAD_LINKS, path) if error.errno in NOT_THERE else self.complain(path, error)

    def kind_of_file(self, path: Path, num_bytes: int) -> str:
        suffix = path.suffix.lower()
        if num_bytes == 0:
            return self.leave_out(EMPTY, path)
        if suffix in OTHER_PICTURES:
            return self.leave_out(OTHER_FORMATS, path)
        if suffix not in image_suffixes():
            with path.open("rb"):   # what may not be read is told as such
                pass
            if not begins_as_image(path):
                return self.leave_out(NO_IMAGES, path)
            self.by_content.append(path)
        return IMAGE

    def leave_out(self, kind: str, path: Path) -> str:
        self.left_out.setdefault(kind, []).append(path)
        return ""

    def complain(self, path: Path, error: OSError) -> str:
        self.unreadable.append(f"{path} cannot be read ({error.strerror})")
        return ""

    def remarks(self) -> list[str]:
        """The entries that are left out or recognised by content, a line for each kind, with numbers, suffixes and names."""
        lines = [f"left out as {kind}{suffixes(paths) * (kind in (NO_IMAGES, OTHER_FORMATS))}: {self.name(paths)}"
                 for kind, paths in self.left_out.items()]
        if self.by_content:
            lines.append(f"recognised as images by their content, not by their suffix: {self.name(self.by_content)}")
        return lines

    def name(self, paths: list[Path]) -> str:
        shown = name_some([path.relative_to(self.root.parent) for path in paths])
        return f"{len(paths):,} ({shown})"


def begins_as_image(path: Path) -> bool:
    try:
        read_size(path, "")
    except InputError:
        return False
    return True


def suffixes(paths: list[Path]) -> str:
    found = sorted({path.suffix.lower() for path in paths} - {""})
    more = f", and {len(found) - 8} other suffixes" if len(found) > 8 else ""
    return f" ({', '.join(found[:8])}{more})" if found else ""
