"""Changes of colour."""
import torch
from torch import Generator, Tensor

from lib.data_transform.base import TRANSFORMS, Transform

STRENGTH = 0.4                       # of brightness, contrast and saturation; hue stays
LUMA = (0.2989, 0.587, 0.114)        # grey of R, G, B as in torchvision (ITU-R 601)


@TRANSFORMS.register("color_jitter")
class ColorJitter(Transform):
    """Brightness, contrast and saturation each times a factor uniform in [0.6, 1.4], in one random order per batch.

    Blends of the image with black, with its mean grey, and with its own grey, rounded down to uint8 after each, as in
    torchvision; there the order is drawn for each image, here for a batch, so that all images share each operation.
    Channels are R, G, B.
    """

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        factors = 1 + STRENGTH * (2 * torch.rand(3, len(images), 1, 1, 1, generator=generator, device=images.device) - 1)
        host = torch.Generator().manual_seed(generator.initial_seed()) if generator else None   # the device is not asked
        for number in torch.randperm(3, generator=host).tolist():
            images = self.blend(images, number, factors[number])
        return images

    @staticmethod
    def blend(images: Tensor, number: int, factor: Tensor) -> Tensor:
        """0 brightness, 1 contrast, 2 saturation."""
        x = images.float()
        if number == 0:
            other = torch.zeros((), device=images.device)
        else:
            other = sum(weight * x[:, channel, None] for channel, weight in enumerate(LUMA))
            other = other.floor().mean(dim=(1, 2, 3), keepdim=True) if number == 1 else other
        return (factor * x + (1 - factor) * other).clamp_(0, 255).byte()
