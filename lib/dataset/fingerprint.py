"""A fingerprint of a set of images in plain values, which does not change if it is moved to another folder."""
import hashlib
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lib.dataset.annotations import SURROGATES
from lib.dataset.base import ImageSet
from lib.utils.tensors import digest


def fingerprint(images: ImageSet) -> dict[str, Any]:
    """Name, classes, counts, size, and digests of labels, chosen subset and content (pixels, or names of files).

    The same images in the same order have the same fingerprint, whatever the folder they are in.
    """
    return {
        "data_set": Path(images.name).name,   # sets from files are named by the path of their annotations
        "class_counts": images.class_counts.tolist(),
        "image_size": None if images.image_size is None else list(images.image_size),
        "labels": digest(images.labels),
        "indices": None if images.indices is None else digest(images.indices),
        "class_names": digest_names(images.class_names),
        "content": images.content(),
    }


def digest_names(names: Iterable[str]) -> str:
    """SHA-256 of class names in their order, those of folders that are no UTF-8 included."""
    content = hashlib.sha256()
    for name in names:
        data = unicodedata.normalize("NFC", name).encode("utf-8", SURROGATES)
        content.update(len(data).to_bytes(8, "little") + data)
    return content.hexdigest()
