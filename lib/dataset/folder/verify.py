"""Checks whether images can be decoded completely, and examines their content."""
import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lib.dataset.decode import ReadOptions, open_image
from lib.dataset.folder.near import thumbnail
from lib.utils.errors import InputError
from lib.utils.system import cpu_count
from lib.utils.threads import map_ranges

log = logging.getLogger(__name__)

STORED = ReadOptions(exif=False)
AT_ONCE = 8        # images of one thread's turn
THREADS = min(16, 4 * cpu_count())   # some of which wait for a disk
DIGEST_BYTES = 16  # two of 10^9 images are equal by chance with a probability of 10^-21


class Look(NamedTuple):
    """The findings about an image file."""

    size: tuple[int, int]           # height, width
    file: bytes                     # digest of the file
    pixels: bytes                   # digest of height, width and pixels; empty where they were not decoded
    mistake: str                    # what keeps it from being read; the rest is empty then
    thumbnail: bytes = b""          # see ``near.thumbnail``; empty where the pixels were not decoded
    remarks: tuple[str, ...] = ()   # see ``Source.remarks``


def look_at(paths: Sequence[Path], entries: Sequence[str], advance: Callable[[int], None], num_threads: int,
            decode: bool = True) -> list[Look]:
    """Reads all images as they are stored, without EXIF rotation.

    Args:
        entries: where the paths come from, for messages.
        advance: called with the number of images that were read since the last time.
        decode: False reads headers only, so that a truncated file goes unnoticed.
    """
    looks: list[Look] = []
    for part in look_in_turns(paths, entries, num_threads, decode, STORED):
        looks += part
        advance(len(part))
    return looks


def look_in_turns(paths: Sequence[Path | str], entries: Sequence[str], num_threads: int, decode: bool,
                  options: ReadOptions) -> Iterator[list[Look]]:
    """Yields the findings about all images in their order, examined by several threads; decoding releases the GIL."""
    def look_at_turn(turn: range) -> list[Look]:
        return [look(Path(paths[index]), entries[index], decode, options) for index in turn]

    yield from map_ranges(look_at_turn, len(paths), AT_ONCE, num_threads)


def look(path: Path, entry: str, decode: bool, options: ReadOptions) -> Look:
    try:
        image: Any = open_image(path, entry, options)   # with the file's bytes as ``data``
        if not decode:
            return Look(image.size, digest(image.data), b"", "")
        rows = np.ascontiguousarray(image.pixels().numpy().transpose(1, 2, 0))   # most are decoded in this order
        return Look(image.size, digest(image.data), digest_pixels(rows), "", thumbnail(rows), tuple(sorted(image.remarks)))
    except InputError as error:
        return Look((0, 0), b"", b"", str(error))


def digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def digest_pixels(rows: np.ndarray) -> bytes:
    """A digest of an image (H, W, 3) and its shape, so that a picture of one colour does not equal its transpose."""
    return digest(rows.shape[0].to_bytes(4, "little") + digest(rows.data.cast("B")))
