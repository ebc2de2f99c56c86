"""From a messy folder of pictures to a model in use: the commands of the README's second screen, one after the other."""
import csv
import json
from pathlib import Path

import pytest
import torch

from lib.inference import Predictor
from main import export, predict, train, valid
from tests.messy_folder import COUNTS, LATIN1, READABLE, TRUNCATED, make_messy
from tools import compare

pytestmark = pytest.mark.slow
QUICK = ["INPUT_SIZE", "[16, 16]", "TRAIN.MAX_EPOCH", "1", "BACKBONE.TYPE", "res20_cifar", "TRAIN.NUM_WORKERS", "0",
         "TEST.NUM_WORKERS", "0", "DATASET.FOLDER.TEST_SHARE", "0.2"]


@pytest.fixture(scope="module")
def birds(tmp_path_factory) -> Path:
    return make_messy(tmp_path_factory.mktemp("path"))


@pytest.fixture(scope="module")
def runs(birds) -> Path:
    out = birds.parent / "output"
    for more in (["NAME", "birds_ce", "LOSS.LOSS_TYPE", "CrossEntropy"], []):
        assert train.main(["--folder", str(birds), "--gpus", "cpu", "OUTPUT_DIR", str(out), *QUICK, *more]) == 0
    return out


@pytest.fixture
def before(runs):
    """What the runs have is there unchanged afterwards, whatever was done with them."""
    content = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file() and "export" not in path.parts}
    yield
    assert {path: path.read_bytes() for path in content} == content


def test_the_report_has_every_class_and_what_was_left_out(runs):
    page = (runs / "birds/report.html").read_text(encoding="utf-8")
    for name in ("シジュウカラ", "Привет", "=1+1", "-dash", "&lt;b&gt;&amp;amp;", "caf\\xe9", "nothing in it", "cut short"):
        assert name in page, name
    assert "<b>&amp;'x'" not in page
    for script in ("predict.py", "export.py", "compare.py"):
        assert script in page
    assert json.loads((runs / "birds/metrics.json").read_text())["too_few_images"]


@pytest.mark.usefixtures("before")
def test_validated_again_it_is_the_same(runs):
    assert valid.main(["--cfg", str(runs / "birds/config.yaml"), "--gpus", "cpu", "TEST.MODEL_FILE", "last.pth"]) == 0


@pytest.mark.usefixtures("before")
def test_every_readable_picture_is_predicted(runs, birds, tmp_path, capsys):
    table = tmp_path / "p.csv"
    words = ["--csv", str(table), "--sheet", str(tmp_path / "s.png"), "--top", "2"]
    assert predict.main([str(runs / "birds"), str(birds), *words]) == 0
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(not row["unreadable"] for row in rows) == READABLE + 1   # the picture in no class folder, too
    assert [Path(row["path"]).name for row in rows if row["unreadable"]] == [Path(TRUNCATED).name]
    assert "could not be read" in capsys.readouterr().out


@pytest.mark.usefixtures("before")
def test_it_is_exported_with_its_classes(runs, tmp_path, capsys):
    out = tmp_path / "birds.pt2"
    assert export.main([str(runs / "birds"), "--format", "torch_export", "--out", str(out)]) == 0
    assert "of the run's validation" in capsys.readouterr().out
    extra = {"metadata.json": ""}
    model = torch.export.load(out, extra_files=extra).module()
    names = json.loads(extra["metadata.json"])["class_names"]
    assert len(names) == len(COUNTS)
    assert LATIN1 not in names   # the byte that is no UTF-8 is shown as caf\xe9
    images = torch.randint(256, (3, 3, 16, 16), dtype=torch.uint8)
    torch.testing.assert_close(model(images), Predictor.load(runs / "birds").probabilities(images), atol=1e-4, rtol=0)


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.usefixtures("before")
def test_both_runs_are_compared(runs, tmp_path, part, capsys):
    words = [str(runs / "birds_ce"), str(runs / "birds"), "--part", part, "--out", str(tmp_path / "out")]
    assert compare.main(words) == 0
    assert "too few images to compare" in capsys.readouterr().out
    page = (tmp_path / "out/comparison.html").read_text(encoding="utf-8")
    assert "シジュウカラ" in page
    assert "<b>&amp;'x'" not in page
