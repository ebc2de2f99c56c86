"""What a validation leaves on disk."""
import csv
import json

import numpy as np
import pytest
import torch

from lib.report.metrics import Evaluated, measure
from lib.report.page import Background
from lib.report.predictions import predictions_of
from lib.report.report import FILES, write_report
from lib.report.tables import predictions_csv
from tests.report.validations import NAMES, Pictures, made, messy


def rows(text):
    return list(csv.DictReader(text.splitlines(keepends=True)))


def test_files_and_their_numbers(tmp_path):
    labels, predicted = [0, 0, 1, 1], [0, 1, 1, 1]
    predictions, names = made(labels, predicted, 0.9, 0.5), ["=1+1", "b,c", "d\r$x_1$"]
    evaluated = Evaluated(predictions, measure(predictions, torch.tensor([120, 30, 4])), Pictures(labels, names))
    paths = write_report(tmp_path / "run", evaluated, {"epoch": 7}, Background("run"))
    assert paths == {key: tmp_path / "run" / name for key, name in FILES.items()}
    assert all(path.stat().st_size > 0 for path in paths.values())

    content = json.loads(paths["metrics"].read_text())
    assert (content["epoch"], content["top1"], content["many"], content["medium"]) == (7, 0.75, 0.5, 1.0)
    assert "few" not in content   # its class has no validation images

    table = list(csv.DictReader(paths["per_class"].open(newline="")))
    assert [row["name"] for row in table] == ["'=1+1", "b,c", "d\r$x_1$"]
    assert (table[0]["recall"], table[1]["precision"], table[2]["recall"]) == ("0.500000", "0.666667", "")
    assert [row["train_images"] for row in table] == ["120", "30", "4"]
    assert (table[0]["recall_low"], table[0]["recall_high"], table[2]["recall_low"]) == ("0.094531", "0.905469", "")


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_predictions_are_kept_without_loss(classes):
    generator = torch.Generator().manual_seed(0)
    logits, labels = 5 * torch.randn(50, classes, generator=generator), torch.randint(classes, (50,), generator=generator)
    names = [f"class {number}" for number in range(classes)]
    predictions = predictions_of(logits, labels)
    found = rows(predictions_csv(predictions, Pictures(labels, names), {7: "it is damaged"}))
    assert [int(row["index"]) for row in found] == list(range(50))
    assert [row["true"] for row in found] == [names[label] for label in labels]
    assert [int(row["predicted_class"]) for row in found] == logits.argmax(1).tolist()
    for place in range(min(classes, 5)):
        assert [row[f"class_{place + 1}"] for row in found] == [names[number] for number in predictions.top[:, place]]
        values = np.array([row[f"probability_{place + 1}"] for row in found], dtype=np.float32)
        assert np.array_equal(values, predictions.probabilities[:, place].numpy())
    assert f"class_{min(classes, 5) + 1}" not in found[0]
    true = np.array([float(row["probability_true"]) for row in found])
    np.testing.assert_allclose(true, logits.softmax(1)[torch.arange(50), labels], rtol=1e-5)
    assert [int(row["classes_before_true"]) for row in found] == predictions.rank.tolist()
    assert [row["index"] for row in found if row["unreadable"]] == ["7"]


def test_names_and_paths_in_the_table_of_predictions_are_those_of_any_table():
    evaluated = messy()
    text = predictions_csv(evaluated.predictions, evaluated.images, {})
    found = rows(text)
    assert {row["true"].removeprefix("'") for row in found} == {name.replace("\udce9", "\ufffd") for name in NAMES[:-1]}
    assert all(row["true"].startswith("'=") for row in found if row["true_class"] == "2")
    assert found[0]["path"] == evaluated.images.path(0)
