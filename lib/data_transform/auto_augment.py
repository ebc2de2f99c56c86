"""AutoAugment (the CIFAR-10 policy), RandAugment, random rotation and Cutout."""
from typing import Annotated

import torch
from torch import Generator, Tensor

from lib.data_transform import operations as ops
from lib.data_transform.base import TRANSFORMS, Transform, on_host
from lib.data_transform.operations import Operation
from lib.utils.options import SHARE, Range

GREY = 128      # fills the pixels that come from outside the image
LEVELS = 9      # AutoAugment has the levels 0 to 9
# from the paper's appendix, in the order of the authors' code: operation, probability, level
POLICY = """
invert .1 7, contrast .2 6 | rotate .7 2, translate_x .3 9 | sharpness .8 1, sharpness .9 3 | shear_y .5 8, translate_y .7 9
autocontrast .5 8, equalize .9 2 | shear_y .2 7, posterize .3 7 | color .4 3, brightness .6 7 | sharpness .3 9, brightness .7 9
equalize .6 5, equalize .5 1 | contrast .6 7, sharpness .6 5 | color .7 7, translate_x .5 8 | equalize .3 7, autocontrast .4 8
translate_y .4 3, sharpness .2 6 | brightness .9 6, color .2 8 | solarize .5 2, invert 0 3 | equalize .2 0, autocontrast .6 0
equalize .2 8, equalize .6 4 | color .9 9, equalize .6 6 | autocontrast .8 4, solarize .2 8 | brightness .1 3, color .7 0
solarize .4 5, autocontrast .9 3 | translate_y .9 9, translate_y .7 9 | autocontrast .9 2, solarize .8 3
equalize .8 8, invert .1 3 | translate_y .7 9, autocontrast .9 1
"""
SUB_POLICIES = [[(name, float(probability), int(level)) for name, probability, level in (one.split() for one in pair.split(","))]
                for line in POLICY.strip().splitlines() for pair in line.split("|")]
OPERATIONS = {   # strengths at share 0 and share 1; those of AROUND_ONE are offsets from 1 with a random sign
    "shear_x": Operation(ops.shear_x, 0, 0.3, signed=True, moves=True), "shear_y": Operation(ops.shear_y, 0, 0.3, True, True),
    "translate_x": Operation(ops.translate_x, 0, 150 / 331, True, True, of_side=True),
    "translate_y": Operation(ops.translate_y, 0, 150 / 331, True, True, of_side=True),
    "rotate": Operation(ops.rotate, 0, 30, moves=True), "color": Operation(ops.color, 0, 0.9, signed=True),
    "contrast": Operation(ops.contrast, 0, 0.9, signed=True), "brightness": Operation(ops.brightness, 0, 0.9, signed=True),
    "sharpness": Operation(ops.sharpness, 0, 0.9, signed=True), "posterize": Operation(ops.posterize, 8, 4),
    "solarize": Operation(ops.solarize, 256, 0), "autocontrast": Operation(ops.autocontrast), "equalize": Operation(ops.equalize),
    "invert": Operation(ops.invert),
}
AROUND_ONE = "color", "contrast", "brightness", "sharpness"
NAMES = list(OPERATIONS)


class Policy(Transform):
    """A transform that draws operations for each image and applies them one after the other. It draws on the CPU."""

    def apply(self, images: Tensor, chosen: Tensor, shares: Tensor, host: Generator | None) -> Tensor:
        """Args:
            chosen: index in NAMES of the operation for each turn and image, (turns, B); −1 for none.
            shares: strength of the operation, from 0 (weakest) to 1 (strongest), (turns, B).
        """
        operations = list(OPERATIONS.values())
        values = ops.strengths(operations, chosen.clamp_min(0), shares, host)
        for name in AROUND_ONE:
            values += (chosen == NAMES.index(name)).float()
        values = torch.where(chosen == NAMES.index("posterize"), values.round(), values)
        sides = {NAMES.index("translate_x"): images.shape[3], NAMES.index("translate_y"): images.shape[2]}
        for number, side in sides.items():
            values = torch.where(chosen == number, values * side, values)
        for one, strengths in zip(chosen, values):
            images = ops.apply(images, one, strengths, operations, GREY)
        return images


