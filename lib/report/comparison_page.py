"""Writes a comparison as text, tables, figures and a page."""
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from lib.report.comparison import BY, RESAMPLES, Entrant, Ground, PairedDifference, compare
from lib.report.intervals import Interval
from lib.report.page import read, sha256, template
from lib.report.pictures import png_uri
from lib.report.style import BLUE, GREEN, GREY, LONGEST_NAME, NAMED_CLASSES, ORANGE, PURPLE, RED, plain_text, room_for
from lib.report.tables import TOO_FEW
from lib.utils.text import count, csv_text, pad, printable, width, without_surrogates

TITLES = {"balanced": "balanced accuracy", "top1": "Top-1 accuracy", "many": "many-shot accuracy",
          "medium": "medium-shot accuracy", "few": "few-shot accuracy"}
COLORS = (GREY, BLUE, ORANGE, GREEN, PURPLE, RED, "black", "#56B4E9", "#F0E442", "#8C510A")
BLOCKS = 50   # number of blocks of neighbouring classes, if there are too many classes to name each


class EntrantRow(NamedTuple):
    """An entrant in the tables."""

    name: str
    seeds: int
    accuracies: dict[str, np.ndarray]    # name of the accuracy to its values, one for each seed
    intervals: dict[str, Interval]       # over images
    difference: PairedDifference | None        # to the first row; None in the first row


class Comparison(NamedTuple):
    """Everything that the page of a comparison shows.

    Attributes:
        recall: of each class and row, (R, C), mean over seeds; NaN for a class without images.
        remarks: sentences that explain the numbers.
    """

    by: str
    ground: Ground
    rows: Sequence[EntrantRow]
    recall: np.ndarray
    remarks: Sequence[str]

    @property
    def verdicts(self) -> list[str]:
        first = self.rows[0].name
        return [row.difference.verdict(row.name, first) for row in self.rows if row.difference is not None]


def make_comparison(entrants: Sequence[Entrant], ground: Ground, by: str, remarks: Sequence[str] = ()) -> Comparison:
    """Compares the entrants with the first one. Raises InputError if the accuracy ``by`` cannot be computed from these images."""
    differences = [None, *compare(entrants[0], entrants[1:], ground, by)]
    rows = [EntrantRow(printable(one.name, LONGEST_NAME), len(one.seeds),
                       {name: one.accuracy(ground, name) for name in ground.groups()},
                       {name: one.interval(ground, name) for name in ground.groups()}, difference)
            for one, difference in zip(entrants, differences)]
    recall = np.stack([one.recall(ground).mean(axis=0) for one in entrants])
    return Comparison(by, ground, rows, recall, [*explain(rows), *remarks])


def explain(rows: Sequence[EntrantRow]) -> list[str]:
    """Sentences that explain the numbers."""
    lines = [f"All intervals are 95 % intervals. Over images: the range to expect on other images of the same kind (paired "
             f"bootstrap within each class, {RESAMPLES:,} resamples)."]
    if any(row.difference is not None and row.difference.over_seeds is not None for row in rows):
        lines.append("Over seeds: the range to expect with other seeds (Student's t, over pairs of runs with the same seed).")
    if any(row.seeds > 1 for row in rows):
        lines.append("±: standard deviation over seeds.")
    if any(row.seeds == 1 for row in rows):
        lines.append("A single seed does not show how much results vary between seeds, which is often a point or more.")
    if len(rows) > 2:
        lines.append(f"p is corrected for {len(rows) - 1} comparisons (Holm); intervals are not.")
    return lines


def spread(values: np.ndarray) -> str:
    """The mean in per cent, with the standard deviation if there are several seeds."""
    return f"{100 * values.mean():.1f}" + (f" ± {100 * values.std(ddof=1):.1f}" if len(values) > 1 else "")


def bounds(interval: Interval | None, sign: str = "") -> str:
    return "" if interval is None else f"{100 * interval.low:{sign}.1f} to {100 * interval.high:{sign}.1f}"


def cells(row: EntrantRow, by: str) -> list[str]:
    """A row of the main table."""
    own = [row.name, str(row.seeds), spread(row.accuracies[by]), bounds(row.intervals[by])]
    if row.difference is None:
        return [*own, "", "", "", ""]
    one = row.difference
    return [*own, f"{100 * one.value:+.1f}", bounds(one.over_images, "+"), bounds(one.over_seeds, "+"), f"{one.corrected:.3f}"]


