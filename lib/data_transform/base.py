"""The contract every transform follows, and the last step after all of them."""
from torch import Generator, Tensor, channels_last, memory_format

from lib.utils.registry import Registry

TRANSFORMS = Registry("transform")


class Transform:
    """From uint8 images to uint8 images: a batch of one size at once, or a single image.

    Args:
        size: height and width of what the network sees, INPUT_SIZE.

    Class attributes:
        fixes_size: the result has that size, whatever came in.
    """

    fixes_size = False

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """(B, C, H, W) to (B, C, h, w), on any device; ``generator`` is on the same one."""
        raise NotImplementedError(f"{type(self).__name__} must say what it does")

    def image(self, image: Tensor, generator: Generator | None = None) -> Tensor:
        """(C, H, W) to (C, h, w)."""
        return self.batch(image[None], generator)[0]


def normalize(images: Tensor, mean: Tensor, std: Tensor, layout: memory_format = channels_last) -> Tensor:
    """(x / 255 − mean) / std of uint8 images (B, C, H, W), in float32; ``mean`` and ``std`` (C,) in units of [0, 1]."""
    scale, shift = 1 / (255 * std), -mean / std
    return images.float().contiguous(memory_format=layout).mul_(scale.view(-1, 1, 1)).add_(shift.view(-1, 1, 1))
