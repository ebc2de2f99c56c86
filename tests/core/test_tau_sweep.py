"""Table, file and figure of a sweep hold the numbers that they were given."""
import json

import pytest
import torch

from lib.core.metrics import Predictions, measure
from lib.core.tau_sweep import WARNING, sweep_figure, sweep_table, write_sweep

COUNTS = torch.tensor([200, 150, 3])   # many, many, few: no medium class


def metrics(*predicted: int):
    labels, predicted = torch.tensor([0, 1, 2, 2]), torch.tensor(predicted)
    half = torch.full((4,), 0.5)
    return measure(Predictions(labels, predicted, (labels != predicted).long(), half, half), COUNTS)


SWEEP = {0.0: metrics(0, 1, 0, 0), 0.5: metrics(0, 1, 2, 0), 1.0: metrics(0, 0, 2, 2)}


def test_table_has_a_row_for_each_tau_and_no_column_of_an_empty_group():
    header, *rows = (line.split() for line in sweep_table(SWEEP).splitlines())
    assert header == ["tau", "Top1", "Many", "Few"]
    assert rows == [["0", "50.00%", "100.00%", "0.00%"], ["0.5", "75.00%", "100.00%", "50.00%"],
                    ["1", "75.00%", "50.00%", "100.00%"]]


def test_file_says_what_choosing_a_tau_is(tmp_path):
    paths = write_sweep(tmp_path / "run", SWEEP, 0.5, {"epoch": 7})
    content = json.loads(paths["sweep"].read_text())
    assert (content["epoch"], content["warning"]) == (7, WARNING)
    assert [(row["tau"], row["top1"], row["few"]) for row in content["sweep"]] == [(0, 0.5, 0), (0.5, 0.75, 0.5), (1, 0.75, 1)]
    assert all("medium" not in row for row in content["sweep"])
    assert paths["figure"] == tmp_path / "run/figures/tau_sweep.png"


def test_figure_shows_the_numbers():
    axes, = sweep_figure(SWEEP, 1.5).axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert lines["top-1"] == [[0, 50], [0.5, 75], [1, 75]]
    assert lines["few-shot"] == [[0, 0], [0.5, 50], [1, 100]]
    assert lines["highest top-1: 75.00 % at tau = 0.5 (selected on the validation set)"] == [[0.5, 75]]
    assert lines["headline: tau = 1.5"][0][0] == 1.5


@pytest.mark.parametrize("tau", [0.0, 0.7])
def test_a_sweep_of_one(tmp_path, tau):
    paths = write_sweep(tmp_path, {tau: SWEEP[0.0]}, tau, {})
    assert paths["figure"].read_bytes().startswith(b"\x89PNG")
