"""Priors of test sets, and test sets that are long-tailed themselves."""
import json

import pytest
import torch

from lib.report.predictions import predictions_of
from lib.report.priors import Shift, parse_shift, read_prior
from lib.report.shifted import measure_shifts, shifts_table, write_shifts
from lib.utils.errors import InputError

COUNTS = torch.tensor([5, 500, 50])   # of training, so that the order is 1, 2, 0
NAMES = ["a", "b", "c"]


@pytest.mark.parametrize(("ratio", "numbers"), [(1, [100, 100, 100]), (4, [25, 100, 50]), (50, [2, 100, 14])])
def test_a_forward_set_is_as_long_tailed_as_its_ratio_and_a_backward_one_its_mirror(ratio, numbers):
    labels = torch.arange(300) % 3
    forward, backward = (Shift(turned, ratio).rows(labels, COUNTS) for turned in (False, True))
    assert torch.bincount(labels[forward]).tolist() == numbers
    assert torch.bincount(labels[backward]).tolist() == [numbers[1], numbers[0], numbers[2]]
    assert (labels[forward] == 0).nonzero().numel() == numbers[0]
    first = (labels == 0).nonzero().flatten()[:numbers[0]]
    assert torch.equal(forward[labels[forward] == 0], first)


def test_classes_with_few_or_no_test_images():
    labels = torch.tensor([0, 0, 0, 1, 1])
    rows = Shift(False, 50).rows(labels, COUNTS)   # of two images a class has; class 1 is the frequent one
    assert torch.bincount(labels[rows]).tolist() == [1, 2]


def test_priors_by_name(tmp_path):
    assert read_prior("uniform", COUNTS, NAMES).tolist() == pytest.approx([1 / 3] * 3)
    assert read_prior("forward-4", COUNTS, NAMES).tolist() == pytest.approx([1 / 7, 4 / 7, 2 / 7])
    assert read_prior("backward-4", COUNTS, NAMES).tolist() == pytest.approx([4 / 7, 1 / 7, 2 / 7])
    file = tmp_path / "prior.json"
    for content in ([6, 3, 1], {"c": 1, "a": 6, "b": 3}):
        file.write_text(json.dumps(content))
        assert read_prior(str(file), COUNTS, NAMES).tolist() == pytest.approx([0.6, 0.3, 0.1])


@pytest.mark.parametrize(("content", "message"), [
    ("[1, 2]", "must hold a number for each of 3 classes, got 2 entries"), ("7", "for each of 3 classes, got int"),
    ("[1, 2, 0]", "has 0 for 'c'; a probability or a count above 0"), ("[1, 2, true]", "has True for 'c'"),
    ('{"a": 1, "b": 2}', "has no number for 1 of 3 classes, such as 'c'"), ('{"a": 1, "b": 2, "d": 1}', "unknown class 'd'"),
    ("0.2, 0.8", "is not JSON"), ("[1, 2, NaN]", "has nan for 'c'"),
])
def test_a_file_that_is_no_prior(tmp_path, content, message):
    (tmp_path / "prior.json").write_text(content)
    with pytest.raises(InputError, match=f"TEST.PRIOR: .*{message}"):
        read_prior(str(tmp_path / "prior.json"), COUNTS, NAMES)


def test_names_of_shifts():
    assert parse_shift("forward-2.5") == Shift(False, 2.5)
    assert parse_shift("backward-50") == Shift(True, 50.0)
    assert parse_shift("sideways-3") is None
    with pytest.raises(InputError, match="a ratio below 1"):
        parse_shift("forward-0.02")


def test_accuracies_are_those_of_the_chosen_images(tmp_path):
    """Class 1 is always right, the others never, until their own prior makes all of them class 1."""
    labels = torch.arange(300) % 3
    plain = predictions_of(torch.eye(3)[torch.where(labels == 1, 1, 0)], labels)   # 0 and 2 are taken for 0
    known = predictions_of(torch.eye(3)[torch.ones_like(labels)], labels)
    results = measure_shifts(plain, {Shift(True, 4): known, Shift(False, 4): known, Shift(False, 50): known}, COUNTS)
    assert [one.shift.name for one in results] == ["forward-50", "forward-4", "backward-4"]
    assert [one.images for one in results] == [116, 175, 175]
    assert results[1].plain == pytest.approx((25 + 100) / 175)
    assert results[1].known == pytest.approx(100 / 175)
    assert results[2].known == pytest.approx(25 / 175)
    assert "forward-4         175     71.43%       57.14%" in shifts_table(results)
    paths = write_shifts(tmp_path, results, {"epoch": 3})
    rows = json.loads(paths["shifts"].read_text())["shifts"]
    assert rows[1]["top1"] == results[1].plain
    assert rows[1]["top1_interval"][0] < rows[1]["top1"] < rows[1]["top1_interval"][1]
    assert paths["figure"].read_bytes().startswith(b"\x89PNG")
