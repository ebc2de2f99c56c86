"""The EXIF orientation: how an image must be rotated or mirrored. It is read from the file without decoding the image."""
import struct
from typing import BinaryIO, NamedTuple

from torch import Tensor

ORIENTATION = 0x0112                       # the tag
UNSIGNED = {1: "B", 3: "H", 4: "L"}        # types of values: BYTE, SHORT (the correct one for this tag), LONG
BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
PREFIX = b"Exif\0\0"
JPEG, PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
APP1, SCAN, END = 0xE1, 0xDA, 0xD9         # markers of a JPEG: EXIF (or XMP), coded data, the end
LONGEST = 2**20                            # most bytes of EXIF that are read; a JPEG can hold 64 KiB


class Turn(NamedTuple):
    """The transformation that makes stored pixels upright: first transposition, then reversal of rows and columns."""

    transposed: bool
    rows_reversed: bool
    columns_reversed: bool

    def size(self, stored: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the upright image."""
        return (stored[1], stored[0]) if self.transposed else stored

    def stored_window(self, window: tuple[int, int, int, int], stored: tuple[int, int]) -> tuple[int, int, int, int]:
        """The window of the stored image that corresponds to a window (top, left, height, width) of the upright one."""
        top, left, height, width = window
        upright = self.size(stored)
        top = upright[0] - top - height if self.rows_reversed else top
        left = upright[1] - left - width if self.columns_reversed else left
        return (left, top, width, height) if self.transposed else (top, left, height, width)

    def apply(self, pixels: Tensor) -> Tensor:
        """The upright pixels, from stored pixels (..., H, W)."""
        pixels = pixels.transpose(-2, -1) if self.transposed else pixels
        reversed_dims = [dim for dim, turned in ((-2, self.rows_reversed), (-1, self.columns_reversed)) if turned]
        return pixels.flip(reversed_dims) if reversed_dims else pixels


UPRIGHT = 1
TURNS = {   # by the tag's value
    1: Turn(False, False, False), 2: Turn(False, False, True), 3: Turn(False, True, True), 4: Turn(False, True, False),
    5: Turn(True, False, False), 6: Turn(True, False, True), 7: Turn(True, True, True), 8: Turn(True, True, False),
}


def read_orientation(file: BinaryIO) -> int:
    """The value of the orientation tag in a JPEG, PNG or WebP file; 1 (upright) if there is none or the EXIF data are damaged.

    A TIFF has the tag in its own directory, which its decoder reads; other formats do not have it.
    """
    start = file.read(12)
    if start.startswith(JPEG):
        return parse(find_in_jpeg(file))
    if start.startswith(PNG):
        return parse(find_in_png(file))
    if start.startswith(b"RIFF") and start.endswith(b"WEBP"):
        return parse(find_in_webp(file))
    return UPRIGHT


def find_in_jpeg(file: BinaryIO) -> bytes:
    """Content of the first EXIF segment before the image data; empty if there is none."""
    place = 2
    while True:
        file.seek(place)
        head = file.read(10)
        if len(head) < 10 or head[0] != 0xFF or head[1] in (SCAN, END):
            return b""
        if head[1] == 0xFF:   # a marker may have more than one 0xFF before it
            place += 1
        elif head[1] == APP1 and head[4:] == PREFIX:
            return file.read(head[2] * 256 + head[3] - 8)
        else:
            place += 2 + head[2] * 256 + head[3]


def find_in_png(file: BinaryIO) -> bytes:
    """Content of the eXIf chunk, which may come after the image data; empty if there is none."""
    place = len(PNG)
    while True:
        file.seek(place)
        head = file.read(8)
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        if name == b"eXIf":
            return file.read(min(length, LONGEST))
        if len(head) < 8 or name == b"IEND":
            return b""
        place += 8 + length + 4   # 4 bytes of checksum


def find_in_webp(file: BinaryIO) -> bytes:
    """Content of the EXIF chunk; empty if there is none."""
    place = 12
    while True:
        file.seek(place)
        head = file.read(8)
        name, length = head[:4], int.from_bytes(head[4:], "little")
        if name == b"EXIF":
            return file.read(min(length, LONGEST))
        if len(head) < 8:
            return b""
        place += 8 + length + length % 2


def parse(exif: bytes) -> int:
    """The value of the orientation tag in EXIF data, whose format is that of a TIFF file."""
    exif = exif.removeprefix(PREFIX)
    order = BYTE_ORDERS.get(exif[:4])
    if order is None:
        return UPRIGHT
    try:
        start, = struct.unpack_from(order + "L", exif, 4)
        count, = struct.unpack_from(order + "H", exif, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, place)
            if tag == ORIENTATION:
                value, = struct.unpack_from(order + UNSIGNED[kind], exif, place + 8)
                return value if value in TURNS else UPRIGHT
    except (struct.error, KeyError):
        return UPRIGHT   # the EXIF data are damaged; the pixels can still be used
    return UPRIGHT
