"""The header of an image file: size and orientation."""
import warnings
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image

from lib.utils.errors import InputError, MissingPathError
from lib.utils.exif import ORIENTATION, TURNS, UPRIGHT, Turn, read_orientation

# of images of data sets; Pillow hands some others to outside programs, as it does EPS to Ghostscript, which runs their code
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
WIDTH, HEIGHT = 256, 257   # tags of TIFF

warnings.filterwarnings("ignore", module=r"PIL\.")   # of damaged EXIF and the like, without the name of the file

# Pillow's answers to damaged files
DAMAGED = (OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, ArithmeticError, ImportError,
           Image.DecompressionBombError)


class Header(NamedTuple):
    """Height and width of the stored pixels, and how these are turned upright."""

    stored: tuple[int, int]
    turn: Turn


def read_header(file: BinaryIO) -> Header:
    """Reads the beginning of a file, and decodes nothing. Raises one of DAMAGED."""
    with Image.open(file, formats=FORMATS) as image:
        if image.format == "TIFF":   # some versions of Pillow already tell the size of the upright image
            tags = image.tag_v2  # type: ignore[attr-defined]  # of TIFF files
            stored, orientation = (tags[HEIGHT], tags[WIDTH]), tags.get(ORIENTATION)
            return Header(stored, TURNS.get(orientation, TURNS[UPRIGHT]))
        stored = image.height, image.width
        file.seek(0)
        return Header(stored, TURNS[read_orientation(file)])


def read_size(path: Path, entry: str, exif: bool = True) -> tuple[int, int]:
    """Height and width in pixels of the image as it is trained on, without decoding.

    Args:
        entry: where the path comes from, for messages.
        exif: EXIF's orientation is applied.
    """
    try:
        with path.open("rb") as file:
            header = read_header(file)
        return header.turn.size(header.stored) if exif else header.stored
    except FileNotFoundError as error:
        raise MissingPathError(f"{entry}: no file {path}") from error
    except DAMAGED as error:
        raise InputError(f"{entry}: {path} is no image that can be read ({error})") from error
