"""Sets of small pictures in two JSON files, whose colour is that of their class, whatever number the files give it."""
import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

NAMES = ["cat", "dog", "eel"]
SIZE = 8


def write_set(folder: Path, name: str, names: Sequence[str] | None = None, *, counts: Sequence[int] = (5, 3, 2),
              order: Sequence[str] = NAMES, shift: int = 0) -> Path:
    """Writes ``name``.json and its pictures.

    Args:
        names: the classes in the order in which the file numbers them; None: those of NAMES, which it does not name.
        counts: pictures of each class of ``order``.
        order: in which the pictures stand in the file.
        shift: other pictures of the same classes have another one.
    """
    numbers = {own: number for number, own in enumerate(names or NAMES)}
    (folder / name).mkdir(parents=True, exist_ok=True)
    entries = []
    for own, count in zip(order, counts, strict=True):
        for place in range(count):
            path = folder / name / f"{own}_{place}.png"
            Image.new("RGB", (SIZE, SIZE), color_of(own, place + shift)).save(path)
            entries.append({"fpath": f"{name}/{path.name}", "category_id": numbers[own], "im_height": SIZE, "im_width": SIZE})
    named = {} if names is None else {"class_names": list(names)}
    (folder / f"{name}.json").write_text(json.dumps({"annotations": entries, "num_classes": len(numbers), **named}))
    return folder / f"{name}.json"


def color_of(name: str, place: int) -> tuple[int, ...]:
    """The brightest of red, green and blue tells the class; of a class that is not in NAMES, grey."""
    bright, dark = 255 - 9 * (place % 7), 11 * (place % 5)
    return tuple(bright if channel < len(NAMES) and NAMES[channel] == name else dark for channel in range(3))


def words(folder: Path) -> list[str]:
    """Overrides that name the two files."""
    return ["DATASET.DATASET", "iNaturalist", "DATASET.ROOT", str(folder), "DATASET.TRAIN_JSON", "train.json",
            "DATASET.VALID_JSON", "valid.json"]
