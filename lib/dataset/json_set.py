"""Image files named by a JSON file: CIFAR-LT of Cui et al., ImageNet-LT, iNaturalist 2018, or a folder of one's own."""
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from lib.data_transform import Source
from lib.dataset.annotations import Annotations, check_inside, read_annotations
from lib.dataset.base import DATASETS, ImageSet, read_into
from lib.dataset.decode import ReadOptions, announce_decoder, open_image
from lib.dataset.rgb import Alpha
from lib.utils.errors import InputError, MissingPathError
from lib.utils.image_header import read_size
from lib.utils.options import Choice
from lib.utils.threads import map_ranges
from lib.utils.workers import start_server

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)   # ImageNet's, for every one of these sets, as published
CHECKED_FILES = 1000     # whose presence is checked at the start; of others, at the latest when they are read
FEW_FILES = 50_000       # up to here all headers are read, where the JSON does not tell sizes: seconds
READERS = 16             # threads that read headers, which wait for the disk
HEADERS_AT_ONCE = 64     # of one thread's turn
LARGE_JSON = 5_000_000    # bytes of a file, some 30,000 images, that workers are sure to read


class JsonPart(ImageSet):
    """The images of one JSON file.

    Where all images are of one size, they can lie in memory. Sizes are those of the JSON, else those of the files' headers; where
    the JSON tells one size that EXIF may turn, headers too.

    Args:
        key: the config key that names the file.
        name: the file, under ``root``.
        root: DATASET.ROOT, under which relative paths are, in the JSON and of the JSON; empty: the working directory.
        options: how image files are read.
        skip: what cannot be read is not checked here, since readers replace it.

    Raises:
        InputError: see ``read_annotations``; files that are missing among the ones looked for.
    """

    def __init__(self, key: str, name: str, root: str, options: ReadOptions, skip: bool) -> None:
        self.root, self.options = Path(root), options
        if (self.root / name).is_file() and (self.root / name).stat().st_size > LARGE_JSON:
            start_server()
        self.annotations = read_annotations(self.root / name, key)
        check_inside(self.annotations, self.root)
        check_files(self.annotations, self.root, skip)
        super().__init__(str(self.annotations.file), self.annotations.labels, self.annotations.class_names, MEAN, STD,
                         common_size(self.annotations, self.root, options.exif, skip))
        announce_decoder()

    def content(self) -> str:
        return self.annotations.paths.digest()

    def path(self, index: int) -> str:
        return str(self.root / self.annotations.paths[index])

    def read(self, index: int) -> Tensor:
        return self.open(index).pixels()

    def open(self, index: int) -> Source:
        image = open_image(Path(self.path(index)), self.annotations.entry(index), self.options)
        if self.image_size not in (None, image.size):
            raise wrong_size(f"{self.annotations.entry(index)}: {self.path(index)}", image.size, self.image_size)
        return image

    def pixels(self, read: Callable[[int], Tensor] | None = None) -> Tensor:
        pixels = torch.empty(len(self.labels), 3, *(self.image_size or ()), dtype=torch.uint8)
        return read_into(pixels, 0, read or self.read, self.name)


@DATASETS.register("iNaturalist")
class JsonSet(JsonPart):
    """The images of DATASET.TRAIN_JSON or DATASET.VALID_JSON.

    Args:
        size: INPUT_SIZE, not used: transforms bring images to it.
        exif, alpha: see ``ReadOptions``.
        on_bad_image: skip or error.
    """

    def __init__(self, train: bool, root: str, size: tuple[int, int], *, train_json: str, valid_json: str, exif: bool = True,
                 alpha: Alpha = "drop", on_bad_image: Annotated[str, Choice("error", "skip")] = "error") -> None:
        key, name = ("DATASET.TRAIN_JSON", train_json) if train else ("DATASET.VALID_JSON", valid_json)
        if not name:
            raise InputError(f"{key}: is empty; name the annotation file of the {'training' if train else 'validation'} images, "
                             "such as tools/convert_from_*.py write")
        super().__init__(key, name, root, ReadOptions(exif, alpha), on_bad_image == "skip")


@DATASETS.register("CIFAR")
class CifarJson(JsonSet):
    """The images of a JSON file of CIFAR. CAM-based sampling fills up its classes, whatever CAM_NUMBER_THRES is."""

    fills_classes = True


def check_files(annotations: Annotations, root: Path, skip: bool) -> None:
    """Raises MissingPathError if files are missing among a thousand evenly spaced ones.

    To look for all of 437,513 files takes seconds to minutes; one that is missing names itself when it is read.

    Args:
        skip: some may be missing, but not all.
    """
    looked_for = evenly(len(annotations.labels), CHECKED_FILES)
    missing = [index for index in looked_for if not (root / annotations.paths[index]).is_file()]
    if missing and (not skip or len(missing) == len(looked_for)):
        where = f"DATASET.ROOT, {root.absolute()}" if root != Path() else "the working directory, since DATASET.ROOT is empty"
        raise MissingPathError(f"{annotations.entry(missing[0])}: no file {root / annotations.paths[missing[0]]}, and so for "
                               f"{len(missing)} of {len(looked_for)} looked for; relative paths are under {where}")


def common_size(annotations: Annotations, root: Path, exif: bool, skip: bool) -> tuple[int, int] | None:
    """The common height and width of all images; None if they differ, or if checking would take long.

    Args:
        exif: see ``ReadOptions``.
        skip: files whose header cannot be read do not count; else they are an error where the JSON does not tell sizes.
    """
    told, all_told = {size for size in annotations.sizes if size is not None}, None not in annotations.sizes
    if len(told) > 1:
        return None
    if not all_told:
        return shared(read_sizes(annotations, root, exif, skip)) if len(annotations.labels) <= FEW_FILES else None
    only = next(iter(told))
    if not exif or only[0] == only[1]:
        return only
    # some may be turned; whatever else is wrong with a file is said when it is read
    right = (size for size in read_sizes(annotations, root, exif, skip=True) if sorted(size) == sorted(only))
    return shared(right, only)


def shared(sizes: Iterable[tuple[int, int]], default: tuple[int, int] | None = None) -> tuple[int, int] | None:
    """The common size; stops at the first different one. ``default`` if there are no sizes."""
    first = next(iter(sizes), default)
    return first if all(size == first for size in sizes) else None


def read_sizes(annotations: Annotations, root: Path, exif: bool, skip: bool) -> Iterator[tuple[int, int]]:
    """Sizes from the headers, first of a few images, which tell most sets of photographs at once, then of all."""
    def read(turn: Iterable[int]) -> list[tuple[int, int]]:
        sizes = []
        for index in turn:
            try:
                sizes.append(read_size(root / annotations.paths[index], annotations.entry(index), exif))
            except InputError:
                if not skip:
                    raise
        return sizes

    count = len(annotations.labels)
    yield from read(evenly(count, 20))
    for sizes in map_ranges(read, count, HEADERS_AT_ONCE, READERS):
        yield from sizes


def wrong_size(image: str, size: tuple[int, int], expected: tuple[int, int]) -> InputError:
    return InputError(f"{image} has {' × '.join(map(str, size))} pixels, and im_height × im_width are "
                      f"{' × '.join(map(str, expected))}")


def evenly(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` indices, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()
