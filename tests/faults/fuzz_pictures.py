"""Damaged image files and TFRecords, for ``fuzz.py``."""
import contextlib
import io
import json
import random
import tempfile
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from fuzzing import CONFIG, cases, damaged, judge, judge_script
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from lib.config import Config
from lib.core import build
from lib.core.runtime import Runtime
from main import train
from tests.tools.records import example, write_records
from tools import convert_from_tfrecords

FORMS = {"a.jpg": "JPEG", "b.png": "PNG"}
WAYS = {   # of reading them: overrides
    "whole": ["DATASET.IN_MEMORY", "always", "TRANSFORMS.TRAIN_TRANSFORMS", "[]"],
    "in windows": ["DATASET.IN_MEMORY", "never", "TRANSFORMS.TRAIN_TRANSFORMS", "['random_resized_crop']"],
}
TRAININGS = 20   # one case in so many is a training to its end


def image_files(folder: Path, number: int) -> Counter:
    """A JPEG and a PNG of which one is damaged, read as a training reads them; some of the cases are trainings."""
    counts, whole, place = Counter(), {}, folder / "images"
    place.mkdir()
    pixels = np.add.outer(np.arange(24), np.arange(32)).astype(np.uint8)[..., None] * np.array([1, 3, 4], dtype=np.uint8)
    for name, form in FORMS.items():
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, form)
        whole[name] = buffer.getvalue()
    sizes = {"im_height": 24, "im_width": 32}
    annotations = [{"image_id": label, "fpath": name, "category_id": label} for label, name in enumerate(FORMS)]
    words = ["--cfg", CONFIG, "--gpus", "cpu", "DATASET.DATASET", "iNaturalist", "DATASET.ROOT", str(place), "DATASET.TRAIN_JSON",
             "train.json", "DATASET.VALID_JSON", "train.json", "INPUT_SIZE", "[24, 32]", "TRAIN.BATCH_SIZE", "2",
             "TRAIN.MAX_EPOCH", "1", "BACKBONE.TYPE", "res20_cifar", "TRAIN.NUM_WORKERS", "0", "TEST.NUM_WORKERS", "0"]

    @cases(number, counts)
    def run(data: st.DataObject) -> str:
        for name, content in whole.items():
            (place / name).write_bytes(content)
        index, way = data.draw(st.integers(0, 1)), data.draw(st.sampled_from(sorted(WAYS)))
        name = list(FORMS)[index]
        (place / name).write_bytes(data.draw(damaged(whole[name])))
        told = sizes if data.draw(st.booleans()) else {}
        (place / "train.json").write_text(json.dumps({"annotations": [entry | told for entry in annotations], "num_classes": 2}))
        trains = data.draw(st.integers(1, TRAININGS)) == TRAININGS
        with tempfile.TemporaryDirectory() as output, mock.patch.object(Figure, "savefig"):
            if trains:
                return judge_script(place, name, lambda: train.main([*words, *WAYS[way], "OUTPUT_DIR", output]))
            return judge(place, name, [*words, *WAYS[way]], read_all)

    run()
    return counts


def read_all(cfg: Config, args: object) -> None:
    """What one epoch reads, and every image by itself."""
    with Runtime.start("cpu", 1, False) as runtime:
        images, valid = build.build_datasets(cfg)
        for batch in build.build_loaders(cfg, images, valid, runtime)[0]:
            assert batch.images.isfinite().all()
    for index in range(len(images.labels)):
        pixels = images.read(index)
        assert pixels.dtype == torch.uint8
        assert pixels.dim() == 3
        assert len(pixels) == 3


def tfrecords(folder: Path, number: int) -> Counter:
    """TFRecords whose bytes are altered, and ones with sound checksums around examples that are; ten images of each part."""
    counts, path = Counter(), folder / "cifar-10-data-im-1/train.tfrecords"
    sound = [example(random.Random(label).randbytes(3072), label) for label in range(10)]
    for part in ("train", "eval"):
        write_records(path.with_name(f"{part}.tfrecords"), sound)
    whole = path.read_bytes()

    @cases(number, counts)
    def run(data: st.DataObject) -> str:
        if data.draw(st.booleans()):
            path.write_bytes(data.draw(damaged(whole)))
        else:
            changed = data.draw(st.integers(0, 9))
            write_records(path, [*sound[:changed], data.draw(damaged(sound[changed])), *sound[changed + 1:]])
        with tempfile.TemporaryDirectory() as output:
            words = ["--input_path", str(folder), "--output_path", output, "--format", "png"]
            became = judge_script(folder, str(path), lambda: convert_from_tfrecords.main(words))
            assert (became == "read") == any(Path(output).iterdir()), "there is something of what was refused"
            return became

    with mock.patch.dict(convert_from_tfrecords.PER_CLASS, {"10": (1, 1)}), contextlib.redirect_stderr(io.StringIO()):
        run()
    return counts
