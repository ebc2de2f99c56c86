"""A training set enlarged by images of CAM-based sampling, and the check that they were generated for it."""
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib.data_transform import Source
from lib.dataset.annotations import Texts, describe_mistake
from lib.dataset.base import ImageSet, read_into
from lib.dataset.decode import open_image
from lib.dataset.fingerprint import fingerprint
from lib.dataset.json_set import JsonSet
from lib.utils.errors import InputError, MissingPathError
from lib.utils.tensors import digest

log = logging.getLogger(__name__)

KEY = "DATASET.CAM_DATA_JSON_SAVE_PATH"
REMEDY = "DATASET.GENERATE_CAM_BASED_DATASET True makes one"
SOURCE = "source"     # entry of the file with the fingerprint
SHOWN = 60            # characters of a value in a message
LATER = ("class_names", "content")   # entries of a fingerprint that files of an earlier version lack


class EnlargedSet(ImageSet):
    """The original images, then the added ones. Class counts stay those of the original set, as published: what is made of
    them – probabilities, losses, shot groups – does not change, only which images a class consists of.

    Args:
        original: the training set.
        labels: class of every added image, (A,).
        sizes: height and width of every added image, (A, 2).
        paths: their files.
        made_with: what their file says of how they were made.
    """

    def __init__(self, original: ImageSet, labels: Tensor, sizes: Tensor, paths: Sequence[str], made_with: Any = None) -> None:
        equal = original.image_size is not None and bool((sizes == torch.tensor(original.image_size)).all())
        super().__init__(original.name, torch.cat([original.labels, labels]), original.class_names, original.mean.tolist(),
                         original.std.tolist(), original.image_size if equal else None, original.indices)
        self.class_counts = original.class_counts
        self.original, self.sizes, self.paths, self.made_with = original, sizes, list(paths), made_with

    def added(self) -> dict[str, Any]:
        """A description of the added images in plain values, which does not change if they are moved to another folder."""
        return {"labels": digest(self.labels[len(self.original.labels):]), "files": Texts.of(self.paths).digest(),
                "made_with": self.made_with}

    def path(self, index: int) -> str | None:
        place = index - len(self.original.labels)
        return self.original.path(index) if place < 0 else self.paths[place]

    def read(self, index: int) -> Tensor:
        return self.original.read(index) if index < len(self.original.labels) else self.open(index).pixels()

    def open(self, index: int) -> Source:
        place = index - len(self.original.labels)
        if place < 0:
            return self.original.open(index)
        image, size = open_image(Path(self.paths[place]), KEY), tuple(self.sizes[place].tolist())
        if image.size != size:
            raise InputError(f"{KEY}: {self.paths[place]} has {list(image.size)} pixels, its annotation says {list(size)}; "
                             f"{REMEDY} again")
        return image

    def pixels(self, read: Callable[[int], Tensor] | None = None) -> Tensor:
        first, read = len(self.original.labels), read or self.read
        pixels = torch.empty(len(self.labels), 3, *(self.image_size or ()), dtype=torch.uint8)
        pixels[:first] = self.original.pixels(read)
        return read_into(pixels, first, read, self.name)


def enlarge(original: ImageSet, path: Path, root: str = "") -> EnlargedSet:
    """The training set with the images of ``path`` added.

    Published files do not say which training set they were made for. They are read, with a warning, and what can be compared is:
    classes, files, sizes.

    Args:
        root: DATASET.ROOT, where relative paths of published files are looked for too.

    Raises:
        InputError: the file is missing, is not one of CAM-based sampling, was made for another set, or names missing images.
    """
    content = read_json(path)
    source = content.get(SOURCE) if isinstance(content, dict) else None
    entries = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries or not isinstance(source, dict | None):
        raise InputError(f"{KEY}: {path} has no list of annotations as CAM-based sampling writes it; {REMEDY}")
    if source is not None:
        check_source(original, path, source)
    check_annotations(original, path, content, entries)
    names = [entry["fpath"] for entry in entries]
    paths = find_images(path, names, [str(path.parent)] if source else list(dict.fromkeys([str(path.parent), "", root])))
    if source is None:
        check_others(original, path, paths)
        log.warning("%s: %s does not say which training set it was made for, as no published one does; its %d images are added "
                    "to %s, whose %d classes they fit", KEY, path, len(paths), original.name, original.num_classes)
    table = torch.tensor([(entry["category_id"], entry["im_height"], entry["im_width"]) for entry in entries], dtype=torch.long)
    made_with = content.get("made_with") if isinstance(content, dict) else None
    return EnlargedSet(original, table[:, 0], table[:, 1:], paths, made_with)


