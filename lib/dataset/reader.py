"""What a worker process does: images, one by one, from files to a batch."""
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from lib.data_transform import Transform
from lib.dataset.base import ImageSet
from lib.utils.errors import InputError

Answer = tuple[Tensor, str] | InputError   # an image, and what was wrong with the one whose place it takes


class Reader(Dataset):
    """Images by (index, seed), after the transforms that run image by image.

    Args:
        skip_unreadable: in place of an image that cannot be read comes the next one of its class, in the order of the set, that
            can; so batches keep their size, classes their share, and a run repeats. Without it, the error is the answer.
    """

    def __init__(self, images: ImageSet, transforms: Sequence[Transform] = (), skip_unreadable: bool = False) -> None:
        self.images, self.transforms, self.skip_unreadable = images, transforms, skip_unreadable

    def __getitem__(self, request: tuple[int, int]) -> Answer:
        try:
            return self.take(*request)
        except InputError as error:
            return error   # as a value: a DataLoader would wrap what is raised in the text of a traceback

    def take(self, index: int, seed: int = 0) -> tuple[Tensor, str]:
        try:
            return self.read(index, seed), ""
        except InputError as error:
            if not self.skip_unreadable:
                raise
            return self.stand_in(index, seed, str(error)), str(error)

    def read(self, index: int, seed: int) -> Tensor:
        if not self.transforms:
            return self.images.read(index)
        first, *others = self.transforms
        generator = torch.Generator().manual_seed(seed)
        image = first.source(self.images.open(index), generator)
        for transform in others:
            image = transform.image(image, generator)
        return image

    def stand_in(self, index: int, seed: int, complaint: str) -> Tensor:
        """The next image of the same class that can be read; after the last one comes the first."""
        labels = self.images.labels
        members = (labels == labels[index]).nonzero().flatten()
        later = members > index
        for other in torch.cat([members[later], members[~later]]).tolist()[:-1]:   # the last one is the image itself
            try:
                return self.read(other, seed)
            except InputError:
                continue   # it is reported when its own turn comes
        name = self.images.class_names[labels[index]]
        raise InputError(f"{complaint}; nor can any other of the {len(members)} images of class {name!r}, to take its place")


def collate(answers: Sequence[Answer]) -> tuple[Tensor, dict[int, str]] | InputError:
    """The images as one tensor (B, 3, H, W), with the complaints by place in the batch; or the first error."""
    for answer in answers:
        if isinstance(answer, InputError):
            return answer
    images, complaints = zip(*answers)
    return default_collate(list(images)), {place: complaint for place, complaint in enumerate(complaints) if complaint}
