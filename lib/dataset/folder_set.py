"""Pictures in folders of their own: class folders, train, val and test folders, or a CSV file; nothing is converted."""
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from lib.data_transform import Source
from lib.dataset.annotations import Texts
from lib.dataset.base import DATASETS, ImageSet, read_into
from lib.dataset.decode import ReadOptions, announce_decoder, open_image
from lib.dataset.folder import Assignment, Options, survey
from lib.dataset.folder.layout import LAYOUTS, TRAIN, VALID
from lib.dataset.folder.source import KEY, folder_of
from lib.dataset.folder.stored import UNSEEN
from lib.dataset.json_set import MEAN, STD
from lib.dataset.rgb import Alpha
from lib.utils.errors import InputError
from lib.utils.options import BELOW_ONE, LARGEST, MANY, Choice, Range

MOST_FOLDS = 1000


class FolderPart(ImageSet):
    """The images of one part of a folder, by class and then by content.

    Args:
        root: DATASET.ROOT as it is called on this machine.
        part: train, valid or test.
    """

    def __init__(self, assignment: Assignment, root: str, part: str, options: ReadOptions) -> None:
        members = [assignment.entries[number] for number in assignment.members(part)]
        self.folder, self.options, self.paths = folder_of(root), options, Texts.of(entry.path for entry in members)
        self.digest = hashlib.sha256("".join(entry.digest for entry in members).encode()).hexdigest()
        sizes = {entry.size for entry in members}
        labels = torch.from_numpy(assignment.labels[assignment.members(part)])
        super().__init__(f"{root}, {part}", labels, assignment.class_names, MEAN, STD,
                         sizes.pop() if len(sizes) == 1 and UNSEEN not in sizes else None)
        announce_decoder()

    def content(self) -> str:
        return self.digest

    def path(self, index: int) -> str:
        return os.path.join(self.folder, self.paths[index])

    def read(self, index: int) -> Tensor:
        return self.open(index).pixels()

    def open(self, index: int) -> Source:
        image = open_image(Path(self.path(index)), KEY, self.options)
        if self.image_size not in (None, image.size):
            raise InputError(f"{KEY}: {self.path(index)} has {' × '.join(map(str, image.size))} pixels, and had "
                             f"{' × '.join(map(str, self.image_size))} when all were looked at")
        return image

    def pixels(self, read: Callable[[int], Tensor] | None = None) -> Tensor:
        pixels = torch.empty(len(self.labels), 3, *(self.image_size or ()), dtype=torch.uint8)
        return read_into(pixels, 0, read or self.read, self.name)


@DATASETS.register("FOLDER")
class FolderSet(FolderPart):
    """The training or validation images of DATASET.ROOT.

    Args:
        root: DATASET.ROOT, a folder or a CSV file.
        size: INPUT_SIZE, not used: transforms bring images to it.
        split: a file such as a run's split.csv; or what a look at the folder has found already.
        exif, alpha: see ``ReadOptions``.
    """

    def __init__(self, train: bool, root: str, size: tuple[int, int], *, layout: Annotated[str, Choice(*LAYOUTS)],
                 split: str | Assignment, valid_share: Annotated[float, BELOW_ONE], test_share: Annotated[float, BELOW_ONE],
                 min_valid: Annotated[int, Range(1, MANY)], seed: Annotated[int, Range(0, LARGEST)], near_duplicates: bool,
                 folds: Annotated[int, Range(0, MOST_FOLDS)], fold: Annotated[int, Range(1, MOST_FOLDS)], cache: str,
                 exif: bool = True, alpha: Alpha = "drop") -> None:
        read = ReadOptions(exif, alpha)
        if isinstance(split, str):
            options = Options(layout, split, valid_share, test_share, min_valid, seed, near_duplicates, folds, fold, cache, read)
            split = survey(root, options).assignment
        super().__init__(split, root, TRAIN if train else VALID, read)
