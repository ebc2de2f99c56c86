"""The chain on real digits: first stage, generation, training with the new images."""
import json
import math
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from lib.config import load_config
from lib.core import build
from lib.device.runtime import Runtime
from lib.run import checkpoint
from main.train import main as train
from main.valid import main as validate

DIGITS = "configs/test/digits_lt.yaml"


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """Arguments of a stage of the chain, all below one folder; the first stage is trained, for one epoch."""
    folder = tmp_path_factory.mktemp("chain")

    def words(name: str, *more: object) -> list[str]:
        return [str(word) for word in (
            "--cfg", DIGITS, "--gpus", "cpu", "OUTPUT_DIR", folder, "NAME", name, "INPUT_SIZE", "[8, 8]",
            "BACKBONE.TYPE", "res20_cifar", "DATASET.IMBALANCECIFAR.RATIO", 0.1, "TRAIN.MAX_EPOCH", 1,
            "TRAIN.LR_SCHEDULER.LR_STEP", "[]", "SAVE_STEP", 1, "TRAIN.TENSORBOARD.ENABLE", False,
            "DATASET.CAM_DATA_JSON_SAVE_PATH", folder / "cam.json", *more)]

    assert train(words("first")) == 0
    return folder, words


GENERATE = ["DATASET.GENERATE_CAM_BASED_DATASET", True, "NETWORK.PRETRAINED", True]
USE = ["DATASET.USE_CAM_BASED_DATASET", True]
COUNTS = [int(139 * 0.1 ** (c / 9)) for c in range(10)]
ADDED = [139 + 13 - count for count in COUNTS]


@pytest.fixture(scope="module")
def generated(stage):
    folder, words = stage
    arguments = words("cam", *GENERATE, "NETWORK.PRETRAINED_MODEL", folder / "first/models/last.pth",
                      "DATASET.CAM_DATA_SAVE_PATH", folder / "images")
    assert train(arguments) == 0
    return folder, words, arguments


