"""A checksum inside a checkpoint, in a zip comment that other readers ignore."""
import hashlib
import io
import struct
from pathlib import Path

SEAL = b"sha256:"   # prefix of the zip comment that holds the checksum
CHUNK = 1 << 20


def seal(buffer: io.BytesIO) -> None:
    """Appends the SHA-256 of the content as the comment of the zip archive that torch writes. ``torch.load`` ignores it."""
    length = len(SEAL) + 2 * hashlib.sha256().digest_size
    buffer.seek(-2, io.SEEK_END)   # a zip archive ends with the length of its comment (2 bytes) and the comment
    buffer.write(struct.pack("<H", length))
    buffer.write(SEAL + hashlib.sha256(buffer.getbuffer()).hexdigest().encode())


def seal_holds(path: Path) -> bool:
    """Whether the checksum of a file matches. Files without a checksum (published, old or foreign ones) are accepted."""
    with path.open("rb") as file:
        left = file.seek(0, io.SEEK_END) - len(SEAL) - 2 * hashlib.sha256().digest_size
        file.seek(max(left, 0))
        comment = file.read()
        if not comment.startswith(SEAL):
            return True
        file.seek(0)
        digest = hashlib.sha256()
        while left > 0:
            chunk = file.read(min(CHUNK, left))
            digest.update(chunk)
            left -= len(chunk)
    return comment == SEAL + digest.hexdigest().encode()
