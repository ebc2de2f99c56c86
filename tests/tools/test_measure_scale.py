"""The table of seconds and memory, at a size that takes no time."""
import json

import pytest

from tools import measure_scale


def test_counts_are_long_tailed_and_complete():
    counts = measure_scale.long_tail(437_513, 8142)
    assert counts.sum() == 437_513
    assert counts.min() >= 1
    assert counts.max() > 300


@pytest.mark.slow
def test_every_row_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(measure_scale, "BATCH", 16)
    words = ["--images", "300", "--classes", "40", "--valid", "80", "--workers", "1", "--figures", str(tmp_path / "figures"),
             "--json", str(tmp_path / "table.json")]
    assert measure_scale.main(words) == 0
    rows = {row["what"]: row for row in json.loads((tmp_path / "table.json").read_text())}
    assert {"both sets, from JSON", "first batch, 1 workers", "start to first batch", "metrics"} <= rows.keys()
    assert sum(name.startswith("an epoch's draw") for name in rows) == 7
    assert all(row["seconds"] >= 0 and row["peak_mib"] > 10 for row in rows.values())
    assert len(list((tmp_path / "figures").glob("*.png"))) == 3