@TRANSFORMS.register("auto_augment")
class AutoAugment(Policy):
    """AutoAugment's policy for CIFAR-10: one of 25 pairs of operations for each image; each operation has its own probability.

    Level k of 0 … 9 gives k / 9 of the maximum strength: shear up to 0.3, translation up to 150 / 331 of the side, rotation up to
    30° (never negative, as in the authors' code), colour, contrast, brightness and sharpness up to 1 ± 0.9, posterize from 8 down
    to 4 bits, solarize from 256 down to 0. Shear, translation and the offsets from 1 get a random sign. Geometric operations use
    nearest-neighbour interpolation (published: bicubic for shear) and fill with grey 128. Cubuk et al., AutoAugment, CVPR 2019,
    arXiv:1805.09501.
    """

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        host, size = on_host(generator, self), len(images)
        pairs = torch.randint(len(SUB_POLICIES), (size,), generator=host)
        numbers, probabilities, levels = (
            torch.tensor([[of(entry) for entry in pair] for pair in SUB_POLICIES])[pairs].T
            for of in (lambda entry: NAMES.index(entry[0]), lambda entry: entry[1], lambda entry: entry[2]))
        applied = torch.rand(2, size, generator=host) < probabilities
        return self.apply(images, numbers.masked_fill(~applied, -1), levels / LEVELS, host)


@TRANSFORMS.register("rand_augment")
class RandAugment(Policy):
    """RandAugment: ``num`` operations for each image, drawn uniformly from AutoAugment's 14, each with ``probability``.

    The strength is m / 10 of AutoAugment's maximum, with m ~ N(``magnitude``, ``deviation``²) clipped to 0 … 10.
    Cubuk et al., RandAugment, CVPR 2020 workshops, arXiv:1909.13719; probability and deviation as in timm's
    rand-n2-m10-mstd0.5, which has solarize-add as a further operation.

    Args:
        num, magnitude: N and M of the paper.
        deviation: standard deviation of the magnitude.
        probability: probability that a drawn operation is applied.
    """

    def __init__(self, size: tuple[int, int], *, num: Annotated[int, Range(1, 10)] = 2,
                 magnitude: Annotated[float, Range(0, 10)] = 10.0, deviation: Annotated[float, Range(0, 10)] = 0.5,
                 probability: Annotated[float, SHARE] = 0.5) -> None:
        super().__init__(size)
        self.num, self.magnitude, self.deviation, self.probability = num, magnitude, deviation, probability

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        host, shape = on_host(generator, self), (self.num, len(images))
        chosen = torch.randint(len(NAMES), shape, generator=host)
        applied = torch.rand(shape, generator=host) < self.probability
        magnitude = (self.magnitude + self.deviation * torch.randn(shape, generator=host)).clamp(0, 10)
        return self.apply(images, chosen.masked_fill(~applied, -1), magnitude / 10, host)


@TRANSFORMS.register("random_rotation")
class RandomRotation(Transform):
    """Random rotation by an angle uniform in ±``degrees`` (15 in RIDE and SADE), nearest-neighbour, black outside the image."""

    def __init__(self, size: tuple[int, int], *, degrees: Annotated[float, Range(0, 180)] = 15.0) -> None:
        super().__init__(size)
        self.degrees = degrees

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        angles = self.degrees * (2 * torch.rand(len(images), generator=generator, device=images.device) - 1)
        return ops.rotate(images, angles)


@TRANSFORMS.register("cutout")
class Cutout(Transform):
    """Cutout: a square of ``side`` pixels becomes black, with its centre uniform over the pixels; it may extend beyond the image.

    The pixels are set to black before normalisation, as in published code for long-tailed data. DeVries and Taylor, Improved
    Regularization of Convolutional Neural Networks with Cutout, 2017, arXiv:1708.04552.

    Args:
        side: published 16 for CIFAR.
    """

    def __init__(self, size: tuple[int, int], *, side: Annotated[int, Range(0, 8192)] = 16) -> None:
        super().__init__(size)
        self.side = side

    def batch(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        inside = torch.ones((), dtype=torch.bool, device=images.device)
        for dim in (2, 3):
            length = images.shape[dim]
            centre = torch.randint(length, (len(images), 1), generator=generator, device=images.device)
            places = torch.arange(length, device=images.device)
            within = (places >= centre - self.side // 2) & (places < centre + self.side - self.side // 2)
            inside = inside & within.view(len(images), 1, *((-1, 1) if dim == 2 else (1, -1)))
        return images.masked_fill(inside, 0)
