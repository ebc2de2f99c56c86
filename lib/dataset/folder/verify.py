"""Whether images can be read to their last row, and what is in them."""
import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.dataset.decode import ReadOptions, open_image
from lib.utils.errors import InputError
from lib.utils.threads import map_ranges

log = logging.getLogger(__name__)

STORED = ReadOptions(exif=False)
AT_ONCE = 8         # images of one thread's turn
DIGEST_BYTES = 16   # two of 10^9 images are equal by chance with a probability of 10^-21


class Look(NamedTuple):
    """What is known of an image file after it was read."""

    size: tuple[int, int]   # height, width of the stored pixels, whatever EXIF says of them
    file: bytes             # digest of the file
    pixels: bytes           # digest of height, width and pixels; empty where they were not decoded
    mistake: str            # what keeps it from being read; the rest is empty then


def look_at(paths: Sequence[Path], entries: Sequence[str], advance: Callable[[int], None], num_threads: int,
            decode: bool = True) -> list[Look]:
    """Reads all images, by several threads; decoding releases the GIL.

    Args:
        entries: where the paths come from, for messages.
        advance: called with the number of images that were read since the last time.
        decode: False reads headers only, and does not notice a file that is cut short.
    """
    looks: list[Look] = []

    def look_at_turn(turn: range) -> list[Look]:
        return [look(paths[index], entries[index], decode) for index in turn]

    for part in map_ranges(look_at_turn, len(paths), AT_ONCE, num_threads):
        looks += part
        advance(len(part))
    return looks


def look(path: Path, entry: str, decode: bool) -> Look:
    try:
        image = open_image(path, entry, STORED)
        return Look(image.size, digest(image.data), digest_pixels(image.pixels().numpy()) if decode else b"", "")
    except InputError as error:
        return Look((0, 0), b"", b"", str(error))


def digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def digest_pixels(pixels: np.ndarray) -> bytes:
    """Of an image (3, H, W); the shape is in it, so that a picture of one colour is not equal to its transpose."""
    rows = np.ascontiguousarray(pixels.transpose(1, 2, 0))   # no copy of most, which were decoded in this order
    return digest(rows.shape[0].to_bytes(4, "little") + digest(memoryview(rows).cast("B")))
