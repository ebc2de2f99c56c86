"""Reads image files: first the size, then the requested pixels.

The pixels of a JPEG are the same whether TurboJPEG or Pillow decodes it, since both are libjpeg-turbo; only the speed differs.
"""
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import PIL
import torch
from PIL import Image
from torch import Tensor

from lib.data_transform import Source
from lib.dataset import turbojpeg
from lib.dataset.rgb import Picture
from lib.utils.errors import InputError, MissingPathError
from lib.utils.exif import TURNS, UPRIGHT, read_orientation
from lib.utils.image_header import DAMAGED, FORMATS, Header, read_header
from lib.utils.system import LIMITS

log = logging.getLogger(__name__)

MAX_PIXELS = 100_000_000   # 300 MB decoded; a header that announces more is taken for damaged or hostile
REDUCTIONS = (1, 2, 4, 8)  # by which a JPEG can be decoded smaller: fewer coefficients of each 8×8 block are used
SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
BEGIN, END = b"\xff\xd8", b"\xff\xd9"   # first and last marker of a JPEG


# what is said of images, behind their number
TURNED = {
    True: "are rotated upright by their EXIF orientation (DATASET.EXIF True)",
    False: "have an EXIF orientation that is not applied (DATASET.EXIF False)",
}


class ReadOptions(NamedTuple):
    """Options for reading image files.

    Attributes:
        exif: DATASET.EXIF, images are turned upright by EXIF's orientation (JPEG, PNG, WebP) or TIFF's own; else stay as stored.
        alpha: DATASET.ALPHA, transparent pixels show the colour stored in them (drop), or white or black behind them.
    """

    exif: bool = True
    alpha: str = "drop"


USUAL = ReadOptions()


def read_image(path: Path, entry: str, options: ReadOptions = USUAL) -> Tensor:
    """uint8 (3, H, W) in R, G, B; ``lib.dataset.rgb`` says what becomes of each kind of picture.

    Images are turned upright by EXIF. Grey, palettes and CMYK become what Pillow's ``convert("RGB")`` makes of them; of 16 bits
    the highest 8 are taken, of several frames the first, of transparent pixels the stored colour, unless ``options`` puts them
    on a ground.

    Args:
        entry: where the path comes from, for messages.

    Raises:
        InputError: the file is missing, damaged, cut short, no image, of numbers without a known range (32 bits, floating point),
            or of more than ``MAX_PIXELS``.
    """
    return open_image(path, entry, options).pixels()


def open_image(path: Path, entry: str, options: ReadOptions = USUAL) -> Source:
    """Opens an image without decoding it. Raises InputError like ``read_image``, also later, while it is decoded."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise MissingPathError(f"{entry}: no file {path}") from error
    except OSError as error:
        if error.errno in LIMITS:
            raise   # the image is not to blame, and another must not take its place
        raise InputError(f"{entry}: {path} cannot be read ({error.strerror})") from error
    return ImageFile(data, f"{entry}: {path}", options)


class ImageFile(Source):
    """The bytes of an image file, of which the header has been read.

    A JPEG that TurboJPEG complains of, or that does not end as a JPEG does, is left to Pillow, which decides whether it can
    be read; so an image is good or bad whatever window of it is wanted.

    Args:
        name: for messages.
    """

    def __init__(self, data: bytes, name: str, options: ReadOptions = USUAL) -> None:
        self.data, self.name, self.alpha, self.remarks = data, name, options.alpha, set()
        self.turbo = find_turbojpeg() if data.startswith(BEGIN) and data.endswith(END) else None
        self.jpeg = self.turbo.header(data) if self.turbo else None
        self.stored, self.turn = self.header()
        if self.turn != TURNS[UPRIGHT]:
            self.remarks.add(TURNED[options.exif])
        self.turn = self.turn if options.exif else TURNS[UPRIGHT]
        self.size = self.turn.size(self.stored)
        if self.size[0] * self.size[1] > MAX_PIXELS:
            raise InputError(f"{name} announces {self.size[0]} × {self.size[1]} pixels, and {MAX_PIXELS:,} are the most")

    def header(self) -> Header:
        file = io.BytesIO(self.data)
        if self.jpeg is not None:
            return Header((self.jpeg.height, self.jpeg.width), TURNS[read_orientation(file)])
        with self.readable():
            return read_header(file)

    def pixels(self) -> Tensor:
        return self.window(0, 0, *self.size)

    def window(self, top: int, left: int, height: int, width: int, target: tuple[int, int] | None = None) -> Tensor:
        reduction = self.reduction(height, width, target)
        top, left, height, width = self.turn.stored_window((top, left, height, width), self.stored)
        edges = (left, top, left + width, top + height)
        # to the nearest pixel of the reduced image
        left, top, right, bottom = ((edge + reduction // 2) // reduction for edge in edges)
        return self.turn.apply(self.decode(reduction, (left, top, right, bottom)))

    def reduction(self, height: int, width: int, target: tuple[int, int] | None) -> int:
        """The strongest reduction with which a window is no smaller than ``target``; 1 for files that are not JPEG."""
        if target is None or not self.data.startswith(BEGIN):
            return 1
        return max(by for by in REDUCTIONS if by == 1 or (height >= by * target[0] and width >= by * target[1]))

    def decode(self, reduction: int, box: tuple[int, int, int, int]) -> Tensor:
        """Decodes a box (left, top, right, bottom) of the stored image, in pixels of the image reduced by ``reduction``."""
        pixels = self.turbo.window(self.data, self.jpeg, reduction, box) if self.turbo and self.jpeg else None
        return self.decode_by_pillow(reduction, box) if pixels is None else pixels

    def decode_by_pillow(self, reduction: int, box: tuple[int, int, int, int]) -> Tensor:
        """Does the same by decoding the whole image."""
        with self.readable(), Image.open(io.BytesIO(self.data), formats=FORMATS) as image:
            if reduction > 1:
                image.draft(None, (image.width // reduction, image.height // reduction))
            picture = Picture(image, self.data)
            pixels = torch.from_numpy(picture.window(*box, self.alpha)).permute(2, 0, 1)
            picture.look_behind()
        self.remarks = {*self.remarks, *picture.remarks}
        return pixels

    @contextmanager
    def readable(self) -> Iterator[None]:
        """Converts Pillow's exceptions to one message."""
        try:
            yield
        except DAMAGED as error:
            reason = self.unknown() if "BytesIO" in str(error) else error
            raise InputError(f"{self.name} cannot be read as an image ({reason})") from error


    def unknown(self) -> str:
        """The message for a file that Pillow cannot identify."""
        named = [kind for start, kind in SIGNATURES.items() if self.data.startswith(start)]
        if named:
            return f"it begins as a {named[0]} and is damaged, or of a kind that Pillow does not read"
        return f"not of {', '.join(FORMATS)}" if self.data else "the file is empty"


@cache
def find_turbojpeg() -> turbojpeg.TurboJpeg | None:
    return turbojpeg.load()


def decoder_name() -> str:
    """The name of the JPEG decoder, for the log and the run's environment."""
    turbo = find_turbojpeg()
    return f"TurboJPEG of {turbo.origin}" if turbo else f"Pillow {PIL.__version__}"


@cache
def announce_decoder() -> None:
    """Logs once which decoder is used."""
    hint = "" if find_turbojpeg() else f"; libturbojpeg 3, or PyPI's {turbojpeg.PACKAGE}, would be faster, most of all on windows"
    log.info("JPEGs are decoded by %s%s", decoder_name(), hint)