HEADER = ("run", "seeds", "%", "95 %, images", "difference", "95 %, images", "95 %, seeds", "p")


def table(lines: Sequence[Sequence[str]]) -> str:
    """Aligns columns for a terminal, in which Chinese, Japanese and Korean letters are two columns wide."""
    used = [place for place in range(len(lines[0])) if any(line[place] for line in lines[1:])]
    lines = [[line[place] for place in used] for line in lines]
    widths = [max(width(line[place]) for line in lines) for place in range(len(used))]
    return "\n".join("  ".join(pad(cell, size, place > 0) for place, (cell, size) in enumerate(zip(line, widths))).rstrip()
                     for line in lines)


def text_of(shown: Comparison, most_classes: int = 20) -> str:
    """The comparison as text; if there are more classes than ``most_classes``, only the rarest."""
    ground, by = shown.ground, shown.by
    images, groups = ground.images, [name for name in ground.groups() if name != by]
    counted = ground.weights(by) > 0
    classes = count(int(counted.sum()), "class", "classes")
    lines = [f"{capital(TITLES[by])}, {count(int(images[counted].sum()), 'image')} of {classes}:",
             table([HEADER, *(cells(row, by) for row in shown.rows)]), ""]
    others = [[row.name, *(f"{spread(row.accuracies[name])} ({bounds(row.intervals[name])}"
                           + f", {TOO_FEW})" * row.intervals[name].too_wide + ")" * (not row.intervals[name].too_wide)
                           for name in groups)] for row in shown.rows]
    lines += ["Other accuracies (95 %, images):", table([["run", *(TITLES[name] for name in groups)], *others]), ""]
    order = class_order(ground)
    chosen = order if len(order) <= most_classes else order[-most_classes:]
    body = [[printable(ground.class_names[number], LONGEST_NAME), f"{ground.train_images[number]:,}", f"{images[number]:,}",
             *("–" if np.isnan(value) else f"{100 * value:.1f}" for value in shown.recall[:, number])] for number in chosen]
    title = "Recall (%) by class, from frequent to rare" + (f", the {most_classes} rarest" if len(chosen) < len(order) else "")
    lines += [f"{title}:", table([["class", "training images", "images", *(row.name for row in shown.rows)], *body]), ""]
    return "\n".join([*lines, *(f"{verdict}." for verdict in shown.verdicts), "", *shown.remarks]) + "\n"


def capital(text: str) -> str:
    return text[0].upper() + text[1:]


def class_order(ground: Ground) -> list[int]:
    """The classes from frequent to rare."""
    return np.argsort(-ground.train_images, kind="stable").tolist()


def csv_of(shown: Comparison) -> str:
    """CSV with a row per run: all accuracies, and the difference in the chosen one; as fractions, not per cent."""
    names = [name for name in BY if name in shown.ground.groups()]
    header = ["run", "seeds", *(f"{name}{part}" for name in names for part in ("", "_std", "_low", "_high")), "by", "difference",
              "images_low", "images_high", "seeds_low", "seeds_high", "p_holm", "verdict"]
    verdicts = iter(shown.verdicts)
    lines = []
    for row in shown.rows:
        numbers = [value for name in names for value in (
            row.accuracies[name].mean(), row.accuracies[name].std(ddof=1) if row.seeds > 1 else None, *row.intervals[name])]
        one = row.difference
        rest = [None] * 6 if one is None else [one.value, *one.over_images, *(one.over_seeds or (None, None)), one.corrected]
        verdict = "" if one is None else next(verdicts)
        lines.append([row.name, row.seeds, *map(cell, numbers), shown.by, *map(cell, rest), verdict])
    return csv_text([header, *lines])


def classes_csv_of(shown: Comparison) -> str:
    """CSV with a row per class."""
    ground = shown.ground
    header = ["name", "train_images", "images", *(f"recall of {row.name}" for row in shown.rows)]
    return csv_text([header, *([ground.class_names[number], int(ground.train_images[number]), int(ground.images[number]),
                                *map(cell, shown.recall[:, number].tolist())] for number in class_order(ground))])


