"""Lists iNaturalist 2018, or another year's, for training: one JSON file of the competition to one of the published form.

    python tools/convert_from_iNat.py --input_json_file /downloaded/iNat18/train2018.json \\
        --image_path /downloaded/iNat18/images --output_json_file /data/iNat18/iNaturalist18_train.json
    python tools/convert_from_iNat.py --input_json_file /downloaded/iNat18/val2018.json \\
        --image_path /downloaded/iNat18/images --output_json_file /data/iNat18/iNaturalist18_val.json

--image_path is the folder that holds train_val2018. Images and their classes are joined by image id, not by their order. Images
stay where they are.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import json
import re
from collections.abc import Sequence
from typing import Any

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

RECIPE = "configs/iNat18/iNat18_baseline.yaml"


def read_competition(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_file(path, "--input_json_file"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    missing = [key for key in ("images", "annotations", "categories") if not isinstance(content, dict) or not content.get(key)]
    if missing:
        raise InputError(f"{path}: has no {' and no '.join(missing)}; it should be the competition's train2018.json")
    return content


def join(path: Path, content: dict[str, Any], image_path: Path) -> list[Candidate]:
    """Joins images with their classes, in the order of the images.

    Raises:
        InputError: an image without a class, or with two; a class without an image; incomplete entries.
    """
    labels = {}
    for number, annotation in enumerate(content["annotations"]):
        entry = f"{path.name}, annotations[{number}]"
        image_id, label = (take(annotation, key, entry) for key in ("image_id", "category_id"))
        if labels.setdefault(image_id, label) != label:
            raise InputError(f"{entry}: image {image_id} has two classes, {labels[image_id]} and {label}")
    sources = []
    for number, image in enumerate(content["images"]):
        entry = f"{path.name}, images[{number}]"
        image_id, name = (take(image, key, entry) for key in ("id", "file_name"))
        if image_id not in labels:
            raise InputError(f"{entry}: no annotation names the class of image {image_id}, or two images have this id")
        sources.append(Candidate(image_path / name, labels.pop(image_id), entry, image_id))
    if labels:
        raise InputError(f"{path.name}: {len(labels)} annotations are of images that are not listed, such as image "
                         f"{next(iter(labels))}")
    return sources


def take(item: Any, key: str, entry: str) -> Any:
    if not isinstance(item, dict) or item.get(key) is None:
        raise InputError(f"{entry}: has no {key}")
    return item[key]


def name_classes(path: Path, categories: list[Any], sources: Sequence[Candidate]) -> list[str]:
    """Names of the classes 0, 1, …, which must be all that there are."""
    names = {take(category, "id", f"{path.name}, categories[{number}]"): str(category.get("name", category["id"]))
             for number, category in enumerate(categories)}
    if set(names) != set(range(len(names))):
        raise InputError(f"{path.name}: the ids of categories are not 0 to {len(names) - 1}")
    unknown = [source for source in sources if source.label not in names]
    if unknown:
        raise InputError(f"{unknown[0].entry}: class {unknown[0].label} is not in categories (0 to {len(names) - 1})")
    return [names[number] for number in range(len(names))]


def convert(args: argparse.Namespace) -> None:
    check_free([args.output_json_file], args.overwrite)
    content = read_competition(args.input_json_file)
    sources = join(args.input_json_file, content, args.image_path)
    names = name_classes(args.input_json_file, content["categories"], sources)
    annotations = annotate(verify(sources, args, args.input_json_file.name), args.root)
    print(write_annotations(args.output_json_file, annotations, len(names), names))
    train, valid = (args.output_json_file.with_name(re.sub("train|val", part, args.output_json_file.name))
                    for part in ("train", "val"))
    if train != valid and train.is_file() and valid.is_file():
        say_how_to_train(RECIPE, "iNaturalist", (train, valid), args.root, train.stem.removesuffix("_train"))


def main(argv: Sequence[str]) -> int:
    parser = make_listing_parser(__doc__)
    parser.add_argument("--input_json_file", type=Path, required=True, help="train2018.json or val2018.json")
    parser.add_argument("--image_path", type=Path, required=True, help="folder below which the images' file_name are")
    parser.add_argument("--output_json_file", type=Path, required=True, help="JSON file to write")
    return run_converter(convert, parser, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
