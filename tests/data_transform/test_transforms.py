"""Batched transforms against plain loops, and the reference library where it has the same operation."""
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from lib.data_transform import TRANSFORMS, normalize
from lib.data_transform.color import ColorJitter, turn_hue
from lib.data_transform.crop import windows
from lib.data_transform.resize import covering_size, resize, resize_windows
from lib.utils.errors import InputError

IMAGES = torch.randint(256, (16, 3, 12, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
OPTIONS = {"random_crop": {"padding": 4}, "random_resized_crop": {"scale": (0.08, 1.0), "ratio": (0.75, 4 / 3)}}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(name: str, size=(8, 8)):
    return TRANSFORMS[name](size, **OPTIONS.get(name, {}))


def test_windows_are_those_of_a_plain_loop():
    top, left = (torch.randint(n, (16, 1), generator=generator(n)) for n in (9, 7))
    cut = windows(IMAGES, top, left, (12, 12), padding=4)
    for image, y, x, window in zip(IMAGES.numpy(), top.flatten(), left.flatten(), cut.numpy()):
        padded = np.pad(image, ((0, 0), (4, 4), (4, 4)))
        assert np.array_equal(window, padded[:, y:y + 12, x:x + 12])


def test_random_crop_reaches_every_place_and_no_other():
    """Each pixel holds its own position, so a crop without padding tells its corner."""
    image = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4).expand(4000, 3, 4, 4)
    corners = TRANSFORMS["random_crop"]((2, 3), padding=0).batch(image, generator())[:, 0, 0, 0]
    counts = torch.bincount(corners.long(), minlength=16)
    legal = [0, 1, 4, 5, 8, 9]   # 3 rows × 2 columns
    assert counts[legal].min() > 550
    assert counts.sum() == counts[legal].sum()


def test_random_crop_pads_with_black():
    crop = TRANSFORMS["random_crop"]((20, 18), padding=4).batch(torch.full((1, 3, 12, 10), 9, dtype=torch.uint8), generator())
    assert crop.long().sum() == 9 * 3 * 12 * 10
    assert (crop[:, :, :4] == 0).all()


def test_an_image_too_small_for_the_window_is_an_error():
    with pytest.raises(InputError, match=r"INPUT_SIZE \[32, 32\]"):
        TRANSFORMS["random_crop"]((32, 32), padding=4).batch(IMAGES, generator())


def test_flip_mirrors_half_of_the_images_and_leaves_the_others():
    images = torch.randint(256, (2000, 3, 2, 3), dtype=torch.uint8, generator=generator())
    flipped = build("random_horizontal_flip").batch(images, generator())
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    same = (flipped == images).flatten(1).all(1)
    assert (mirrored | same).all()
    assert 900 < mirrored.sum() < 1100


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_result_is_uint8_and_decided_by_the_generator(name):
    first, again, other = (build(name).batch(IMAGES, generator(seed)) for seed in (1, 1, 2))
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert torch.equal(first, other) != name.startswith(("random_", "color_", "auto_", "rand_", "cutout", "gaussian_"))


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_one_image_is_a_batch_of_one(name):
    if name == "random_resized_crop":   # a batch draws a generator for each image
        expected = build(name).image(IMAGES[0], generator(int(torch.randint(2**62, (1,), generator=generator(1)))))
    else:
        expected = build(name).image(IMAGES[0], generator(1))
    assert torch.equal(build(name).batch(IMAGES[:1], generator(1))[0], expected)


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
@pytest.mark.parametrize("shape", [(12, 10), (9, 30), (8, 8), (40, 17)])
def test_fixes_size_means_what_it_says(name, shape):
    image = torch.zeros(3, *shape, dtype=torch.uint8)
    result = build(name).image(image, generator())
    assert (result.shape[1:] == (8, 8)) or not build(name).fixes_size


@pytest.mark.parametrize(("shape", "expected"), [((100, 200), (256, 512)), ((300, 200), (384, 256)), ((256, 256), (256, 256))])
def test_shorter_side(shape, expected):
    image = torch.zeros(3, *shape, dtype=torch.uint8)
    assert tuple(build("shorter_resize_for_crop", (224, 224)).image(image).shape[1:]) == expected


@pytest.mark.parametrize("side", [8, 28, 32, 224])
def test_a_square_size_is_torchvisions_rule_in_whole_numbers(side):
    """int(256 · long / short), of which a rounded quotient would make one less here and there."""
    target = int(side / 0.875)
    for short in range(1, 300, 7):
        for long in {short, short + 1, 2 * short, 3 * short + 1, 10 * short - 1}:
            expected = tuple(tv.resize(torch.empty(1, short, long, dtype=torch.uint8, device="meta"), [target]).shape[1:])
            assert covering_size((short, long), (target, target)) == expected == (target, target * long // short)
            assert covering_size((long, short), (target, target)) == expected[::-1]


@pytest.mark.parametrize("size", [(32, 32), (32, 64), (64, 32), (224, 96), (7, 500)])
@pytest.mark.parametrize("shape", [(100, 200), (200, 100), (32, 64), (37, 37), (1, 9), (640, 480)])
def test_nothing_black_is_left_for_the_centre_crop(size, shape):
    resize, crop = build("shorter_resize_for_crop", size), build("center_crop", size)
    resized = resize.image(torch.full((3, *shape), 200, dtype=torch.uint8))
    height, width = (int(side / 0.875) for side in size)
    assert resized.shape[1] >= height
    assert resized.shape[2] >= width
    assert resized.shape[1] == height or resized.shape[2] == width   # no larger than it must be
    assert crop.image(resized).unique().tolist() == [200]


def chain(size: tuple[int, int], *between: str) -> list:
    transforms = [build(name, size) for name in ("shorter_resize_for_crop", *between, "center_crop")]
    transforms[0].expect(transforms[1:])
    return transforms


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize("shape", [(2, 3000), (3, 3001), (3000, 5), (1, 4001), (1, 4003), (7, 2003), (13, 999), (40, 2000)])
def test_the_middle_of_a_very_long_image_is_that_of_the_whole_one(size, shape):
    """To the last bit where the scale of both is the same fraction, else within two levels of 255 in noise."""
    image = torch.randint(256, (3, *shape), dtype=torch.uint8, generator=generator())
    resize, crop = chain(size)
    whole = crop.image(build("shorter_resize_for_crop", size).image(image)).int()
    difference = (crop.image(resize.image(image)).int() - whole).abs()
    target = resize.target[0 if shape[0] * size[1] < shape[1] * size[0] else 1]
    assert difference.max() <= (0 if target * max(shape) % min(shape) == 0 else 2)


def test_what_is_cut_is_cut_only_for_a_centre_crop():
    image = torch.zeros(3, 2, 3000, dtype=torch.uint8)
    assert chain((8, 8), "random_horizontal_flip")[0].image(image).shape[2] < 300
    resize = build("shorter_resize_for_crop")
    resize.expect([TRANSFORMS["random_crop"]((8, 8), padding=0), build("center_crop")])
    assert resize.image(image).shape == (3, 9, 13500)
    with pytest.raises(InputError, match=r"of \[2, 30000000\] pixels would become one of \[9, 135000000\]; put center_crop"):
        resize.image(torch.empty(3, 2, 30_000_000, dtype=torch.uint8, device="meta"))


@pytest.mark.parametrize("name", sorted(set(TRANSFORMS) - {"random_crop"}))
@pytest.mark.parametrize("shape", [(1, 1), (1, 30_000), (30_000, 1), (2, 30_000), (30_000, 2)])
def test_extreme_shapes_pass(name, shape):
    transform = build(name)
    transform.expect([build("center_crop")])
    result = transform.image(torch.full((3, *shape), 77, dtype=torch.uint8), generator())
    assert result.dtype == torch.uint8
    assert not transform.fixes_size or result.shape == (3, 8, 8)


@pytest.mark.parametrize("ratio", [(1e-300, 1e-300), (0.001, 0.001), (1000.0, 1000.0), (1e300, 1e300), (1e-300, 1e300)])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (1, 100), (300, 200)])
def test_a_crop_has_a_pixel_whatever_its_ratio(ratio, shape):
    transform = TRANSFORMS["random_resized_crop"]((8, 8), scale=(0.08, 1.0), ratio=ratio)
    for seed in range(20):
        top, left, height, width = transform.window(*shape, generator(seed))
        assert 1 <= height <= shape[0] - top
        assert 1 <= width <= shape[1] - left
    assert transform.image(torch.zeros(3, *shape, dtype=torch.uint8), generator()).shape == (3, 8, 8)


