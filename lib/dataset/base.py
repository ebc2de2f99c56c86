"""The contract of data sets: labels, and images by number."""
import logging
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from lib.data_transform import Source
from lib.utils.errors import InputError
from lib.utils.registry import Registry
from lib.utils.system import cpu_count
from lib.utils.tensors import digest_bytes
from lib.utils.threads import map_ranges

log = logging.getLogger(__name__)

READ_AT_ONCE = 64   # images of one thread's turn
SHOW_SECONDS = 10   # from one line of progress to the next

DATASETS = Registry("data set")


class ImageSet:
    """A labelled set of images. A member overrides ``read``, and ``pixels`` where all images are of one size.

    Args:
        name: for messages.
        labels: class of every image, (N,).
        class_names: one per class, (C,).
        mean, std: of each channel R, G, B, in units of [0, 1].
        image_size: height and width of all images, None where they differ.
        indices: which images of a source set these are, (N,), None where all are.

    Attributes:
        class_counts: images per class, (C,). A class without images is legal; a set without images is not. Probabilities,
            losses and shot groups are made of them; CAM-based sampling adds images and leaves them as they are.

    Class attributes:
        fills_classes: CAM-based sampling brings all classes to the same size, as published for CIFAR; False: it is limited
            by DATASET.CAM_NUMBER_THRES.
        reads_root: the images come from DATASET.ROOT.
    """

    fills_classes = False
    reads_root = True

    def __init__(self, name: str, labels: Tensor, class_names: Sequence[str], mean: Sequence[float], std: Sequence[float],
                 image_size: tuple[int, int] | None = None, indices: Tensor | None = None) -> None:
        if len(labels) == 0:
            raise InputError(f"{name}: no images")
        self.name, self.labels, self.class_names = name, labels.long(), list(class_names)
        self.mean, self.std = torch.tensor(mean), torch.tensor(std)
        self.image_size, self.indices = image_size, indices
        self.num_classes = len(self.class_names)
        if self.labels.min() < 0 or self.labels.max() >= self.num_classes:
            raise InputError(f"{name}: labels go from {self.labels.min()} to {self.labels.max()}, "
                             f"but there are {self.num_classes} classes, numbered from 0")
        self.class_counts = torch.bincount(self.labels, minlength=self.num_classes)

    def renumber(self, places: Sequence[int], class_names: Sequence[str]) -> None:
        """Renumbers class c to ``places[c]`` of ``class_names``, which may be more; to be called before a set is enlarged."""
        self.labels = torch.tensor(places)[self.labels]
        self.class_names, self.num_classes = list(class_names), len(class_names)
        self.class_counts = torch.bincount(self.labels, minlength=self.num_classes)

    def files(self) -> Iterator[str]:
        """Paths of the files that are read image by image."""
        paths = (self.path(index) for index in range(len(self.labels)))
        return (path for path in paths if path is not None)

    def content(self) -> str | None:
        """A digest of the images that does not depend on their folder or on INPUT_SIZE; None if the set has none."""
        return None

    @property
    def num_bytes(self) -> int:
        """Memory of all images as uint8, in bytes, if they have one size."""
        height, width = self.image_size or (0, 0)
        return len(self.labels) * 3 * height * width

    def path(self, index: int) -> str | None:
        """The file of image number ``index``; None where the images lie in an array."""
        return None

    def read(self, index: int) -> Tensor:
        """Image number ``index``, uint8 (3, H, W), in R, G, B."""
        raise NotImplementedError(f"{type(self).__name__} must read an image")

    def open(self, index: int) -> Source:
        """The same image before decoding, for sets that know its size without decoding it."""
        return Decoded(self.read(index))

    def pixels(self, read: Callable[[int], Tensor] | None = None) -> Tensor:
        """All images, uint8 (N, 3, H, W); only where ``image_size`` is not None.

        Args:
            read: what is called for each image that must be read, by default ``read`` of this set.
        """
        return torch.stack([(read or self.read)(index) for index in range(len(self.labels))])


class Decoded(Source):
    """An image that has been decoded."""

    def __init__(self, image: Tensor) -> None:
        self.image, self.size = image, (image.shape[1], image.shape[2])

    def pixels(self) -> Tensor:
        return self.image


class ArraySet(ImageSet):
    """A set whose images lie in one array.

    Args:
        images: uint8, (N, C, H, W); one channel stands for three equal ones.
        source: the same images before they were brought to INPUT_SIZE, by which the set is recognised.
    """

    fills_classes = True   # what lies in an array is small, as CIFAR is

    def __init__(self, name: str, images: Tensor, labels: Tensor, class_names: Sequence[str], mean: Sequence[float],
                 std: Sequence[float], indices: Tensor | None = None, source: Tensor | None = None) -> None:
        super().__init__(name, labels, class_names, mean, std, (images.shape[2], images.shape[3]), indices)
        self.images = images
        self.digest = digest_bytes(images if source is None else source)

    def content(self) -> str:
        return self.digest

    def read(self, index: int) -> Tensor:
        return self.images[index].expand(3, -1, -1)

    def pixels(self, read: Callable[[int], Tensor] | None = None) -> Tensor:
        return self.images.expand(-1, 3, -1, -1)


def read_into(pixels: Tensor, first: int, read: Callable[[int], Tensor], name: str) -> Tensor:
    """Fills ``pixels`` (N, 3, H, W) from number ``first`` on with the images that ``read`` gives; returns all of it.

    A thread per core reads, since decoding releases the GIL. Long reading shows its progress.
    """
    count, shown = len(pixels) - first, time.monotonic()

    def fill(places: range) -> int:
        for place in places:
            pixels[first + place] = read(first + place)
        return places.stop

    for done in map_ranges(fill, count, READ_AT_ONCE, cpu_count()):
        if time.monotonic() - shown > SHOW_SECONDS:
            shown = time.monotonic()
            log.info("%s: %d of %d images read", name, done, count)
    return pixels
