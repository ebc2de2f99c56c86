"""report.html: a page of one file that shows a validation in a browser and needs no internet access."""
import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from lib.report.calibration import Bins, judge_confidence
from lib.report.intervals import Interval
from lib.report.metrics import Evaluated, Metrics
from lib.report.mistakes import Mistake, Mistakes
from lib.report.pictures import data_uri, is_small, png_uri
from lib.report.predictions import Predictions
from lib.report.tables import expert_rows
from lib.utils.text import count, printable, without_surrogates

FOLDER = Path(__file__).parent / "page_files"
CONFUSIONS = 12   # number of pairs of classes in the list
NAMED = 10        # number of classes without images in the list


class Background(NamedTuple):
    """The content of a page besides the numbers of the validation.

    Attributes:
        title: name of the run.
        subject: what was validated.
        figures: figures of the training, if there are any.
        history: the lines of history.jsonl, one per epoch.
        settings: {full key: (value, default)}.
        environment: environment of the training, as recorded at its start.
        commands: pairs of a next step and its command.
        data: content of data.json (warnings about the data set); None if there is none.
    """

    title: str
    subject: str = ""
    figures: Sequence[Path] = ()
    history: Sequence[dict[str, Any]] = ()
    settings: Mapping[str, tuple[Any, Any]] = {}
    environment: Mapping[str, Any] = {}
    commands: Sequence[tuple[str, str]] = ()
    data: Mapping[str, Any] | None = None


class Shown(NamedTuple):
    """The figures, mistakes and bins that a report shows.

    Attributes:
        figures: {name: content of a PNG file}.
    """

    figures: Mapping[str, bytes]
    mistakes: Mistakes
    pictures: Mapping[int, Image.Image]
    bins: Bins


class ClassRow(NamedTuple):
    """A class in the table."""

    number: int
    name: str
    group: str
    train_images: int
    valid_images: int
    recall: float | None
    interval: Interval
    precision: float | None
    f1: float | None
    taken_for: str           # the other class that its images are predicted as most often
    taken_images: int        # how many images these are


def page_html(evaluated: Evaluated, shown: Shown, about: Mapping[str, Any], background: Background) -> str:
    """The page as HTML; names are escaped."""
    predictions, metrics, images, unreadable, experts = evaluated
    names = [printable(name) for name in images.class_names]
    style, script = (read(name) for name in ("style.css", "script.js"))
    changed, unchanged = split_settings(background.settings)
    text = template("report.html").render(
        style=Markup(style), script=Markup(script), script_hash=sha256(script), about=about, background=background,
        set_name=images.name, names=names, metrics=metrics, overall=metrics.interval(),
        groups=[group_row(metrics, name) for name in metrics.shots],
        classes=class_rows(metrics, predictions, names), confusions=frequent_confusions(predictions, names),
        empty=[names[number] for number in np.flatnonzero(metrics.valid_images == 0)], unreadable=len(unreadable),
        experts=expert_rows(metrics, experts) if experts else [],
        mistakes=shown.mistakes, picture=lambda mistake: picture(mistake, shown.pictures), path=lambda index: images.path(index),
        figures={name: png_uri(data) for name, data in shown.figures.items()}, calibration=judge_confidence(shown.bins),
        changed=changed, unchanged=unchanged, facts=flat(background.environment))
    return without_surrogates(text).strip() + "\n"


def template(name: str) -> jinja2.Template:
    """The jinja template of a page. It escapes all text, and raises an error for a name that is not defined."""
    made = jinja2.Environment(loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"percent": percent, "printable": printable, "number": lambda value: f"{value:,}"}
    made.globals |= {"count": count, "NAMED": NAMED}
    return made.get_template(name)


def sha256(script: str) -> str:
    """The hash that allows the page's only script in its Content Security Policy."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def percent(share: float | None, digits: int = 1) -> str:
    return "–" if share is None or np.isnan(share) else f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


class GroupRow(NamedTuple):
    """A shot group in the summary."""

    name: str
    images: str              # range of training images per class, in words
    classes: int
    valid_images: int
    accuracy: float
    interval: Interval


def group_row(metrics: Metrics, name: str) -> GroupRow:
    images = int(metrics.valid_images[metrics.members(name)].sum())
    return GroupRow(name, metrics.shot_bounds.words(name), metrics.shot_sizes[name], images, metrics.shots[name],
                    metrics.interval(name))


def class_rows(metrics: Metrics, predictions: Predictions, names: Sequence[str]) -> list[ClassRow]:
    """The rows of the table of classes, from frequent to rare."""
    taken = most_taken_for(predictions, len(names))
    order = np.argsort(-metrics.train_images, kind="stable").tolist()
    bounds = metrics.recall_intervals
    rows = []
    for number in order:
        other, images = taken.get(number, (0, 0))
        scores = (None if np.isnan(values[number]) else float(values[number])
                  for values in (metrics.recall, metrics.precision, metrics.f1))
        recall, precision, f1 = scores
        train = int(metrics.train_images[number])
        rows.append(ClassRow(number, names[number], metrics.shot_bounds.group(train), train, int(metrics.valid_images[number]),
                             recall, Interval(*bounds[number].tolist()), precision, f1, names[other] if images else "", images))
    return rows


def pairs(predictions: Predictions, num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True class, predicted class and number of images for each kind of mistake, the most frequent first; (M,) each. A (C, C)
    matrix is never made."""
    labels, predicted = predictions.labels.numpy(), predictions.predicted.numpy()
    wrong = labels != predicted
    codes, numbers = np.unique(labels[wrong] * num_classes + predicted[wrong], return_counts=True)
    order = np.argsort(-numbers, kind="stable")
    return codes[order] // num_classes, codes[order] % num_classes, numbers[order]


def most_taken_for(predictions: Predictions, num_classes: int) -> dict[int, tuple[int, int]]:
    """{class: (other class that its images are predicted as most often, number of these images)}."""
    found: dict[int, tuple[int, int]] = {}
    for label, other, number in zip(*(column.tolist() for column in pairs(predictions, num_classes))):
        found.setdefault(label, (other, number))
    return found


def frequent_confusions(predictions: Predictions, names: Sequence[str]) -> list[tuple[str, str, int, int]]:
    """True class, predicted class, number of images, images of the true class."""
    images = np.bincount(predictions.labels.numpy(), minlength=len(names))
    columns = (column[:CONFUSIONS].tolist() for column in pairs(predictions, len(names)))
    return [(names[label], names[other], number, int(images[label])) for label, other, number in zip(*columns)]


def picture(mistake: Mistake, pictures: Mapping[int, Image.Image]) -> tuple[str, bool] | None:
    """The source of an image, and whether its pixels are shown as squares; None if it cannot be read."""
    found = pictures.get(mistake.index)
    return None if found is None else (data_uri(found), is_small(found))


def split_settings(settings: Mapping[str, tuple[Any, Any]]) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    """The settings that differ from the default, and those that do not."""
    texts = {key: (repr(value), repr(default)) for key, (value, default) in settings.items()}
    return ([(key, value, default) for key, (value, default) in texts.items() if value != default],
            [(key, value) for key, (value, default) in texts.items() if value == default])


def flat(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The entries of an environment as pairs of key and text, with sections flattened; unknown values (None) are left out."""
    rows = []
    for key, value in values.items():
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        rows += [(f"{key} {name}".strip(), " ".join(map(str, part)) if isinstance(part, list) else str(part))
                 for name, part in inner if part is not None]
    return rows