MEASURE = """
import resource, torch
from lib.data_transform import TRANSFORMS
torch.set_num_threads(1)
resize, crop = (TRANSFORMS[name]((224, 224)) for name in ("shorter_resize_for_crop", "center_crop"))
resize.expect([crop])
def run(shape, *chain):
    image = torch.randint(256, (3, *shape), dtype=torch.uint8)
    for transform in chain:
        image = transform.image(image)
    assert image.shape == (3, 224, 224)
run((300, 300), resize, crop)
highest = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
for shapes, chain in ((((2, 30000), (30000, 2), (1, 65500), (65500, 1)), (resize, crop)),
                      (((5_000_000, 1), (1, 5_000_000)), (TRANSFORMS["normal_resize"]((224, 224)),))):
    for shape in shapes:
        run(shape, *chain)
    highest.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(highest[1] - highest[0], highest[2] - highest[0])
"""


@pytest.mark.slow
def test_very_long_images_take_little_memory(command):
    """The whole of 2 × 30,000 pixels at 256 × 3,840,000 takes 2.9 GB, and 224 columns of 5,000,000 rows take 4 GB."""
    done = command(sys.executable, "-c", MEASURE)
    assert done.returncode == 0, done.stderr
    long, very_long = map(int, done.stdout.split())   # kilobytes
    assert long < 50_000
    assert very_long < 300_000


