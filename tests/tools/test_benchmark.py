"""What the benchmark reports adds up; how fast anything is, is no matter of tests."""
import json
import statistics
import sys

import pytest
import torch

from lib.config import load_config
from lib.device.runtime import Runtime
from tools.benchmark import PARTS, STARTS, choose, main
from tools.measure import report
from tools.measure.prepared import load_sets, prepare
from tools.measure.rates import RATES
from tools.measure.startup import STAGES
from tools.measure.turns import fit, spread, summarise, take_turns, warm_up
from tools.measure.usual_loop import UsualLoop, usual_transform

DIGITS = "configs/test/digits_lt.yaml"


@pytest.fixture
def bench(tiny):
    cfg = load_config(DIGITS, [*tiny, "TRAIN.BATCH_SIZE", "32", "TRAIN.NUM_WORKERS", "2"])
    made = prepare(cfg, Runtime(torch.device("cpu")), load_sets(cfg, 100, 5))
    made.cover(4, whole_epochs=True)
    return made


def test_ways_take_turns_after_one_that_does_not_count():
    calls = []

    def way(name):
        return lambda: calls.append(name) or float(len(calls))

    ways, turns = {"a": way("a"), "b": way("b")}, []
    warm_up(ways)
    take_turns(ways, 2, turns)
    assert calls == ["a", "b"] * 3
    assert turns == [{"a": 3.0, "b": 4.0}, {"a": 5.0, "b": 6.0}]


def test_an_interruption_leaves_what_was_measured():
    def stop():
        if turns[0]:
            raise KeyboardInterrupt
        return 1.0

    turns = []
    with pytest.raises(KeyboardInterrupt):
        take_turns({"bare": lambda: 2.0, "usual": stop}, 2, turns)
    assert turns == [{"bare": 2.0}]
    summary = summarise([{"bare": 4.0, "usual": 2.0}, *turns])
    assert summary["bare"]["ratio_to_usual"] == {"median": 2.0, "min": 2.0, "max": 2.0}
    assert summary["usual"]["images_per_second"] == {"median": 2.0, "min": 2.0, "max": 2.0}
    assert summarise([]) == {}


@pytest.mark.parametrize(("seconds", "batches"), [(10_000, 40), (516, 20), (1, 3)])
def test_batches_of_a_timing_fill_the_time(seconds, batches, monkeypatch):
    """With a clock on which a batch takes two seconds, in each of two parts: 9 batches and 36 seconds to find this out."""
    now, covered = 0.0, 0

    def cover(number):
        nonlocal covered
        covered = number

    def way():
        nonlocal now
        now += 2 * covered
        return 1.0

    monkeypatch.setattr("tools.measure.turns.time.monotonic", lambda: now)
    turn = fit({"a": way, "b": way}, cover, 40, seconds, repeats=6)
    assert (covered, turn) == (batches, 4 * covered)


def test_ratios_are_medians_of_quotients_turn_by_turn():
    turns = [{"bare": 100.0, "end_to_end": 90.0}, {"bare": 10.0, "end_to_end": 5.0}, {"bare": 50.0, "end_to_end": 48.0}]
    summary = summarise(turns)
    assert summary["end_to_end"]["ratio_to_bare"] == {"median": 0.9, "min": 0.5, "max": 0.96}   # not 48 / 50
    assert summary["bare"].keys() == {"images_per_second"}
    assert spread([3.0, 1.0]) == {"median": 2.0, "min": 1.0, "max": 3.0}


def test_a_timing_covers_whole_epochs(bench):
    assert (bench.batch_size, len(bench.train_loader), bench.train.epochs) == (32, 3, 2)   # 96 of 100 images, 4 batches at least
    assert bench.valid.epochs == 2   # 100 images, 50 a batch


@pytest.mark.parametrize(("batches", "epochs", "steps"), [(2, 1, 2), (3, 1, 3), (7, 2, 6)])
def test_a_timing_can_be_shorter_than_an_epoch(batches, epochs, steps, bench):
    bench.cover(batches)
    assert (bench.train.epochs, bench.train.steps, bench.train.images) == (epochs, steps, 32 * steps)
    assert len(list(bench.train_loader)) == steps / epochs
    loop = UsualLoop(bench)
    assert loop.cover(bench.train.first.most) == 32 * steps / epochs == 32 * len(list(loop.loader))
    assert [part() > 0 for part in (way(bench) for way in RATES.values())] == [True] * len(RATES)


@pytest.mark.parametrize("part", RATES)
def test_rates_count_the_images_that_were_done(part, bench, monkeypatch):
    """With a clock that says that every timing took two seconds."""
    done = {"bare": 2 * 3 * 32, "end_to_end": 2 * 96, "usual": 2 * 96, "input": 2 * 96, "validation": 2 * 100}
    called = []
    monkeypatch.setattr("tools.measure.rates.seconds", lambda function, device: called.append(function()) or 2.0)
    assert RATES[part](bench)() == done[part] / 2
    assert len(called) == 1


def test_the_usual_loop_learns_the_same_task(bench):
    """It is a training: from the same data its loss falls below that of guessing."""
    loop = UsualLoop(bench._replace(train_set=load_sets(bench.cfg, 0, 0)[0]))
    losses, accuracies = zip(*loop.train(4))
    assert losses[-1] < losses[0]
    assert accuracies[-1] > 1 / 10


