"""Lists your own images for training: a folder with a folder of images per class.

    python tools/convert_from_folder.py --input_path /data/birds --output_path /data/birds_json
    python tools/convert_from_folder.py --input_path /data/birds/train --valid_path /data/birds/val --output_path /data/birds_json
    python tools/convert_from_folder.py --input_path /data/birds --output_path /data/birds_lt --name birds_lt --ratio 0.01

Classes are the folders in the order of their names. Without --valid_path a share of each class becomes the validation set.
--ratio cuts the training images down to a long tail by the rule of the IMBALANCE* data sets: class c of C keeps
n_max * ratio ** (c / (C - 1)), with n_max the size of the smallest class, so it is meant for balanced folders. Images stay where
they are. Written are NAME_train.json and NAME_valid.json.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import os
from collections.abc import Sequence

import numpy as np
import torch
from torchvision.datasets.folder import IMG_EXTENSIONS

from lib.dataset.long_tail import long_tail_subset
from lib.utils.errors import InputError, MissingPathError
from tools.conversion import (
    Source,
    annotate,
    check_free,
    make_listing_parser,
    run_converter,
    say_how_to_train,
    write_annotations,
)


def find_classes(folder: Path, option: str) -> list[str]:
    if not folder.is_dir():
        raise MissingPathError(f"{option}: no folder {folder}")
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise InputError(f"{option}: {folder} has no folders in it; it should have one per class")
    return names


def find_images(folder: Path, classes: Sequence[str], option: str) -> list[Source]:
    """All images below the classes' folders, class after class, by name. Raises InputError for a class without any."""
    sources = []
    for label, name in enumerate(classes):
        found = sorted(Path(parent, file) for parent, _, files in os.walk(folder / name) for file in files
                       if file.lower().endswith(IMG_EXTENSIONS) and not file.startswith("."))
        if not found:
            raise InputError(f"{option}: {folder / name} has no images ({', '.join(IMG_EXTENSIONS)})")
        sources += [Source(path, label, option) for path in found]
    return sources


def split(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """True for the validation images: of each class its rounded share, chosen at random, but never all of it."""
    chosen, random = np.zeros(len(labels), dtype=bool), np.random.default_rng(seed)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        chosen[random.permutation(own)[:min(round(share * len(own)), len(own) - 1)]] = True
    return chosen


def collect(args: argparse.Namespace, classes: list[str]) -> tuple[list[Source], list[Source]]:
    """Training and validation images."""
    sources = find_images(args.input_path, classes, "--input_path")
    if args.valid_path is None:
        chosen = split(np.array([source.label for source in sources]), args.valid_share, args.seed)
        train, valid = ([source for source, held in zip(sources, chosen) if held == part] for part in (False, True))
    else:
        others = find_classes(args.valid_path, "--valid_path")
        if others != classes:
            odd = sorted(set(others) ^ set(classes))
            raise InputError(f"--valid_path: not the same classes as in {args.input_path}: {', '.join(odd[:5])}")
        train, valid = sources, find_images(args.valid_path, classes, "--valid_path")
    if args.ratio is not None:
        labels = torch.tensor([source.label for source in train])
        kept = long_tail_subset(labels, len(classes), args.ratio, args.seed, args.profile, args.input_path, key="--ratio")
        train = [train[index] for index in kept.tolist()]
    return train, valid


def convert(args: argparse.Namespace) -> None:
    if not 0 < args.valid_share < 1:
        raise InputError(f"--valid_share: must be above 0 and below 1, got {args.valid_share}")
    if args.ratio is not None and not 0 < args.ratio <= 1:
        raise InputError(f"--ratio: must be above 0 and at most 1, got {args.ratio}")
    name = args.name or args.input_path.resolve().name
    outputs = [args.output_path / f"{name}_{part}.json" for part in ("train", "valid")]
    check_free(outputs, args.overwrite)
    classes = find_classes(args.input_path, "--input_path")
    parts = collect(args, classes)
    annotations = [annotate(sources, args.root, args.skip_bad, what) for sources, what in zip(parts, ("training", "validation"))]
    for path, part in zip(outputs, annotations):
        print(write_annotations(path, part, len(classes), classes))
    say_how_to_train("iNaturalist", *outputs, args.root)


def main(argv: Sequence[str]) -> int:
    parser = make_listing_parser(__doc__)
    parser.add_argument("--input_path", type=Path, required=True, help="folder with a folder of images per class")
    parser.add_argument("--valid_path", type=Path, help="folder of the same classes with the validation images")
    parser.add_argument("--output_path", type=Path, required=True, help="folder of the JSON files")
    parser.add_argument("--name", default="", help="beginning of the files' names (default: that of the folder)")
    parser.add_argument("--valid_share", type=float, default=0.2, help="of each class, for validation (default 0.2)")
    parser.add_argument("--seed", type=int, default=0, help="of the split and the long tail (default 0)")
    parser.add_argument("--ratio", type=float, help="images of the rarest class / images of the most frequent one")
    parser.add_argument("--profile", choices=("exp", "step"), default="exp", help="of the long tail (default exp)")
    return run_converter(convert, parser, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
