"""Images are read to their last row, and equal ones are found whatever their files are."""
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.dataset.folder import look_at, number_groups
from tests.dataset.photographs import photograph


def look(paths: list[Path], decode: bool = True):
    counts = []
    looks = look_at(paths, [f"files[{number}]" for number in range(len(paths))], counts.append, 2, decode)
    assert sum(counts) == len(paths)
    return looks


def test_a_file_that_is_cut_short_or_missing_is_named(tmp_path):
    paths = [tmp_path / name for name in ("good.jpg", "short.jpg", "missing.jpg", "text.jpg")]
    whole = photograph(0, (100, 80))
    for path, content in zip(paths, (whole, whole[:-len(whole) // 4], None, b"no image")):
        if content is not None:
            path.write_bytes(content)
    good, short, missing, text = look(paths)
    assert (good.size, good.mistake) == ((80, 100), "")
    assert short.mistake.startswith(f"files[1]: {paths[1]}")
    assert missing.mistake == f"files[2]: no file {paths[2]}"
    assert text.mistake.startswith(f"files[3]: {paths[3]} cannot be read as an image")
    by_header = look(paths, decode=False)
    assert [bool(found.mistake) for found in by_header] == [False, False, True, True]
    assert [found.file for found in by_header[:1]] == [good.file]
    assert by_header[0].pixels == b""


def test_equal_pixels_in_another_file_are_equal(tmp_path):
    pixels = np.random.default_rng(0).integers(256, size=(6, 4, 3), dtype=np.uint8)
    paths = [tmp_path / name for name in ("a.png", "b.bmp", "c.png", "turned.png", "other.png")]
    for path, image in zip(paths, (pixels, pixels, pixels, pixels.transpose(1, 0, 2), pixels + 1)):
        Image.fromarray(image).save(path)
    looks = look(paths)
    assert number_groups([found.pixels for found in looks]).tolist() == [0, 0, 0, 1, 2]
    assert number_groups([found.file for found in looks]).tolist() == [0, 1, 0, 2, 3]


@pytest.mark.parametrize("shape", [(2, 8), (8, 2)])
def test_pictures_of_one_colour_differ_by_their_shape(tmp_path, shape):
    paths = [tmp_path / "square.png", tmp_path / "other.png"]
    for path, (height, width) in zip(paths, ((4, 4), shape)):
        Image.fromarray(np.zeros((height, width, 3), dtype=np.uint8)).save(path)
    first, second = look(paths)
    assert first.pixels != second.pixels
