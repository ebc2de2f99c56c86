"""What is legal and hardly meant: said once, at the start of a training, and not of what published recipes do."""
import os
from pathlib import Path

import pytest

from lib.config import ConfigError, doubt_steps, doubts, load_config
from lib.utils.system import cpu_count
from lib.utils.text import count
from main import train, valid

ROOT = Path(__file__).resolve().parents[2]
DIGITS = "configs/test/digits_lt.yaml"
PARTS = ("_base_", "tricks", "chains", "recipes")
RUNS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.yaml") if not {*PARTS} & {*path.parts}
              and ("cifar" not in path.stem or path.stem.startswith("cifar10_im100")))   # one column of each recipe
SCHEDULE = "TRAIN.LR_SCHEDULER."
JSON = ["DATASET.DATASET", "iNaturalist", "DATASET.TRAIN_JSON", "train.json", "DATASET.VALID_JSON", "valid.json"]


def told(*words: object) -> list[str]:
    return doubts(load_config(ROOT / DIGITS, [str(word) for word in words]))


@pytest.mark.parametrize(("words", "expected"), [
    (("TRAIN.MAX_EPOCH", 320, SCHEDULE + "LR_STEP", "[320, 360, 400]"),
     f"{SCHEDULE}LR_STEP: the learning rate is not lowered at epoch 360, 400, since TRAIN.MAX_EPOCH is 320"),
    (("TRAIN.MAX_EPOCH", 5, SCHEDULE + "TYPE", "warmup", SCHEDULE + "WARM_EPOCH", 5, SCHEDULE + "LR_STEP", "[]"),
     f"{SCHEDULE}WARM_EPOCH: all epochs are warm-up, since it takes 5 epochs and TRAIN.MAX_EPOCH is 5"),
    (("TRAIN.MAX_EPOCH", 20, SCHEDULE + "TYPE", "warmup", SCHEDULE + "WARM_EPOCH", 9, SCHEDULE + "LR_STEP", "[8, 18]"),
     f"{SCHEDULE}LR_STEP: the learning rate is lowered at epoch 8, during the warm-up of 9 epochs"),
    (("TRAIN.MAX_EPOCH", 20, SCHEDULE + "LR_STEP", "[18]", SCHEDULE + "LR_FACTOR", 10),
     f"{SCHEDULE}LR_FACTOR: 10 raises the learning rate at LR_STEP; a value below 1 lowers it"),
    (("TRAIN.MAX_EPOCH", 20, SCHEDULE + "TYPE", "cosine", SCHEDULE + "COSINE_DECAY_END", 21),
     f"{SCHEDULE}COSINE_DECAY_END: the cosine decay ends at epoch 21, after TRAIN.MAX_EPOCH 20, so it is not completed"),
    (("TRAIN.OPTIMIZER.BASE_LR", 1e30),
     "TRAIN.OPTIMIZER.BASE_LR: 1e+30 is too high for most networks; 0.1 is a usual value for SGD"),
    (("TRANSFORMS.TEST_TRANSFORMS", "[random_crop, center_crop]"),
     "TRANSFORMS.TEST_TRANSFORMS: random_crop changes the images of the validation set at random"),
    (("DATASET.ROOT", "/data"),
     "DATASET.ROOT: /data is not read, since the images of IMBALANCEDIGITS (DATASET.DATASET) are not files"),
    (("DATASET.CAM_DATA_JSON_SAVE_PATH", "cam.json"),
     "DATASET.CAM_DATA_JSON_SAVE_PATH: cam.json is not read, since DATASET.USE_CAM_BASED_DATASET is False"),
    (("DATASET.FOLDER.SPLIT", "split.csv"),
     "DATASET.FOLDER.SPLIT: split.csv is not used, since DATASET.DATASET is IMBALANCEDIGITS, not FOLDER"),
    (("TRAIN.NUM_THREADS", 1024),
     f"TRAIN.NUM_THREADS: 1024 threads on {count(cpu_count(), 'core')} slow each other down; 0 uses one per core"),
    (("TEST.NUM_WORKERS", 1024),
     f"TEST.NUM_WORKERS: 1024 processes on {count(cpu_count(), 'core')} slow each other down and use much memory"),
    (("TRAIN.COMBINER.DIVE.TEACHER_MODEL", "./a.pth"),
     "TRAIN.COMBINER.DIVE.TEACHER_MODEL: ./a.pth is not read, since TRAIN.COMBINER.TYPE is default"),
    (("OUTPUT_DIR", "$HOME/runs"),
     "OUTPUT_DIR: $HOME/runs is used literally; ~ is expanded, but variables such as $HOME are not"),
])
def test_what_is_hardly_meant_is_told_in_one_line(words, expected):
    assert told(*words) == [expected]


