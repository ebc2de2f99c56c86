"""What an image file says of itself at its beginning."""
from pathlib import Path

from PIL import Image

from lib.utils.errors import InputError, MissingPathError

# of images of data sets; Pillow hands some others to outside programs, as it does EPS to Ghostscript, which runs their code
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")

# Pillow's answers to damaged files
DAMAGED = (OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, OverflowError, Image.DecompressionBombError)


def read_size(path: Path, entry: str) -> tuple[int, int]:
    """Height and width in pixels, without decoding; EXIF's orientation is not applied.

    Args:
        entry: where the path comes from, for messages.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.height, image.width
    except FileNotFoundError as error:
        raise MissingPathError(f"{entry}: no file {path}") from error
    except DAMAGED as error:
        raise InputError(f"{entry}: {path} is no image that can be read ({error})") from error
