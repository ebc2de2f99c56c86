"""What the converters share: their options, looking at images, and the JSON they write."""
import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from lib.utils.errors import DONE, INTERRUPTED, MISTAKE, InputError, MissingPathError
from lib.utils.files import write_text_atomically
from lib.utils.image_header import read_size
from lib.utils.threads import map_ranges

NAMED = 5      # images that a message names before it says how many more there are
THREADS, AT_ONCE = 16, 256   # threads that wait for a disk, mostly, and images of one turn


class Source(NamedTuple):
    """An image to be listed."""

    path: Path
    label: int
    entry: str                            # where it comes from, for messages
    size: tuple[int, int] | None = None   # height, width; None: the file's header tells
    image_id: int | None = None           # None: its place in the list, from 1


def make_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--overwrite", action="store_true", help="replace what is already there; without it, that is an error")
    parser.add_argument("--root", type=Path, metavar="FOLDER", help="write paths relative to this folder, which is then to be "
                        "DATASET.ROOT, so that the data can move; without it they are absolute")
    return parser


def make_listing_parser(description: str) -> argparse.ArgumentParser:
    """For converters that list images which are there already."""
    parser = make_parser(description)
    parser.add_argument("--skip_bad", action="store_true", help="leave out images that are missing or cannot be read")
    return parser


def run_converter(convert: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser, argv: Sequence[str]) -> int:
    """Exit status: 0 done, 2 a mistake in the input (one message), 130 Ctrl-C."""
    args = parser.parse_args(argv)
    try:
        convert(args)
        return DONE
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("interrupted; nothing half-written is left, and the same command begins again", file=sys.stderr)
        return INTERRUPTED


def progress(total: int, what: str) -> tqdm:
    """A bar with rate and time left, on standard error."""
    return tqdm(desc=what, total=total, unit=" images", unit_scale=True, mininterval=0.5, dynamic_ncols=True)


def read_file(path: Path, option: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise MissingPathError(f"{option}: no file {path}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{option}: {path} is no text") from error


def check_free(paths: Iterable[Path], overwrite: bool) -> None:
    """Raises InputError before anything is read, if something would be lost."""
    there = [str(path) for path in paths if path.exists()]
    if there and not overwrite:
        raise InputError(f"{', '.join(there)}: already there; --overwrite replaces it")


def annotate(sources: Sequence[Source], root: Path | None, skip_bad: bool, what: str) -> list[dict[str, Any]]:
    """Annotations of the published form, in the given order; every file is looked for, and its header read for its size.

    Raises:
        InputError: files that are missing or no images; how many, and the first of them. With ``skip_bad`` they are
            left out instead, and reported.
    """
    annotations, bad = [], []
    for number, (source, (size, mistake)) in enumerate(zip(sources, look_at(sources, what)), start=1):
        if mistake:
            bad.append(mistake)
            continue
        annotations.append({"image_id": number if source.image_id is None else source.image_id,
                            "fpath": write_path(source.path, root), "im_height": size[0], "im_width": size[1],
                            "category_id": source.label})
    if bad:
        more = [f"… and {len(bad) - NAMED:,} more"] if len(bad) > NAMED else []
        message = "\n  ".join([f"{len(bad):,} of {len(sources):,} images ({what}) are missing or cannot be read:",
                               *bad[:NAMED], *more])
        if not skip_bad:
            raise InputError(f"{message}\n--skip_bad leaves them out")
        print(f"left out: {message}", file=sys.stderr)
    return annotations


def look_at(sources: Sequence[Source], what: str) -> list[tuple[tuple[int, int] | None, str]]:
    looks = []
    with progress(len(sources), what) as bar:
        for part in map_ranges(lambda turn: [look(sources[index]) for index in turn], len(sources), AT_ONCE, THREADS):
            looks += part
            bar.update(len(part))
    return looks


def look(source: Source) -> tuple[tuple[int, int] | None, str]:
    """(size, "") of an image, or (None, what is wrong with it)."""
    if source.size is not None and source.path.is_file():
        return source.size, ""
    try:
        return read_size(source.path, source.entry), ""
    except InputError as error:
        return None, str(error)


def write_path(path: Path, root: Path | None) -> str:
    """Absolute, or relative to ``root``."""
    path = Path(os.path.abspath(path))   # links stay: the folder may be one on purpose
    if root is None:
        return str(path)
    root = Path(os.path.abspath(root))
    if not path.is_relative_to(root):
        raise InputError(f"--root: {path} is not below {root}")
    return str(path.relative_to(root))


def write_annotations(path: Path, annotations: Sequence[dict[str, Any]], num_classes: int,
                      class_names: Sequence[str] | None = None) -> str:
    """Writes the published JSON, whole or not at all; returns what to say of it."""
    if not annotations:
        raise InputError(f"{path}: there would be no images in it")
    path.parent.mkdir(parents=True, exist_ok=True)
    names = {"class_names": list(class_names)} if class_names else {}
    write_text_atomically(path, json.dumps({"annotations": annotations, "num_classes": num_classes, **names}) + "\n")
    covered = len({annotation["category_id"] for annotation in annotations})
    return f"{path.name}: {len(annotations):,} images of {covered:,} of {num_classes:,} classes"


def say_how_to_train(dataset: str, train: Path, valid: Path, root: Path | None) -> None:
    """The keys to train with what was written."""
    if root is not None:
        train, valid = (Path(os.path.relpath(path, root)) for path in (train, valid))
    place = f" DATASET.ROOT {root}" if root is not None else ""
    print(f"to train: DATASET.DATASET {dataset}{place} DATASET.TRAIN_JSON {train} DATASET.VALID_JSON {valid}")
