"""Colour transforms and blur."""
from typing import Annotated

import torch
from torch import Generator, Tensor

from lib.data_transform import operations
from lib.data_transform.base import TRANSFORMS, Transform
from lib.utils.options import SHARE, Range

LUMA = (0.2989, 0.587, 0.114)        # weights of R, G, B in grey, as in torchvision (ITU-R 601)
CACHED = 600_000                     # values per piece on a CPU; pieces that exceed its cache are nine times slower (224×224)
STRENGTH = Range(0, 1)


@TRANSFORMS.register("color_jitter")
class ColorJitter(Transform):
    """Colour jitter: brightness, contrast and saturation are multiplied by factors uniform in [1 − strength, 1 + strength], and
    the hue is rotated by a fraction of the colour circle, uniform in [−hue, hue]; one random order per batch.

    The first three blend the image with black, with its mean grey and with its grey version; each result is rounded down to
    uint8, as in torchvision. There the order is drawn for each image, here for a batch, so that an operation runs on the whole
    batch. The channels are R, G, B.

    Args:
        probability: share of the images that are changed; 0.8 in the recipes of contrastive methods.
        brightness, contrast, saturation: strengths.
        hue: at most 0.5; the usual value is 0.1, or 0 as here.
    """

    def __init__(self, size: tuple[int, int], *, probability: Annotated[float, SHARE] = 1.0,
                 brightness: Annotated[float, STRENGTH] = 0.4, contrast: Annotated[float, STRENGTH] = 0.4,
                 saturation: Annotated[float, STRENGTH] = 0.4, hue: Annotated[float, Range(0, 0.5)] = 0.0) -> None:
        super().__init__(size)
        self.probability, self.strengths, self.hue = probability, (brightness, contrast, saturation), hue

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        kinds = 3 + (self.hue > 0)
        drawn = 2 * torch.rand(kinds, len(images), 1, 1, 1, generator=generator, device=images.device) - 1
        factors = torch.stack([1 + strength * own for strength, own in zip(self.strengths, drawn)]
                              + [self.hue * own for own in drawn[3:]])
        host = torch.Generator().manual_seed(generator.initial_seed()) if generator else None   # no synchronisation
        order = torch.randperm(kinds, generator=host).tolist()
        parts = zip(in_cache(images), factors.split(cached(images), dim=1))
        jittered = torch.cat([self.jitter(part, order, own) for part, own in parts])
        return some(images, jittered, self.probability, generator)

    def jitter(self, images: Tensor, order: list[int], factors: Tensor) -> Tensor:
        for number in order:
            images = turn_hue(images, factors[number]) if number == 3 else self.blend(images, number, factors[number])
        return images

    @staticmethod
    def blend(images: Tensor, number: int, factor: Tensor) -> Tensor:
        """Changes brightness (``number`` 0), contrast (1) or saturation (2) by ``factor``."""
        x = images.float()
        if number == 0:
            return x.mul_(factor).clamp_(0, 255).byte()
        red, green, blue = x.unbind(1)
        grey = (LUMA[0] * red).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])[:, None]
        other = grey.floor_().mean(dim=(1, 2, 3), keepdim=True) if number == 1 else grey
        return x.mul_(factor).add_(other * (1 - factor)).clamp_(0, 255).byte()


def turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Rotates the hue of uint8 images by a fraction of the colour circle, (B, 1, 1, 1); value and saturation (HSV) stay."""
    x = images.float() / 255
    high, low = x.amax(dim=1, keepdim=True), x.amin(dim=1, keepdim=True)
    red, green, blue = x.split(1, dim=1)
    chroma = high - low
    safe = torch.where(chroma > 0, chroma, 1)
    sixths = torch.where(high == red, (green - blue) / safe, torch.where(
        high == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)) + 6 * turn
    channels = 5 - 2 * torch.arange(3, device=images.device).view(1, 3, 1, 1)   # where red, green and blue are on the circle
    places = (sixths + channels).remainder(6)
    return ((high - chroma * torch.minimum(places, 4 - places).clamp(0, 1)) * 255).round().byte()


@TRANSFORMS.register("random_grayscale")
class RandomGrayscale(Transform):
    """Each image becomes grey with a probability: (299 R + 587 G + 114 B) / 1000 in all channels, as Pillow rounds it.

    Args:
        probability: 0.2 in the recipes of contrastive methods.
    """

    def __init__(self, size: tuple[int, int], *, probability: Annotated[float, SHARE] = 0.2) -> None:
        super().__init__(size)
        self.probability = probability

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        return some(images, operations.grey(images).to(images.dtype).expand_as(images), self.probability, generator)


@TRANSFORMS.register("gaussian_blur")
class GaussianBlur(Transform):
    """Each image is blurred with a probability, by a Gaussian whose standard deviation is uniform in [0.1, 2] pixels,
    computed as in Pillow.

    Args:
        probability: 0.5 in the recipes of contrastive methods; 0.2 in SADE's views.
    """

    def __init__(self, size: tuple[int, int], *, probability: Annotated[float, SHARE] = 0.5) -> None:
        super().__init__(size)
        self.probability = probability

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        sigmas = 0.1 + 1.9 * torch.rand(len(images), generator=generator, device=images.device)
        parts = zip(in_cache(images), sigmas.split(cached(images)))
        return some(images, torch.cat([operations.gaussian_blur(part, own) for part, own in parts]), self.probability, generator)


def some(images: Tensor, changed: Tensor, probability: float, generator: Generator | None) -> Tensor:
    """Replaces each image by its changed form with a probability; at probability 1 no random number is drawn."""
    if probability == 1:
        return changed
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < probability
    return torch.where(chosen, changed, images)


def cached(images: Tensor) -> int:
    """How many images are changed at once."""
    return max(1, CACHED // images[0].numel()) if images.device.type == "cpu" else len(images)


def in_cache(images: Tensor) -> tuple[Tensor, ...]:
    return images.split(cached(images))