def cell(value: float | None) -> float | str:
    """A number, rounded, or an empty cell; as a text, a negative number would get a quote in front (``safe_cell``)."""
    return "" if value is None or np.isnan(value) else round(float(value), 6)


def differences_figure(shown: Comparison) -> Figure:
    """Differences to the first row, sorted, with their intervals."""
    found = [(row.name, row.difference) for row in shown.rows if row.difference is not None]
    rows = sorted(found, key=lambda pair: pair[1].value)
    names = [plain_text(name) for name, _ in rows]
    figure = Figure(figsize=(9 + room_for(names), 1.8 + 0.6 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(0, color=GREY, linewidth=1)
    for place, (_, difference) in enumerate(rows):
        for interval, shift, color, label in ((difference.over_images, 0.1, BLUE, "over images"),
                                              (difference.over_seeds, -0.1, ORANGE, "over seeds")):
            if interval is not None:
                axes.plot([100 * interval.low, 100 * interval.high], [place + shift] * 2, color=color, linewidth=3,
                          solid_capstyle="butt", label=label if label not in axes.get_legend_handles_labels()[1] else None)
        axes.plot([100 * difference.value], [place], "o", color="black" if difference.believed else "white",
                  markeredgecolor="black", zorder=3)
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel(f"difference in {TITLES[shown.by]} to {plain_text(shown.rows[0].name)}, in points (filled: significant)")
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return figure


def recall_figure(shown: Comparison) -> Figure:
    """Recall of each class side by side, from frequent to rare; if there are many classes, means of neighbouring ones."""
    ground, order = shown.ground, class_order(shown.ground)
    names = [ground.class_names[number] for number in order]
    figure = Figure(figsize=(9.5, 4.6 + room_for(names)), layout="constrained")
    axes = figure.add_subplot()
    recall = 100 * shown.recall[:, order]
    for number, (row, values) in enumerate(zip(shown.rows, recall)):
        color = COLORS[number % len(COLORS)]
        if len(order) <= NAMED_CLASSES:
            step = 0.7 / len(shown.rows)
            places = np.arange(len(order)) + (number - (len(shown.rows) - 1) / 2) * step
            axes.bar(places, np.nan_to_num(values), step, color=color, label=plain_text(row.name))
        else:
            blocks = np.array_split(np.arange(len(order)), min(BLOCKS, len(order)))
            with_images = [block for block in blocks if not np.isnan(values[block]).all()]
            axes.plot([block.mean() for block in with_images], [np.nanmean(values[block]) for block in with_images], color=color,
                      marker=".", label=plain_text(row.name))
    if len(order) <= NAMED_CLASSES:
        labels = [f"{plain_text(name)} ({ground.images[number]:,})" for name, number in zip(names, order)]
        axes.set_xticks(range(len(order)), labels, rotation=90)
        axes.set_xlabel("class (compared images), from frequent to rare in training")
        for place in np.flatnonzero(np.isnan(recall[0])).tolist():
            axes.text(place, 2, "no images", rotation=90, ha="center", va="bottom", fontsize=8, color=GREY)
    else:
        axes.set_xlabel(f"classes, from frequent to rare in training (means of {len(order) / BLOCKS:.0f} neighbouring classes)")
    axes.set_ylim(0, 102)
    axes.set_ylabel("recall (%)")
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=min(4, len(shown.rows)), frameon=False)
    return figure


def page_of(shown: Comparison, figures: Mapping[str, bytes], title: str) -> str:
    """The comparison as a page of one file, which needs no internet access; names are escaped."""
    style, script = (read(name) for name in ("style.css", "script.js"))
    ground = shown.ground
    text = template("comparison.html").render(
        style=Markup(style), script=Markup(script), script_hash=sha256(script), title=title, shown=shown, titles=TITLES,
        header=HEADER, capital=capital, cells=[cells(row, shown.by) for row in shown.rows], spread=spread, bounds=bounds,
        groups=[name for name in ground.groups() if name != shown.by], order=class_order(ground), images=ground.images.tolist(),
        names=[printable(name) for name in ground.class_names], recall=shown.recall.tolist(),
        figures={name: png_uri(data) for name, data in figures.items()})
    return without_surrogates(text).strip() + "\n"
