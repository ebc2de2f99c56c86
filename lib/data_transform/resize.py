"""Resizing transforms: bilinear with antialiasing, as in PIL."""
import math
import platform
from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lib.data_transform.base import TRANSFORMS, Source, Transform
from lib.data_transform.crop import CenterCrop
from lib.utils.errors import InputError

SHORTER_SIDE = 0.875   # INPUT_SIZE / size before the centre crop, the usual 224 / 256
TRIES = 10             # attempts of random_resized_crop before it uses a centred window
LONG = 16              # if a centre crop needs less than 1/16 of an image's length, the image is cut before it is resized
MOST_PIXELS = 100_000_000   # of a resized image
MOST_BETWEEN = 2**25   # pixels of the intermediate image, which is resized in width only


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes uint8 images from (..., H, W) to (..., *size)."""
    height, width = images.shape[-2:]
    if (height, width) == tuple(size):
        return images
    if height * size[1] > MOST_BETWEEN and size[0] < height:   # height first: a column one pixel wide would take gigabytes
        images = interpolate(images, (size[0], width))
    return interpolate(images, size)


def interpolate(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bit-identical to torchvision's v2.functional.resize, whose import would take 2 seconds."""
    if not images.numel() or tuple(images.shape[-2:]) == tuple(size):
        return images.reshape(*images.shape[:-2], *size)
    flat = images.reshape(-1, *images.shape[-3:])
    if len(flat) == 1 and flat.is_contiguous(memory_format=torch.channels_last):
        flat = flat.as_strided(flat.shape, (flat.numel(), *flat.stride()[1:]))   # avoids two copies in torch
    in_bytes = images.device.type == "cpu" and has_byte_kernel()
    resized = F.interpolate(flat if in_bytes else flat.float(), size, mode="bilinear", align_corners=False, antialias=True)
    return (resized if in_bytes else resized.round_().to(torch.uint8)).reshape(*images.shape[:-2], *size)


@cache
def has_byte_kernel() -> bool:
    """Whether torch resizes uint8 on this processor faster than float32."""
    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512") or platform.machine() in ("aarch64", "arm64")


def covering_size(shape: Sequence[int], target: Sequence[int]) -> tuple[int, int]:
    """The smallest height and width that cover ``target`` and keep the aspect ratio of ``shape``; the longer side is rounded
    down."""
    height, width = shape
    if target[0] * width >= target[1] * height:
        return target[0], target[0] * width // height
    return target[1] * height // width, target[1]


@TRANSFORMS.register("normal_resize")
class Resize(Transform):
    """Resizes images to INPUT_SIZE; the aspect ratio is not kept."""

    fixes_size = True

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        return resize(images, self.size)


