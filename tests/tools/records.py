"""TFRecords, written byte by byte."""
from collections.abc import Iterable
from pathlib import Path

from tensorboardX.record_writer import RecordWriter


def varint(number: int) -> bytes:
    """Protocol Buffers' variable-length number: seven bits a byte, the lowest first."""
    return bytes([number % 128 + 128]) + varint(number // 128) if number > 127 else bytes([number])


def field(number: int, data: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def example(image: bytes, label: int) -> bytes:
    """tf.train.Example of features image (a BytesList) and label (an Int64List), the layout of TensorFlow's CIFAR examples."""
    features = {b"image": field(1, field(1, image)), b"label": field(3, field(1, varint(label)))}
    return field(1, b"".join(field(1, field(1, name) + field(2, feature)) for name, feature in features.items()))


def write_records(path: Path, records: Iterable[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = RecordWriter(str(path))
    for record in records:
        writer.write(record)
    writer.close()
