"""A contact sheet of generated images."""
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from lib.cam_sampling.generation import Made
from lib.cam_sampling.geometry import KINDS, Moves
from lib.cam_sampling.plan import Plan
from lib.net import foreground
from lib.report.style import ORANGE, plain_text

ROWS = 6
CANDIDATES = 20   # images looked at for one that its move changed; where the box fills the image, translation has no room
COLUMNS = ("original", "map", "result")
GAP = 0.25   # between the kinds of move, in pictures


class Sheet:
    """A contact sheet of generated images: a few classes, from those with the fewest new images to those with the most, and one
    image per kind of move of each.

    Args:
        plan: the images that are generated.
    """

    def __init__(self, plan: Plan) -> None:
        kinds = Moves.from_uniform(plan.uniform).kind
        complete = torch.zeros(int(plan.labels.max()) + 1, len(KINDS), dtype=torch.long)
        complete.index_put_((plan.labels, kinds), torch.ones(()).long(), accumulate=True)
        classes = [c for c in complete.sum(dim=1).argsort(stable=True).tolist() if complete[c].any()]
        classes = [c for c in classes if complete[c].all()] or classes   # those that show every kind, if there are any
        chosen = np.unique(np.linspace(0, len(classes) - 1, min(ROWS, len(classes))).round().astype(int))
        self.added, self.classes = complete.sum(dim=1), [classes[place] for place in chosen]
        self.wanted: dict[int, Any] = {}   # number of a new image to its row and kind
        for row, label in enumerate(self.classes):
            for kind in range(len(KINDS)):
                found = ((plan.labels == label) & (kinds == kind)).nonzero()[:CANDIDATES, 0].tolist()
                self.wanted |= dict.fromkeys(found, (row, kind))
        self.pictures: dict[tuple[int, int], tuple[np.ndarray, ...]] = {}

    def collect(self, made: Made) -> None:
        """Keeps the finished images that the sheet shows."""
        for place in torch.isin(made.numbers, torch.tensor(list(self.wanted))).nonzero()[:, 0].tolist():
            cell = self.wanted[int(made.numbers[place])]
            if cell not in self.pictures or unchanged(self.pictures[cell]):
                fields = (made.originals[place], made.maps[place], made.boxes[place], made.results[place])
                self.pictures[cell] = tuple(field.cpu().numpy() for field in fields)

    def figure(self, class_names: Sequence[str], class_counts: Tensor) -> Figure:
        """Rows are classes; for each kind of move original, map with foreground and box, and result."""
        widths = [*[1] * len(COLUMNS), GAP] * len(KINDS)
        height = 1.25 * len(self.classes) + 1
        figure = Figure(figsize=(1.25 * len(KINDS) * len(COLUMNS) + 1.6, height))
        grid = figure.add_gridspec(len(self.classes), len(widths) - 1, width_ratios=widths[:-1], wspace=0.06, hspace=0.06,
                                   left=0.115, right=0.995, bottom=0.35 / height, top=1 - 0.6 / height)
        legend = "solid line: foreground (map above ¾ of its mean); dashed: bounding box"
        figure.text(0.555, 0.12 / height, legend, ha="center", fontsize=10)
        for row, label in enumerate(self.classes):
            for kind, name in enumerate(KINDS):
                first = kind * (len(COLUMNS) + 1)
                axes = [figure.add_subplot(grid[row, first + column]) for column in range(len(COLUMNS))]
                draw(axes, self.pictures.get((row, kind)))
                if row == 0:
                    for one, title in zip(axes, COLUMNS):
                        one.set_title(title, fontsize=10)
                    axes[1].annotate(name, (0.5, 1), (0, 26), "axes fraction", "offset points", ha="center", weight="bold")
                if kind == 0:
                    text = f"{plain_text(class_names[label])}\n{class_counts[label]:,} images\n+ {self.added[label]:,}"
                    axes[0].set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9, labelpad=8)
        return figure


def unchanged(pictures: tuple[np.ndarray, ...]) -> bool:
    return np.array_equal(pictures[0], pictures[-1])


def draw(axes: Sequence[Axes], pictures: tuple[np.ndarray, ...] | None) -> None:
    for one in axes:
        one.set(xticks=[], yticks=[])
        one.spines[:].set_visible(pictures is None)
    if pictures is None:   # a class with so few new images that one of the kinds is not among them
        axes[1].text(0.5, 0.5, "none", ha="center", va="center", transform=axes[1].transAxes)
        return
    original, heat, (left, top, right, bottom), result = pictures
    axes[0].imshow(original.transpose(1, 2, 0))
    axes[1].imshow(original.mean(axis=0), cmap="gray", vmin=0, vmax=255)
    axes[1].imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.6)
    mask = foreground(torch.from_numpy(heat)[None])[0].numpy()
    if not mask.all():
        axes[1].contour(mask, levels=[0.5], colors="white", linewidths=1)
    axes[1].add_patch(Rectangle((left - 0.5, top - 0.5), right - left + 1, bottom - top + 1, fill=False, edgecolor=ORANGE,
                                linestyle="--", linewidth=1.4, clip_on=False))
    axes[2].imshow(result.transpose(1, 2, 0))
