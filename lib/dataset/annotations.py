"""The published JSON of image files, read into a few bytes per image.

    {"annotations": [{"image_id": 1, "fpath": "a/b.jpg", "im_height": 600, "im_width": 800, "category_id": 7}, ...],
     "num_classes": 8142}

``image_id``, ``im_height`` and ``im_width`` may be absent; ``class_names``, a list beside ``num_classes``, is optional.
"""
import hashlib
import json
import os
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.utils.errors import InputError, MissingPathError

LABEL_LIMIT = 2**31
CLASS_LIMIT = 10_000_000   # a name is kept for each, so that a number out of thin air would fill the memory
ENOUGH_SIZES = 3     # distinct image sizes after which no more are noted: all that matters is whether there is one
BLOCK = 2**14        # paths at once, whose text stays in a processor's caches
COLLECTED = object()   # stands for an annotation that was read
SURROGATES = "surrogatepass"   # file names that are not UTF-8 come back as they were


class Texts:
    """An immutable list of short texts as one tensor of UTF-8 bytes and one of their ends.

    Tensors are shared by worker processes instead of copied, and take a third of the memory of a list of str.
    """

    def __init__(self, data: bytearray, ends: array) -> None:
        self.data = torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
        self.ends = torch.frombuffer(ends, dtype=torch.long) if ends else torch.empty(0, dtype=torch.long)

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Texts":
        data, ends = bytearray(), array("q")
        for text in texts:
            data += text.encode("utf-8", SURROGATES)
            ends.append(len(data))
        return cls(data, ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        start = int(self.ends[index - 1]) if index else 0
        return self.data[start:int(self.ends[index])].numpy().tobytes().decode("utf-8", SURROGATES)


    def common_folder(self) -> int:
        """The common folder of all paths as bytes, with its slash; for one path, its folder."""
        data, ends = self.data.numpy(), self.ends.numpy()
        starts = np.concatenate([[0], ends[:-1]])
        common = int((ends - starts).min())
        for first in range(0, len(ends), BLOCK):
            block = starts[first:first + BLOCK]
            common = next((place for place in range(common) if (data[block + place] != data[place]).any()), common)
        return data[:common].tobytes().rfind(b"/") + 1

    def digest(self) -> str:
        """SHA-256 of the paths relative to their common folder, in their order; it does not change if the set is moved."""
        folder, data, ends = self.common_folder() if len(self) else 0, self.data.numpy(), self.ends.numpy()
        content = hashlib.sha256((np.diff(ends, prepend=0) - folder).astype("<i8").tobytes())
        for first in range(0, len(ends), BLOCK):
            stops = ends[first:first + BLOCK]
            begin = int(ends[first - 1]) if first else 0
            starts = np.concatenate([[begin], stops[:-1]])
            keep = np.ones(int(stops[-1]) - begin, bool)
            for place in range(folder):
                keep[starts - begin + place] = False
            content.update(data[begin:int(stops[-1])][keep].data)
        return content.hexdigest()


@dataclass(frozen=True)
class Annotations:
    """The content of a JSON file of annotations. ``sizes``: at most three distinct (height, width) of it; None stands for "not
    given"."""

    file: Path
    labels: Tensor            # (N,), int64
    paths: Texts              # as written
    num_classes: int
    class_names: list[str]    # (C,); their numbers where the file does not name them
    sizes: frozenset[tuple[int, int] | None]

    def entry(self, index: int) -> str:
        """The name of an annotation in messages."""
        return f"{self.file}, annotations[{index}]"

    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self.labels, self.paths.data, self.paths.ends))


class Collector:
    """Collects annotations during parsing, so that at most one of them exists as an object at a time."""

    def __init__(self) -> None:
        self.data, self.ends, self.labels = bytearray(), array("q"), array("q")
        self.sizes: set[tuple[int, int] | None] = set()

    def take(self, annotation: dict[str, Any]) -> Any:
        """Used as json's ``object_hook``: stores a valid annotation, and returns everything else unchanged."""
        if describe_mistake(annotation):
            return annotation
        self.data += annotation["fpath"].encode("utf-8", SURROGATES)
        self.ends.append(len(self.data))
        self.labels.append(annotation["category_id"])
        if len(self.sizes) < ENOUGH_SIZES:
            height, width = annotation.get("im_height"), annotation.get("im_width")
            self.sizes.add(None if height is None or width is None else (height, width))
        return COLLECTED


