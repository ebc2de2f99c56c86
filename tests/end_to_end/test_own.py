"""A folder of pictures by one command: what is chosen, told and written; and what its run's config.yaml then stands for."""
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits

import main.settle
from lib.config import load_config
from lib.config.auto import undecided
from lib.core.choices import Pace, epochs_in
from main import predict, train, valid

pytestmark = pytest.mark.usefixtures("no_figures")
COUNTS = {"seven": 30, "one": 16, "four": 6}   # pictures of 8 × 8
QUICK = ["BACKBONE.TYPE", "res20_cifar", "TRAIN.MAX_EPOCH", "2", "TRAIN.TENSORBOARD.ENABLE", "False", "TRAIN.NUM_WORKERS", "0",
         "TEST.NUM_WORKERS", "0"]


@pytest.fixture(scope="module")
def birds(tmp_path_factory) -> Path:
    folder, digits = tmp_path_factory.mktemp("data") / "birds of 2024", load_digits()
    for (name, number), label in zip(COUNTS.items(), (7, 1, 4)):
        (folder / name).mkdir(parents=True)
        for place, image in enumerate(digits.images[digits.target == label][:number]):
            Image.fromarray(np.rint(image * (255 / 16)).astype(np.uint8)).save(folder / name / f"{place}.png")
    return folder


def run(folder: Path, out: Path, *words: object) -> int:
    return train.main(["--folder", str(folder), "--gpus", "cpu", "OUTPUT_DIR", str(out), *map(str, words)])


@pytest.fixture(scope="module")
def trained(birds, tmp_path_factory) -> tuple[Path, str]:
    """The directory of a run, and what it printed."""
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
        assert run(birds, out, *QUICK) == 0
    return out / birds.name, (out / birds.name / "log.txt").read_text()


def test_the_run_is_called_like_the_folder_and_writes_what_it_came_to(trained):
    directory, _ = trained
    cfg = load_config(directory / "config.yaml")
    assert undecided(cfg) == []
    assert directory.name == cfg.NAME
    assert (cfg.DATASET.DATASET, cfg.INPUT_SIZE, cfg.BACKBONE.TYPE) == ("FOLDER", [16, 16], "res20_cifar")
    assert cfg.TRAIN.OPTIMIZER.BASE_LR > 0


def test_each_choice_is_told_with_its_reason_and_nothing_else(trained):
    _, log = trained
    block = re.search(r"Chosen from \d+ images of 3 classes, shorter side 8 pixels \(median\), on CPU.*?:\n((?:    .*\n)+)", log)
    rows = dict(re.match(r"    (\S+)\s\s+.*\S\s\s+(\S.*)", row).groups() for row in block[1].splitlines())
    assert "INPUT_SIZE" in rows
    assert "TRAIN.BATCH_SIZE" in rows
    assert "BACKBONE.TYPE" not in rows   # was given
    assert "TRAIN.MAX_EPOCH" not in rows


def test_the_commands_that_are_told_name_the_run_s_configuration_and_work(trained, birds, tmp_path, capsys):
    directory, log = trained
    assert f"--cfg '{directory}/config.yaml'" in log
    assert f"python main/predict.py '{directory}/models/last.pth' PICTURES-OR-FOLDERS" in log
    assert load_config(directory / "config.yaml").LOSS.LOSS_TYPE == "BalancedSoftmaxCE"
    assert valid.main(["--cfg", str(directory / "config.yaml"), "--gpus", "cpu"]) == 0
    assert predict.main([str(directory / "models/last.pth"), str(birds)]) == 0
    assert run(birds, tmp_path, *QUICK, "LOSS.LOSS_TYPE", "CrossEntropy") == 0
    out = capsys.readouterr().out
    assert "Top1" in out
    own = tmp_path / birds.name / "config.yaml"
    assert f"bash data_parallel_train.sh '{own}' cpu LOSS.LOSS_TYPE BalancedSoftmaxCE" in out


def test_validation_takes_what_was_chosen_for_the_run(trained, birds, capsys):
    directory, _ = trained
    words = ["DATASET.ROOT", str(birds), "OUTPUT_DIR", str(directory.parent), "BACKBONE.TYPE", "res20_cifar"]
    assert valid.main(["--cfg", "configs/own/scratch.yaml", "--gpus", "cpu", *words]) == 0
    assert valid.main(["--cfg", "configs/own/scratch.yaml", "--gpus", "cpu", *words, "NAME", "none"]) == 2
    assert "are chosen when a run is trained, but there is no run in" in capsys.readouterr().err


def test_resumed_the_choices_stay_those_of_the_run(trained, birds, capsys):
    """Also where another number of images or another machine would give others."""
    directory, _ = trained
    file = directory / "config.yaml"
    own = load_config(file)
    changed = file.read_text().replace(f"BATCH_SIZE: {own.TRAIN.BATCH_SIZE}\n", f"BATCH_SIZE: {own.TRAIN.BATCH_SIZE + 3}\n", 1)
    file.write_text(changed)
    assert run(birds, directory.parent, *QUICK, "--ar", "--minutes", "5") == 2   # MAX_EPOCH is given
    assert run(birds, directory.parent, *QUICK, "--ar") == 0
    assert f"chosen earlier, read from {file}" in capsys.readouterr().out
    assert load_config(file).TRAIN.BATCH_SIZE == own.TRAIN.BATCH_SIZE + 3


