"""What a validation leaves on disk."""
import csv
import json

import torch

from lib.report.metrics import measure
from lib.report.report import write_report
from tests.report.validations import made


def test_files_and_their_numbers(tmp_path):
    labels, predicted = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])
    predictions = made(labels, predicted, 0.9, 0.5)
    counts = torch.tensor([120, 30, 4])
    names = ["=1+1", "b,c", "d\r$x_1$"]
    paths = write_report(tmp_path / "run", predictions, measure(predictions, counts), names, counts, {"epoch": 7})
    assert all(path.stat().st_size > 0 for path in paths.values())

    content = json.loads(paths["metrics"].read_text())
    assert (content["epoch"], content["top1"], content["many"], content["medium"]) == (7, 0.75, 0.5, 1.0)
    assert "few" not in content   # its class has no validation images

    rows = list(csv.DictReader(paths["per_class"].open(newline="")))
    assert [row["name"] for row in rows] == ["'=1+1", "b,c", "d\r$x_1$"]
    assert (rows[0]["recall"], rows[1]["precision"], rows[2]["recall"]) == ("0.500000", "0.666667", "")
    assert [row["train_images"] for row in rows] == ["120", "30", "4"]
