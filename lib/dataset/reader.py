"""What a worker process does: images, one by one, from files to a batch."""
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from lib.data_transform import Source, Transform
from lib.dataset.base import ImageSet
from lib.utils.errors import InputError, UnreadableImageError

ADVICE = "DATASET.ON_BAD_IMAGE skip puts others in the place of such images"


class Taken(NamedTuple):
    """An image, and what there is to say of it.

    Attributes:
        complaint: what was wrong with the image whose place this one takes; empty for the image that was asked for.
        remarks: see ``Source``.
    """

    image: Tensor
    complaint: str = ""
    remarks: frozenset[str] = frozenset()


class Reader(Dataset):
    """Images by (index, seed), after the transforms that run image by image.

    Args:
        skip_unreadable: in place of an image that cannot be read comes the next one of its class, in the order of the set, that
            can; so batches keep their size, classes their share, and a run repeats. Without it, the error is the answer.
    """

    def __init__(self, images: ImageSet, transforms: Sequence[Transform] = (), skip_unreadable: bool = False) -> None:
        self.images, self.transforms, self.skip_unreadable = images, transforms, skip_unreadable

    def __getitem__(self, request: tuple[int, int]) -> Taken | InputError:
        try:
            return self.take(*request)
        except InputError as error:
            return error   # as a value: a DataLoader would wrap what is raised in the text of a traceback

    def take(self, index: int, seed: int = 0) -> Taken:
        try:
            return self.read(index, seed)
        except InputError as error:
            if not self.skip_unreadable:
                raise UnreadableImageError(f"{error} ({ADVICE})") from error
            return Taken(self.stand_in(index, seed, str(error)), str(error))

    def read(self, index: int, seed: int) -> Taken:
        source, generator = self.images.open(index), torch.Generator().manual_seed(seed)
        try:
            return self.transform(source, generator)
        except InputError as error:
            if str(error).startswith(source.name):
                raise
            raise InputError(f"{source.name}: {error}") from error

    def transform(self, source: Source, generator: torch.Generator) -> Taken:
        if not self.transforms:
            return Taken(source.pixels(), remarks=frozenset(source.remarks))
        first, *others = self.transforms
        remarks = {first.remark(source.size)}
        image = first.source(source, generator)
        for transform in others:
            remarks.add(transform.remark(tuple(image.shape[1:])))
            image = transform.image(image, generator)
        return Taken(image, remarks=frozenset({*source.remarks, *remarks} - {""}))

    def stand_in(self, index: int, seed: int, complaint: str) -> Tensor:
        """The next image of the same class that can be read; after the last one comes the first."""
        labels = self.images.labels
        members = (labels == labels[index]).nonzero().flatten()
        later = members > index
        for other in torch.cat([members[later], members[~later]]).tolist()[:-1]:   # the last one is the image itself
            try:
                return self.read(other, seed).image
            except InputError:
                continue   # it is reported when its own turn comes
        name = self.images.class_names[labels[index]]
        raise UnreadableImageError(f"{complaint}; nor can any other of the {len(members)} images of class {name!r}, to take its "
                                   "place; bring its files back, or take its annotations out")


class Notes(NamedTuple):
    """What there is to say of a batch: complaints and remarks by place, where there are any."""

    complaints: dict[int, str]
    remarks: dict[int, frozenset[str]]


def collate(answers: Sequence[Taken | InputError]) -> tuple[Tensor, Notes] | InputError:
    """The images as one tensor (B, 3, H, W), with the notes on them; or the first error."""
    for answer in answers:
        if isinstance(answer, InputError):
            return answer
    complaints = {place: taken.complaint for place, taken in enumerate(answers) if taken.complaint}
    remarks = {place: taken.remarks for place, taken in enumerate(answers) if taken.remarks}
    return default_collate([taken.image for taken in answers]), Notes(complaints, remarks)
