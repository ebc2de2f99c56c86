"""Moves of a foreground: boxes, warps, and pasting, for a batch of images of one size.

Coordinates are those of pixel centres, x to the right and y down, from 0 to width − 1 and height − 1.
"""
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

ROTATE, TRANSLATE, FLIP = range(3)
KINDS = ("rotated and scaled", "translated", "flipped")
ANGLE = math.pi / 4        # rotations go from −45° to 45°
SCALE = (0.8, 1.2)
BORDER = 1e-3              # pixels by which rounding may carry a source over the image's edge


class Moves(NamedTuple):
    """The random moves of a batch of images, (B,) each; values that a kind of move does not need are ignored."""

    kind: Tensor      # ROTATE, TRANSLATE or FLIP
    angle: Tensor     # radians
    scale: Tensor
    right: Tensor     # in [0, 1): place of the translated box among all places inside the image, 0 at the left edge
    down: Tensor      # likewise, 0 at the top

    @classmethod
    def from_uniform(cls, numbers: Tensor) -> "Moves":
        """From uniform numbers in [0, 1), (B, 5): a kind (all equally probable), an angle, a scale and two positions."""
        kind, angle, scale, right, down = numbers.unbind(1)
        low, high = SCALE
        return cls((kind * len(KINDS)).long(), ANGLE * (2 * angle - 1), low + (high - low) * scale, right, down)


def bounding_boxes(masks: Tensor) -> Tensor:
    """left, top, right, bottom of the true pixels, (B, 4), all four inside; masks (B, H, W) have at least one each."""
    edges = []
    for line in (masks.any(dim=1), masks.any(dim=2)):   # columns, rows
        first = line.byte().argmax(dim=1)
        last = line.shape[1] - 1 - line.flip(1).byte().argmax(dim=1)
        edges.append((first, last))
    (left, right), (top, bottom) = edges
    return torch.stack([left, top, right, bottom], dim=1)


def source_maps(moves: Moves, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Where the pixels of a moved image come from: source = A (x, y, 1), with A (B, 2, 3) in float64.

    * rotated by the angle a and scaled by s about the box's centre c: c + R(−a) (p − c) / s;
    * translated by whole pixels, so that the box stays inside, all positions equally probable: p − d;
    * flipped, the whole image: (W − 1 − x, y).

    Args:
        boxes: (B, 4), as of ``bounding_boxes``.
        size: height and width of the images.
    """
    height, width = size
    left, top, right, bottom = boxes.double().unbind(1)
    x, y = (left + right) / 2, (top + bottom) / 2
    cosine, sine = moves.angle.double().cos() / moves.scale, moves.angle.double().sin() / moves.scale
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    dx = (moves.right * (width - right + left)).floor() - left
    dy = (moves.down * (height - bottom + top)).floor() - top
    maps = torch.stack([
        torch.stack([cosine, sine, x - cosine * x - sine * y, -sine, cosine, y + sine * x - cosine * y], dim=1),
        torch.stack([one, zero, -dx, zero, one, -dy], dim=1),
        torch.stack([-one, zero, (width - 1) * one, zero, one, zero], dim=1),
    ])
    return maps[moves.kind, torch.arange(len(x), device=x.device)].view(-1, 2, 3)


def warp(layers: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Bilinear samples of ``layers`` (B, K, H, W) at all pixels' sources, and which of these lie inside the image, (B, H, W)."""
    height, width = layers.shape[2:]
    x = torch.arange(width, device=layers.device, dtype=layers.dtype)
    y = torch.arange(height, device=layers.device, dtype=layers.dtype)[:, None]
    (a, b, c), (d, e, f) = (row.to(layers.dtype)[..., None, None].unbind(1) for row in maps.unbind(1))
    source_x, source_y = a * x + b * y + c, d * x + e * y + f
    inside = ((source_x >= -BORDER) & (source_x <= width - 1 + BORDER)
              & (source_y >= -BORDER) & (source_y <= height - 1 + BORDER))
    grid = torch.stack([2 * source_x / max(width - 1, 1) - 1, 2 * source_y / max(height - 1, 1) - 1], dim=3)
    return F.grid_sample(layers, grid, mode="bilinear", padding_mode="border", align_corners=True), inside


def paste(images: Tensor, masks: Tensor, maps: Tensor) -> Tensor:
    """Pastes the moved image over the original one where the original or the moved foreground is and the warp has a source pixel.

    The whole image moves, so that its old object disappears (as published). One mask serves all channels.

    Args:
        images: uint8 (B, 3, H, W).
        masks: foreground, bool (B, H, W).
        maps: (B, 2, 3), as of ``source_maps``.
    """
    moved, inside = warp(torch.cat([images.float(), masks[:, None].float()], dim=1), maps)
    replaced = (masks | (moved[:, 3] >= 0.5)) & inside
    return torch.where(replaced[:, None], moved[:, :3].round().byte(), images)
