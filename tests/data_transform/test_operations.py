"""Operations on batches against Pillow's, image by image."""
import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from sklearn.datasets import load_sample_images

from lib.data_transform import operations as ops
from lib.data_transform.operations import Operation

TEMPLE, FLOWER = (Image.fromarray(photograph).resize((64, 48)) for photograph in load_sample_images().images)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
PICTURES = [TEMPLE, FLOWER, NOISE]


def tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


IMAGES = torch.stack([tensor(picture) for picture in PICTURES])


def turned(picture: Image.Image, matrix: tuple[float, ...], fill: int) -> Image.Image:
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=(fill,) * 3)


def zoomed(picture: Image.Image, value: float) -> Image.Image:
    width, height = picture.size
    large = picture.resize((int(width * value), int(height * value)), Image.Resampling.LANCZOS)
    left, top = (round((one - other) / 2) for one, other in zip(large.size, picture.size))
    return large.crop((left, top, left + width, top + height))


EXACT = {   # function, Pillow's form of it, values
    "mirror": (ops.mirror, lambda p, v: ImageOps.mirror(p), [0]), "flip": (ops.flip, lambda p, v: ImageOps.flip(p), [0]),
    "invert": (ops.invert, lambda p, v: ImageOps.invert(p), [0]),
    "solarize": (ops.solarize, lambda p, v: ImageOps.solarize(p, v), [0, 8.5, 128, 256]),
    "posterize": (ops.posterize, lambda p, v: ImageOps.posterize(p, max(1, int(v))), [0.4, 1, 2.9, 4, 8]),
    "smooth": (ops.smooth, lambda p, v: p.filter(ImageFilter.SMOOTH), [0]),
    "edges": (ops.enhance_edges, lambda p, v: p.filter(ImageFilter.EDGE_ENHANCE), [0]),
    "equalize": (ops.equalize, lambda p, v: ImageOps.equalize(p), [0]),
    "shear_x": (ops.shear_x, lambda p, v: turned(p, (1, v, 0, 0, 1, 0), 0), [0.3, -0.13]),
    "shear_y": (ops.shear_y, lambda p, v: turned(p, (1, 0, 0, v, 1, 0), 0), [0.3, -0.13]),
    "translate_x": (ops.translate_x, lambda p, v: turned(p, (1, 0, v, 0, 1, 0), 0), [7, -3, 100]),
    "translate_y": (ops.translate_y, lambda p, v: turned(p, (1, 0, 0, 0, 1, v), 0), [7, -3, 100]),
}
NEAR = {
    "detail": (ops.detail, lambda p, v: p.filter(ImageFilter.DETAIL), [0]),   # sixths, whose ties Pillow rounds either way
    "autocontrast": (ops.autocontrast, lambda p, v: ImageOps.autocontrast(p), [0]),
    "color": (ops.color, lambda p, v: ImageEnhance.Color(p).enhance(v), [0.1, 0.7, 1.0, 1.9]),
    "contrast": (ops.contrast, lambda p, v: ImageEnhance.Contrast(p).enhance(v), [0.1, 0.7, 1.0, 1.9]),
    "brightness": (ops.brightness, lambda p, v: ImageEnhance.Brightness(p).enhance(v), [0.1, 0.7, 1.0, 1.9]),
    "sharpness": (ops.sharpness, lambda p, v: ImageEnhance.Sharpness(p).enhance(v), [0.1, 0.7, 1.0, 1.9]),
    "blur": (ops.gaussian_blur, lambda p, v: p.filter(ImageFilter.GaussianBlur(v)), [0.3, 0.667, 1.3, 2.0]),
    "zoom": (ops.zoom, zoomed, [1.1, 1.25, 1.5]),
}


def both(name: str, value: float, table: dict) -> tuple[torch.Tensor, torch.Tensor]:
    function, pillow, _ = table[name]
    made = function(IMAGES, torch.full((3,), float(value)))
    return made.int(), torch.stack([tensor(pillow(picture, value)) for picture in PICTURES]).int()


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (*_, values) in EXACT.items() for value in values])
def test_the_same_pixels_as_pillow(name, value):
    made, expected = both(name, value, EXACT)
    assert torch.equal(made, expected)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (*_, values) in NEAR.items() for value in values])
def test_within_two_grey_levels_of_pillow(name, value):
    made, expected = both(name, value, NEAR)
    assert (made - expected).abs().max() <= 2
    assert (made != expected).float().mean() < 0.2


@pytest.mark.parametrize("value", [5.0, -17.0, 30.0])
def test_rotation_is_pillow_s_but_for_ties(value):
    made = ops.rotate(IMAGES, torch.full((3,), value), fill=128)
    expected = torch.stack([tensor(picture.rotate(value, fillcolor=(128,) * 3)) for picture in PICTURES])
    assert (made != expected).any(dim=1).float().mean() < 0.005


def test_solarize_add():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 256).expand(1, 3, 1, 256)
    made = ops.solarize_add(levels, torch.tensor([100.7]))[0, 0, 0]
    assert made[:28].tolist() == list(range(100, 128))
    assert made[28:].tolist() == [255 - min(level + 100, 255) for level in range(28, 256)]


def test_channels_of_one_level_stay():
    flat = torch.full((2, 3, 4, 4), 77, dtype=torch.uint8)
    for function in (ops.equalize, ops.autocontrast, ops.smooth, ops.gaussian_blur):
        assert torch.equal(function(flat, torch.ones(2)), flat)


def test_every_image_has_its_own_strength_and_operation():
    operations = [Operation(ops.brightness, 0.1, 1.9), Operation(ops.rotate, 0, 30, signed=True, moves=True)]
    values = torch.tensor([0.5, 20.0, 1.5])
    made = ops.apply(IMAGES, torch.tensor([0, 1, -1]), values, operations, fill=9)
    assert torch.equal(made[:1], ops.brightness(IMAGES[:1], values[:1]))
    assert torch.equal(made[1:2], ops.rotate(IMAGES[1:2], values[1:2], fill=9))
    assert torch.equal(made[2], IMAGES[2])
    chosen = torch.tensor([0, 1]).repeat(500)
    drawn = ops.strengths(operations, chosen, torch.full((1000,), 0.5), torch.Generator().manual_seed(0))
    assert set(drawn[chosen == 0].tolist()) == {1.0}
    assert set(drawn[chosen == 1].tolist()) == {15.0, -15.0}
    assert drawn[chosen == 1].mean().abs() < 2