def content(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_annotations_have_the_published_form(generated):
    folder, _, _ = generated
    made = json.loads((folder / "cam.json").read_text())
    assert made["num_classes"] == 10
    assert len(made["annotations"]) == sum(ADDED)
    assert [sum(entry["category_id"] == c for entry in made["annotations"]) for c in range(10)] == ADDED
    for number, entry in enumerate(made["annotations"]):
        assert set(entry) == {"image_id", "fpath", "im_height", "im_width", "category_id"}
        assert (entry["image_id"], entry["im_height"], entry["im_width"]) == (number, 8, 8)
        assert (folder / entry["fpath"]).is_file()
    assert (folder / "cam/figures/cam_sampling.png").stat().st_size > 10_000
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.slow
def test_the_same_command_makes_the_same_images(generated):
    folder, _, arguments = generated
    before = content(folder / "images")
    assert train([*arguments, "TEST.BATCH_SIZE", "7", "--overwrite"]) == 0
    assert content(folder / "images") == before


def test_what_is_there_is_refused_or_left_alone(generated, capsys):
    folder, _, arguments = generated
    before = content(folder / "images") | {"json": (folder / "cam.json").read_bytes()}
    assert train(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert train([*arguments, "--ar", "True"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert content(folder / "images") | {"json": (folder / "cam.json").read_bytes()} == before


def test_a_training_run_is_not_written_over(generated, capsys):
    folder, _, arguments = generated
    before = content(folder / "first")
    assert train([*arguments, "NAME", "first", "--overwrite"]) == 2
    assert "already holds a training run; choose another NAME" in capsys.readouterr().err
    assert content(folder / "first") == before


def test_a_missing_network_is_named(generated, capsys):
    folder, _, arguments = generated
    assert train([*arguments, "NETWORK.PRETRAINED_MODEL", f"{folder}/nowhere/last.pth", "--overwrite"]) == 2
    assert "NETWORK.PRETRAINED_MODEL: no file" in capsys.readouterr().err


def test_another_training_set_is_refused(generated, capsys):
    folder, words, _ = generated
    assert train(words("other", *USE, "DATASET.IMBALANCECIFAR.RANDOM_SEED", 1)) == 2
    error = capsys.readouterr().err
    for part in ("DATASET.CAM_DATA_JSON_SAVE_PATH", "cam.json", "indices", "GENERATE_CAM_BASED_DATASET True"):
        assert part in error
    assert not (folder / "other").exists()


@pytest.mark.parametrize(("name", "more", "num_images"), [
    ("plain", [], sum(COUNTS) + sum(ADDED)),
    ("weighted", ["TRAIN.SAMPLER.TYPE", "weighted sampler"], sum(COUNTS)),
    ("bbn", ["TRAIN.SAMPLER.TYPE", "bbn sampler", "TRAIN.COMBINER.TYPE", "bbn_mix"], 2 * sum(COUNTS)),
    ("from files", ["DATASET.IN_MEMORY", "never", "TRAIN.NUM_WORKERS", 0], sum(COUNTS) + sum(ADDED)),
])
def test_training_on_the_enlarged_set(generated, name, more, num_images):
    """An epoch sees what its draw says; losses are made of the original counts."""
    _, words, _ = generated
    cfg = load_config(DIGITS, words("x", *USE, *more)[4:])
    train_set, valid_set = build.build_datasets(cfg)
    assert train_set.class_counts.tolist() == COUNTS
    loader, _ = build.build_loaders(cfg, train_set, valid_set, Runtime(torch.device("cpu")))
    step = 64 if name == "bbn" else 32   # images; the last partial batch is dropped
    assert sum(len(batch.images) for batch in loader) == loader.num_images == num_images // step * step


@pytest.mark.long
def test_the_chain_with_weighted_sampler_and_drs(generated):
    folder, words, _ = generated
    start = ["NETWORK.PRETRAINED", True, "NETWORK.PRETRAINED_MODEL", folder / "first/models/last.pth"]
    weighted = ["TRAIN.SAMPLER.TYPE", "weighted sampler", *start, *USE]
    assert train(words("second", *weighted, "TRAIN.MAX_EPOCH", 2)) == 0
    drs = ["TRAIN.TWO_STAGE.DRS", True, "TRAIN.TWO_STAGE.START_EPOCH", 1]
    assert train(words("drs", *weighted, *drs, "TRAIN.MAX_EPOCH", 2)) == 0
    for name in ("second", "drs"):
        history = [json.loads(line) for line in (folder / name / "history.jsonl").read_text().splitlines()]
        assert all(math.isfinite(entry["train_loss"]) for entry in history)
        assert history[-1]["many"] >= 0   # classes of more than 100 original images; with the new ones all would be
        state = torch.load(folder / name / "models/last.pth")
        assert state["class_counts"].tolist() == COUNTS
    rates = [json.loads(line)["images_per_second"] * json.loads(line)["seconds"]
             for line in (folder / "drs/history.jsonl").read_text().splitlines()]
    assert rates == pytest.approx([1520 // 32 * 32, sum(COUNTS) // 32 * 32], rel=0.05)
    (folder / "cam.json").rename(folder / "gone.json")
    try:
        assert validate(words("drs", *weighted)) == 0   # nothing of it is needed to validate
    finally:
        (folder / "gone.json").rename(folder / "cam.json")


@pytest.mark.slow
def test_ctrl_c_leaves_nothing(generated, root):
    """The command that a user interrupts while it makes images."""
    folder, words, _ = generated
    target = folder / "interrupted"
    arguments = words("again", *GENERATE, "NETWORK.PRETRAINED_MODEL", folder / "first/models/last.pth", "TEST.BATCH_SIZE", 1,
                      "DATASET.CAM_DATA_SAVE_PATH", target / "images", "DATASET.CAM_DATA_JSON_SAVE_PATH", target / "cam.json")
    process = subprocess.Popen([sys.executable, "main/train.py", *arguments], cwd=root, stdout=subprocess.PIPE, text=True)
    unfinished = target / ".images.unfinished"
    deadline = time.monotonic() + 120
    while not any(unfinished.rglob("*.png")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130, out
    assert "no image was kept" in out
    assert list(target.rglob("*")) == []


@pytest.mark.slow
def test_two_processes_make_the_images_of_one(generated, command):
    folder, words, arguments = generated
    before = content(folder / "images")
    words = [word for word in arguments if word not in ("--cfg", "--gpus", DIGITS, "cpu")]
    result = command("bash", "distributed_data_parallel_train.sh", DIGITS, 2, "cpu", *words, "--overwrite")
    assert result.returncode == 0, result.stdout + result.stderr
    assert content(folder / "images") == before


@pytest.mark.parametrize(("name", "added"), [("iNaturalist", [0, 0, 2]), ("CIFAR", [1, 3, 4])])
def test_image_files_of_many_sizes(tmp_path, name, added):
    """Sets of files but CIFAR heed CAM_NUMBER_THRES; new images have the size of those that they come from."""
    counts, annotations = [4, 2, 1], []
    noise = np.random.default_rng(0)
    for number, label in enumerate(np.repeat([0, 1, 2], counts).tolist()):
        Image.fromarray(noise.integers(256, size=(20 + number, 24, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        annotations.append({"fpath": f"{number}.png", "category_id": label})
    (tmp_path / "set.json").write_text(json.dumps({"num_classes": 3, "annotations": annotations}))
    words = [str(word) for word in (
        "OUTPUT_DIR", tmp_path, "NAME", "cam", "DATASET.DATASET", name, "DATASET.ROOT", tmp_path,
        "DATASET.TRAIN_JSON", "set.json", "DATASET.VALID_JSON", "set.json", "INPUT_SIZE", "[16, 16]",
        "BACKBONE.TYPE", "res20_cifar", "DATASET.CAM_NUMBER_THRES", 2,
        "DATASET.CAM_DATA_JSON_SAVE_PATH", tmp_path / "cam.json", "TRANSFORMS.TRAIN_TRANSFORMS", "[random_resized_crop]",
        "TRANSFORMS.TEST_TRANSFORMS", "[normal_resize]", "TRAIN.NUM_WORKERS", 0, "TEST.NUM_WORKERS", 0, "TRAIN.BATCH_SIZE", 4)]
    network = build.build_network(load_config(DIGITS, words), 3)
    checkpoint.save({"state_dict": network.state_dict()}, [tmp_path / "first.pth"])
    assert train(["--cfg", DIGITS, "--gpus", "cpu", *words, *map(str, GENERATE), "NETWORK.PRETRAINED_MODEL",
                  str(tmp_path / "first.pth"), "DATASET.CAM_DATA_SAVE_PATH", str(tmp_path / "new")]) == 0
    cfg = load_config(DIGITS, [*words, *map(str, USE)])
    train_set, valid_set = build.build_datasets(cfg)
    new = train_set.labels[sum(counts):]
    assert torch.bincount(new, minlength=3).tolist() == added
    assert train_set.class_counts.tolist() == counts
    sizes = {tuple(train_set.read(index).shape[1:]) for index in range(sum(counts), len(train_set.labels))}
    assert sizes <= {(20 + number, 24) for number in range(7)}
    assert len(sizes) > 1 or name == "iNaturalist"   # whose two new images come from the one image of the class
    loader, _ = build.build_loaders(cfg, train_set, valid_set, Runtime(torch.device("cpu")))
    assert [batch.images.shape for batch in loader] == [(4, 3, 16, 16)] * ((sum(counts) + sum(added)) // 4)
