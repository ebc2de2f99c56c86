"""Lists ImageNet-LT (Liu et al., CVPR 2019, arXiv:1904.05160) for training.

    python tools/convert_from_ImageNet.py --input_path /downloaded/ImageNet_LT --image_path /downloaded/ImageNet \\
        --output_path /data/ImageNet_LT

--input_path holds ImageNet_LT_train.txt and ImageNet_LT_test.txt, with a line "train/n01440764/n01440764_190.JPEG 0" per image;
--image_path holds ILSVRC-2012's folders train and val. Written are ImageNet_LT_train.json and, of the test list, as published,
ImageNet_LT_val.json; a list ImageNet_LT_val.txt, if it is there, becomes ImageNet_LT_val_official.json. Images stay where they
are. Places-LT has lists of the same form:

    python tools/convert_from_ImageNet.py --name Places_LT --input_path /downloaded/Places_LT \\
        --image_path /downloaded/places365 --output_path /data/Places_LT
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
from collections.abc import Sequence

from lib.utils.errors import InputError
from tools.conversion.listing import (
    Candidate,
    annotate,
    check_free,
    make_listing_parser,
    read_file,
    run_converter,
    say_how_to_train,
    verify,
    write_annotations,
)

OUTPUTS = {"train": "train", "test": "val", "val": "val_official"}   # part of the list's name to part of the JSON's
OPTIONAL = "val"
RECIPES = {"ImageNet_LT": "configs/ImageNet_LT/imagenetlt_baseline.yaml", "Places_LT": "configs/Places_LT/placeslt_baseline.yaml"}


def read_list(path: Path, image_path: Path) -> list[Candidate]:
    """The images of a list "path label", a line each."""
    sources = []
    for number, line in enumerate(read_file(path, "--input_path").splitlines(), start=1):
        name, _, label = line.strip().rpartition(" ")
        if not name or not label.isascii() or not label.isdigit():
            raise InputError(f'{path}, line {number}: must be the path of an image and its class, such as '
                             f'"train/n01440764/n01440764_190.JPEG 0", got {line[:80]!r}')
        sources.append(Candidate(image_path / name, int(label), f"{path.name}, line {number}"))
    if not sources:
        raise InputError(f"{path}: is empty")
    return sources


def folder_names(sources: Sequence[Candidate], num_classes: int) -> list[str] | None:
    """The folder names of the classes, if each class has a folder of its own."""
    folders = {(source.label, source.path.parent.name) for source in sources}
    names = dict(folders)
    unique = len(folders) == len(names) == len(set(names.values())) == num_classes
    return [names[label] for label in range(num_classes)] if unique else None


def convert(args: argparse.Namespace) -> None:
    lists = {part: args.input_path / f"{args.name}_{part}.txt" for part in OUTPUTS}
    lists = {part: path for part, path in lists.items() if part != OPTIONAL or path.is_file()}
    outputs = {part: args.output_path / f"{args.name}_{OUTPUTS[part]}.json" for part in lists}
    check_free(outputs.values(), args.overwrite)
    sources = {part: read_list(path, args.image_path) for part, path in lists.items()}
    num_classes = 1 + max(source.label for part in sources.values() for source in part)
    names = folder_names(sources["train"], num_classes)
    annotations = {part: annotate(verify(sources[part], args, path.name), args.root) for part, path in lists.items()}
    for part, path in outputs.items():
        print(write_annotations(path, annotations[part], num_classes, names))
    config = RECIPES.get(args.name, RECIPES["ImageNet_LT"])
    say_how_to_train(config, "iNaturalist", (outputs["train"], outputs["test"]), args.root, args.name)


def main(argv: Sequence[str]) -> int:
    parser = make_listing_parser(__doc__)
    parser.add_argument("--input_path", type=Path, required=True, help="folder of the lists, NAME_train.txt and NAME_test.txt")
    parser.add_argument("--image_path", type=Path, required=True, help="folder below which the listed images are")
    parser.add_argument("--output_path", type=Path, required=True, help="folder of the JSON files")
    parser.add_argument("--name", default="ImageNet_LT", help="beginning of the files' names (default ImageNet_LT)")
    return run_converter(convert, parser, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