def test_center_crop_takes_the_middle():
    assert torch.equal(build("center_crop", (4, 4)).batch(IMAGES), IMAGES[:, :, 4:8, 3:7])


def test_resize_to_the_same_size_is_the_image_itself():
    assert resize(IMAGES, (12, 10)) is IMAGES
    assert resize(torch.full((1, 3, 5, 5), 77, dtype=torch.uint8), (9, 4)).unique().tolist() == [77]


@pytest.mark.parametrize("layout", ["images", "image", "channels last", "image of channels last", "part", "none"])
@pytest.mark.parametrize("bytes_", [True, False])
def test_resized_and_cropped_to_the_last_bit_as_torchvision_does(monkeypatch, layout, bytes_):
    monkeypatch.setattr("lib.data_transform.resize.has_byte_kernel", lambda: bytes_)
    monkeypatch.setattr("torchvision.transforms.v2.functional._geometry._do_native_uint8_resize_on_cpu", lambda kind: bytes_)
    images = {"images": IMAGES, "image": IMAGES[3], "channels last": IMAGES.to(memory_format=torch.channels_last),
              "image of channels last": IMAGES[:1].to(memory_format=torch.channels_last)[0], "part": IMAGES[2:4, :, 3:, 1:8],
              "none": IMAGES[:0]}[layout]
    for size in ((5, 7), (30, 9), (2, 1), (12, 3)):
        expected = tv.resize(images, list(size), antialias=True)
        made = resize(images, size)
        assert torch.equal(made, expected)
        assert made.stride() == expected.stride()
        if images.dim() == 4 and len(images):
            assert torch.equal(TRANSFORMS["center_crop"](size).batch(images), tv.center_crop(images, list(size)))


@pytest.mark.parametrize("size", [(12, 10), (11, 9), (13, 11), (7, 20), (40, 3)])
def test_center_crop_is_torchvision_s(size):
    assert torch.equal(TRANSFORMS["center_crop"](size).batch(IMAGES), tv.center_crop(IMAGES, list(size)))


@pytest.mark.parametrize("shape", [(375, 500), (40, 400), (400, 40), (7, 7)])
def test_windows_of_random_resized_crop_stay_in_their_ranges(shape):
    transform = build("random_resized_crop", (224, 224))
    draws = [transform.window(*shape, generator(seed)) for seed in range(2000)]
    for top, left, height, width in draws:
        assert 0 <= top <= shape[0] - height
        assert 0 <= left <= shape[1] - width
    if min(shape) > 300:   # rounding to whole pixels aside
        areas = np.array([h * w for _, _, h, w in draws]) / (shape[0] * shape[1])
        ratios = np.array([w / h for _, _, h, w in draws])
        assert areas.min() > 0.078
        assert areas.max() <= 1
        assert ratios.min() > 0.74
        assert ratios.max() < 1.35
        torch.manual_seed(0)
        image = torch.zeros(3, *shape, dtype=torch.uint8)
        reference = [RandomResizedCrop.get_params(image, [0.08, 1.0], [0.75, 4 / 3]) for _ in range(len(draws))]
        theirs = np.array([h * w for _, _, h, w in reference]) / (shape[0] * shape[1])
        assert areas.mean() == pytest.approx(theirs.mean(), abs=0.02)   # standard error of each: .23 / sqrt(2000) = .005
        assert ratios.mean() == pytest.approx(np.mean([w / h for _, _, h, w in reference]), abs=0.02)


def test_random_resized_crop_resizes_the_window_that_was_drawn():
    transform = build("random_resized_crop")
    top, left, height, width = transform.window(12, 10, generator(3))
    expected = tv.resize(IMAGES[0, :, top:top + height, left:left + width], [8, 8], antialias=True)
    assert torch.equal(transform.image(IMAGES[0], generator(3)), expected)


@pytest.mark.parametrize(("shape", "size"), [((160, 160), (128, 128)), ((40, 60), (64, 48)), ((33, 20), (8, 8)),
                                             ((90, 50), (7, 200))])
def test_windows_resized_together_are_those_resized_one_by_one(shape, size):
    images = torch.randint(256, (16, 3, *shape), dtype=torch.uint8, generator=generator())
    transform = TRANSFORMS["random_resized_crop"](size, **OPTIONS["random_resized_crop"])
    boxes = [transform.window(*shape, generator(seed)) for seed in range(15)] + [(shape[0] - 1, 3, 1, 2)]
    together = resize_windows(images, torch.tensor(boxes), size)
    single = torch.stack([resize(image[:, y:y + h, x:x + w], size) for image, (y, x, h, w) in zip(images, boxes)])
    assert (together.int() - single.int()).abs().max() <= 1


