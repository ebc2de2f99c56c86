"""Lists your own images for training: a folder with a folder of images per class.

    python tools/convert_from_folder.py --input_path /data/birds --output_path /data/birds_json
    python tools/convert_from_folder.py --input_path /data/birds/train --valid_path /data/birds/val --output_path /data/birds_json
    python tools/convert_from_folder.py --input_path /data/birds --output_path /data/birds_lt --name birds_lt --ratio 0.01

Classes are the folders in the order of their names; a folder without images is a class, too. If all folders of --input_path are
called train, val (valid, validation) and test, they are used as the parts of a split set. Otherwise a share of each class becomes
the validation set: chosen by the content of the files, at least one image of each class with two, and equal images on one
side. --ratio cuts the training images down to a long tail by the rule of the IMBALANCE* data sets: class c of C keeps
n_max * ratio ** (c / (C - 1)), with n_max the size of the smallest class, so it is meant for balanced folders.

All images are decoded. What is left out, equal images, and classes with few or no images are listed. Images stay where they are.
Written are NAME_train.json, NAME_valid.json and, where there are test images, NAME_test.json.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import os
from collections.abc import Sequence

import numpy as np
import torch

from lib.dataset.folder import (
    LAYOUTS,
    Keys,
    Listing,
    choose_validation,
    describe_counts,
    describe_equal,
    list_folder,
    number_groups,
)
from lib.dataset.long_tail import long_tail_subset
from lib.utils.errors import InputError
from lib.utils.text import name_some
from tools.conversion.listing import (
    Candidate,
    Listed,
    annotate,
    check_free,
    make_listing_parser,
    report_bad,
    run_converter,
    say,
    say_how_to_train,
    verify,
    write_annotations,
)

CONFIG = "configs/own/scratch.yaml"
KEYS = Keys("--input_path", "--layout", "--valid_path")
SHARE = 0.2   # of each class for validation, where nothing else is said
ALL = {"train": "training", "valid": "validation", "test": "test"}


def read_parts(args: argparse.Namespace, listing: Listing) -> dict[str, list[Listed]]:
    """The readable images of each part; reports equal ones."""
    parts = {part: verify([Candidate(path, label, KEYS.valid if part == "valid" and args.valid_path else KEYS.folder)
                           for path, label in pictures], args, ALL[part]) for part, pictures in listing.parts.items()}
    images = [image for found in parts.values() for image in found]
    labels = np.array([image.source.label for image in images], dtype=np.int64)
    numbers = np.repeat(np.arange(len(parts)), [len(found) for found in parts.values()])
    say(*describe_equal(group(images), labels, numbers, lambda index: show_path(images[index].source.path, args)))
    return parts


def group(images: Sequence[Listed]) -> np.ndarray:
    """Groups equal images by their pixels, or by whole files if these were not decoded."""
    return number_groups([image.look.pixels or image.look.file for image in images])


def show_path(path: Path, args: argparse.Namespace) -> str:
    above = args.input_path.parent   # as the listing shows them
    return str(path.relative_to(above)) if path.is_relative_to(above) else str(path)


def split(images: Sequence[Listed], share: float, seed: int) -> tuple[list[Listed], list[Listed]]:
    """Splits the images into training and validation images."""
    labels = np.array([image.source.label for image in images], dtype=np.int64)
    chosen = choose_validation(labels, [image.look.file for image in images], group(images), share, seed)
    train, valid = ([image for image, held in zip(images, chosen) if held == part] for part in (False, True))
    if not valid:
        raise InputError("--input_path: no class has two different images, so none is left for validation; --valid_path names a "
                         "folder of validation images")
    return train, valid


def cut(images: Sequence[Listed], class_names: Sequence[str], args: argparse.Namespace) -> list[Listed]:
    """Selects the long-tailed subset of --ratio."""
    labels = torch.tensor([image.source.label for image in images])
    empty = (torch.bincount(labels, minlength=len(class_names)) == 0).nonzero().flatten().tolist()
    if empty:
        raise InputError(f"--ratio: {len(empty):,} of {len(class_names):,} classes have no training images to begin with: "
                         f"{name_some([class_names[label] for label in empty])}")
    kept = long_tail_subset(labels, len(class_names), args.ratio, args.seed, args.profile, args.input_path, key="--ratio")
    return [images[index] for index in kept.tolist()]


def convert(args: argparse.Namespace) -> None:
    if args.valid_share is not None and not 0 < args.valid_share < 1:
        raise InputError(f"--valid_share: must be above 0 and below 1, got {args.valid_share}")
    if args.ratio is not None and not 0 < args.ratio <= 1:
        raise InputError(f"--ratio: must be above 0 and at most 1, got {args.ratio}")
    name = args.name or args.input_path.resolve().name or "images"
    if os.sep in name:
        raise InputError(f"--name: must be the beginning of a file name (without /), got {name!r}")
    outputs = {part: args.output_path / f"{name}_{part}.json" for part in ALL}
    check_free([outputs["train"], outputs["valid"]], args.overwrite)
    listing = list_folder(args.input_path, KEYS, args.layout, args.valid_path)
    check_free([outputs[part] for part in listing.parts], args.overwrite)
    say(*listing.remarks)
    if listing.unreadable:
        report_bad("cannot be opened:", listing.unreadable, args.skip_bad)
    parts = read_parts(args, listing)
    if "valid" not in parts:
        parts["train"], parts["valid"] = split(parts["train"], args.valid_share or SHARE, args.seed)
    elif args.valid_share is not None:
        say("--valid_share: not used, since there are validation images")
    for part in ("train", "valid"):
        if not parts[part]:
            raise InputError(f"--skip_bad: no image for {part} is left")
    if args.ratio is not None:
        parts["train"] = cut(parts["train"], listing.class_names, args)
    counts = {part: np.bincount([image.source.label for image in found], minlength=len(listing.class_names))
              for part, found in parts.items()}
    say(*describe_counts(listing.class_names, counts))
    annotations = {part: annotate(parts[part], args.root) for part in ALL if parts.get(part)}
    for part, content in annotations.items():
        print(write_annotations(outputs[part], content, len(listing.class_names), listing.class_names))
    say_how_to_train(CONFIG, "iNaturalist", (outputs["train"], outputs["valid"]), args.root, name)


def main(argv: Sequence[str]) -> int:
    parser = make_listing_parser(__doc__)
    parser.add_argument("--input_path", type=Path, required=True, help="folder with a folder of images per class, or with train, "
                        "val and test folders that have them")
    parser.add_argument("--valid_path", type=Path, help="folder of the same classes with the validation images")
    parser.add_argument("--layout", choices=LAYOUTS, default="auto", help="whether the folders of --input_path are the classes "
                        "or the parts of a set that is split already (default auto: by their names)")
    parser.add_argument("--output_path", type=Path, required=True, help="folder of the JSON files")
    parser.add_argument("--name", default="", help="beginning of the files' names (default: that of the folder)")
    parser.add_argument("--valid_share", type=float, help=f"of each class, for validation (default {SHARE})")
    parser.add_argument("--seed", type=int, default=0, help="of the split and the long tail (default 0)")
    parser.add_argument("--ratio", type=float, help="images of the rarest class / images of the most frequent one")
    parser.add_argument("--profile", choices=("exp", "step"), default="exp", help="of the long tail (default exp)")
    return run_converter(convert, parser, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