def test_weights_of_a_file_bring_their_backbone_and_a_rate_of_their_own(trained, birds, tmp_path, capsys):
    directory, _ = trained
    quick = QUICK[2:]
    weights = directory / "models/last.pth"
    assert run(birds, tmp_path, *quick, "--weights", weights, "--cfg", "configs/tricks/bsce.yaml", "TRAIN.MAX_EPOCH", 1,
               "TRAIN.OPTIMIZER.BASE_LR", "1e-12") == 0
    cfg = load_config(tmp_path / f"{birds.name}_finetune_bsce/config.yaml")
    assert (cfg.BACKBONE.TYPE, cfg.INPUT_SIZE, cfg.LOSS.LOSS_TYPE) == ("res20_cifar", [16, 16], "BalancedSoftmaxCE")
    assert cfg.TRAIN.OPTIMIZER.LR_FACTORS == ["backbone=0.1"]
    before, after = (torch.load(path)["state_dict"]["backbone.conv1.weight"] for path in (
        weights, tmp_path / f"{birds.name}_finetune_bsce/models/last.pth"))
    torch.testing.assert_close(before, after)


@pytest.mark.slow
def test_a_vision_transformer_of_timm_from_a_file(birds, tmp_path):
    """Its name, its size, its normalisation and its optimizer follow from the file."""
    file = tmp_path / "test_vit.r160_in1k.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), file)
    assert run(birds, tmp_path, *QUICK[2:], "--weights", file, "TRAIN.MAX_EPOCH", 1) == 0
    cfg = load_config(tmp_path / f"{birds.name}_finetune/config.yaml")
    assert (cfg.BACKBONE.TYPE, cfg.BACKBONE.TIMM.MODEL, cfg.INPUT_SIZE) == ("timm", "test_vit", [160, 160])
    assert (cfg.DATASET.MEAN, cfg.TRAIN.OPTIMIZER.TYPE) == ([0.5] * 3, "ADAMW")
    assert valid.main(["--cfg", str(tmp_path / f"{birds.name}_finetune/config.yaml"), "--gpus", "cpu"]) == 0


def test_weights_that_do_not_tell_their_backbone(birds, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"body.0.weight": torch.zeros(3, 3)}, tmp_path / "mine.pth")
    assert run(birds, tmp_path, "--weights", "mine.pth") == 2
    assert "BACKBONE.PRETRAINED_MODEL: mine.pth does not say which backbone it has; set BACKBONE.TYPE" in capsys.readouterr().err
    assert run(birds, tmp_path, "--weights", "resnet50") == 2
    assert "--weights: no file resnet50; for weights by name, write torchvision:resnet50" in capsys.readouterr().err


def test_minutes_choose_the_epochs_by_the_speed_that_is_measured(birds, tmp_path, capsys, monkeypatch):
    pace = Pace(step=0.5, steps=4, valid_step=0.1, valid_steps=1, saving=0.1, start=1.0)
    monkeypatch.setattr(main.settle, "measure_pace", lambda *_: pace)
    monkeypatch.setattr(main.settle, "seconds_left", lambda runtime, started, minutes: 60 * minutes)
    quick = [*QUICK[:2], *QUICK[4:]]
    assert run(birds, tmp_path, *quick, "--minutes", "0.1") == 0
    cfg = load_config(tmp_path / f"{birds.name}/config.yaml")
    assert cfg.TRAIN.MAX_EPOCH == epochs_in(5.0, pace, 120) == 2
    assert cfg.TRAIN.MINUTES == 0
    output = capsys.readouterr().out
    assert "TRAIN.MINUTES 0.1: 0.500 s per step, 4 steps per epoch" in output
    assert "TRAIN.MINUTES: 2 epochs are too few to learn much" in output


@pytest.mark.long
def test_a_measured_pace_is_that_of_the_training(birds, tmp_path, capsys):
    """Of real steps, within a wide margin; measuring leaves no trace in what is trained."""
    quick = [*QUICK[:2], *QUICK[4:]]
    assert run(birds, tmp_path, *quick, "--minutes", "0.25", "NAME", "timed") == 0
    cfg = load_config(tmp_path / "timed/config.yaml")
    assert run(birds, tmp_path, *quick, "TRAIN.MAX_EPOCH", cfg.TRAIN.MAX_EPOCH, "NAME", "given") == 0
    timed, given = (torch.load(tmp_path / name / "models/last.pth")["state_dict"] for name in ("timed", "given"))
    assert all(torch.equal(value, given[name]) for name, value in timed.items())


@pytest.mark.parametrize(("words", "message"), [
    ([], "one of --folder and --cfg is needed"),
    (["--folder", "nowhere"], "nowhere"),
    (["--folder", "nowhere", "--weights", "torchvision:resnet51"], "did you mean 'resnet50'?"),
    (["--folder", "nowhere", "--minutes", "nan"], "TRAIN.MINUTES"),
])
def test_mistakes_are_one_message(words, message, tmp_path, capsys):
    try:
        status = train.main([*words, "--gpus", "cpu", "OUTPUT_DIR", str(tmp_path)])
    except SystemExit as end:   # argparse's own
        status = end.code
    assert status == 2
    assert message in capsys.readouterr().err
