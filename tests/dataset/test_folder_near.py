"""Pictures that are nearly equal: copies are found, other pictures are not taken for copies, and time does not grow with N²."""
import io
import time

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits, load_sample_images

from lib.dataset.fashion_lt import DEBIAN, read_idx
from lib.dataset.folder.groups import Groups
from lib.dataset.folder.near import SIDE, find_near, thumbnail
from tests.dataset.photographs import encode

COPIES = {
    "JPEG of quality 30": lambda image: Image.open(io.BytesIO(encode(image, quality=30))),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "twice the size": lambda image: image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC),
    "a quarter of the size, quality 50": lambda image: Image.open(io.BytesIO(encode(image.resize((40, 40)), quality=50))),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "1 % cut off each side": lambda image: image.crop((2, 2, image.width - 2, image.height - 2)),
    "2 % cut off two sides": lambda image: image.crop((4, 0, image.width, image.height - 4)),
}


def pieces() -> list[Image.Image]:
    """Pieces of 160 × 160 of two photographs, those that show something."""
    found = []
    for pixels in load_sample_images().images:
        photo = Image.fromarray(pixels).resize((1440, 960), Image.Resampling.BICUBIC)
        found += [photo.crop((left, top, left + 160, top + 160)) for left in range(0, 1440, 160) for top in range(0, 960, 160)]
    return [piece for piece in found if np.asarray(piece.convert("L")).std() > 20]


def thumbnails(images) -> np.ndarray:
    rows = (np.asarray(image.convert("RGB")) if isinstance(image, Image.Image) else np.repeat(image[..., None], 3, 2)
            for image in images)
    return np.frombuffer(b"".join(map(thumbnail, rows)), dtype=np.uint8).reshape(-1, SIDE * SIDE)


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    return pieces()


@pytest.mark.parametrize("kind", COPIES)
def test_copies_of_photographs_are_found_and_nothing_else(photographs, kind):
    copies = [COPIES[kind](image) for image in photographs[:40]]
    pairs, likeness = find_near(thumbnails([*photographs, *copies]))
    expected = {(number, len(photographs) + number) for number in range(40)}
    assert len(photographs) > 50
    assert {*map(tuple, pairs.tolist())} <= expected
    assert len(pairs) >= 38
    assert len(likeness) == len(pairs)
    assert likeness.min() > 0.85


def largest_group(count: int, pairs: np.ndarray) -> tuple[int, int]:
    """Images that have a partner, and those of the largest group."""
    groups = Groups(count)
    for one, other in pairs.tolist():
        groups.join(one, other)
    sizes = np.bincount(groups.numbers())
    return int(sizes[sizes > 1].sum()), int(sizes.max())


def test_small_pictures_that_all_look_alike_are_not_merged():
    """By plain hashes of 8 × 8 signs, thousands of pairs would be equal: digits have 64 pixels, of which a third are black."""
    digits = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    joined, largest = largest_group(len(digits), find_near(thumbnails(digits))[0])
    assert joined <= 0.01 * len(digits)
    assert largest <= 3


def test_copies_among_small_pictures_are_still_found():
    digits = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    copies = [np.clip(image * 0.9 + 5, 0, 255).astype(np.uint8) for image in digits[:100]]
    found = {*map(tuple, find_near(thumbnails([*digits, *copies]))[0].tolist())}
    assert sum((number, len(digits) + number) in found for number in range(100)) >= 97


if DEBIAN.is_dir():   # not everywhere: CI installs the package
    @pytest.mark.slow
    def test_of_60000_pictures_of_clothes_half_a_percent_have_a_partner():
        """Minutes, if each were compared with each."""
        small = thumbnails(read_idx(DEBIAN / "train-images-idx3-ubyte.gz", dims=3).numpy())
        started = time.process_time()
        joined, largest = largest_group(len(small), find_near(small)[0])
        assert time.process_time() - started < 60
        assert joined < 0.01 * len(small)
        assert largest < 100


def test_nothing_is_compared_where_there_is_nothing_to_see():
    """Noise below the contrast of a picture: pictures of one colour, encoded twice."""
    noise = np.random.default_rng(0)
    plain = [Image.fromarray((128 + noise.integers(-2, 3, (64, 64, 3))).astype(np.uint8)) for _ in range(5)]
    assert len(find_near(thumbnails(plain))[0]) == 0
    assert len(find_near(np.empty((0, SIDE * SIDE), dtype=np.uint8))[0]) == 0
    assert len(find_near(thumbnails(plain[:1]))[0]) == 0


def test_many_equal_frames_end_in_one_group(photographs):
    """A camera that stood still: 300 frames of one scene with other noise, beside others."""
    scene, noise = np.asarray(photographs[0]).astype(int), np.random.default_rng(0)
    frames = [Image.fromarray(np.clip(scene + noise.integers(-4, 5, scene.shape), 0, 255).astype(np.uint8)) for _ in range(300)]
    pairs, _ = find_near(thumbnails([*frames, *photographs[1:60]]))
    assert largest_group(359, pairs) == (300, 300)