@TRANSFORMS.register("shorter_resize_for_crop")
class ShorterResize(Transform):
    """Resizes images to the smallest size that covers int(INPUT_SIZE / 0.875) in height and width, and keeps their aspect ratio.

    For a square INPUT_SIZE the shorter side becomes int(side / 0.875), as published.

    Attributes:
        for_center: a centre crop follows, so only the middle of a very long image is resized. The pixels are the same as those of
            the whole resized image, except that positions may differ by less than a tenth of a pixel.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__(size)
        self.target = tuple(int(side / SHORTER_SIDE) for side in size)
        self.for_center = False

    def expect(self, later: Sequence[Transform]) -> None:
        fixing = [transform for transform in later if transform.fixes_size]
        self.for_center = bool(fixing) and isinstance(fixing[0], CenterCrop)

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        if self.for_center:
            images = self.middle(images)
        shape = tuple(images.shape[-2:])
        size = covering_size(shape, self.target)
        if size[0] * size[1] > MOST_PIXELS:
            raise InputError(f"shorter_resize_for_crop: an image of {list(shape)} pixels would become one of {list(size)}; put "
                             "center_crop after it, so that only the middle is resized, or use normal_resize")
        return resize(images, size)

    def middle(self, images: Tensor) -> Tensor:
        """Cuts the two ends off very long images.

        The ends together are a multiple of 4 times the other side, so that the resized image loses a multiple of 4 pixels; its
        scale, its centre and the rounding of the crop's position do not change.
        """
        shape = images.shape[-2:]
        size = covering_size(shape, self.target)
        for dim in (0, 1):
            length, other = shape[dim], shape[1 - dim]
            needed = -(-length * LONG * self.size[dim] // size[dim])
            end = (length - needed) // (4 * other) * 2 * other
            if end > 0:
                images = images.narrow(dim - 2, end, length - 2 * end)
        return images


@TRANSFORMS.register("random_resized_crop")
class RandomResizedCrop(Transform):
    """Random resized crop: a window of random area and aspect ratio, resized to INPUT_SIZE.

    The area, as a share of the image, is uniform in ``scale``; log(width / height) is uniform between the logarithms of
    ``ratio``; the position is uniform. If ten such windows do not fit into the image, the largest centred window within ``ratio``
    is used. Szegedy et al., Going Deeper with Convolutions, CVPR 2015, arXiv:1409.4842, section 6.

    Args:
        scale: lower and upper bound of the area, as a share of the image.
        ratio: lower and upper bound of width / height.
        scaled_decoding: if a JPEG's window is at least twice INPUT_SIZE, it is decoded at 1/2, 1/4 or 1/8 of its size, but not
            smaller than INPUT_SIZE. If False, the result is bit-identical to decoding the whole image.
    """

    fixes_size = True

    def __init__(self, size: tuple[int, int], *, scale: tuple[float, float] = (0.08, 1.0),
                 ratio: tuple[float, float] = (3 / 4, 4 / 3), scaled_decoding: bool = False) -> None:
        super().__init__(size)
        self.scale, self.ratio, self.scaled_decoding = scale, ratio, scaled_decoding

    def window(self, height: int, width: int, generator: Generator | None) -> tuple[int, int, int, int]:
        """Top, left, height and width of the window, drawn on the CPU, since they determine which pixels are decoded."""
        draws = torch.rand(TRIES, 4, generator=generator, dtype=torch.double).tolist()
        low, high = (math.log(bound) for bound in self.ratio)
        for area, shape, down, right in draws:
            area = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
            shape = math.exp(low + shape * (high - low))
            w = round(min(math.sqrt(area * shape), width + 1))   # an extreme shape may be infinite
            h = round(min(math.sqrt(area / shape), height + 1))
            if 0 < w <= width and 0 < h <= height:
                return int(down * (height - h + 1)), int(right * (width - w + 1)), h, w
        w = max(1, round(min(width, height * self.ratio[1])))   # at least one pixel, even if the ratio is then outside the bounds
        h = max(1, round(min(height, width / self.ratio[0])))
        return (height - h) // 2, (width - w) // 2, h, w

    def image(self, image: Tensor, generator: Generator | None = None) -> Tensor:
        top, left, h, w = self.window(image.shape[-2], image.shape[-1], generator)
        return resize(image[..., top:top + h, left:left + w], self.size)

    def source(self, source: Source, generator: Generator | None = None) -> Tensor:
        """Decodes the window only."""
        window = self.window(*source.size, generator)
        return resize(source.window(*window, self.size if self.scaled_decoding else None), self.size)

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Each image gets its own window, from a generator whose seed is drawn from ``generator``.

        On the CPU the images are resized one by one. On another device they are resized all at once, since many small kernels
        would take longer than the training step; pixels may then differ by one level.
        """
        if generator and generator.device.type != "cpu":
            generator = torch.Generator().manual_seed(generator.initial_seed())   # no synchronisation with the device
        seeds = torch.randint(2**62, (len(images),), generator=generator).tolist()
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        if images.device.type == "cpu":
            return torch.stack([self.image(image, draw) for image, draw in zip(images, draws)])
        boxes = torch.tensor([self.window(images.shape[-2], images.shape[-1], draw) for draw in draws])
        return resize_windows(images, boxes.to(images.device, non_blocking=True), self.size)


def resize_windows(images: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes a window of each uint8 image (B, C, H, W) to ``size``, with antialiasing like ``resize``.

    Bilinear resizing is linear and separable, so the result is A X Bᵀ, with a matrix A for the rows and B for the columns.

    Args:
        boxes: top, left, height, width of each window in pixels, (B, 4).
    """
    top, left, height, width = boxes.float().unbind(1)
    rows = triangle_weights(top, height, images.shape[2], size[0])
    columns = triangle_weights(left, width, images.shape[3], size[1])
    resized = rows[:, None] @ images.float() @ columns[:, None].mT
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def triangle_weights(start: Tensor, length: Tensor, full: int, size: int) -> Tensor:
    """Weight of each of the ``full`` input pixels in each of the ``size`` output pixels, (B, size, full); rows sum to 1.

    Pixel j of the window [start, start + length) has the weight max(0, 1 − |j + 1/2 − c| / max(s, 1)) for output i, where
    s = length / size and c = start + (i + 1/2) s: a triangle as wide as an output pixel, never narrower than an input pixel.
    """
    scale = (length / size)[:, None, None]
    pixels = torch.arange(full, device=start.device) + 0.5
    outputs = (torch.arange(size, device=start.device) + 0.5)[None, :, None]
    start, end = start[:, None, None], (start + length)[:, None, None]
    weights = (1 - (pixels - start - outputs * scale).abs() / scale.clamp_min(1)).clamp_min(0)
    weights = torch.where((pixels > start) & (pixels < end), weights, 0)
    return weights / weights.sum(dim=2, keepdim=True)
