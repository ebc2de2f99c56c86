"""The header of an image file: size and orientation."""
import warnings
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image

from lib.utils.errors import InputError, MissingPathError
from lib.utils.exif import ORIENTATION, TURNS, UPRIGHT, Turn, read_orientation

# formats that are read; Pillow passes some others to external programs that execute code in them, such as EPS to Ghostscript
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
WIDTH, HEIGHT = 256, 257   # tags of TIFF

warnings.filterwarnings("ignore", module=r"PIL\.")   # such as warnings of damaged EXIF data, which do not name the file

# exceptions that Pillow raises for damaged files
DAMAGED = (OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, ArithmeticError, ImportError,
           Image.DecompressionBombError)


class Header(NamedTuple):
    """Height and width of the stored pixels, and how to make them upright."""

    stored: tuple[int, int]
    turn: Turn


def read_header(file: BinaryIO) -> Header:
    """Reads the header of a file without decoding the image. Raises one of DAMAGED."""
    with Image.open(file, formats=FORMATS) as image:
        if image.format == "TIFF":   # for these, some versions of Pillow report the size of the upright image
            tags = image.tag_v2  # type: ignore[attr-defined]  # of TIFF files
            stored, orientation = (tags[HEIGHT], tags[WIDTH]), tags.get(ORIENTATION)
            return Header(stored, TURNS.get(orientation, TURNS[UPRIGHT]))
        stored = image.height, image.width
        file.seek(0)
        return Header(stored, TURNS[read_orientation(file)])


def read_size(path: Path, entry: str, exif: bool = True) -> tuple[int, int]:
    """Height and width in pixels of an image as training uses it, read from its header.

    Args:
        entry: where the path comes from, for messages.
        exif: whether the EXIF orientation is applied.
    """
    try:
        with path.open("rb") as file:
            header = read_header(file)
        return header.turn.size(header.stored) if exif else header.stored
    except FileNotFoundError as error:
        raise MissingPathError(f"{entry}: no file {path}") from error
    except DAMAGED as error:
        raise InputError(f"{entry}: {path} cannot be read as an image ({error})") from error
