"""Colours, sizes and text functions that all figures share."""
import io
from collections.abc import Sequence
from pathlib import Path
from unicodedata import east_asian_width

import numpy as np
from matplotlib.figure import Figure

from lib.report.fonts import silent_boxes, use_fonts
from lib.utils.files import write_bytes_atomically
from lib.utils.text import columns_of, printable

# Okabe and Ito's colours, which colour-blind readers can distinguish
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#777777"
CRITERION_COLORS = {"accuracy": GREEN, "balanced": PURPLE, "macro_f1": "black"}   # for the values of TEST.BEST_BY
SHOT_COLORS = {"many": BLUE, "medium": ORANGE, "few": RED}
NAMED_CLASSES = 30     # more class names than this on an axis cannot be read
LONGEST_NAME, ROOMY = 40, 10   # most characters of a class name that are shown; length for which the default size has room
FULL = 102             # per cent, upper end of an axis, so that a line at 100 is visible
DPI = 130
NARROW, WIDE = 0.085, 0.14   # width in inches of a Latin letter, and of a Chinese, Japanese or Korean one


def save_figure(figure: Figure, path: Path) -> bytes:
    """Writes a PNG file and returns its content. Texts can be in any script for which a font is installed."""
    buffer = io.BytesIO()
    use_fonts(figure)
    with silent_boxes():
        figure.savefig(buffer, format="png", dpi=DPI)
    write_bytes_atomically(path, buffer.getvalue())
    return buffer.getvalue()


def plain_text(name: str) -> str:
    """A name on one line, with dollar signs escaped: matplotlib reads text between two of them as a formula."""
    return printable(name, LONGEST_NAME).replace("$", r"\$")


def fit_text(name: str, columns: int) -> str:
    """Like ``plain_text``, but cut to a width in Latin letters; a Chinese, Japanese or Korean letter counts as two."""
    name = printable(name, LONGEST_NAME)
    if sum(map(columns_of, name)) > columns:
        ends = np.cumsum([columns_of(letter) for letter in name])
        name = name[:int((ends < columns).sum())] + "…"
    return name.replace("$", r"\$")


def room_for(class_names: Sequence[str]) -> float:
    """Additional inches that long names need; 0 if there are too many classes to show names."""
    if len(class_names) > NAMED_CLASSES:
        return 0.0
    widths = [sum(WIDE if east_asian_width(letter) in "WF" else NARROW for letter in name[:LONGEST_NAME]) for name in class_names]
    return max(0.0, max(widths) - ROOMY * NARROW)
