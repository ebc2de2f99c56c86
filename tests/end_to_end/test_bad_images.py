"""Training on JPEG files of which one is cut short, as a user starts it."""
import json

import pytest
from PIL import Image

from tests.dataset.photographs import encode, photograph
from tests.dataset.pictures import exif

BAD = 6


@pytest.fixture
def words(tmp_path) -> list[str]:
    """Twelve photographs in two classes, number 6 cut in half, number 8 with transparent pixels, number 9 stored on its side."""
    for number in range(12):
        data = photograph(number, (90 + number, 70), exif=b"Exif\0\0" + exif(6 if number == 9 else 1))
        if number == 8:
            data = encode(Image.new("RGBA", (80, 70), (9, 9, 9, 100)), "PNG")
        (tmp_path / f"{number}.jpg").write_bytes(data[:len(data) // 2] if number == BAD else data)
    annotations = [{"image_id": number, "fpath": f"{number}.jpg", "category_id": number % 2} for number in range(12)]
    for name, kept in (("train", annotations), ("valid", annotations[:BAD])):
        (tmp_path / f"{name}.json").write_text(json.dumps({"annotations": kept, "num_classes": 2}))
    return ["DATASET.DATASET", "iNaturalist", "DATASET.ROOT", str(tmp_path), "DATASET.TRAIN_JSON", "train.json",
            "DATASET.VALID_JSON", "valid.json", "INPUT_SIZE", "[16, 16]", "TRAIN.BATCH_SIZE", "3", "TRAIN.NUM_WORKERS", "1",
            "TRAIN.MAX_EPOCH", "2",
            "TRANSFORMS.TRAIN_TRANSFORMS", "['random_resized_crop','random_horizontal_flip','color_jitter']",
            "TRANSFORMS.TEST_TRANSFORMS", "['shorter_resize_for_crop','center_crop']"]


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_bad_image_ends_the_run_with_its_name(command, tiny, words, ranks):
    """With two ranks the second one meets it, and the first one only learns that it has gone."""
    done = command("bash", "distributed_data_parallel_train.sh", "configs/test/digits_lt.yaml", ranks, "cpu", *tiny, *words)
    assert done.returncode == 2
    message, = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "train.json, annotations[6]: " in message
    assert "6.jpg cannot be read as an image" in message
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.long
def test_a_bad_image_that_is_skipped_is_reported_once_by_the_first_rank(command, tiny, words):
    done = command("bash", "distributed_data_parallel_train.sh", "configs/test/digits_lt.yaml", 2, "cpu", *tiny, *words,
                   "DATASET.ON_BAD_IMAGE", "skip")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("1 images could not be read") == 1
    assert done.stdout.count("in total, 1 of 12 images could not be read") == 1
    assert not any("rank 1" in line for line in done.stdout.splitlines())
    assert done.stdout.count("annotations[6]: ") == 1
    assert done.stdout.count("train.json: 1 of 12 images have transparent pixels, which get the colour stored in them") == 1
    assert done.stdout.count("train.json: 1 of 12 images are rotated upright by their EXIF orientation") == 1
    assert done.stdout.count("JPEGs are decoded by ") == 1