def test_a_window_of_one_colour_keeps_it_whatever_is_around():
    images = torch.full((1, 3, 20, 20), 255, dtype=torch.uint8)
    images[:, :, 5:9, 4:11] = 37
    assert (resize_windows(images, torch.tensor([[5, 4, 4, 7]]), (30, 3)) == 37).all()


@pytest.mark.parametrize(("number", "reference"), [(0, tv.adjust_brightness), (1, tv.adjust_contrast), (2, tv.adjust_saturation)])
@pytest.mark.parametrize("factor", [0.6, 0.95, 1.0, 1.4])
def test_colours_are_those_of_the_reference(number, reference, factor):
    ours = ColorJitter.blend(IMAGES, number, torch.full((16, 1, 1, 1), factor))
    difference = (ours.int() - reference(IMAGES, factor).int()).abs()
    assert difference.max() <= 1   # of 255: the grey is rounded before or after
    assert (difference > 0).float().mean() < 0.02 or number == 2


def test_jitter_differs_between_images_and_keeps_the_middle():
    grey = torch.full((500, 3, 2, 2), 100, dtype=torch.uint8)
    values = build("color_jitter").batch(grey, generator())[:, 0, 0, 0].float()
    assert 58 <= values.min() < 65
    assert 135 < values.max() <= 141
    assert values.mean().item() == pytest.approx(100, abs=3)


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.037, 0.1, 0.25])
def test_hue_is_that_of_the_reference(turn):
    colours = torch.cat([IMAGES, torch.full_like(IMAGES[:1], 77)])   # noise, photographs, and grey, which has no hue
    ours = turn_hue(colours, torch.full((len(colours), 1, 1, 1), turn))
    assert (ours.int() - tv.adjust_hue(colours, turn).int()).abs().max() <= 2
    assert turn or torch.equal(ours, colours)


def test_hue_is_turned_by_an_amount_of_each_image_s_own():
    turns = torch.linspace(-0.1, 0.1, len(IMAGES)).view(-1, 1, 1, 1)
    for image, turn, ours in zip(IMAGES, turns, turn_hue(IMAGES, turns)):
        assert torch.equal(turn_hue(image[None], turn[None])[0], ours)


def test_jitter_with_all_its_strengths_0_changes_nothing():
    still = TRANSFORMS["color_jitter"]((32, 32), brightness=0.0, contrast=0.0, saturation=0.0)
    assert (still.batch(IMAGES, generator()).int() - IMAGES.int()).abs().max() <= 1   # a blend with itself is rounded down


@pytest.mark.parametrize(("name", "options"), [("color_jitter", {"hue": 0.1}), ("random_grayscale", {}), ("gaussian_blur", {})])
@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_a_share_of_the_images_is_changed(name, options, probability):
    """The images of a batch are the same noise, so that those that are changed can be counted."""
    noise = torch.randint(256, (1, 3, 8, 8), dtype=torch.uint8, generator=generator()).expand(2000, -1, -1, -1)
    result = TRANSFORMS[name]((8, 8), probability=probability, **options).batch(noise, generator())
    changed = (result != noise).flatten(1).any(dim=1).float().mean().item()
    assert changed == pytest.approx(probability, abs=0.04)
    assert probability > 0 or torch.equal(result, noise)


def test_grey_is_pillow_s():
    ours = TRANSFORMS["random_grayscale"]((32, 32), probability=1.0).batch(IMAGES)
    for image, grey in zip(IMAGES, ours):
        expected = np.array(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L"))
        assert (grey.numpy() == expected).all()


def test_blur_is_weaker_and_stronger_and_keeps_the_mean():
    point = torch.zeros(400, 3, 21, 21, dtype=torch.uint8)
    point[:, :, 10, 10] = 255
    blurred = TRANSFORMS["gaussian_blur"]((21, 21), probability=1.0).batch(point, generator())
    tops = blurred[:, 0, 10, 10].float()
    assert tops.min() < 20   # 255 / (2 π · 2²) is 10
    assert tops.max() > 235   # nearly nothing at 0.1
    assert (blurred[:, 0].float().sum(dim=(1, 2)) - 255).abs().max() < 60   # each of up to 200 pixels is rounded


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_normalize(layout):
    mean, std = torch.tensor([0.49, 0.48, 0.45]), torch.tensor([0.2, 0.19, 0.21])
    result = normalize(IMAGES, mean, std, layout)
    expected = tv.normalize(IMAGES.float() / 255, mean.tolist(), std.tolist())
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
    assert result.is_contiguous(memory_format=layout)
    assert result.dtype == torch.float32