def check_source(original: ImageSet, path: Path, source: dict[str, Any]) -> None:
    differences = differing(source, fingerprint(original))
    if differences:
        raise InputError(f"{KEY}: {path} was made for another training set than {original.name} as it is configured here: "
                         f"{'; '.join(differences)}. {REMEDY} for this set; or train on the one that it was made for")


def check_annotations(original: ImageSet, path: Path, content: Any, entries: list[Any]) -> None:
    """Raises InputError for an entry that is not a valid annotation of one of the set's classes."""
    classes = content.get("num_classes", original.num_classes) if isinstance(content, dict) else original.num_classes
    if classes != original.num_classes:
        raise InputError(f"{KEY}: {path} has {shorten(classes)} classes, and {original.name} has {original.num_classes}; "
                         f"{REMEDY} for this set")
    for number, entry in enumerate(entries):
        mistake = describe_mistake(entry)
        if not mistake:
            lacking = [key for key in ("im_height", "im_width") if entry.get(key) is None]
            mistake = f"has no {lacking[0]}" if lacking else ""
        if not mistake and entry["category_id"] >= classes:
            mistake = f"category_id {entry['category_id']} is none of the {classes} classes of {original.name}"
        if mistake:
            raise InputError(f"{KEY}: {path}, annotations[{number}]: {mistake}; {REMEDY} again")


def find_images(path: Path, names: list[str], folders: list[str]) -> list[str]:
    """The files, in the first of the folders that has them all.

    Args:
        folders: where relative names may be; "" is the working directory.
    """
    tried = {folder: [os.path.join(folder, name) for name in names] for folder in folders}
    there = {folder: [os.path.isfile(name) for name in paths] for folder, paths in tried.items()}
    best = max(folders, key=lambda folder: sum(there[folder]))   # of equal ones the first
    if not all(there[best]):
        first, count = there[best].index(False), there[best].count(False)
        where = "paths are relative to the file that names them" if len(folders) == 1 else \
            f"looked for in {', '.join(folder or 'the working directory' for folder in folders)}"
        raise MissingPathError(f"{path}, annotations[{first}]: no file {tried[best][first]}, and so for {count} of {len(names)}; "
                               f"{where}; {REMEDY} again")
    if len(folders) > 1 and not all(map(os.path.isabs, names)):
        log.info("%s: paths in %s are taken as relative to %s", KEY, path, best or "the working directory")
    return tried[best]


def check_others(original: ImageSet, path: Path, paths: list[str]) -> None:
    """Raises InputError if the images are those of the training set itself, whose annotations look like published ones."""
    if not isinstance(original, JsonSet):
        return
    added = {os.path.abspath(name) for name in paths}
    own = next((name for name in map(original.path, range(len(original.labels))) if os.path.abspath(name) in added), None)
    if own is not None:
        raise InputError(f"{KEY}: {path} names {own}, which is an image of {original.name} itself; {REMEDY}")


def read_added(path: Path) -> dict[str, Any]:
    """The content of a file that CAM-based sampling of this project wrote."""
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get(SOURCE), dict) or "annotations" not in content:
        raise InputError(f"{KEY}: {path} does not say which training set it was made for; {REMEDY}")
    return content


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingPathError(f"{KEY}: no file {path}; {REMEDY}") from error
    except OSError as error:
        raise InputError(f"{KEY}: {path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:   # JSONDecodeError, UnicodeError
        raise InputError(f"{KEY}: {path} is no JSON ({error}); {REMEDY} again") from error


def differing(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """The differences, each with both values. Files of an earlier version lack the last two entries."""
    return [f"{name} {shorten(there.get(name))} there, {shorten(value)} here" for name, value in here.items()
            if there.get(name) != value and (name in there or name not in LATER)]


def shorten(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN - 1]}…"
