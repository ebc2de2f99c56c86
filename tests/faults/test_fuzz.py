"""A few cases of everything that ``fuzz.py`` feeds with damaged input; thousands by ``python tests/faults/fuzz.py``."""
import pytest
from fuzz import TARGETS

CASES = 20


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "TFRecords")) for name in TARGETS])
def test_damaged_input_is_read_or_refused(tmp_path, name):
    counts = TARGETS[name](tmp_path, CASES)
    assert sum(counts.values()) >= CASES / 2   # hypothesis may find fewer that differ
    assert counts["refused"] > 0
