"""Image operations on batches of uint8 images; each image has its own strength. Results differ from Pillow's by at most 2 levels.

Every function takes images (B, 3, H, W) and values (B,) in Pillow's units, and returns images (B, 3, H, W); operations without
a strength ignore ``values``. Geometric operations use nearest-neighbour interpolation; pixels from outside the image get the grey
level ``fill``.
"""
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Function = Callable[..., Tensor]
SMOOTH = (1, 1, 1, 1, 5, 1, 1, 1, 1), 13
DETAIL = (0, -1, 0, -1, 10, -1, 0, -1, 0), 6
EDGES = (-1, -1, -1, -1, 10, -1, -1, -1, -1), 2
PASSES, REACH = 3, 2   # a Gaussian blur is three box blurs; half width of their kernels for radii up to 2


class Operation(NamedTuple):
    """An operation whose strength goes from ``low`` to ``high``."""

    function: Function
    low: float = 0.0
    high: float = 0.0
    signed: bool = False   # the strength gets a random sign
    moves: bool = False    # a geometric operation, which takes ``fill``
    of_side: bool = False  # the strength is a share of the image's side, not a number of pixels


def shaped(values: Tensor) -> Tensor:
    return values.float().view(-1, 1, 1, 1)


def to_bytes(values: Tensor) -> Tensor:
    """Converts to uint8, rounding down as Pillow does."""
    return values.clamp(0, 255).to(torch.uint8)


def mirror(images: Tensor, values: Tensor) -> Tensor:
    return images.flip(3)


def flip(images: Tensor, values: Tensor) -> Tensor:
    return images.flip(2)


def invert(images: Tensor, values: Tensor) -> Tensor:
    return 255 - images


def solarize(images: Tensor, values: Tensor) -> Tensor:
    """Inverts all grey levels that are at least the value."""
    return torch.where(images >= shaped(values), 255 - images, images)


def solarize_add(images: Tensor, values: Tensor) -> Tensor:
    """Adds the value, rounded down, then inverts all grey levels that are at least 128."""
    brighter = (images + shaped(values).floor()).clamp(max=255).to(torch.uint8)
    return torch.where(brighter >= 128, 255 - brighter, brighter)


def posterize(images: Tensor, values: Tensor) -> Tensor:
    """Keeps the highest bits of each grey level; the value is their number, 1 to 8."""
    step = 2 ** (8 - shaped(values).floor().clamp(1, 8))
    return to_bytes((images / step).floor() * step)


def grey(images: Tensor) -> Tensor:
    """Grey value of each pixel, (B, 1, H, W): (299 R + 587 G + 114 B) / 1000 in Pillow's integer arithmetic."""
    red, green, blue = images.int().unbind(1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16)[:, None]


def blend(images: Tensor, other: Tensor, values: Tensor) -> Tensor:
    """other + value · (image − other)."""
    return to_bytes(other + shaped(values) * (images.float() - other))


def color(images: Tensor, values: Tensor) -> Tensor:
    return blend(images, grey(images).float(), values)


def contrast(images: Tensor, values: Tensor) -> Tensor:
    return blend(images, (grey(images).double().mean((2, 3), keepdim=True) + 0.5).floor().float(), values)


def brightness(images: Tensor, values: Tensor) -> Tensor:
    return blend(images, torch.zeros((), device=images.device), values)


def sharpness(images: Tensor, values: Tensor) -> Tensor:
    return blend(images, filtered(images, *SMOOTH).float(), values)


def smooth(images: Tensor, values: Tensor) -> Tensor:
    return filtered(images, *SMOOTH)


def detail(images: Tensor, values: Tensor) -> Tensor:
    return filtered(images, *DETAIL)


def enhance_edges(images: Tensor, values: Tensor) -> Tensor:
    return filtered(images, *EDGES)


def filtered(images: Tensor, kernel: tuple[int, ...], divisor: int) -> Tensor:
    """Applies a 3×3 filter and rounds; the outermost pixels do not change."""
    height, width = images.shape[2:]
    if min(height, width) < 3:
        return images
    whole, total = images.int(), torch.zeros_like(images[:, :, 1:-1, 1:-1], dtype=torch.int32)
    for place, weight in enumerate(kernel):
        top, left = divmod(place, 3)
        if weight:
            total = total + weight * whole[:, :, top:top + height - 2, left:left + width - 2]
    result = images.clone()
    result[:, :, 1:-1, 1:-1] = to_bytes((total / divisor + 0.5).floor())
    return result


