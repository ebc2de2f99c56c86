"""Colour jitter."""
import torch
from torch import Generator, Tensor

from lib.data_transform.base import TRANSFORMS, Transform

STRENGTH = 0.4                       # of brightness, contrast and saturation; hue does not change
LUMA = (0.2989, 0.587, 0.114)        # weights of R, G, B in grey, as in torchvision (ITU-R 601)
CACHED = 600_000                     # values per piece on a CPU; pieces that exceed its cache are nine times slower (224×224)


@TRANSFORMS.register("color_jitter")
class ColorJitter(Transform):
    """Colour jitter: brightness, contrast and saturation are multiplied by factors uniform in [0.6, 1.4], in one random order per
    batch.

    The three blend the image with black, with its mean grey and with its grey version; each result is rounded down to uint8, as
    in torchvision. There the order is drawn for each image, here for a batch, so that an operation runs on the whole batch. The
    channels are R, G, B.
    """

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        factors = 1 + STRENGTH * (2 * torch.rand(3, len(images), 1, 1, 1, generator=generator, device=images.device) - 1)
        host = torch.Generator().manual_seed(generator.initial_seed()) if generator else None   # no synchronisation
        order = torch.randperm(3, generator=host).tolist()
        size = max(1, CACHED // images[0].numel()) if images.device.type == "cpu" else len(images)
        parts = zip(images.split(size), factors.split(size, dim=1))
        return torch.cat([self.jitter(part, order, own) for part, own in parts])

    def jitter(self, images: Tensor, order: list[int], factors: Tensor) -> Tensor:
        for number in order:
            images = self.blend(images, number, factors[number])
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
