"""A set of image files; a module of its own, which is soon imported, since each worker process does so."""
from collections.abc import Sequence
from pathlib import Path

import torch

from lib.data_transform import Source
from lib.dataset import ImageSet
from lib.dataset.decode import open_image, read_image


class FileSet(ImageSet):
    """The files of a list, in classes 0, 1, 0, 1, …"""

    def __init__(self, files: Sequence[Path], image_size: tuple[int, int] | None = None) -> None:
        super().__init__("files", torch.arange(len(files)) % 2, ["even", "odd"], [0.5] * 3, [0.25] * 3, image_size)
        self.files = list(files)

    def read(self, index: int) -> torch.Tensor:
        return read_image(self.files[index], f"files[{index}]")

    def open(self, index: int) -> Source:
        return open_image(self.files[index], f"files[{index}]")
