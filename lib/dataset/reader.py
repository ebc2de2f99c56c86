"""The work of a worker process: it reads images one by one and makes a batch of them."""
from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from lib.data_transform import Source, Transform
from lib.dataset.base import ImageSet
from lib.utils.errors import InputError, UnreadableImageError
from lib.utils.seed import spawn_seeds

ADVICE = "DATASET.ON_BAD_IMAGE skip replaces such images by others of their class"


class Taken(NamedTuple):
    """An image in the requested number of views, with remarks.

    Attributes:
        complaint: what was wrong with the image whose place this one takes; empty for the image that was asked for.
        remarks: see ``Source``.
    """

    image: Tensor
    complaint: str = ""
    remarks: frozenset[str] = frozenset()
    views: tuple[Tensor, ...] = ()


class Kept(Source):
    """A source that decodes its image only once, for several views."""

    def __init__(self, source: Source) -> None:
        self.source, self.size, self.name = source, source.size, source.name
        self.image: Tensor | None = None

    @property
    def remarks(self) -> Collection[str]:  # type: ignore[override]  # those of the source, once it is decoded
        return self.source.remarks

    def pixels(self) -> Tensor:
        if self.image is None:
            self.image = self.source.pixels()
        return self.image


class Reader(Dataset):
    """Reads images by (index, seed) and applies the transforms that run image by image.

    Args:
        views: transforms of each further view; all views are of one decoded image, each with random numbers of its own.
        skip_unreadable: in place of an image that cannot be read comes the next one of its class, in the order of the set, that
            can; so batches keep their size, classes their share, and a run repeats. Without it, the error is the answer.
    """

    def __init__(self, images: ImageSet, transforms: Sequence[Transform] = (), skip_unreadable: bool = False,
                 views: Sequence[Sequence[Transform]] = ()) -> None:
        self.images, self.transforms, self.skip_unreadable, self.views = images, transforms, skip_unreadable, views

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
            return self.stand_in(index, seed, str(error))

    def read(self, index: int, seed: int) -> Taken:
        source = self.images.open(index)
        try:
            if not self.views:
                return self.transform(source, self.transforms, seed)
            kept = Kept(source)
            first = self.transform(kept, self.transforms, seed)
            seeds = spawn_seeds((seed, 1), len(self.views))
            views = [self.transform(kept, transforms, own) for transforms, own in zip(self.views, seeds)]
            remarks = first.remarks.union(*(view.remarks for view in views))
            return first._replace(views=tuple(view.image for view in views), remarks=remarks)
        except InputError as error:
            if str(error).startswith(source.name):
                raise
            raise InputError(f"{source.name}: {error}") from error

    @staticmethod
    def transform(source: Source, transforms: Sequence[Transform], seed: int) -> Taken:
        if not transforms:
            return Taken(source.pixels(), remarks=frozenset(source.remarks))
        generator = torch.Generator().manual_seed(seed)
        first, *others = transforms
        remarks = {first.remark(source.size)}
        image = first.source(source, generator)
        for transform in others:
            remarks.add(transform.remark((image.shape[1], image.shape[2])))
            image = transform.image(image, generator)
        return Taken(image, remarks=frozenset({*source.remarks, *remarks} - {""}))

    def stand_in(self, index: int, seed: int, complaint: str) -> Taken:
        """The next image of the same class that can be read; after the last one comes the first."""
        labels = self.images.labels
        members = (labels == labels[index]).nonzero().flatten()
        later = members > index
        for other in torch.cat([members[later], members[~later]]).tolist()[:-1]:   # the last one is the image itself
            try:
                found = self.read(other, seed)
                return Taken(found.image, complaint, views=found.views)
            except InputError:
                continue   # it is reported when its own turn comes
        name = self.images.class_names[labels[index]]
        raise UnreadableImageError(f"{complaint}; nor can any other of the {len(members)} images of class {name!r}, to take its "
                                   "place; bring its files back, or take its annotations out")


class Notes(NamedTuple):
    """Complaints and remarks about the images of a batch, by their place in it."""

    complaints: dict[int, str]
    remarks: dict[int, frozenset[str]]


class Answer(NamedTuple):
    """A batch of images, (B, 3, H, W), with the notes on them; and the same images in further views."""

    images: Tensor
    notes: Notes
    views: tuple[Tensor, ...] = ()


def collate(answers: Sequence[Taken | InputError]) -> Answer | InputError:
    """Makes a batch of images; raises the first error."""
    taken_ones = []
    for answer in answers:
        if isinstance(answer, InputError):
            return answer
        taken_ones.append(answer)
    complaints = {place: taken.complaint for place, taken in enumerate(taken_ones) if taken.complaint}
    remarks = {place: taken.remarks for place, taken in enumerate(taken_ones) if taken.remarks}
    views = tuple(default_collate(list(view)) for view in zip(*(taken.views for taken in taken_ones)))
    return Answer(default_collate([taken.image for taken in taken_ones]), Notes(complaints, remarks), views)
