"""Image files: size first, then as many of the pixels as are asked for.

The pixels of a JPEG are the same whether TurboJPEG or Pillow decodes it, since both are libjpeg-turbo; only the speed differs.
"""
import io
import logging
from functools import cache
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor

from lib.data_transform import Source
from lib.dataset import turbojpeg
from lib.utils.errors import InputError, MissingPathError
from lib.utils.image_header import DAMAGED, FORMATS

log = logging.getLogger(__name__)

MAX_PIXELS = 100_000_000   # 300 MB decoded; a header that announces more is taken for damaged or hostile
REDUCTIONS = (1, 2, 4, 8)  # by which a JPEG can be decoded smaller: fewer coefficients of each 8×8 block are used
BEGIN, END = b"\xff\xd8", b"\xff\xd9"   # first and last marker of a JPEG


def read_image(path: Path, entry: str) -> Tensor:
    """uint8 (3, H, W) in R, G, B, as Pillow's ``convert("RGB")`` makes it of grey, palette and CMYK images.

    Transparency is dropped, and EXIF's orientation is not applied, both as in the published code.

    Args:
        entry: where the path comes from, for messages.

    Raises:
        InputError: the file is missing, damaged, cut short, no image, or of more than ``MAX_PIXELS``.
    """
    return open_image(path, entry).pixels()


def open_image(path: Path, entry: str) -> Source:
    """The same image before it is decoded. Raises InputError like ``read_image``, also later, while it is decoded."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise MissingPathError(f"{entry}: no file {path}") from error
    except OSError as error:
        raise InputError(f"{entry}: {path} cannot be read ({error.strerror})") from error
    return ImageFile(data, f"{entry}: {path}")


class ImageFile(Source):
    """The bytes of an image file, of which the header has been read.

    A JPEG that TurboJPEG complains of, or that does not end as a JPEG does, is left to Pillow, which decides whether it can
    be read; so an image is good or bad whatever window of it is wanted.

    Args:
        name: for messages.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name = data, name
        self.turbo = find_turbojpeg() if data.startswith(BEGIN) and data.endswith(END) else None
        header = self.turbo.header(data) if self.turbo else None
        if header is None:
            self.turbo = None
            with self.pillow() as image:
                self.size = image.height, image.width
        else:
            self.size = header.height, header.width
        if self.size[0] * self.size[1] > MAX_PIXELS:
            raise InputError(f"{name} announces {self.size[0]} × {self.size[1]} pixels, and {MAX_PIXELS:,} are the most")

    def pixels(self) -> Tensor:
        return self.decode(1, 0, 0, *self.size)

    def window(self, top: int, left: int, height: int, width: int, target: tuple[int, int] | None = None) -> Tensor:
        reduction = self.reduction(height, width, target)
        edges = ((edge + reduction // 2) // reduction for edge in (top, left, top + height, left + width))
        top, left, bottom, right = edges   # to the nearest pixel of the reduced image
        return self.decode(reduction, top, left, bottom - top, right - left)

    def reduction(self, height: int, width: int, target: tuple[int, int] | None) -> int:
        """The strongest that leaves a window no smaller than ``target``; 1 for what is no JPEG."""
        if target is None or not self.data.startswith(BEGIN):
            return 1
        return max(by for by in REDUCTIONS if by == 1 or (height >= by * target[0] and width >= by * target[1]))

    def decode(self, reduction: int, top: int, left: int, height: int, width: int) -> Tensor:
        """A window of the image reduced by ``reduction``, in pixels of that."""
        pixels = self.turbo.window(self.data, reduction, top, left, height, width) if self.turbo else None
        if pixels is None:
            pixels = self.decode_by_pillow(reduction, (left, top, left + width, top + height))
        return pixels

    def decode_by_pillow(self, reduction: int, box: tuple[int, int, int, int]) -> Tensor:
        """Decodes the whole image, and makes a tensor of what is in the box (left, top, right, bottom)."""
        with self.pillow() as image:
            if reduction > 1:
                image.draft(None, (image.width // reduction, image.height // reduction))
            try:
                part = image.crop(box)
                part = part if part.mode == "RGB" else part.convert("RGB")
                return torch.from_numpy(np.array(part)).permute(2, 0, 1)
            except DAMAGED as error:
                raise InputError(f"{self.name} is no image that can be read ({error})") from error

    def pillow(self) -> Image.Image:
        try:
            return Image.open(io.BytesIO(self.data), formats=FORMATS)
        except DAMAGED as error:
            unknown = f"not of {', '.join(FORMATS)}" if "BytesIO" in str(error) else error
            reason = unknown if self.data else "the file is empty"
            raise InputError(f"{self.name} is no image that can be read ({reason})") from error


@cache
def find_turbojpeg() -> turbojpeg.TurboJpeg | None:
    return turbojpeg.load()


def decoder_name() -> str:
    """What decodes JPEGs, for the log and the run's environment."""
    turbo = find_turbojpeg()
    return f"TurboJPEG of {turbo.origin}" if turbo else f"Pillow {PIL.__version__}"


@cache
def announce_decoder() -> None:
    """Says once which decoder runs."""
    hint = "" if find_turbojpeg() else f"; libturbojpeg 3, or PyPI's {turbojpeg.PACKAGE}, would be faster, most of all on windows"
    log.info("JPEGs are decoded by %s%s", decoder_name(), hint)
