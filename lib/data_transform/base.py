"""The contract every transform follows, and the normalisation after all of them."""
import zlib
from collections.abc import Collection, Sequence

from torch import Generator, Tensor, channels_last, memory_format

from lib.utils.part import Part
from lib.utils.registry import Registry
from lib.utils.seed import spawn_seeds

TRANSFORMS = Registry("transform")


class Source:
    """An image whose size is known, but whose pixels are not decoded yet.

    Attributes:
        size: height and width.
        name: where it comes from, for messages.
        remarks: notes about the image for the user, each as the end of a sentence "12 images …"; complete after decoding.
    """

    size: tuple[int, int]
    name: str = ""
    remarks: Collection[str] = ()

    def pixels(self) -> Tensor:
        """The image, uint8 (3, H, W) in R, G, B."""
        raise NotImplementedError(f"{type(self).__name__} must implement pixels")

    def window(self, top: int, left: int, height: int, width: int, target: tuple[int, int] | None = None) -> Tensor:
        """A window of the image, uint8 (3, h, w).

        Args:
            target: height and width to which the window will be resized afterwards. The result may then be smaller than the
                window by an integer factor, but not smaller than ``target``, with its edges rounded to the pixels of the reduced
                image. Without ``target`` the result is exactly the window.
        """
        return self.pixels()[:, top:top + height, left:left + width]


class Transform(Part):
    """A transform of uint8 images: of a batch whose images have the same size, or of a single image.

    Args:
        size: height and width of the network's input, INPUT_SIZE.

    Class attributes:
        fixes_size: the result always has this size.
        by_class: its effect depends on the class of an image, or on what it has learned; it then overrides ``labelled``, and
            must come after a transform that fixes the size.
    """

    fixes_size = False
    by_class = False

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def expect(self, later: Sequence["Transform"]) -> None:
        """Called once with the transforms that follow, so that the transform can skip work whose result they discard."""

    def remark(self, size: tuple[int, int]) -> str:
        """A note to the user about an image of this height and width, as the end of a sentence "12 images …"; usually empty."""
        return ""

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """(B, C, H, W) to (B, C, h, w), on any device; ``generator`` is on the same device."""
        raise NotImplementedError(f"{type(self).__name__} must implement batch")

    def labelled(self, images: Tensor, labels: Tensor, generator: Generator | None = None) -> Tensor:
        """Like ``batch``, for images whose labels are known, (B,) on the CPU."""
        return self.batch(images, generator)

    def image(self, image: Tensor, generator: Generator | None = None) -> Tensor:
        """(C, H, W) to (C, h, w)."""
        return self.batch(image[None], generator)[0]

    def source(self, source: Source, generator: Generator | None = None) -> Tensor:
        """(C, h, w) from an image that is not decoded yet; a transform that needs only a part of it decodes only that part."""
        return self.image(source.pixels(), generator)


def on_host(generator: Generator | None, transform: Transform) -> Generator | None:
    """A CPU generator for the draws of one transform, without synchronisation with the device of ``generator``.

    It depends on the seed of ``generator`` and on the class of the transform. With the seed alone it would repeat, on a CPU, the
    numbers that other transforms draw from ``generator``: RandAugment would then change exactly the images that were flipped.
    """
    if generator is None:
        return None
    key = zlib.crc32(type(transform).__name__.encode())
    return Generator().manual_seed(spawn_seeds((generator.initial_seed(), key), 1)[0])


def normalize(images: Tensor, mean: Tensor, std: Tensor, layout: memory_format = channels_last) -> Tensor:
    """(x / 255 − mean) / std of uint8 images (B, C, H, W), in float32; ``mean`` and ``std`` (C,) in units of [0, 1]."""
    scale, shift = 1 / (255 * std), -mean / std
    return images.float().contiguous(memory_format=layout).mul_(scale.view(-1, 1, 1)).add_(shift.view(-1, 1, 1))
