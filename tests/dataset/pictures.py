"""Image files of every kind, written byte by byte from their samples, so that no library decides what is in them."""
import struct
import zlib

import numpy as np

SHORT, LONG = 3, 4   # kinds of TIFF's values
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6   # PNG's colour types


def png(samples: np.ndarray, bits: int, kind: int, before: dict[bytes, bytes] | None = None,
        after: dict[bytes, bytes] | None = None) -> bytes:
    """A PNG of (H, W) or (H, W, channels) samples.

    Args:
        before, after: chunks before and behind the pixels.
    """
    height, width = samples.shape[:2]
    packed = pack(samples.reshape(height, -1), bits, ">")
    rows = b"".join(b"\0" + row.tobytes() for row in packed)   # each row begins with its filter, none
    chunks = {b"IHDR": struct.pack(">LLBBBBB", width, height, bits, kind, 0, 0, 0), **(before or {}),
              b"IDAT": zlib.compress(rows), **(after or {}), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(content)) + name + content + struct.pack(">L", zlib.crc32(name + content))
        for name, content in chunks.items())


def pack(rows: np.ndarray, bits: int, order: str) -> np.ndarray:
    """Samples (H, n) as the bytes (H, m) of their rows."""
    if bits == 16:
        return np.ascontiguousarray(rows.astype(order + "u2")).view(np.uint8)
    single = rows.astype(np.uint16)[..., None] >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(single.reshape(len(rows), -1).astype(np.uint8), axis=1)


def tiff(samples: np.ndarray, photometric: int, bits: int = 0, order: str = "<", tags: dict[int, list[int]] | None = None,
         planar: bool = False) -> bytes:
    """An uncompressed TIFF in one strip, of (H, W) or (H, W, channels) samples of any type.

    Args:
        bits: per sample, where they are not those of the type.
        tags: more of them, by number.
    """
    height, width = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    if bits:
        data = pack(samples.reshape(height, -1), bits, order).tobytes()
    else:
        ordered = samples.transpose(2, 0, 1) if planar else samples
        data = ordered.astype(samples.dtype.newbyteorder(order)).tobytes()
    bits = bits or 8 * samples.dtype.itemsize
    size = len(data) // channels
    strips = {273: [8 + size * number for number in range(channels)], 279: [size] * channels} if planar else {
        273: [8], 279: [len(data)]}
    entries = {256: [width], 257: [height], 258: [bits] * channels, 259: [1], 262: [photometric], 277: [channels],
               278: [height], 284: [2 if planar else 1], **strips, **(tags or {})}
    return {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "L", 8 + len(data)) + data + directory(
        entries, 8 + len(data), order)


def directory(entries: dict[int, list[int]], place: int, order: str = "<") -> bytes:
    """A directory of TIFF's that begins at ``place``, with the values that do not fit into it behind it."""
    table, behind = b"", b""
    place += 2 + 12 * len(entries) + 4
    for tag, values in sorted(entries.items()):
        kind = LONG if tag in (273, 279) else SHORT
        packed = struct.pack(order + ("L" if kind == LONG else "H") * len(values), *values)
        if len(packed) > 4:
            packed, behind = struct.pack(order + "L", place + len(behind)), behind + packed
        table += struct.pack(order + "HHL", tag, kind, len(values)) + packed.ljust(4, b"\0")
    return struct.pack(order + "H", len(entries)) + table + b"\0\0\0\0" + behind


def exif(orientation: int, order: str = "<") -> bytes:
    """EXIF with an orientation and another tag before it."""
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "L", 8)
    return start + directory({256: [7], 274: [orientation]}, 8, order)