def test_the_usual_transforms_make_the_same_images_where_nothing_is_random(bench):
    cfg = load_config(DIGITS, ["TRANSFORMS.TRAIN_TRANSFORMS", "['center_crop']", "INPUT_SIZE", "[8, 8]"])
    own = prepare(cfg, bench.runtime, load_sets(cfg, 40, 5))
    loop = UsualLoop(own)
    assert len(loop.network.state_dict()) == len(own.parts.network.state_dict())
    batch = next(iter(own.train_loader))
    usual = torch.stack([loop.loader.dataset[index][0] for index in batch.indices.tolist()])
    torch.testing.assert_close(usual, batch.images)


@pytest.mark.parametrize("name", ["random_crop", "random_horizontal_flip", "random_resized_crop", "shorter_resize_for_crop",
                                  "normal_resize", "center_crop", "color_jitter"])
def test_every_transform_has_a_usual_form(name):
    cfg = load_config(DIGITS, ["TRANSFORMS.TRAIN_TRANSFORMS", f"['{name}', 'center_crop']"])
    assert len(usual_transform(cfg, [0.5] * 3, [0.5] * 3).transforms) == 4


def test_unknown_parts_are_named_with_what_is_meant(capsys):
    assert choose("cam,memory,bare,") == ["bare", "memory", "cam"]
    assert main(["--cfg", DIGITS, "--parts", "bare,valdation"]) == 2
    assert "did you mean 'validation'?" in capsys.readouterr().err


def test_the_table_shows_what_was_measured_and_nothing_else():
    rows = report.rate_lines(summarise([{"bare": 100.0, "validation": 250.0}]))
    assert rows[1].split() == ["bare", "step", "100.0", "100.0–100.0"]
    assert rows[2].split() == ["validation", "250.0", "250.0–250.0", "2.500", "2.500–2.500"]


@pytest.mark.long
def test_one_run_measures_everything(tiny, tmp_path, capsys):
    file = tmp_path / "speed.json"
    argv = ["--cfg", DIGITS, "--gpus", "cpu", "--random-images", "70", "--random-classes", "3", "--repeats", "2",
            "--batches", "1", "--json", str(file), "--parts", ",".join(PARTS), *tiny, "TRAIN.BATCH_SIZE", "32"]
    assert main(argv) == 0
    found = json.loads(file.read_text())
    assert (found["images"], found["batch"], found["steps"], found["repeats"]) == (70, 32, 2, 2)
    assert [list(turn) for turn in found["turns"]] == [list(RATES)] * 2
    for part, measured in found["summary"].items():
        own = [turn[part] for turn in found["turns"]]
        assert measured["images_per_second"] == {"median": statistics.median(own), "min": min(own), "max": max(own)}
        for other in {"bare", "usual"} - {part}:
            quotients = [turn[part] / turn[other] for turn in found["turns"]]
            assert measured[f"ratio_to_{other}"]["median"] == statistics.median(quotients)
    for start in found["start_up"]["starts"]:
        assert sum(start[stage] for stage in STAGES) == pytest.approx(start["total"])
        assert min(start[stage] for stage in STAGES) >= 0
    assert len(found["start_up"]["starts"]) == STARTS
    assert 50 < found["memory_mib"]["process"] < 10_000   # Python with torch, and no unit mistaken
    for run in found["run"]["runs"]:
        assert 0 < run["training"] < run["whole"]
        assert run["epochs"] == found["overrides"]["TRAIN.MAX_EPOCH"]
    assert len(found["run"]["runs"]) == 2
    assert found["environment"]["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["overrides"]["TRAIN.BATCH_SIZE"] == 32
    assert found["cam"]["summary"]["ratio"]["median"] == statistics.median(turn["ratio"] for turn in found["cam"]["turns"])
    shown = capsys.readouterr().out
    labels = (*report.LABELS.values(), "CAM-based sampling, ", "start to first batch", "memory at its highest",
              "a whole run of ")
    for label in (*labels, found["environment"]["processor"]):
        assert label in shown


def test_a_run_that_fails_is_told(capsys, monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")
    assert main(["--cfg", DIGITS, "--gpus", "cpu", "--parts", "run"]) == 1
    assert "ended with exit status 1" in capsys.readouterr().out


def test_a_configuration_that_trains_nothing_is_no_run(capsys, tmp_path):
    words = ["DATASET.GENERATE_CAM_BASED_DATASET", "True", "DATASET.CAM_DATA_SAVE_PATH", str(tmp_path / "images"),
             "DATASET.CAM_DATA_JSON_SAVE_PATH", str(tmp_path / "images.json"), "NETWORK.PRETRAINED", "True",
             "NETWORK.PRETRAINED_MODEL", str(tmp_path / "last.pth")]
    assert main(["--cfg", DIGITS, "--gpus", "cpu", "--parts", "run", *words]) == 2
    assert "--parts cam measures it" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_process_that_fails_to_start_is_told(capsys, monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")   # a program that does nothing and fails
    assert main(["--cfg", DIGITS, "--gpus", "cpu", "--parts", "memory"]) == 1
    assert "start-up and memory failed" in capsys.readouterr().out
