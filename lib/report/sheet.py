"""A contact sheet of pictures with their predicted classes."""
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lib.report.style import GREEN, fit_text

COLUMNS = 6
CELL = 2.2     # side of a picture, in inches
TEXT = 0.95    # height of the texts of a row, in inches
MARGIN = 0.15
NAMED = 3      # number of classes below a picture
LETTERS = 24   # number of letters that fit below a picture

Shown = tuple[Tensor, str, list[tuple[str, float]]]   # uint8 (3, H, W), its name, classes and probabilities


def sheet_figure(shown: Sequence[Shown]) -> Figure:
    """The pictures as the network receives them, with their names above and the most probable classes below."""
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
    """Writes a line for each class, with a bar whose length is its probability."""
    for place, (name, probability) in enumerate(classes):
        y = -0.07 - 0.115 * place
        axes.plot([0, probability], [y - 0.05] * 2, color=GREEN, linewidth=2, transform=axes.transAxes, clip_on=False)
        text = f"{fit_text(name, LETTERS - 7)} {100 * probability:.1f} %"
        axes.text(0, y, text, transform=axes.transAxes, fontsize=8, va="center")
