"""Random horizontal flip."""
import torch
from torch import Generator, Tensor

from lib.data_transform.base import TRANSFORMS, Transform


@TRANSFORMS.register("random_horizontal_flip")
class RandomHorizontalFlip(Transform):
    """Random horizontal flip: each image is mirrored left to right with probability ½."""

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        flipped = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
        return torch.where(flipped, images.flip(-1), images)
