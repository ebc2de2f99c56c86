"""Table, file and figure of a sweep hold the numbers that they were given."""
import json

import pytest
import torch

from lib.report.metrics import measure
from lib.report.tau_sweep import WARNING, sweep_figure, sweep_table, write_sweep
from tests.report.validations import made

COUNTS = torch.tensor([200, 150, 3])   # many, many, few: no medium class


def metrics(*predicted: int):
    return measure(made([0, 1, 2, 2], predicted, 0.5, 0.5), COUNTS)


SWEEP = {0.0: metrics(0, 1, 0, 0), 0.5: metrics(0, 1, 2, 0), 1.0: metrics(0, 0, 2, 2)}


def test_table_has_a_row_for_each_tau_and_no_column_of_an_empty_group():
    header, *rows = (line.split() for line in sweep_table(SWEEP).splitlines())
    assert header == ["tau", "Top1", "Balanced", "Many", "Few"]
    assert rows == [["0", "50.00%", "66.67%", "100.00%", "0.00%"],
                    ["0.5", "75.00%", "83.33%", "100.00%", "50.00%", "highest", "Top1"],
                    ["1", "75.00%", "66.67%", "50.00%", "100.00%"]]


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
    assert lines["reported: tau = 1.5"][0][0] == 1.5


def imbalanced(*predicted: int):
    """Ten images of class 0, one of class 1, one of class 2."""
    return measure(made([0] * 10 + [1, 2], predicted, 0.5, 0.5), COUNTS)


IMBALANCED = {0.0: imbalanced(*[0] * 12), 1.0: imbalanced(*[0] * 7, 1, 2, 1, 1, 2)}


@pytest.mark.parametrize(("best_by", "tau", "title"), [
    ("accuracy", 0.0, "top-1: 83.33 %"), ("balanced", 1.0, "balanced accuracy: 90.00 %"), ("macro_f1", 1.0, "macro-F1: 66.34 %")])
def test_the_best_value_is_marked_by_the_chosen_metric(tmp_path, best_by, tau, title):
    content = json.loads(write_sweep(tmp_path, IMBALANCED, 0.0, {}, best_by)["sweep"].read_text())
    assert (content["best_by"], content["best_tau"]) == (best_by, tau)
    axes, = sweep_figure(IMBALANCED, 0.0, best_by).axes
    mark, = (line for line in axes.lines if line.get_label().startswith("highest"))
    assert mark.get_label() == f"highest {title} at tau = {tau:g} (selected on the validation set)"
    assert mark.get_xdata() == [tau]
    marked, = (line for line in sweep_table(IMBALANCED, best_by).splitlines() if "highest" in line)
    assert marked.split()[0] == f"{tau:g}"


@pytest.mark.parametrize("tau", [0.0, 0.7])
def test_a_sweep_of_one(tmp_path, tau):
    paths = write_sweep(tmp_path, {tau: SWEEP[0.0]}, tau, {})
    assert paths["figure"].read_bytes().startswith(b"\x89PNG")
