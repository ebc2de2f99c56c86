"""tools/compare.py on real runs, and on what is no pair of comparable runs."""
import csv
import json
import shutil
from pathlib import Path

import pytest

from main import train
from tools import compare
from tools.runs.judged import group_name, read_run

DIGITS = "configs/test/digits_lt.yaml"


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_in, no_figures) -> Path:
    """Two configurations with two seeds each."""
    folder = tmp_path_factory.mktemp("compare")
    for name, loss in (("plain", "CrossEntropy"), ("balanced", "BalancedSoftmaxCE")):
        for seed in ("0", "1"):
            words = [*tiny_in(folder), "NAME", f"{name}_s{seed}", "SEED", seed, "LOSS.LOSS_TYPE", loss]
            assert train.main(["--cfg", DIGITS, "--gpus", "cpu", *words]) == 0
    return folder


def edit_rows(path: Path, change) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(change(rows))


@pytest.fixture
def copies(runs, tmp_path) -> Path:
    """Two runs that may be spoilt."""
    for name in ("plain_s0", "balanced_s0"):
        shutil.copytree(runs / name, tmp_path / name)
    return tmp_path


def test_the_numbers_are_those_of_the_runs(runs, tmp_path, capsys):
    names = ["plain_s0", "plain_s1", "balanced_s1", "balanced_s0"]
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    assert compare.main([*(str(runs / name) for name in names), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()} == before
    with (tmp_path / "out/comparison.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["plain", "balanced"]
    for name, row in rows.items():
        metrics = [json.loads((runs / f"{name}_s{seed}/metrics.json").read_text()) for seed in (0, 1)]
        for by, key in (("balanced", "balanced_accuracy"), ("top1", "top1"), ("few", "few")):
            assert float(row[by]) == pytest.approx(sum(one[key] for one in metrics) / 2, abs=1e-6)
        assert row["seeds"] == "2"
    assert float(rows["balanced"]["difference"]) == pytest.approx(
        float(rows["balanced"]["balanced"]) - float(rows["plain"]["balanced"]), abs=2e-6)
    assert rows["balanced"]["seeds_low"]
    assert rows["balanced"]["verdict"] in shown
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(compare.FILES.values())


def test_a_single_run_has_the_interval_of_its_report(runs, tmp_path):
    assert compare.main([str(runs / "plain_s0"), str(runs / "balanced_s0"), "--by", "few", "--out", str(tmp_path)]) == 0
    with (tmp_path / "comparison.csv").open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    metrics = json.loads((runs / "plain_s0/metrics.json").read_text())
    known = {"balanced": metrics["balanced_accuracy_interval"], "few": metrics["shot_intervals"]["few"]}
    for name, interval in known.items():
        assert [float(row[f"{name}_low"]), float(row[f"{name}_high"])] == pytest.approx(interval, abs=1e-6)
    assert row["by"] == "few"


def test_the_order_of_the_classes_does_not_matter(copies, tmp_path, capsys):
    """Classes are matched by name."""
    path = copies / "balanced_s0/per_class.csv"
    edit_rows(path, lambda rows: rows[::-1])
    assert compare.main([str(copies / "plain_s0"), str(copies / "balanced_s0")]) == 0
    first = capsys.readouterr().out
    assert (copies / "comparison_1/comparison.html").is_file()
    assert compare.main([str(copies / "plain_s0"), str(copies / "balanced_s0")]) == 0
    assert (copies / "comparison_2/comparison.html").is_file()
    assert first.splitlines()[:10] == capsys.readouterr().out.splitlines()[:10]


def drop(name: str):
    return lambda folder: (folder / "balanced_s0" / name).unlink()


def spoil(name: str, text: str):
    return lambda folder: (folder / "balanced_s0" / name).write_text(text)


def shorten(folder: Path) -> None:
    edit_rows(folder / "balanced_s0/predictions.csv", lambda rows: rows[3:])


def rename(folder: Path) -> None:
    edit_rows(folder / "balanced_s0/per_class.csv", lambda rows: [{**row, "name": f"new {row['name']}"} for row in rows])


@pytest.mark.parametrize(("spoilt", "told"), [
    (drop("predictions.csv"), "main/valid.py --cfg"),
    (drop("metrics.json"), "metrics.json: cannot be read"),
    (spoil("metrics.json", "{"), "metrics.json: cannot be read"),
    (spoil("predictions.csv", "a,b\n1,2\n"), "predictions.csv: has no column index"),
    (spoil("predictions.csv", "index,path,true,predicted,true_class,predicted_class\n0,,a,b,x,1\n"), "predictions.csv, line 2"),
    (spoil("per_class.csv", "name,train_images\na,many\n"), "per_class.csv, line 2"),
    (shorten, "3 of its images are not in all of the runs"),
    (rename, "only runs with the same classes"),
], ids=["no predictions", "no metrics", "half metrics", "columns", "numbers", "counts", "images", "classes"])
def test_what_cannot_be_compared_is_one_message(copies, capsys, spoilt, told):
    spoilt(copies)
    assert compare.main([str(copies / "plain_s0"), str(copies / "balanced_s0")]) == 2
    message = capsys.readouterr().err
    assert told in message
    assert "Traceback" not in message
    assert not list(copies.glob("comparison*"))


def test_common_images_are_compared_when_asked(copies, capsys):
    shorten(copies)
    assert compare.main([str(copies / "plain_s0"), str(copies / "balanced_s0"), "--common"]) == 0
    assert "images that all runs have" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "told"), [
    (["RUNS/plain_s0"], "at least two runs are needed"),
    (["RUNS/plain_s0", "RUNS/../RUN/plain_s0"], "is the same run as"),
    (["RUNS/plain_s0", "RUNS/none"], "no folder"),
    (["RUNS/plain_s0", "RUNS"], "is not the folder of a run"),
    (["RUNS/plain_s0", "RUNS/plain_s1"], "--apart"),
    (["RUNS/plain_s0", "RUNS/balanced_s0", "--out", "RUNS/plain_s0"], "holds a run"),
    (["RUNS/plain_s0", "RUNS/balanced_s0", "--part", "test"], "TEST.PART test"),
])
def test_mistakes_in_the_command_are_one_message(runs, capsys, words, told):
    words = [word.replace("RUNS", str(runs)).replace("/../RUN/", f"/../{runs.name}/") for word in words]
    assert compare.main(words) == 2
    assert told in capsys.readouterr().err


