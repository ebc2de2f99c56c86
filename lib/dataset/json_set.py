"""Image files named by a JSON file: CIFAR-LT of Cui et al., ImageNet-LT, iNaturalist 2018, or a folder of one's own."""
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib.data_transform import Source
from lib.dataset.annotations import Annotations, check_inside, read_annotations
from lib.dataset.base import DATASETS, ImageSet, read_into
from lib.dataset.decode import announce_decoder, open_image
from lib.utils.errors import InputError, MissingPathError
from lib.utils.image_header import read_size
from lib.utils.workers import start_server

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)   # ImageNet's, for every one of these sets, as published
CHECKED_FILES = 1000     # whose presence is checked at the start; of others, at the latest when they are read
FEW_FILES = 50_000       # up to here all headers are read, where the JSON does not tell sizes: seconds
LARGE_JSON = 5_000_000    # bytes of a file, some 30,000 images, that workers are sure to read


@DATASETS.register("iNaturalist")
class JsonSet(ImageSet):
    """The images of DATASET.TRAIN_JSON or DATASET.VALID_JSON.

    Where all images are of one size, they can lie in memory; sizes are those of the JSON, else those of the files' headers.

    Args:
        root: DATASET.ROOT, under which relative paths are, in the JSON and of the JSON; empty: the working directory.
        size: INPUT_SIZE, not used: transforms bring images to it.

    Raises:
        InputError: see ``read_annotations``; files that are missing among the ones looked for.
    """

    def __init__(self, train: bool, root: str, size: tuple[int, int], *, train_json: str, valid_json: str) -> None:
        key, name = ("DATASET.TRAIN_JSON", train_json) if train else ("DATASET.VALID_JSON", valid_json)
        if not name:
            raise InputError(f"{key}: is empty; name the annotations of the {'training' if train else 'validation'} images, "
                             "such as tools/convert_from_*.py write")
        self.root = Path(root)
        if (self.root / name).is_file() and (self.root / name).stat().st_size > LARGE_JSON:
            start_server()
        self.annotations = read_annotations(self.root / name, key)
        check_inside(self.annotations, self.root)
        check_files(self.annotations, self.root)
        super().__init__(str(self.annotations.file), self.annotations.labels, self.annotations.class_names, MEAN, STD,
                         common_size(self.annotations, self.root))
        announce_decoder()

    def path(self, index: int) -> Path:
        return self.root / self.annotations.paths[index]

    def read(self, index: int) -> Tensor:
        image = self.open(index)
        if self.image_size not in (None, image.size):
            raise InputError(f"{self.annotations.entry(index)}: {self.path(index)} has {' × '.join(map(str, image.size))} "
                             f"pixels, and im_height × im_width are {' × '.join(map(str, self.image_size))}")
        return image.pixels()

    def open(self, index: int) -> Source:
        return open_image(self.path(index), self.annotations.entry(index))

    def pixels(self, read: Callable[[int], Tensor] | None = None) -> Tensor:
        pixels = torch.empty(len(self.labels), 3, *self.image_size, dtype=torch.uint8)
        return read_into(pixels, 0, read or self.read, self.name)


@DATASETS.register("CIFAR")
class CifarJson(JsonSet):
    """The same, but for CAM-based sampling, which fills up the classes of CIFAR whatever CAM_NUMBER_THRES is."""

    fills_classes = True


def check_files(annotations: Annotations, root: Path) -> None:
    """Raises MissingPathError where files are missing among a thousand evenly spaced ones.

    To look for all of 437,513 files takes seconds to minutes; one that is missing names itself when it is read.
    """
    looked_for = evenly(len(annotations.labels), CHECKED_FILES)
    missing = [index for index in looked_for if not (root / annotations.paths[index]).is_file()]
    if missing:
        where = f"DATASET.ROOT, {root.absolute()}" if root != Path() else "the working directory, since DATASET.ROOT is empty"
        raise MissingPathError(f"{annotations.entry(missing[0])}: no file {root / annotations.paths[missing[0]]}, and so for "
                               f"{len(missing)} of {len(looked_for)} looked for; relative paths are under {where}")


def common_size(annotations: Annotations, root: Path) -> tuple[int, int] | None:
    """Height and width that all images have; None where they differ, or where to find out would take long."""
    if None not in annotations.sizes:
        return next(iter(annotations.sizes)) if len(annotations.sizes) == 1 else None
    if len(annotations.sizes) > 2 or len(annotations.labels) > FEW_FILES:
        return None
    sizes = set()
    for size in read_sizes(annotations, root):
        sizes.add(size)
        if len(sizes) > 1:
            return None
    return sizes.pop()


def read_sizes(annotations: Annotations, root: Path) -> Iterator[tuple[int, int]]:
    """Sizes from the headers, first of a few images, which tell most sets of photographs at once, then of all."""
    count = len(annotations.labels)
    for index in (*evenly(count, 20), *range(count)):
        yield read_size(root / annotations.paths[index], annotations.entry(index))


def evenly(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` indices, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()