@pytest.mark.parametrize("words", [
    ("TRAIN.MAX_EPOCH", 320, SCHEDULE + "LR_STEP", "[300, 320]"),
    ("TRAIN.MAX_EPOCH", 6, SCHEDULE + "LR_STEP", "[]", SCHEDULE + "TYPE", "warmup", SCHEDULE + "WARM_EPOCH", 5),
    (SCHEDULE + "TYPE", "cosine", SCHEDULE + "LR_STEP", "[900]", SCHEDULE + "COSINE_DECAY_END", 10),
    (*JSON, "DATASET.ROOT", "/data"), ("DATASET.DATASET", "IMBALANCEFASHIONMNIST", "DATASET.ROOT", "/data"),
    ("LOSS.LDAMLoss.SCALE", 10), ("RESUME_MODEL", "last.pth"),
])
def test_what_is_meant_is_not_doubted(words):
    assert told(*words) == []


@pytest.mark.parametrize("name", RUNS)
def test_no_recipe_is_doubted_but_for_epochs_that_never_come(name):
    lines = doubts(load_config(ROOT / name))
    assert len(lines) <= 1
    assert all(line.startswith(f"{SCHEDULE}LR_STEP: the learning rate is not lowered at epoch ") for line in lines)
    assert not lines or "cam_" in name or "first_stage" in name


@pytest.mark.parametrize("train_json", ["same.json", "link.json", "./folder/../same.json", "{tmp}/same.json"])
def test_validation_on_the_training_images(tmp_path, train_json):
    (tmp_path / "same.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("same.json")
    words = ["DATASET.DATASET", "CIFAR", "DATASET.ROOT", tmp_path, "DATASET.TRAIN_JSON", train_json.format(tmp=tmp_path)]
    line, = told(*words, "DATASET.VALID_JSON", "same.json")
    same = os.path.realpath(tmp_path / "same.json")
    assert line.startswith(f"DATASET.VALID_JSON: is the same file as DATASET.TRAIN_JSON, {same}, so")
    assert told(*words, "DATASET.VALID_JSON", "other.json") == []


@pytest.mark.parametrize("option", ["TRAIN_JSON", "VALID_JSON"])
@pytest.mark.parametrize("name", ["IMBALANCEDIGITS", "IMBALANCEFASHIONMNIST", "IMBALANCECIFAR10", "IMBALANCECIFAR100"])
def test_annotations_that_the_data_set_does_not_read_are_an_error(name, option):
    """Which would otherwise train on the digits, the default."""
    with pytest.raises(ConfigError, match=rf"DATASET\.{option}: is set, but DATASET\.DATASET {name} does not read it; "
                                          r"set it to '', or use \w+( or \w+)*"):
        load_config([], [*JSON[2:], "DATASET.DATASET", name, f"DATASET.{option}", "x.json"])
    assert load_config([], JSON).DATASET.TRAIN_JSON == "train.json"


@pytest.mark.parametrize(("steps", "images", "batch", "processes", "enough"), [
    (1, 100, 128, 1, 20), (4, 1000, 200, 1, 200), (2, 600, 128, 2, 60), (1, 3, 32, 1, 1)])
def test_few_steps_an_epoch(steps, images, batch, processes, enough):
    cfg = load_config(ROOT / DIGITS, ["TRAIN.BATCH_SIZE", str(batch), "TRAIN.MAX_EPOCH", "20"])
    line, = doubt_steps(cfg, steps, images, processes)
    assert line.startswith(f"TRAIN.BATCH_SIZE: an epoch has only {steps} step")
    assert f"{images:,} images in batches of {batch * processes}), {20 * steps} in 20 epochs" in line
    assert line.endswith(f"BATCH_SIZE {enough} gives 5 or more")
    assert images // processes // enough >= 5 or enough == 1
    assert doubt_steps(cfg, 5, images, processes) == []


@pytest.mark.usefixtures("no_figures")
def test_a_training_says_it_once(tiny, tmp_path, capsys):
    words = ["TRAIN.MAX_EPOCH", "2", "TRAIN.BATCH_SIZE", "1000", SCHEDULE + "LR_STEP", "[1, 9]", "DATASET.ROOT", "/data"]
    assert train.main(["--cfg", str(ROOT / DIGITS), "--gpus", "cpu", *tiny, *words]) == 0
    log = (tmp_path / "run/log.txt").read_text()
    for text in (capsys.readouterr().out, log):
        for line in ("LR_STEP: the learning rate is not lowered at epoch 9, since TRAIN.MAX_EPOCH is 2",
                     "DATASET.ROOT: /data is not read",
                     "TRAIN.BATCH_SIZE: an epoch has only 1 step (562 images in batches of 1,000), 2 in 2 epochs"):
            assert text.count(line) == 1, text
    assert log.count("WARNING") == 4   # and one of the warm-up
    assert valid.main(["--cfg", str(ROOT / DIGITS), "--gpus", "cpu", *tiny, *words]) == 0
    told = capsys.readouterr().out
    assert told.count("DATASET.ROOT: /data is not read") == 1
    assert "LR_STEP" not in told   # with which a validation has nothing to do