def test_a_comparison_is_replaced_only_when_told(copies, capsys):
    words = [str(copies / "plain_s0"), str(copies / "balanced_s0"), "--out", str(copies / "out")]
    assert compare.main(words) == 0
    assert compare.main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert compare.main([*words, "--overwrite"]) == 0


def test_folds_are_one_run(copies, capsys):
    """Each of its images judged once; an image of two folds is told."""
    whole, folds = copies / "plain_s0", copies / "folds"
    for number in (1, 2):
        shutil.copytree(whole, folds / f"fold_{number}")
        edit_rows(folds / f"fold_{number}/predictions.csv", lambda rows, number=number: rows[number - 1::2])
    assert read_run(folds, "valid").images == read_run(whole, "valid").images
    shutil.copy(whole / "predictions.csv", folds / "fold_2")
    assert compare.main([str(copies / "balanced_s0"), str(folds)]) == 2
    assert "in more than one fold" in capsys.readouterr().err


def test_rows_are_called_what_their_runs_share(runs):
    found = [read_run(runs / name, "valid") for name in ("plain_s0", "plain_s1")]
    assert group_name(found) == "plain"
    assert group_name(found[:1]) == "plain_s0"
    assert group_name([one._replace(name=name) for one, name in zip(found, ("a_seed1", "a_seed2"))]) == "a"
    assert group_name([one._replace(name=name) for one, name in zip(found, ("x", "y"))]) == "x"
