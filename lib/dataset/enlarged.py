"""A training set with the images of CAM-based sampling added, and how it is made sure that they were made for it."""
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib.data_transform import Source
from lib.dataset.annotations import Texts
from lib.dataset.base import ImageSet, read_into
from lib.dataset.decode import open_image
from lib.dataset.fingerprint import fingerprint
from lib.utils.errors import InputError, MissingPathError
from lib.utils.tensors import digest

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
        """What the added images are, in plain values that stay the same when they move to another folder."""
        return {"labels": digest(self.labels[len(self.original.labels):]), "files": Texts.of(self.paths).digest(),
                "made_with": self.made_with}

    def read(self, index: int) -> Tensor:
        return self.original.read(index) if index < len(self.original.labels) else self.open(index).pixels()

    def open(self, index: int) -> Source:
        place = index - len(self.original.labels)
        if place < 0:
            return self.original.open(index)
        image, size = open_image(Path(self.paths[place]), KEY), tuple(self.sizes[place].tolist())
        if image.size != size:
            raise InputError(f"{KEY}: {self.paths[place]} has {list(image.size)} pixels, its annotation says {list(size)}; "
                             f"{REMEDY} anew")
        return image

    def pixels(self, read: Callable[[int], Tensor] | None = None) -> Tensor:
        first, read = len(self.original.labels), read or self.read
        pixels = torch.empty(len(self.labels), 3, *self.image_size, dtype=torch.uint8)
        pixels[:first] = self.original.pixels(read)
        return read_into(pixels, first, read, self.name)


def enlarge(original: ImageSet, path: Path) -> EnlargedSet:
    """The training set with the images of ``path`` added.

    Raises:
        InputError: the file is missing, is not one of CAM-based sampling, was made for another set, or names missing images.
    """
    content = read_added(path)
    differences = differing(content[SOURCE], fingerprint(original))
    if differences:
        raise InputError(f"{KEY}: {path} was made for another training set than {original.name} as it is configured here: "
                         f"{'; '.join(differences)}. {REMEDY} for this set; or train on the one that it was made for")
    try:
        rows = [(a["category_id"], a["im_height"], a["im_width"]) for a in content["annotations"]]
        paths = [os.path.join(path.parent, a["fpath"]) for a in content["annotations"]]
        table = torch.tensor(rows, dtype=torch.long).view(-1, 3)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: an annotation lacks one of fpath, category_id, im_height, im_width, or has a wrong one "
                         f"({error!r}); {REMEDY} anew") from error
    missing = [number for number, name in enumerate(paths) if not os.path.isfile(name)]
    if missing:
        raise MissingPathError(f"{path}, annotations[{missing[0]}]: no file {paths[missing[0]]}, and so for {len(missing)} of "
                               f"{len(paths)}; paths are relative to the file that names them; {REMEDY} anew")
    return EnlargedSet(original, table[:, 0], table[:, 1:], paths, content.get("made_with"))


def read_added(path: Path) -> dict[str, Any]:
    """The content of a file that CAM-based sampling wrote."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingPathError(f"{KEY}: no file {path}; {REMEDY}") from error
    except OSError as error:
        raise InputError(f"{KEY}: {path} cannot be read ({error.strerror})") from error
    except ValueError as error:   # JSONDecodeError, UnicodeError
        raise InputError(f"{KEY}: {path} is no JSON ({error}); {REMEDY} anew") from error
    if not isinstance(content, dict) or not isinstance(content.get(SOURCE), dict) or "annotations" not in content:
        raise InputError(f"{KEY}: {path} does not say which training set it was made for; {REMEDY}")
    return content


def differing(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """What is not the same, each with both values. Files of an earlier version lack the last two entries."""
    return [f"{name} {shorten(there.get(name))} there, {shorten(value)} here" for name, value in here.items()
            if there.get(name) != value and (name in there or name not in LATER)]


def shorten(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN - 1]}…"
