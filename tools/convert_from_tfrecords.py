"""Unpacks the long-tailed CIFAR of Cui et al. (CVPR 2019, arXiv:1901.05555) from TFRecords into image files for training.

    pip install -r tools/requirements.txt        # TensorFlow, which nothing else needs
    python tools/convert_from_tfrecords.py --input_path /downloaded/data --output_path /data

--input_path holds folders such as cifar-10-data-im-0.01 and cifar-100-data-im-0.02 with train.tfrecords and eval.tfrecords. Each
becomes a folder of --output_path, here cifar10_imbalance100, with the images, cifar10_imbalance100_train.json and _valid.json. A
folder that is there already stays as it is, so that an interrupted conversion continues with the next one.

The published conversion was to JPEG, which changes pixels; --format png keeps them.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from lib.dataset.long_tail import long_tail_counts
from lib.utils.errors import InputError, MissingPathError
from lib.utils.files import current_umask
from tools.conversion.listing import (
    ROOT,
    make_parser,
    progress,
    run_converter,
    say_how_to_train,
    write_annotations,
    write_path,
)

SHAPE = (3, 32, 32)   # an image's bytes: all of red, then green, then blue
PER_CLASS = {"10": (5000, 1000), "100": (500, 100)}   # images of a class in CIFAR's training and test parts
FOLDER = re.compile(r"cifar-(10|100)-data-im-(0\.\d+|1(?:\.0)?)")
QUALITY = 95          # of JPEG, OpenCV's default


class ConvertedPart(NamedTuple):
    images: np.ndarray   # uint8 (N, 3, 32, 32)
    labels: np.ndarray   # (N,)


class LongTail(NamedTuple):
    """A folder of the download with its known properties."""

    folder: Path
    name: str                     # as published, cifar10_imbalance100
    train_counts: list[int]       # images per class
    valid_counts: list[int]


def find_folders(path: Path) -> list[LongTail]:
    if not path.is_dir():
        raise MissingPathError(f"--input_path: no folder {path}")
    found = []
    for folder in sorted(path.iterdir()):
        match = FOLDER.fullmatch(folder.name)
        if match and folder.is_dir():
            classes, ratio = match[1], float(match[2])
            largest, valid = PER_CLASS[classes]
            found.append(LongTail(folder, f"cifar{classes}_imbalance{round(1 / ratio)}",
                                  long_tail_counts(largest, int(classes), ratio, "exp"), [valid] * int(classes)))
    if not found:
        raise InputError(f"--input_path: {path} has no folder such as cifar-10-data-im-0.01")
    return found


def read_examples(path: Path) -> Iterator[tuple[bytes, int]]:
    """(bytes of the image, label) of every example of a TFRecord file."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")   # before TensorFlow is loaded: errors only
    try:
        import tensorflow as tf
    except ImportError as error:
        raise InputError(f"TensorFlow is not installed ({error}); pip install -r tools/requirements.txt") from error
    tf.config.set_visible_devices([], "GPU")   # it would take all memory of the cards
    form = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
    try:
        for example in tf.data.TFRecordDataset(str(path)).map(lambda text: tf.io.parse_single_example(text, form)):
            yield example["image"].numpy(), int(example["label"])
    except tf.errors.OpError as error:
        raise InputError(f"{path}: no TFRecords with image and label ({error.message.splitlines()[0]})") from error
    except UnicodeDecodeError as error:   # TensorFlow's message quotes the example, whose bytes are no text
        raise InputError(f"{path}: no TFRecords with image and label (an example cannot be parsed)") from error


def read_part(path: Path, counts: Sequence[int]) -> ConvertedPart:
    """All images of a file, whose class counts must be ``counts``."""
    if not path.is_file():
        raise MissingPathError(f"--input_path: no file {path}")
    images, labels = [], []
    with progress(sum(counts), str(path)) as bar:
        for image, label in read_examples(path):
            if len(image) != np.prod(SHAPE):
                raise InputError(f"{path}, example {len(labels)}: an image of {len(image)} bytes, not {np.prod(SHAPE)}")
            images.append(np.frombuffer(image, dtype=np.uint8).reshape(SHAPE))
            labels.append(label)
            bar.update()
    if not labels or min(labels) < 0 or max(labels) >= len(counts):
        raise InputError(f"{path}: has {len(labels)} examples, and labels outside [0, {len(counts)})" if labels else
                         f"{path}: has no examples")
    found = np.bincount(labels, minlength=len(counts))
    wrong = [f"{found[label]} of class {label} instead of {count}" for label, count in enumerate(counts) if found[label] != count]
    if wrong:
        raise InputError(f"{path} is not the published set: {', '.join(wrong[:5])}{' …' * (len(wrong) > 5)}")
    return ConvertedPart(np.stack(images), np.array(labels))


def write_images(part: ConvertedPart, folder: Path, form: str) -> list[str]:
    """Writes the images; returns their names."""
    folder.mkdir(parents=True)
    names = [f"{number:05d}_{label}.{form}" for number, label in enumerate(part.labels)]
    with progress(len(names), f"{folder.name} images") as bar:
        for name, image in zip(names, part.images):
            Image.fromarray(image.transpose(1, 2, 0)).save(folder / name, **({"quality": QUALITY} if form == "jpg" else {}))
            bar.update()
    return names


def unpack(source: LongTail, target: Path, args: argparse.Namespace) -> None:
    """Unpacks one folder of the download: it is written beside ``target`` and renamed when it is complete."""
    parts = {"train": read_part(source.folder / "train.tfrecords", source.train_counts),
             "valid": read_part(source.folder / "eval.tfrecords", source.valid_counts)}
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for part, (images, labels) in parts.items():
            names = write_images(ConvertedPart(images, labels), unfinished / "images" / part, args.format)
            annotations = [{"image_id": number, "fpath": write_path(target / "images" / part / name, args.root),
                            "im_height": SHAPE[1], "im_width": SHAPE[2], "category_id": int(label)}
                           for number, (name, label) in enumerate(zip(names, labels), start=1)]
            print(write_annotations(unfinished / f"{source.name}_{part}.json", annotations, len(source.train_counts)))
        unfinished.chmod(0o777 & ~current_umask())   # mkdtemp makes private folders
        if target.exists():
            shutil.rmtree(target)
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished)
        raise


def find_recipe(source: LongTail) -> str:
    """The baseline of this ratio, or that of 100, which differs in the files only."""
    names = (source.name.replace("imbalance", "im"), f"cifar{len(source.train_counts)}_im100")
    return next(file for file in (f"configs/cui_cifar/baseline/{name}.yaml" for name in names) if (ROOT / file).is_file())


def convert(args: argparse.Namespace) -> None:
    for source in find_folders(args.input_path):
        target = args.output_path / source.name
        if target.exists() and not args.overwrite:
            print(f"{target}: already there, stays as it is; --overwrite converts it again")
            continue
        unpack(source, target, args)
        train, valid = (target / f"{source.name}_{part}.json" for part in ("train", "valid"))
        say_how_to_train(find_recipe(source), "CIFAR", (train, valid), args.root, source.name)


def main(argv: Sequence[str]) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--input_path", type=Path, required=True, help="folder with the folders of the download")
    parser.add_argument("--output_path", "--out_path", dest="output_path", type=Path, required=True,
                        help="folder of the images and JSON files")
    parser.add_argument("--format", choices=("jpg", "png"), default="jpg",
                        help="jpg, as published, is lossy: pixels change; png keeps them (default jpg)")
    return run_converter(convert, parser, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