def describe_mistake(annotation: Any) -> str:
    """The reason why this is not a valid annotation; empty if it is one."""
    if type(annotation) is not dict:
        return f"must be an object with fpath and category_id, got {shorten(annotation)}"
    path, label = annotation.get("fpath"), annotation.get("category_id")
    if type(path) is not str or not path or "\0" in path:
        return f"fpath must be the path of an image, got {shorten(path)}" if "fpath" in annotation else "has no fpath"
    if type(label) is not int or not 0 <= label < LABEL_LIMIT:
        known = "category_id" in annotation
        return f"category_id must be a whole number from 0, got {shorten(label)}" if known else "has no category_id"
    for key in ("im_height", "im_width"):
        side = annotation.get(key)
        if side is not None and (type(side) is not int or side < 1):
            return f"{key} must be a whole number of pixels, or absent, got {shorten(side)}"
    return ""


def shorten(value: Any) -> str:
    text = json.dumps(value, default=lambda _: "an annotation")
    return text if len(text) <= 60 else text[:57] + "..."


def read_annotations(file: Path, key: str) -> Annotations:
    """Reads and checks a whole file; memory beyond its text is some hundred bytes per image at most.

    Args:
        key: the config key that names the file, for messages.

    Raises:
        InputError: it is missing, no JSON, not of this form, without annotations, or has class ids outside [0, num_classes);
            the message names file and entry.
    """
    collector = Collector()
    content = parse(file, key, collector)
    if type(content) is not dict or "annotations" not in content or "num_classes" not in content:
        raise InputError(f'{file}: must be an object {{"annotations": [...], "num_classes": ...}}')
    entries, num_classes = content["annotations"], content["num_classes"]
    if type(num_classes) is not int or not 1 <= num_classes <= CLASS_LIMIT:
        raise InputError(f"{file}: num_classes must be a whole number from 1 to {CLASS_LIMIT:,}, got {shorten(num_classes)}")
    check_entries(file, entries, collector)
    labels = torch.frombuffer(collector.labels, dtype=torch.long)
    if labels.max() >= num_classes:
        first = int((labels >= num_classes).nonzero()[0])
        raise InputError(f"{file}, annotations[{first}]: category_id {labels[first]} is outside [0, {num_classes}), "
                         "the classes of num_classes")
    names = content.get("class_names", [str(number) for number in range(num_classes)])
    if type(names) is not list or len(names) != num_classes or not all(type(name) is str for name in names):
        raise InputError(f"{file}: class_names must be a list of {num_classes} names, one per class of num_classes")
    return Annotations(file, labels, Texts(collector.data, collector.ends), num_classes, names, frozenset(collector.sizes))


def parse(file: Path, key: str, collector: Collector) -> Any:
    """json of the standard library: others parse faster, but build all objects before one can be freed."""
    try:
        return json.loads(file.read_bytes().decode("utf-8-sig"), object_hook=collector.take)
    except FileNotFoundError as error:
        raise MissingPathError(f"{key}: no file {file.absolute()}; tools/convert_from_*.py write such files, "
                               "and a relative path is under DATASET.ROOT, if that is set") from error
    except OSError as error:
        raise InputError(f"{key}: {file} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:   # JSONDecodeError, UnicodeError
        raise InputError(f"{file}: not JSON ({error})") from error


def check_entries(file: Path, entries: Any, collector: Collector) -> None:
    """Raises InputError unless ``entries`` are all collected, and nothing else was."""
    if type(entries) is not list:
        raise InputError(f"{file}: annotations must be a list, got {shorten(entries)}")
    if not entries:
        raise InputError(f"{file}: annotations is empty, so there are no images to use")
    for number, entry in enumerate(entries):
        if entry is not COLLECTED:
            raise InputError(f"{file}, annotations[{number}]: {describe_mistake(entry)}")
    if len(entries) != len(collector.labels):
        raise InputError(f"{file}: {len(collector.labels) - len(entries)} annotations are inside others; each must be an "
                         "entry of the list")


def check_inside(annotations: Annotations, root: Path) -> None:
    """Raises InputError for a relative path that leaves ``root`` by way of ``..``; absolute ones go anywhere."""
    paths = annotations.paths
    if b".." not in paths.data.numpy().tobytes():
        return
    for number in range(len(paths)):
        path = paths[number]
        if ".." in path and not os.path.isabs(path) and os.path.normpath(path).split(os.sep)[0] == os.pardir:
            raise InputError(f"{annotations.entry(number)}: fpath {path!r} leaves DATASET.ROOT ({root.absolute()}); "
                             "name a folder above it as DATASET.ROOT, or use absolute paths")