def autocontrast(images: Tensor, values: Tensor) -> Tensor:
    """Stretches each channel linearly to the range 0 to 255."""
    low, high = images.amin((2, 3), keepdim=True).double(), images.amax((2, 3), keepdim=True).double()
    scale = 255 / (high - low).clamp_min(1)
    return torch.where(high > low, to_bytes(images * scale - low * scale + 1e-9), images)


def equalize(images: Tensor, values: Tensor) -> Tensor:
    """Equalizes the histogram of each channel: step = (number of pixels − number at the brightest level) // 255, lut[i] =
    (step // 2 + number of pixels darker than i) // step; if step is 0, the channel does not change."""
    flat = images.flatten(2)
    levels = torch.arange(257, device=images.device, dtype=torch.int32)
    ordered = flat.int().sort(dim=2).values.contiguous()
    below = torch.searchsorted(ordered, levels.expand(*flat.shape[:2], -1).contiguous())   # pixels darker than each level
    pixels = flat.shape[2]
    brightest = ordered[:, :, -1:].long()
    step = below.gather(2, brightest).div(255, rounding_mode="floor")   # counts all pixels but those at the brightest level
    table = (step.div(2, rounding_mode="floor") + below[:, :, :256]).div(step.clamp_min(1), rounding_mode="floor").clamp(max=255)
    changed = table.gather(2, flat.long()).to(torch.uint8).view_as(images)
    return torch.where((step > 0)[..., None], changed, images) if pixels else images


def gaussian_blur(images: Tensor, values: Tensor) -> Tensor:
    """Gaussian blur with standard deviation ``values``, 0 to 2, as three box blurs of fractional width, like Pillow."""
    variance = values.float().clamp(0, 2) ** 2 / PASSES
    whole = ((torch.sqrt(12 * variance + 1) - 1) / 2).floor()
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    weight = 1 / (2 * (whole + part) + 1)
    edge = (1 - (2 * whole + 1) * weight) / 2
    places = torch.arange(-REACH, REACH + 1, device=images.device).abs()
    kernel = torch.where(places <= whole[:, None], weight[:, None], torch.where(places == whole[:, None] + 1, edge[:, None], 0))
    for dim in (3, 2):
        for _ in range(PASSES):
            pad = [REACH, REACH, 0, 0] if dim == 3 else [0, 0, REACH, REACH]
            padded = F.pad(images.float(), pad, mode="replicate")
            shifted = [padded.narrow(dim, place, images.shape[dim]) for place in range(2 * REACH + 1)]
            weighted = torch.stack([shaped(kernel[:, place]) * one for place, one in enumerate(shifted)])
            images = to_bytes((weighted.sum(dim=0) + 0.5).floor())
    return images


def zoom(images: Tensor, values: Tensor) -> Tensor:
    """Enlarges by the factor ``values`` with a Lanczos filter, and crops the centre to the original size."""
    resized = images.float()
    for dim in (3, 2):   # Pillow's order, which matters because values are clipped in between
        matrix = lanczos(images.shape[dim], (images.shape[dim] * values.float()).floor())
        resized = matrix[:, None] @ resized if dim == 2 else resized @ matrix[:, None].mT
        resized = resized.round().clamp(0, 255)
    return resized.to(torch.uint8)


def lanczos(side: int, enlarged: Tensor) -> Tensor:
    """Weights (B, side, side) from ``side`` pixels to the central ``side`` pixels of the enlarged image; rows sum to 1.

    Args:
        enlarged: side of the enlarged image, (B,).
    """
    first = ((enlarged - side) / 2).round()[:, None, None]
    pixels = torch.arange(side, device=enlarged.device) + 0.5
    centres = (first + pixels[:, None]) * side / enlarged[:, None, None]
    distance = pixels - centres
    weights = torch.where(distance.abs() < 3, torch.sinc(distance) * torch.sinc(distance / 3), 0)
    return weights / weights.sum(dim=2, keepdim=True)


