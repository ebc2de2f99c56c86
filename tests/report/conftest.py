"""A report that several tests look at."""
from pathlib import Path

import pytest

from lib.report.page import Background
from lib.report.report import write_report
from tests.report.browser import find_browser
from tests.report.validations import EVIL, messy

collect_ignore = [] if find_browser() else ["test_browser.py"]   # as tests/cuda without a GPU
DATA = {"root": EVIL, "images": {"train": 682, "valid": 80, "test": 0}, "warnings": [f"{EVIL} has few images"], "remarks": [],
        "unreadable": [f"line {number}" for number in range(60)]}


@pytest.fixture(scope="session")
def report(tmp_path_factory) -> dict[str, Path]:
    """Of ``messy``, with text in every place that would do harm if it were anything but text."""
    known = Background(EVIL, f"epoch 3, {EVIL}", settings={"NAME": (EVIL, ""), "SEED": (42, 42)},
                       environment={"git": {"commit": EVIL}}, commands=[(EVIL, f"python {EVIL * 20}")], data=DATA)
    about = {"epoch": 3, "checkpoint": "best_model.pth", "differs": [EVIL], "tau": 0.5}
    return write_report(tmp_path_factory.mktemp("a # folder & more"), messy(unreadable=[3]), about, known)
