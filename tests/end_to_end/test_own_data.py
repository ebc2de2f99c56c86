"""A checkpoint meets data: its own, that in another order, and other classes, images and settings."""
import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from lib.report.report import FILES
from lib.run import checkpoint
from main import train, valid
from tests.dataset.named_sets import NAMES, words, write_set

pytestmark = pytest.mark.usefixtures("no_figures")
DIGITS = "configs/test/digits_lt.yaml"
SHARED = ["--cfg", DIGITS, "--gpus", "cpu"]
LEARNS = ["TRAIN.BATCH_SIZE", "8", "TRAIN.OPTIMIZER.BASE_LR", "0.02", "TRANSFORMS.TRAIN_TRANSFORMS", "[]", "VALID_STEP", "1",
          "SAVE_STEP", "1", "TRAIN.LR_SCHEDULER.TYPE", "cosine", "TRAIN.MAX_EPOCH", "3"]
STILL = ["TRAIN.OPTIMIZER.BASE_LR", "1e-12", "TRAIN.MAX_EPOCH", "1", "EVAL_MODE", "True"]   # nothing is learned


def write_sets(folder: Path, names=NAMES) -> None:
    write_set(folder, "train", names, counts=(24, 16, 8))
    write_set(folder, "valid", names, counts=(6, 5, 4), shift=3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_in) -> Path:
    """A folder with data, and a run of three epochs on it."""
    folder = tmp_path_factory.mktemp("trained")
    write_sets(folder)
    assert train.main([*SHARED, *tiny_in(folder), *words(folder), *LEARNS]) == 0
    return folder


@pytest.fixture
def copied(trained, tmp_path) -> Path:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    for name in ("report.html", "predictions.csv"):   # as they would be if the data had been here from the beginning
        path = tmp_path / "run" / name
        lines = path.read_text(encoding="utf-8").split("\n")
        path.write_text("\n".join(line if "<code>DATASET.ROOT<" in line or "<code>OUTPUT_DIR<" in line   # those of the training
                                  else line.replace(str(trained), str(tmp_path)) for line in lines), encoding="utf-8")
    return tmp_path


@pytest.fixture
def heard(capsys):
    """All that was printed so far."""
    texts = []

    def text() -> str:
        texts.append(capsys.readouterr().out)
        return "".join(texts)

    return text


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and path.name != ".lock"}


def make_older(path: Path) -> None:
    """As earlier versions wrote it."""
    state = checkpoint.load(path)
    checkpoint.save({key: value for key, value in state.items() if key not in ("class_names", "preprocessing", "data")}, [path])


def run_train(folder: Path, tiny, *more: str) -> int:
    return train.main([*SHARED, *tiny, *words(folder), *LEARNS, *more])


def run_valid(folder: Path, tiny, *more: str) -> int:
    return valid.main([*SHARED, *tiny, *words(folder), *LEARNS, *more])


