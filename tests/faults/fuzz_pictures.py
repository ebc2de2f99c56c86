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
from lib.dataset.rgb import ALPHAS
from lib.device.runtime import Runtime
from main import train
from tests.dataset.pictures import GREY, RGB, RGB_ALPHA, exif, png, tiff
from tests.tools.records import example, write_records
from tools import convert_from_tfrecords

PIXELS = np.add.outer(np.arange(24), np.arange(32)).astype(np.uint8)[..., None] * np.array([1, 3, 4], dtype=np.uint8)
WAYS = {   # of reading them: overrides
    "whole": ["DATASET.IN_MEMORY", "always", "TRANSFORMS.TRAIN_TRANSFORMS", "[]"],
    "in windows": ["DATASET.IN_MEMORY", "never", "TRANSFORMS.TRAIN_TRANSFORMS", "['random_resized_crop']"],
}
TRAININGS = 20   # one case in so many is a training to its end


def encode(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind, **options)
    return buffer.getvalue()


def every_kind() -> dict[str, bytes]:
    """Files of 24 × 32 pixels, those with an orientation upside down."""
    deep, frames = PIXELS.astype(int) * 257, [Image.fromarray(255 - PIXELS)]
    transparent = np.dstack([PIXELS, PIXELS[..., 0]])
    return {
        "a.jpg": encode("JPEG"), "b.png": encode("PNG"), "c.jpg": encode("JPEG", exif=b"Exif\0\0" + exif(3)),
        "d.png": png(deep, 16, RGB, before={b"eXIf": exif(3), b"tRNS": deep[2, 3].astype(">u2").tobytes()}),
        "e.png": png(deep[..., 0], 16, GREY, after={b"eXIf": exif(2)}), "f.png": png(transparent, 8, RGB_ALPHA),
        "g.tif": tiff(deep[..., 0].astype(np.uint16), 1, tags={274: [4]}), "h.tif": encode("TIFF", compression="tiff_lzw"),
        "i.gif": encode("GIF", save_all=True, append_images=frames), "j.webp": encode("WEBP", exif=exif(3)),
        "k.ppm": b"P6 # of 10 bits\n32 24 1023\n" + (4 * PIXELS.astype(">u2")).tobytes(), "l.bmp": encode("BMP"),
    }


def image_files(folder: Path, number: int) -> Counter:
    """Pictures of every kind of which one is damaged, read as a training reads them; some of the cases are trainings."""
    counts, whole, place = Counter(), every_kind(), folder / "images"
    place.mkdir()
    sizes = {"im_height": 24, "im_width": 32}
    annotations = [{"image_id": number, "fpath": name, "category_id": number % 2} for number, name in enumerate(whole)]
    words = ["--cfg", CONFIG, "--gpus", "cpu", "DATASET.DATASET", "iNaturalist", "DATASET.ROOT", str(place), "DATASET.TRAIN_JSON",
             "train.json", "DATASET.VALID_JSON", "train.json", "INPUT_SIZE", "[24, 32]", "TRAIN.BATCH_SIZE", "2",
             "TRAIN.MAX_EPOCH", "1", "BACKBONE.TYPE", "res20_cifar", "TRAIN.NUM_WORKERS", "0", "TEST.NUM_WORKERS", "0"]

    @cases(number, counts)
    def run(data: st.DataObject) -> str:
        for name, content in whole.items():
            (place / name).write_bytes(content)
        name, way = data.draw(st.sampled_from(sorted(whole))), data.draw(st.sampled_from(sorted(WAYS)))
        options = ["DATASET.ALPHA", data.draw(st.sampled_from(ALPHAS)), "DATASET.EXIF", str(data.draw(st.booleans()))]
        (place / name).write_bytes(data.draw(damaged(whole[name])))
        told = sizes if data.draw(st.booleans()) else {}
        (place / "train.json").write_text(json.dumps({"annotations": [entry | told for entry in annotations], "num_classes": 2}))
        trains = data.draw(st.integers(1, TRAININGS)) == TRAININGS
        with tempfile.TemporaryDirectory() as output, mock.patch.object(Figure, "savefig"):
            if trains:
                return judge_script(place, name, lambda: train.main([*words, *WAYS[way], *options, "OUTPUT_DIR", output]))
            return judge(place, name, [*words, *WAYS[way], *options], read_all)

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
