"""Functions that the converters share: options, checks of images, and writing of JSON."""
import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from lib.dataset.folder import THREADS, Look, look_at
from lib.utils.errors import DONE, INTERRUPTED, MISTAKE, InputError, MissingPathError
from lib.utils.files import write_text_atomically
from lib.utils.log import take_all_text
from lib.utils.text import NAMED, count, printable, shell_line

ROOT = Path(__file__).resolve().parents[2]
LONGEST_RUN_NAME = 80


class Candidate(NamedTuple):
    """An image to be listed."""

    path: Path
    label: int
    entry: str                     # where it comes from, for messages
    image_id: int | None = None    # None: its place in the list, from 1


class Listed(NamedTuple):
    """A readable image with its properties."""

    source: Candidate
    look: Look
    image_id: int


def make_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--overwrite", action="store_true", help="replace existing files; without it, they are an error")
    parser.add_argument("--root", type=Path, metavar="FOLDER", help="write paths relative to this folder, which must then be "
                        "DATASET.ROOT, so that the data can be moved; without it they are absolute")
    return parser


def make_listing_parser(description: str) -> argparse.ArgumentParser:
    """The parser of converters that list existing images."""
    parser = make_parser(description)
    parser.add_argument("--skip_bad", action="store_true", help="leave out images that are missing or cannot be read")
    parser.add_argument("--headers_only", action="store_true", help="read only the header of each image, which is faster but "
                        "does not detect truncated images; without it all images are decoded")
    return parser


def run_converter(convert: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser, argv: Sequence[str]) -> int:
    """Exit status: 0 done, 2 a mistake in the input (one message), 130 Ctrl-C."""
    take_all_text()
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
        print("interrupted; no incomplete file is left; run the same command again", file=sys.stderr)
        return INTERRUPTED


def progress(total: int, what: str) -> tqdm:
    """A progress bar with rate and remaining time, on standard error."""
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


def verify(sources: Sequence[Candidate], args: argparse.Namespace, what: str) -> list[Listed]:
    """The images that can be read, in the given order; all are decoded, or their headers read with ``--headers_only``.

    Raises:
        InputError: files that are missing or cannot be read; how many, and the first of them. With ``--skip_bad`` they are
            left out instead, and reported.
    """
    with progress(len(sources), what) as bar:
        looks = look_at([source.path for source in sources], [source.entry for source in sources], bar.update, THREADS,
                        decode=not args.headers_only)
    bad = [look.mistake for look in looks if look.mistake]
    if bad:
        report_bad(f"{len(bad):,} of {count(len(sources), 'image')} ({what}) are missing or cannot be read:", bad, args.skip_bad)
    return [Listed(source, look, number if source.image_id is None else source.image_id)
            for number, (source, look) in enumerate(zip(sources, looks), start=1) if not look.mistake]


def report_bad(headline: str, mistakes: Sequence[str], skip_bad: bool) -> None:
    """Raises InputError, or says with ``skip_bad`` that these are left out."""
    more = [f"… and {len(mistakes) - NAMED:,} more"] if len(mistakes) > NAMED else []
    lines = [*map(printable, mistakes[:NAMED]), *more]
    if not skip_bad:
        raise InputError("\n  ".join([headline, *lines]) + "\n--skip_bad leaves them out")
    say(f"left out: {headline}", *(f"  {line}" for line in lines))


def say(*lines: str) -> None:
    """Prints remarks on the data to standard error, apart from the results on standard output."""
    for line in lines:
        print(printable(line), file=sys.stderr)


def annotate(images: Sequence[Listed], root: Path | None) -> list[dict[str, Any]]:
    """The annotations in the published form."""
    return [{"image_id": image_id, "fpath": write_path(source.path, root), "im_height": look.size[0], "im_width": look.size[1],
             "category_id": source.label} for source, look, image_id in images]


def write_path(path: Path, root: Path | None) -> str:
    """The path in the JSON: absolute, or relative to ``root``."""
    path = Path(os.path.abspath(path))   # links stay: the folder may be one on purpose
    if root is None:
        return str(path)
    root = Path(os.path.abspath(root))
    if not path.is_relative_to(root):
        raise InputError(f"--root: {path} is not below {root}")
    return str(path.relative_to(root))


def write_annotations(path: Path, annotations: Sequence[dict[str, Any]], num_classes: int,
                      class_names: Sequence[str] | None = None) -> str:
    """Writes the published JSON in one step; returns a message about it."""
    if not annotations:
        raise InputError(f"{path}: would contain no images")
    path.parent.mkdir(parents=True, exist_ok=True)
    names = {"class_names": list(class_names)} if class_names else {}
    write_text_atomically(path, json.dumps({"annotations": annotations, "num_classes": num_classes, **names}) + "\n")
    covered = len({annotation["category_id"] for annotation in annotations})
    return f"{printable(path.name)}: {count(len(annotations), 'image')} of {covered:,} of {num_classes:,} classes"


def say_how_to_train(config: str, dataset: str, files: tuple[Path, Path], root: Path | None, name: str) -> None:
    """Prints the whole command that trains on the written files.

    Args:
        config: a file of the repository.
        files: annotations for training and for validation.
    """
    script, config = (os.path.relpath(ROOT / file) for file in ("data_parallel_train.sh", config))
    train, valid = map(os.path.abspath, files)
    place = []
    if root is not None:
        place = ["DATASET.ROOT", os.path.abspath(root)]
        relative = [os.path.relpath(file, root) for file in (train, valid)]
        if not any(file.startswith((os.pardir, "-")) for file in relative):   # "-": would be an option
            train, valid = relative
    words = ["bash", script, config, "0" if torch.cuda.is_available() else "cpu", "DATASET.DATASET", dataset, *place,
             "DATASET.TRAIN_JSON", train, "DATASET.VALID_JSON", valid, "NAME", name_run(name)]
    print(f"to train:\n    {shell_line(words)}")


def name_run(name: str) -> str:
    """A name for a run, without characters that have a meaning in a shell, a path or the configuration."""
    return re.sub(r"[^\w.-]+", "_", name).strip("-._")[:LONGEST_RUN_NAME] or "own"
