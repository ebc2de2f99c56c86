"""Crops of a fixed size."""
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lib.data_transform.base import TRANSFORMS, Transform
from lib.utils.errors import InputError
from lib.utils.options import Range


@TRANSFORMS.register("random_crop")
class RandomCrop(Transform):
    """Random crop: a window of INPUT_SIZE at a uniformly random place of the image with ``padding`` black pixels on each side.

    The padding comes before normalisation, so that the border is black and not grey.
    """

    fixes_size = True

    def __init__(self, size: tuple[int, int], *, padding: Annotated[int, Range(0, 8192)] = 4) -> None:
        super().__init__(size)
        self.padding = padding

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        rooms = [side + 2 * self.padding - wanted for side, wanted in zip(images.shape[2:], self.size)]
        if min(rooms) < 0:
            raise InputError(f"random_crop: an image of {list(images.shape[2:])} pixels with PADDING {self.padding} is smaller "
                             f"than INPUT_SIZE {list(self.size)}; resize images first, such as by normal_resize")
        top, left = (torch.randint(room + 1, (len(images), 1), generator=generator, device=images.device) for room in rooms)
        return windows(images, top, left, self.size, self.padding)


def windows(images: Tensor, top: Tensor, left: Tensor, size: tuple[int, int], padding: int) -> Tensor:
    """Cuts a window of ``size`` out of each zero-padded image.

    Args:
        images: (B, C, H, W).
        top, left: corners in the padded images, (B, 1) each.
    """
    padded = F.pad(images, [padding] * 4)
    rows = top + torch.arange(size[0], device=images.device)
    columns = left + torch.arange(size[1], device=images.device)
    image = torch.arange(len(images), device=images.device)
    # advanced indices on dims 0, 2, 3 put the sliced channel dim last, which is channels-last memory
    return padded[image[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@TRANSFORMS.register("center_crop")
class CenterCrop(Transform):
    """Centre crop: the window of INPUT_SIZE in the middle. A smaller image is padded with black."""

    fixes_size = True

    def remark(self, size: tuple[int, int]) -> str:
        small = size[0] < self.size[0] or size[1] < self.size[1]
        return "are smaller than INPUT_SIZE, so center_crop pads them with black" if small else ""

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        missing = [max(wanted - side, 0) for wanted, side in zip(self.size, images.shape[-2:])]
        (above, below), (left, right) = ((number // 2, number - number // 2) for number in missing)
        images = F.pad(images, [left, right, above, below]) if any(missing) else images
        top, first = (round((side - wanted) / 2) for side, wanted in zip(images.shape[-2:], self.size))
        return images[..., top:top + self.size[0], first:first + self.size[1]]
