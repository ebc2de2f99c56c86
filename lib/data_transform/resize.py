"""Changes of scale. Bilinear with antialiasing, as PIL does."""
import math

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from lib.data_transform.base import TRANSFORMS, Source, Transform

SHORTER_SIDE = 0.875   # INPUT_SIZE / shorter side before the centre crop, the field's 224 / 256
TRIES = 10             # of random_resized_crop, before it takes the centre


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 images (..., H, W) to (..., *size)."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return tv.resize(images, list(size), InterpolationMode.BILINEAR, antialias=True)


@TRANSFORMS.register("normal_resize")
class Resize(Transform):
    """To INPUT_SIZE, whatever the shape before."""

    fixes_size = True

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        return resize(images, self.size)


@TRANSFORMS.register("shorter_resize_for_crop")
class ShorterResize(Transform):
    """The shorter side to int(shorter side of INPUT_SIZE / 0.875), the shape kept."""

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        height, width = images.shape[-2:]
        target = int(min(self.size) / SHORTER_SIDE)
        scale = target / min(height, width)
        return resize(images, (max(target, int(height * scale)), max(target, int(width * scale))))


@TRANSFORMS.register("random_resized_crop")
class RandomResizedCrop(Transform):
    """A window of random area and shape, resized to INPUT_SIZE.

    The area is uniform in ``scale`` (a share of the image's), the logarithm of width / height uniform in that of ``ratio``,
    the place uniform; ten tries to fit it in, then the largest centred window within ``ratio``.
    Szegedy et al., Going Deeper with Convolutions, CVPR 2015, arXiv:1409.4842, section 6.

    Args:
        scaled_decoding: a JPEG's window of at least twice INPUT_SIZE is decoded at 1/2, 1/4 or 1/8, to no less than INPUT_SIZE;
            off, the result is that of decoding the whole image, to the last bit.
    """

    fixes_size = True

    def __init__(self, size: tuple[int, int], *, scale: tuple[float, float] = (0.08, 1.0),
                 ratio: tuple[float, float] = (3 / 4, 4 / 3), scaled_decoding: bool = False) -> None:
        super().__init__(size)
        self.scale, self.ratio, self.scaled_decoding = scale, ratio, scaled_decoding

    def window(self, height: int, width: int, generator: Generator | None) -> tuple[int, int, int, int]:
        """top, left, height, width; the numbers are drawn on the CPU, since they decide the size of what is read."""
        draws = torch.rand(TRIES, 4, generator=generator, dtype=torch.double).tolist()
        low, high = (math.log(bound) for bound in self.ratio)
        for area, shape, down, right in draws:
            area = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
            shape = math.exp(low + shape * (high - low))
            w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
            if 0 < w <= width and 0 < h <= height:
                return int(down * (height - h + 1)), int(right * (width - w + 1)), h, w
        w = min(width, round(height * self.ratio[1]))
        h = min(height, round(width / self.ratio[0]))
        return (height - h) // 2, (width - w) // 2, h, w

    def image(self, image: Tensor, generator: Generator | None = None) -> Tensor:
        top, left, h, w = self.window(*image.shape[-2:], generator)
        return resize(image[..., top:top + h, left:left + w], self.size)

    def source(self, source: Source, generator: Generator | None = None) -> Tensor:
        """Decodes the window only."""
        window = self.window(*source.size, generator)
        return resize(source.window(*window, self.size if self.scaled_decoding else None), self.size)

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """One by one, since the windows differ; seeds of the images' generators come from ``generator``."""
        if generator and generator.device.type != "cpu":
            generator = torch.Generator().manual_seed(generator.initial_seed())   # the device is not asked
        seeds = torch.randint(2**62, (len(images),), generator=generator).tolist()
        return torch.stack([self.image(image, torch.Generator().manual_seed(seed)) for image, seed in zip(images, seeds)])
