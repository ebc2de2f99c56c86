"""A contact sheet of pictures with what a network takes them for."""
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lib.report.style import GREEN, fit_text

COLUMNS = 6
CELL = 2.2     # inches of a picture
TEXT = 0.95    # inches of the texts of a row
MARGIN = 0.15
NAMED = 3      # classes below a picture
LETTERS = 24   # columns of a terminal that fit below a picture

Shown = tuple[Tensor, str, list[tuple[str, float]]]   # uint8 (3, H, W), its name, classes and probabilities


def sheet_figure(shown: Sequence[Shown]) -> Figure:
    """Pictures as the network saw them, their names above, the most probable classes below."""
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    width, height = CELL * columns + MARGIN, (CELL + TEXT) * rows + MARGIN
    figure = Figure(figsize=(width, height))
    grid = figure.subplots(rows, columns, squeeze=False, gridspec_kw={
        "left": MARGIN / width, "right": 1 - MARGIN / width, "top": 1 - 2 * MARGIN / height, "bottom": (TEXT - MARGIN) / height,
        "wspace": 0.08, "hspace": TEXT / CELL})
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (image, name, classes) in zip(grid.flat, shown):
        axes.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest" if image.shape[2] < 64 else "antialiased")
        axes.set_title(fit_text(name, LETTERS), fontsize=8)
        write_classes(axes, classes[:NAMED])
    return figure


def write_classes(axes: Axes, classes: Sequence[tuple[str, float]]) -> None:
    """A line for each class, and a bar as long as its probability."""
    for place, (name, probability) in enumerate(classes):
        y = -0.07 - 0.115 * place
        axes.plot([0, probability], [y - 0.05] * 2, color=GREEN, linewidth=2, transform=axes.transAxes, clip_on=False)
        text = f"{fit_text(name, LETTERS - 7)} {100 * probability:.1f} %"
        axes.text(0, y, text, transform=axes.transAxes, fontsize=8, va="center")
