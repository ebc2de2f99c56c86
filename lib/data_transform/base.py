"""The contract every transform follows, and the last step after all of them."""
from collections.abc import Collection, Sequence

from torch import Generator, Tensor, channels_last, memory_format

from lib.utils.part import Part
from lib.utils.registry import Registry

TRANSFORMS = Registry("transform")


class Source:
    """An image whose size is known and whose pixels are not yet decoded.

    Attributes:
        size: height and width.
        name: where it comes from, for messages.
        remarks: what its owner may want to know of it, as the end of "12 images …"; complete once it is decoded.
    """

    size: tuple[int, int]
    name: str = ""
    remarks: Collection[str] = ()

    def pixels(self) -> Tensor:
        """The image, uint8 (3, H, W) in R, G, B."""
        raise NotImplementedError(f"{type(self).__name__} must decode an image")

    def window(self, top: int, left: int, height: int, width: int, target: tuple[int, int] | None = None) -> Tensor:
        """A window of the image, uint8 (3, h, w).

        Args:
            target: height and width to which the window will be reduced. It may come smaller, by a whole factor, as long as it
                is no smaller than that; its edges are then the nearest that the reduced image has. Without ``target`` it is
                exactly the window.
        """
        return self.pixels()[:, top:top + height, left:left + width]


class Transform(Part):
    """A transform of uint8 images: of a batch of one size at once, or of a single image.

    Args:
        size: height and width of what the network sees, INPUT_SIZE.

    Class attributes:
        fixes_size: the result has that size, whatever came in.
        by_class: what it does depends on the class of an image, or on what it has learned; it then overrides ``labelled``, and
            must come after whatever fixes the size.
    """

    fixes_size = False
    by_class = False

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def expect(self, later: Sequence["Transform"]) -> None:
        """Told once which transforms will follow, so that it need not make what they throw away."""

    def remark(self, size: tuple[int, int]) -> str:
        """What the owner of an image of this height and width may want to know, as the end of "12 images …"; mostly nothing."""
        return ""

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """(B, C, H, W) to (B, C, h, w), on any device; ``generator`` is on the same one."""
        raise NotImplementedError(f"{type(self).__name__} must say what it does")

    def labelled(self, images: Tensor, labels: Tensor, generator: Generator | None = None) -> Tensor:
        """``batch`` for images whose classes are known, (B,) on the CPU."""
        return self.batch(images, generator)

    def image(self, image: Tensor, generator: Generator | None = None) -> Tensor:
        """(C, H, W) to (C, h, w)."""
        return self.batch(image[None], generator)[0]

    def source(self, source: Source, generator: Generator | None = None) -> Tensor:
        """(C, h, w) of an image that is not yet decoded; a transform that needs only a part of it decodes no more."""
        return self.image(source.pixels(), generator)


def normalize(images: Tensor, mean: Tensor, std: Tensor, layout: memory_format = channels_last) -> Tensor:
    """(x / 255 − mean) / std of uint8 images (B, C, H, W), in float32; ``mean`` and ``std`` (C,) in units of [0, 1]."""
    scale, shift = 1 / (255 * std), -mean / std
    return images.float().contiguous(memory_format=layout).mul_(scale.view(-1, 1, 1)).add_(shift.view(-1, 1, 1))
