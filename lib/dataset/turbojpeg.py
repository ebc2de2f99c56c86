"""libjpeg-turbo through its TurboJPEG 3 API, which decodes only a window of a JPEG, at full or reduced size.

The interface has opaque handles and plain numbers only, and is the same in every release since 3.0
(https://libjpeg-turbo.org/Documentation/Documentation). The library is the system's, or the one in PyPI's ``turbojpeg``.
"""
import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes.util import find_library
from importlib.metadata import PackageNotFoundError, distribution
from typing import NamedTuple

import torch
from torch import Tensor

PACKAGE = "turbojpeg"   # on PyPI: wheels that hold libturbojpeg; its Python module is not used

# names and numbers of turbojpeg.h
TJINIT_DECOMPRESS = 1
TJPARAM_SUBSAMP, TJPARAM_JPEGWIDTH, TJPARAM_JPEGHEIGHT, TJPARAM_PRECISION, TJPARAM_COLORSPACE = 4, 5, 6, 7, 8
TJPF_RGB = 0
MCU_WIDTHS = (8, 16, 16, 8, 8, 32, 8)   # pixels: 4:4:4, 4:2:2, 4:2:0, grey, 4:4:0, 4:1:1, 4:4:1
NARROWEST = 8                           # pixels; where one colour sample is as wide as the region, the library reads beyond it
CONVERTIBLE = (0, 1, 2)                 # colour spaces that it turns to RGB: RGB, YCbCr and grey, but not CMYK and YCCK


class Region(ctypes.Structure):
    """tjregion"""

    _fields_ = [(name, ctypes.c_int) for name in ("x", "y", "w", "h")]


class Factor(ctypes.Structure):
    """tjscalingfactor"""

    _fields_ = [(name, ctypes.c_int) for name in ("num", "denom")]


class JpegHeader(NamedTuple):
    """The header of a JPEG."""

    height: int
    width: int
    mcu_width: int   # of the blocks that are coded together, pixels


class TurboJpeg:
    """A loaded library. Threads may share it.

    Every image has a decoder of its own, since one that met a damaged image decodes the next good ones wrongly.

    Args:
        library: it has ``tj3SetCroppingRegion``.
        origin: where it is from, for messages.
    """

    def __init__(self, library: ctypes.CDLL, origin: str) -> None:
        self.library, self.origin = declare(library), origin

    @contextmanager
    def decoder(self) -> Iterator[int]:
        decoder = self.library.tj3Init(TJINIT_DECOMPRESS)   # under a microsecond, as is the other
        try:
            yield decoder
        finally:
            self.library.tj3Destroy(decoder)

    def header(self, data: bytes) -> JpegHeader | None:
        """Reads the header; None if this is not a JPEG of 8 bits that can be converted to RGB."""
        with self.decoder() as decoder:
            if self.library.tj3DecompressHeader(decoder, data, len(data)) != 0:
                return None
            subsampling, width, height, precision, colours = (
                self.library.tj3Get(decoder, parameter) for parameter in
                (TJPARAM_SUBSAMP, TJPARAM_JPEGWIDTH, TJPARAM_JPEGHEIGHT, TJPARAM_PRECISION, TJPARAM_COLORSPACE))
        if precision != 8 or colours not in CONVERTIBLE or not 0 <= subsampling < len(MCU_WIDTHS):
            return None
        return JpegHeader(height, width, MCU_WIDTHS[subsampling])

    def window(self, data: bytes, header: JpegHeader, reduction: int, box: tuple[int, int, int, int]) -> Tensor | None:
        """A window of the image reduced by 1, 2, 4 or 8, uint8 (3, height, width) with the channels last in memory.

        The same pixels, to the last bit, as in the whole image. None where the library found anything to complain of.

        Args:
            header: of the same data.
            box: left, top, right, bottom of the window, in pixels of the reduced image.
        """
        left, top, right, bottom = box
        height, width = bottom - top, right - left
        with self.decoder() as decoder:
            if self.library.tj3DecompressHeader(decoder, data, len(data)) != 0:
                return None
            mcu_width = max(1, header.mcu_width // reduction)
            # a pixel more on each side, since colours are interpolated between neighbours; it begins where a block does
            end = min(-(-header.width // reduction), max(left + width + 1, left + NARROWEST))
            start = max(0, min(left - 1, end - NARROWEST)) // mcu_width * mcu_width
            pixels = torch.empty(height, end - start, 3, dtype=torch.uint8)
            failed = (self.library.tj3SetScalingFactor(decoder, Factor(1, reduction))
                      or self.library.tj3SetCroppingRegion(decoder, Region(start, top, end - start, height))
                      or self.library.tj3Decompress8(decoder, data, len(data), pixels.data_ptr(), pixels.stride(0), TJPF_RGB))
            return None if failed else pixels[:, left - start:left - start + width].permute(2, 0, 1)


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Declares the types to ctypes, which would otherwise truncate pointers to 32 bits."""
    handle, data, size, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int
    library.tj3Init.restype = handle
    library.tj3Init.argtypes = [number]
    library.tj3Destroy.argtypes = [handle]
    library.tj3Get.argtypes = [handle, number]
    library.tj3DecompressHeader.argtypes = [handle, data, size]
    library.tj3SetScalingFactor.argtypes = [handle, Factor]
    library.tj3SetCroppingRegion.argtypes = [handle, Region]
    library.tj3Decompress8.argtypes = [handle, data, size, ctypes.c_void_p, number, number]
    return library


def load() -> TurboJpeg | None:
    """The system's library if it is version 3, else the one in the package; None where there is neither."""
    for name, origin in (*in_system(), *in_package()):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue   # of another architecture, or with dependencies that are not there: as good as missing
        if hasattr(library, "tj3SetCroppingRegion"):
            return TurboJpeg(library, origin)
    return None


def in_system() -> list[tuple[str, str]]:
    name = find_library(PACKAGE)
    return [(name, name)] if name else []


def in_package() -> list[tuple[str, str]]:
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        return []
    files = [file for file in package.files or [] if file.name.startswith("libturbojpeg") and ".so" in file.name]
    return [(str(package.locate_file(file)), f"{PACKAGE} {package.version}") for file in files]