def metrics_of(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def test_a_checkpoint_is_enough_to_predict_from(trained):
    """Nothing but the file: its network, its classes, and how it wants images prepared."""
    from lib.config import TREE
    from lib.core import build
    from lib.data_transform import TRANSFORMS, normalize
    from lib.dataset.decode import read_image

    state = checkpoint.load(trained / "run/models/last.pth")
    how = state["preprocessing"]
    assert state["class_names"] == NAMES
    assert how == {"input_size": [8, 8], "color_space": "RGB", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
                   "test_transforms": [], "exif": True, "alpha": "drop"}
    cfg = TREE.clone()
    for key, value in state["config"].items():
        cfg.put(key, value)
    network = build.build_network(cfg, len(state["class_names"])).eval()
    checkpoint.load_network(network, state, "last.pth")
    right = 0
    pictures = sorted((trained / "valid").glob("*.png"))
    for path in pictures:
        image = read_image(path, "an image")
        for step in how["test_transforms"]:
            image = TRANSFORMS[step.pop("name")](tuple(how["input_size"]), **step).image(image)
        with torch.no_grad():
            logits = network(normalize(image[None], torch.tensor(how["mean"]), torch.tensor(how["std"]))).logits
        right += path.name.startswith(state["class_names"][int(logits.argmax())] + "_")
    assert right / len(pictures) == metrics_of(trained / "run")["top1"] > 0.6


def test_transforms_are_kept_with_the_options_that_they_use(tmp_path, tiny):
    from lib.config import load_config
    from lib.config.preparation import preprocessing
    from lib.core import build

    cfg = load_config([], [*tiny, "TRANSFORMS.TEST_TRANSFORMS", "[random_crop, center_crop]", "COLOR_SPACE", "BGR",
                           "TRANSFORMS.PROCESS_DETAIL.RANDOM_CROP.PADDING", "2", "DATASET.MEAN", "[0.123456789, 0.5, 1]"])
    found = preprocessing(cfg, build.build_dataset(cfg, train=False))
    assert found["test_transforms"] == [{"name": "random_crop", "padding": 2}, {"name": "center_crop"}]
    assert found["color_space"] == "BGR"
    assert torch.equal(torch.tensor(found["mean"]), torch.tensor([0.123456789, 0.5, 1]))
    assert found["std"] == [0.376, 0.376, 0.376]


# --- validation

def test_the_same_classes_in_another_order_are_aligned(copied, tiny, heard):
    """Annotations that number the same images otherwise give the run's own numbers, and its own report."""
    before = files(copied / "run")
    write_sets(copied, ["eel", "cat", "dog"])
    assert run_valid(copied, tiny) == 0
    assert "numbers its classes in another order than TEST.MODEL_FILE" in heard()
    after = files(copied / "run")
    assert after["metrics.json"] == before["metrics.json"]
    assert after["per_class.csv"] == before["per_class.csv"]
    assert not any(name.startswith("evaluations") for name in after)


@pytest.mark.parametrize(("names", "told"), [
    (["cat", "dog", "fox"], ["the checkpoint has 'eel'", "the data have 'fox'"]),
    (["cat", "dog", "eel", "fox"], ["the data have 'fox'"])])
def test_other_classes_are_refused_by_name(copied, tiny, capsys, names, told):
    for name in ("train", "valid"):
        write_set(copied, name, names, order=names, counts=[4] * len(names))
    before = files(copied)
    assert run_valid(copied, tiny) == 2
    message = capsys.readouterr().err
    assert "last.pth was trained for other classes" in message
    assert all(part in message for part in told)
    assert files(copied) == before


def test_a_checkpoint_without_names_says_so(copied, tiny, heard):
    make_older(copied / "run/models/last.pth")
    assert run_valid(copied, tiny) == 0
    assert heard().count("has no class names") == 1
    assert heard().count("does not say what data it was trained on") == 1
    assert not (copied / "run/evaluations").exists()


def test_numbers_in_the_place_of_names_are_said(copied, tiny, heard):
    write_sets(copied, None)
    assert run_valid(copied, tiny) == 0
    assert "class names cannot be compared" in heard()


CHANGES = {
    "DATASET.MEAN": "[0.1, 0.2, 0.3]", "DATASET.STD": "[0.5, 0.5, 0.5]", "INPUT_SIZE": "[16, 16]", "COLOR_SPACE": "BGR",
    "TRANSFORMS.TEST_TRANSFORMS": "[center_crop]", "DATASET.EXIF": "False", "DATASET.ALPHA": "white",
    "DATASET.VALID_JSON": "train.json", "DATASET.ON_BAD_IMAGE": "skip",
}


@pytest.mark.parametrize("key", CHANGES)
def test_what_is_changed_is_named_and_has_a_folder_of_its_own(copied, tiny, heard, key):
    before = files(copied / "run")
    transforms = ["TRANSFORMS.TEST_TRANSFORMS", "[normal_resize]"] if key == "INPUT_SIZE" else []
    for _ in range(2):   # the second one replaces the first
        assert run_valid(copied, tiny, *transforms, key, CHANGES[key]) == 0
    after = files(copied / "run")
    assert {name: after[name] for name in before} == before
    folder, = (copied / "run/evaluations").iterdir()
    found = metrics_of(folder)
    named = "validation set" if key == "DATASET.VALID_JSON" else key
    assert named in heard()
    assert any(text.startswith(named) for text in found["differs"])
    assert found["images"] == (48 if key == "DATASET.VALID_JSON" else 15)
    assert str(folder) in heard()
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.*")} == set(FILES.values())


def test_equal_values_are_no_change(copied, tiny):
    """Those of the data set, written out."""
    before = files(copied / "run")
    assert run_valid(copied, tiny, "DATASET.MEAN", "[0.485, 0.456, 0.406]", "DATASET.VALID_JSON", "./valid.json",
                     "TRAIN.OPTIMIZER.BASE_LR", "7", "SEED", "5") == 0   # TEST.BATCH_SIZE changes rounding on some processors
    assert files(copied / "run") == before


def test_other_epochs_have_folders_of_their_own(copied, tiny):
    before = files(copied / "run")
    for name in ("epoch_1.pth", "epoch_2.pth", "epoch_3.pth", str(copied / "run/models/last.pth")):   # two times the report
        assert run_valid(copied, tiny, "TEST.MODEL_FILE", name) == 0
    after = files(copied / "run")
    assert {name: after[name] for name in before} == before
    folders = sorted(path.name.rpartition("_")[0] for path in (copied / "run/evaluations").iterdir())
    assert folders == ["epoch_1", "epoch_2"]
    first, = (copied / "run/evaluations").glob("epoch_1*")
    assert metrics_of(first)["differs"] == ["the checkpoint is of epoch 1, and the run's last one is 3"]


def test_a_checkpoint_from_elsewhere_does_not_replace_the_report(copied, tiny, tmp_path):
    shutil.copy(copied / "run/models/last.pth", tmp_path / "other.pth")
    before = files(copied / "run")
    assert run_valid(copied, tiny, "TEST.MODEL_FILE", str(tmp_path / "other.pth")) == 0
    after = files(copied / "run")
    assert {name: after[name] for name in before} == before
    folder, = (copied / "run/evaluations").iterdir()
    assert folder.name.startswith("other_epoch_3_")
    assert "not one of" in metrics_of(folder)["differs"][0]


def test_without_a_run_the_first_evaluation_takes_the_directory_and_the_next_has_its_own(copied, tiny, tmp_path):
    model = ["NAME", "none", "TEST.MODEL_FILE", str(copied / "run/models/last.pth")]
    for _ in range(2):
        assert run_valid(copied, tiny, *model) == 0
    assert not (tmp_path / "none/evaluations").exists()
    first = metrics_of(tmp_path / "none")
    assert run_valid(copied, tiny, *model, "COLOR_SPACE", "BGR") == 0
    assert metrics_of(tmp_path / "none") == first
    assert len(list((tmp_path / "none/evaluations").iterdir())) == 1


def test_tau_normalization_with_changed_settings_leaves_the_runs_own_alone(copied, tiny):
    tau = ["TEST.TAU_NORM.USE_TAU_NORM", "True", "TEST.TAU_NORM.TAU", "0.5", "TEST.TAU_NORM.SWEEP", "[0, 1]"]
    assert run_valid(copied, tiny, *tau) == 0
    before = files(copied / "run")
    assert {"tau_norm/tau_0.5/metrics.json", "tau_sweep.json"} <= before.keys()
    assert run_valid(copied, tiny, *tau, "COLOR_SPACE", "BGR") == 0
    after = files(copied / "run")
    assert {name: after[name] for name in before} == before
    folder, = (copied / "run/evaluations").iterdir()
    assert {path.name for path in folder.iterdir()} == {"tau_norm", "tau_sweep.json", "figures"}
    assert metrics_of(folder / "tau_norm/tau_0.5")["tau"] == 0.5


def test_the_printed_command_makes_the_same_report(copied, tiny, capsys):
    """Also where the configuration names another checkpoint, and a tau."""
    more = ["TEST.MODEL_FILE", "best_model.pth", "TEST.TAU_NORM.USE_TAU_NORM", "True", "TEST.TAU_NORM.SWEEP", "[0, 1]"]
    assert run_train(copied, tiny, *more, "--ar", "True") == 0
    printed = next(line for line in capsys.readouterr().out.splitlines() if "python main/valid.py" in line)
    before = files(copied / "run")
    for name in ("metrics.json", "per_class.csv"):
        (copied / "run" / name).unlink()
    assert valid.main(shlex.split(printed)[2:]) == 0
    after = files(copied / "run")
    assert {name: after.get(name) for name in before} == before
    assert not any("evaluations" in name or "tau" in name for name in after)


# --- resuming

def test_data_that_moved_is_the_same(copied, tiny):
    moved = copied / "elsewhere/data"
    moved.mkdir(parents=True)
    for name in ("train", "valid", "train.json", "valid.json"):
        (copied / name).rename(moved / name)
    assert run_train(moved, tiny, "--ar", "True", "TRAIN.MAX_EPOCH", "4") == 0
    assert [json.loads(line)["epoch"] for line in (copied / "run/history.jsonl").read_text().splitlines()] == [1, 2, 3, 4]


OTHERS = {
    "a class has another name": (lambda folder: rename(folder), ["'eel'", "'fox'"]),
    "classes are numbered otherwise": (lambda folder: write_sets(folder, ["eel", "cat", "dog"]), ["another order"]),
    "an image more": (lambda folder: write_set(folder, "train", NAMES, counts=(24, 16, 9)), ["training set: images per class"]),
    "an image has another name": (lambda folder: rename_image(folder, "train"), ["training set: pixels, or names of files"]),
    "more validation": (lambda folder: write_set(folder, "valid", NAMES, counts=(6, 5, 5)), ["validation set: images per"]),
}


def rename(folder: Path) -> None:
    names = ["cat", "dog", "fox"]
    write_set(folder, "train", names, order=names, counts=(24, 16, 8))
    write_set(folder, "valid", names, order=names, counts=(6, 5, 4), shift=3)


def rename_image(folder: Path, name: str) -> None:
    (folder / name / "cat_0.png").rename(folder / name / "cat_00.png")
    file = folder / f"{name}.json"
    file.write_text(file.read_text().replace("cat_0.png", "cat_00.png"))


@pytest.mark.parametrize("case", OTHERS)
def test_other_data_is_not_resumed_on(copied, tiny, capsys, case):
    change, told = OTHERS[case]
    change(copied)
    before = files(copied)
    for words_ in (["--ar", "True", "TRAIN.MAX_EPOCH", "4"],
                   ["NAME", "new", "RESUME_MODEL", str(copied / "run/models/last.pth"), "TRAIN.MAX_EPOCH", "4"]):
        assert run_train(copied, tiny, *words_) == 2
        message = capsys.readouterr().err
        assert "was trained on other data than here" in message
        assert "RESUME_MODE state_dict" in message
        assert all(part in message for part in told)
        assert message.count("last.pth") == 1   # told once, not of every checkpoint
    assert files(copied) == before


def test_another_subset_is_other_data_and_another_seed_is_named(tmp_path, tiny, capsys, heard):
    assert train.main([*SHARED, *tiny, "TRAIN.MAX_EPOCH", "1"]) == 0
    assert train.main([*SHARED, *tiny, "TRAIN.MAX_EPOCH", "2", "--ar", "True", "DATASET.IMBALANCECIFAR.RATIO", "0.2"]) == 2
    assert "training set: images per class" in capsys.readouterr().err
    changes = ["SEED", "7", "DATASET.MEAN", "[0.5, 0.5, 0.5]", "TRANSFORMS.TRAIN_TRANSFORMS", "[]", "SHOW_STEP", "9"]
    assert train.main([*SHARED, *tiny, "TRAIN.MAX_EPOCH", "2", "--ar", "True", *changes]) == 0
    for part in ("SEED was 42, is now 7", "DATASET.MEAN was [], is now [0.5, 0.5, 0.5]",
                 "TRAIN_TRANSFORMS was ['random_crop'], is now []"):
        assert f"changed since the checkpoint: {part}" in heard() or f"TRANSFORMS.{part}" in heard()
    levels = {line.split("  ")[1] for line in (tmp_path / "run/log.txt").read_text().splitlines() if "checkpoint: SEED" in line}
    assert levels == {"WARNING"}
    assert any("INFO" in line for line in (tmp_path / "run/log.txt").read_text().splitlines() if "checkpoint: SHOW_STEP" in line)


def test_older_checkpoints_are_resumed_and_it_is_said_once(copied, tiny, heard):
    for path in (copied / "run/models").glob("*.pth"):
        make_older(path)
    assert run_train(copied, tiny, "--ar", "True", "TRAIN.MAX_EPOCH", "4") == 0
    assert heard().count("does not say what data it was trained on") == 1
    assert set(checkpoint.load(copied / "run/models/last.pth")["data"]) == {
        "training set", "validation set", "images of CAM-based sampling"}


# --- weights of another run

def test_weights_follow_the_order_of_the_data(copied, tiny, heard):
    """The network that was trained for cat, dog, eel is as good for eel, cat, dog: nothing is learned, and accuracy stays."""
    write_sets(copied, ["eel", "cat", "dog"])
    source, expected = str(copied / "run/models/last.pth"), metrics_of(copied / "run")["top1"]
    loaded = {"fine": ["NETWORK.PRETRAINED", "True", "NETWORK.PRETRAINED_MODEL", source],
              "LWS": ["NETWORK.PRETRAINED", "True", "NETWORK.PRETRAINED_MODEL", source, "CLASSIFIER.TYPE", "LWS"],
              "weights": ["RESUME_MODEL", source, "RESUME_MODE", "state_dict"]}
    for name, more in loaded.items():
        assert run_train(copied, tiny, "NAME", name, *more, *STILL) == 0
        assert metrics_of(copied / name)["top1"] == expected > 0.6
        assert checkpoint.load(copied / name / "models/last.pth")["class_names"] == ["eel", "cat", "dog"]
    assert heard().count("its classifier's outputs follow the data") == 3


def test_weights_for_other_classes_are_refused_unless_the_classifier_is_new(copied, tiny, capsys):
    rename(copied)
    pretrained = ["NETWORK.PRETRAINED", "True", "NETWORK.PRETRAINED_MODEL", str(copied / "run/models/last.pth")]
    assert run_train(copied, tiny, "NAME", "fine", *pretrained, *STILL) == 2
    message = capsys.readouterr().err
    assert "was trained for other classes: the checkpoint has 'eel'; the data have 'fox'" in message
    assert "cRT" in message
    assert not (copied / "fine").exists()
    assert run_train(copied, tiny, "NAME", "cRT", *pretrained, *STILL, "CLASSIFIER.TYPE", "cRT") == 0


def test_images_that_were_prepared_otherwise_are_named(copied, tiny, heard):
    pretrained = ["NETWORK.PRETRAINED", "True", "NETWORK.PRETRAINED_MODEL", str(copied / "run/models/last.pth")]
    assert run_train(copied, tiny, "NAME", "fine", *pretrained, *STILL, "COLOR_SPACE", "BGR") == 0
    assert 'prepared in another way: COLOR_SPACE "RGB" in the checkpoint, "BGR" here' in heard()


def generation(folder: Path, name: str, *more: str) -> list[str]:
    return ["NAME", name, "NETWORK.PRETRAINED", "True", "NETWORK.PRETRAINED_MODEL", str(folder / "run/models/last.pth"),
            "DATASET.GENERATE_CAM_BASED_DATASET", "True", "DATASET.CAM_DATA_SAVE_PATH", str(folder / "cam/images"),
            "DATASET.CAM_DATA_JSON_SAVE_PATH", str(folder / "cam/cam.json"), *more]


def test_images_of_cam_based_sampling_are_made_by_the_vectors_of_their_classes(copied, tiny, heard, capsys):
    write_sets(copied, ["eel", "cat", "dog"])
    assert run_train(copied, tiny, *generation(copied, "made")) == 0
    assert "its classifier's outputs follow the data" in heard()
    rename(copied)
    before = files(copied)
    assert run_train(copied, tiny, *generation(copied, "again"), "--overwrite") == 2
    assert "was trained for other classes" in capsys.readouterr().err
    assert files(copied) == before


def test_a_generation_does_not_replace_what_it_reads(copied, tiny, capsys):
    """Images are made of images that were made before, in their own folder."""
    assert run_train(copied, tiny, *generation(copied, "made")) == 0
    before = files(copied)
    read = ["DATASET.ROOT", str(copied / "cam"), "DATASET.TRAIN_JSON", "cam.json", "DATASET.VALID_JSON",
            str(copied / "valid.json")]
    assert run_train(copied, tiny, *generation(copied, "again", *read), "--overwrite") == 2
    assert "DATASET.TRAIN_JSON: " in capsys.readouterr().err
    shutil.copy(copied / "cam/cam.json", copied / "cam/copy.json")
    read[3] = "copy.json"
    assert run_train(copied, tiny, *generation(copied, "again", *read), "--overwrite") == 2
    assert "cam_000000.png is read by this run, and would be deleted by --overwrite" in capsys.readouterr().err
    (copied / "cam/copy.json").unlink()
    assert files(copied) == before


def test_other_images_of_cam_based_sampling_are_other_data(copied, tiny, capsys):
    assert run_train(copied, tiny, *generation(copied, "made")) == 0
    annotations = str(copied / "cam/cam.json")
    use = ["NAME", "second", "DATASET.USE_CAM_BASED_DATASET", "True", "DATASET.CAM_DATA_JSON_SAVE_PATH", annotations]
    assert run_train(copied, tiny, *use, "TRAIN.MAX_EPOCH", "1") == 0
    assert run_valid(copied, tiny, *use) == 0
    assert not (copied / "second/evaluations").exists()   # the added images are no part of it
    assert run_train(copied, tiny, *generation(copied, "made", "SEED", "7"), "--overwrite") == 0
    capsys.readouterr()
    assert run_train(copied, tiny, *use, "TRAIN.MAX_EPOCH", "2", "--ar", "True") == 2
    assert "images of CAM-based sampling: made_with" in capsys.readouterr().err
    assert run_train(copied, tiny, *use[:2], "TRAIN.MAX_EPOCH", "2", "--ar", "True") == 2
    assert "images of CAM-based sampling: none here" in capsys.readouterr().err
