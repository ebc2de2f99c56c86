"""What the figures share: colours, sizes, and how names are written."""
import io
from collections.abc import Sequence
from pathlib import Path
from unicodedata import east_asian_width

import numpy as np
from matplotlib.figure import Figure

from lib.report.fonts import silent_boxes, use_fonts
from lib.utils.files import write_bytes_atomically
from lib.utils.text import columns_of, printable

# Okabe and Ito's colours, which colour-blind readers tell apart
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#777777"
CRITERION_COLORS = {"accuracy": GREEN, "balanced": PURPLE, "macro_f1": "black"}   # of TEST.BEST_BY
SHOT_COLORS = {"many": BLUE, "medium": ORANGE, "few": RED}
NAMED_CLASSES = 30     # more class names than this on an axis cannot be read
LONGEST_NAME, ROOMY = 40, 10   # characters of a class name that are shown, and for which figures have room as they are
FULL = 102             # per cent, end of an axis, so that a line at 100 is seen
DPI = 130
NARROW, WIDE = 0.085, 0.14   # inches of a letter and of a Chinese, Japanese or Korean one


def save_figure(figure: Figure, path: Path) -> bytes:
    """Writes a PNG; returns what is in it. Texts may be of any script that an installed font has."""
    buffer = io.BytesIO()
    use_fonts(figure)
    with silent_boxes():
        figure.savefig(buffer, format="png", dpi=DPI)
    write_bytes_atomically(path, buffer.getvalue())
    return buffer.getvalue()


def plain_text(name: str) -> str:
    """A name on one line, where matplotlib would take what is between two dollar signs for a formula."""
    return printable(name, LONGEST_NAME).replace("$", r"\$")


def fit_text(name: str, columns: int) -> str:
    """The same, cut to the width of so many Latin letters; Chinese, Japanese and Korean ones take two."""
    name = printable(name, LONGEST_NAME)
    if sum(map(columns_of, name)) > columns:
        ends = np.cumsum([columns_of(letter) for letter in name])
        name = name[:int((ends < columns).sum())] + "…"
    return name.replace("$", r"\$")


def room_for(class_names: Sequence[str]) -> float:
    """Inches that long names take from a picture; none where there are too many to be shown."""
    if len(class_names) > NAMED_CLASSES:
        return 0.0
    widths = [sum(WIDE if east_asian_width(letter) in "WF" else NARROW for letter in name[:LONGEST_NAME]) for name in class_names]
    return max(0.0, max(widths) - ROOMY * NARROW)