def warped(images: Tensor, matrix: Tensor, fill: int) -> Tensor:
    """Affine transform, nearest-neighbour: the pixel at (x, y) is read at A (x + ½, y + ½, 1), rounded down; A (B, 2, 3)."""
    height, width = images.shape[2:]
    y, x = (torch.arange(side, device=images.device, dtype=torch.double) + 0.5 for side in (height, width))
    points = torch.stack([x.expand(height, width), y[:, None].expand(height, width), torch.ones_like(x).expand(height, width)])
    source = torch.einsum("bij,jhw->bihw", matrix.double(), points).floor().long()
    inside = (source[:, 0] >= 0) & (source[:, 0] < width) & (source[:, 1] >= 0) & (source[:, 1] < height)
    places = (source[:, 1].clamp(0, height - 1) * width + source[:, 0].clamp(0, width - 1)).flatten(1)
    taken = images.flatten(2).gather(2, places[:, None].expand(-1, images.shape[1], -1)).view_as(images)
    return torch.where(inside[:, None], taken, fill)


def affine(values: Tensor, **entries: Tensor) -> Tensor:
    """The identity matrix with some entries replaced: ``xx``, ``xy``, ``x`` in the first row, ``yx``, ``yy``, ``y`` in the
    second."""
    one, zero = torch.ones_like(values, dtype=torch.double), torch.zeros_like(values, dtype=torch.double)
    usual = {"xx": one, "xy": zero, "x": zero, "yx": zero, "yy": one, "y": zero}
    rows = [entries.get(name, value) for name, value in usual.items()]
    return torch.stack(rows, dim=1).view(-1, 2, 3)


def shear_x(images: Tensor, values: Tensor, fill: int = 0) -> Tensor:
    return warped(images, affine(values, xy=values.double()), fill)


def shear_y(images: Tensor, values: Tensor, fill: int = 0) -> Tensor:
    return warped(images, affine(values, yx=values.double()), fill)


def translate_x(images: Tensor, values: Tensor, fill: int = 0) -> Tensor:
    return warped(images, affine(values, x=values.double()), fill)


def translate_y(images: Tensor, values: Tensor, fill: int = 0) -> Tensor:
    return warped(images, affine(values, y=values.double()), fill)


def rotate(images: Tensor, values: Tensor, fill: int = 0) -> Tensor:
    """Rotates counter-clockwise about the centre, by ``values`` in degrees."""
    angle = -values.double() * (math.pi / 180)
    cos, sin = angle.cos(), angle.sin()
    height, width = images.shape[2:]
    x, y = width / 2, height / 2
    return warped(images, affine(values, xx=cos, xy=sin, x=x - cos * x - sin * y, yx=-sin, yy=cos, y=y + sin * x - cos * y), fill)


def strengths(operations: Sequence[Operation], chosen: Tensor, shares: Tensor, generator: Generator | None) -> Tensor:
    """The strength low + (high − low) · share of the chosen operations, with a random sign if ``signed``; all on the CPU."""
    low = torch.tensor([operation.low for operation in operations])
    span = torch.tensor([operation.high - operation.low for operation in operations])
    signed = torch.tensor([operation.signed for operation in operations])
    signs = torch.where(signed[chosen] & (torch.rand(chosen.shape, generator=generator) < 0.5), -1.0, 1.0)
    return signs * (low[chosen] + span[chosen] * shares)


def apply(images: Tensor, chosen: Tensor, values: Tensor, operations: Sequence[Operation], fill: int = 0) -> Tensor:
    """Applies one operation to each image.

    Args:
        chosen: number of the operation for each image, (B,), −1 for none; on the CPU, which avoids a synchronisation.
        values: strengths, (B,), on the CPU.
    """
    images = images.clone()
    for number in sorted(set(chosen.tolist()) - {-1}):
        operation = operations[number]
        places = (chosen == number).nonzero().flatten()
        strengths = values[places].float().to(images.device, non_blocking=True)
        places = places.to(images.device, non_blocking=True)
        more = {"fill": fill} if operation.moves else {}
        images[places] = operation.function(images[places], strengths, **more)
    return images
