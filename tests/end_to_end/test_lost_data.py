"""Nothing that a run reads, and nothing that it has come to, is lost without being asked for."""
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from lib.run import checkpoint
from main import train, valid
from tests.dataset.named_sets import NAMES, words, write_set

pytestmark = pytest.mark.usefixtures("no_figures")
DIGITS = "configs/test/digits_lt.yaml"
SHARED = ["--cfg", DIGITS, "--gpus", "cpu"]
EPOCHS = ["TRAIN.MAX_EPOCH", "4", "SAVE_STEP", "1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_in) -> Path:
    """A run of four epochs, with a checkpoint of each."""
    folder = tmp_path_factory.mktemp("trained")
    assert train.main([*SHARED, *tiny_in(folder), *EPOCHS]) == 0
    return folder


@pytest.fixture
def copied(trained, tmp_path) -> Path:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


def run(tiny, *more: str) -> int:
    return train.main([*SHARED, *tiny, *EPOCHS, *more])


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and path.name != ".lock"}


def models(folder: Path) -> dict[str, int]:
    return {path.name: checkpoint.load(path)["epoch"] for path in (folder / "run/models").iterdir()}


def history(folder: Path, name: str = "run") -> list[dict]:
    entries = map(json.loads, (folder / name / "history.jsonl").read_text().splitlines())
    return [{key: value for key, value in entry.items() if key not in ("seconds", "images_per_second")} for entry in entries]


# --- RESUME_MODEL in the run's own models/

def test_an_earlier_checkpoint_of_this_run_is_refused_with_what_would_work(copied, tiny, capsys):
    before = files(copied)
    assert run(tiny, "RESUME_MODEL", "epoch_2.pth") == 2
    message = capsys.readouterr().err
    assert "epoch_2.pth is of epoch 2, but the run in" in message
    for part in ("epochs up to 4", "--ar True", "--overwrite rewinds the run to epoch_2.pth", "another NAME"):
        assert part in message
    assert files(copied) == before


def test_overwrite_rewinds_to_it_and_trains_the_same_again(copied, tiny, capsys, trained):
    """What came after goes, and comes again, bit for bit."""
    (copied / "run/models/mine.pth").write_bytes(b"mine")
    seen = []
    original = train.fit

    def look(*args):
        seen.append((models(copied.joinpath()) if not (copied / "run/models/mine.pth").unlink() else {}, history(copied),
                     (copied / "run/metrics.json").exists()))
        return original(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "fit", look)
        assert run(tiny, "RESUME_MODEL", "epoch_2.pth", "--overwrite") == 0
    (kept, told, reported), = seen
    best = checkpoint.load(trained / "run/models/best_model.pth")["epoch"]
    expected = {"epoch_1.pth": 1, "epoch_2.pth": 2, "last.pth": 2} | ({"best_model.pth": best} if best <= 2 else {})
    assert kept == expected
    assert [entry["epoch"] for entry in told] == [1, 2]
    assert not reported
    assert history(copied) == history(trained)
    old, new = (checkpoint.load(folder / "run/models/last.pth") for folder in (trained, copied))
    assert all(torch.equal(old["state_dict"][name], value) for name, value in new["state_dict"].items())


def test_a_rewound_run_that_is_killed_goes_on_from_there(copied, tiny, monkeypatch, trained):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "fit", killed)
    assert run(tiny, "RESUME_MODEL", "epoch_1.pth", "--overwrite") == 130
    monkeypatch.undo()
    assert run(tiny, "--ar", "True") == 0
    assert history(copied) == history(trained)


def test_the_newest_checkpoint_of_this_run_is_resumed_without_a_flag(copied, tiny):
    before = files(copied)
    assert run(tiny, "RESUME_MODEL", "epoch_4.pth", "TRAIN.MAX_EPOCH", "5") == 0
    assert [entry["epoch"] for entry in history(copied)] == [1, 2, 3, 4, 5]
    after = files(copied)
    for name in ("epoch_1.pth", "epoch_2.pth", "epoch_3.pth", "epoch_4.pth"):
        assert after[f"run/models/{name}"] == before[f"run/models/{name}"]


def test_weights_of_this_run_do_not_begin_in_its_place(copied, tiny, capsys):
    before = files(copied)
    for more in ([], ["--overwrite"]):
        assert run(tiny, "RESUME_MODEL", "epoch_2.pth", "RESUME_MODE", "state_dict", *more) == 2
        assert "choose another NAME" in capsys.readouterr().err
    assert files(copied) == before
    source = str(copied / "run/models/epoch_2.pth")
    assert run(tiny, "RESUME_MODEL", source, "RESUME_MODE", "state_dict", "NAME", "branch", "TRAIN.MAX_EPOCH", "1") == 0


def test_a_name_that_is_not_there_is_told_before_anything_else(copied, tiny, capsys):
    assert run(tiny, "RESUME_MODEL", "epoch_7.pth") == 2
    message = capsys.readouterr().err
    assert "RESUME_MODEL: no file" in message
    assert "epoch_4.pth" in message


@pytest.mark.parametrize("own", [True, False])
def test_auto_resume_says_which_checkpoint_it_takes(copied, tiny, capsys, own):
    name = "epoch_2.pth"
    if not own:
        name = str(shutil.copy(copied / "run/models/epoch_2.pth", copied / "other.pth"))
    assert run(tiny, "RESUME_MODEL", name, "--ar", "True", "TRAIN.MAX_EPOCH", "5") == 0
    output = capsys.readouterr().out
    assert "last.pth (epoch 4), the newest checkpoint of this run, and not from RESUME_MODEL" in output
    assert f"{name} (epoch 2); " in output
    assert ("--overwrite instead of --ar rewinds" in output) == own
    assert [entry["epoch"] for entry in history(copied)] == [1, 2, 3, 4, 5]


# --- what a run reads

def teacher(path) -> list[str]:
    return ["TRAIN.COMBINER.TYPE", "dive", "LOSS.LOSS_TYPE", "DiVEKLD", "TRAIN.COMBINER.DIVE.TEACHER_MODEL", str(path)]


def pretrained(path) -> list[str]:
    return ["NETWORK.PRETRAINED", "True", "NETWORK.PRETRAINED_MODEL", str(path)]


def linked(path: Path) -> str:
    link = path.parents[2] / "link"
    link.symlink_to(path.parent)
    return str(link / path.name)


def relative(path: Path) -> str:
    return os.path.relpath(path)


@pytest.mark.parametrize(("key", "make", "how"), [
    ("TRAIN.COMBINER.DIVE.TEACHER_MODEL", teacher, str), ("NETWORK.PRETRAINED_MODEL", pretrained, str),
    ("NETWORK.PRETRAINED_MODEL", pretrained, linked), ("TRAIN.COMBINER.DIVE.TEACHER_MODEL", teacher, relative),
    ("TRAIN.COMBINER.DIVE.TEACHER_MODEL", teacher, lambda path: path.name),
    ("BACKBONE.PRETRAINED_MODEL", lambda path: ["BACKBONE.PRETRAINED_MODEL", path], str)])
def test_a_checkpoint_that_is_read_is_not_deleted(copied, tiny, capsys, key, make, how):
    before = files(copied)
    assert run(tiny, *make(how(copied / "run/models/epoch_2.pth")), "--overwrite") == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: {key}: ")
    assert "epoch_2.pth is read by this run, and would be deleted by --overwrite" in message
    assert files(copied) == before


def test_files_of_other_names_stay_where_they_are(copied, tiny):
    """A teacher that was put into models/ is neither a run nor deleted with one."""
    mine = copied / "run/models/teacher.pth"
    shutil.copy(copied / "run/models/last.pth", mine)
    (copied / "run/figures/mine.png").write_bytes(b"a picture")
    before = mine.read_bytes()
    assert run(tiny, *teacher("teacher.pth"), "TRAIN.MAX_EPOCH", "1", "--overwrite") == 0
    assert mine.read_bytes() == before
    assert (copied / "run/figures/mine.png").read_bytes() == b"a picture"
    assert not (copied / "run/models/epoch_2.pth").exists()


def test_a_folder_with_a_teacher_is_no_run(copied, tiny):
    (copied / "new/models").mkdir(parents=True)
    shutil.copy(copied / "run/models/last.pth", copied / "new/models/teacher.pth")
    assert run(tiny, "NAME", "new", *teacher("teacher.pth"), "TRAIN.MAX_EPOCH", "1") == 0


@pytest.mark.parametrize("name", ["best_model.pth", "last.pth", "epoch_2.pth"])
def test_a_teacher_is_not_written_over(copied, tiny, capsys, name):
    """Resumed, the run would learn from another one."""
    before = files(copied)
    assert run(tiny, *teacher(name), "--ar", "True", "TRAIN.MAX_EPOCH", "6") == 2
    assert f"{name} is read by this run, and would be overwritten by training" in capsys.readouterr().err
    assert files(copied) == before


@pytest.mark.slow
def test_a_teacher_that_was_replaced_is_named(copied, tiny, capsys):
    place = copied / "teacher.pth"
    shutil.copy(copied / "run/models/epoch_2.pth", place)
    assert run(tiny, "NAME", "student", *teacher(place), "TRAIN.MAX_EPOCH", "1") == 0
    assert run(tiny, "NAME", "student", *teacher(place), "TRAIN.MAX_EPOCH", "2", "--ar", "True") == 0
    assert "has other weights" not in capsys.readouterr().out
    shutil.copy(copied / "run/models/epoch_4.pth", place)
    assert run(tiny, "NAME", "student", *teacher(place), "TRAIN.MAX_EPOCH", "3", "--ar", "True") == 0
    assert "changed since the checkpoint: TRAIN.COMBINER.DIVE.TEACHER_MODEL has other weights" in capsys.readouterr().out


def test_the_configuration_of_the_run_itself(copied, tiny, capsys):
    """It goes on with the run, and is not deleted with it."""
    own = copied / "run/config.yaml"
    own.write_text("".join(f"OUTPUT_DIR: {copied}\n" if line.startswith("OUTPUT_DIR") else line
                           for line in own.read_text().splitlines(keepends=True)))
    before, own = files(copied), str(own)
    assert train.main(["--cfg", own, "--gpus", "cpu", "--overwrite"]) == 2
    assert f"--cfg: {own} is read by this run, and would be deleted" in capsys.readouterr().err
    based = copied / "based.yaml"
    based.write_text("_BASE_: run/config.yaml\nSEED: 3\n")
    assert train.main(["--cfg", str(based), "--gpus", "cpu", "--overwrite"]) == 2
    assert "config.yaml is read by this run" in capsys.readouterr().err
    based.unlink()
    assert files(copied) == before
    assert train.main(["--cfg", own, "--gpus", "cpu", "--ar", "True", "TRAIN.MAX_EPOCH", "5"]) == 0


def test_a_configuration_of_ones_own_in_the_directory_is_not_written_over(tmp_path, tiny, capsys):
    own = tmp_path / "run/config.yaml"
    own.parent.mkdir()
    own.write_text("# mine\nTRAIN: {MAX_EPOCH: 1}\n")
    assert train.main(["--cfg", str(own), "--gpus", "cpu", *tiny]) == 2
    assert "config.yaml is read by this run, and would be overwritten" in capsys.readouterr().err
    assert own.read_text().startswith("# mine")


@pytest.mark.parametrize("place", ["run/evaluations/data", "run/tau_norm", "run/models"])
def test_data_in_the_directory_are_not_deleted(copied, tiny, capsys, place):
    """Annotations and images in a folder that --overwrite clears; of models/ it deletes checkpoints only, and they may stay."""
    data = copied / place
    write_set(data, "train", NAMES)
    write_set(data, "valid", NAMES)
    before = files(copied)
    status = run(tiny, *words(data), "TRAIN.BATCH_SIZE", "4", "TRAIN.MAX_EPOCH", "1", "--overwrite")
    if place == "run/models":
        assert status == 0
        after = files(data)
        assert all(after[f"{name}.json"] == before[f"{place}/{name}.json"] for name in ("train", "valid"))
        assert len([name for name in after if name.endswith(".png")]) == 20
        return
    assert status == 2
    assert "DATASET.ROOT" in capsys.readouterr().err
    assert files(copied) == before


@pytest.mark.parametrize("link", [False, True])
def test_images_that_lie_among_what_is_cleared(copied, tiny, capsys, link):
    """The annotations are elsewhere, and the data folder is above the runs: an image of it is called as a figure of the run."""
    for name in ("train", "valid"):
        write_set(copied, name, NAMES)
    figure = copied / "run/figures/class_counts.png"
    shutil.copy(copied / "train/cat_0.png", figure)
    named = "run/figures/class_counts.png"
    if link:
        (copied / "pictures").symlink_to(copied / "run/figures")
        named = "pictures/class_counts.png"
    file = copied / "train.json"
    file.write_text(file.read_text().replace("train/cat_0.png", named))
    before = files(copied)
    assert run(tiny, *words(copied), "TRAIN.BATCH_SIZE", "4", "--overwrite") == 2
    assert "class_counts.png is read by this run, and would be deleted by --overwrite" in capsys.readouterr().err
    assert files(copied) == before


@pytest.mark.parametrize("script", ["train", "valid"])
@pytest.mark.parametrize("read", ["run/figures/confusion_matrix.png", "run/per_class.csv"])
def test_data_that_a_report_would_replace(tmp_path, trained, tiny, capsys, script, read):
    """In a directory without a run: an image that is called as a figure, and annotations that are called as a table."""
    for name in ("train", "valid"):
        write_set(tmp_path, name, NAMES)
    place, data = tmp_path / read, words(tmp_path)
    place.parent.mkdir(parents=True)
    if place.suffix == ".csv":
        shutil.copy(tmp_path / "valid.json", place)
        data += ["DATASET.VALID_JSON", str(place)]
    else:
        shutil.copy(tmp_path / "valid/cat_0.png", place)
        file = tmp_path / "valid.json"
        file.write_text(file.read_text().replace("valid/cat_0.png", read))
    before = files(tmp_path)
    if script == "train":
        assert run(tiny, *data, "TRAIN.BATCH_SIZE", "4") == 2
    else:
        checkpoint_of_names(tmp_path / "other.pth", trained)
        before = files(tmp_path)
        assert valid.main([*SHARED, *tiny, *data, "TEST.MODEL_FILE", str(tmp_path / "other.pth")]) == 2
    assert f"{Path(read).name} is read by this run, and would be overwritten" in capsys.readouterr().err
    assert files(tmp_path) == before


def checkpoint_of_names(path: Path, trained: Path) -> None:
    """The run's weights, for the three classes of the written sets."""
    weights = {name: value[:len(NAMES)] if name.startswith("classifier") else value
               for name, value in checkpoint.load(trained / "run/models/last.pth")["state_dict"].items()}
    checkpoint.save({"state_dict": weights, "epoch": 4}, [path])


def test_an_unfinished_file_of_somebody_else_is_left_alone(copied, tiny):
    other = copied / "run/data/.picture.tmp"
    other.parent.mkdir()
    other.write_bytes(b"not ours")
    (copied / "run/models/.last.pth.abc.tmp").write_bytes(b"ours")
    assert run(tiny, "--ar", "True", "TRAIN.MAX_EPOCH", "5") == 0
    assert other.read_bytes() == b"not ours"
    assert not (copied / "run/models/.last.pth.abc.tmp").exists()


# --- the best epoch, and the last one

def test_a_run_resumed_from_elsewhere_has_a_best_epoch_of_its_own(copied, tiny, capsys):
    assert run(tiny, "NAME", "branch", "RESUME_MODEL", str(copied / "run/models/epoch_3.pth")) == 0
    output = capsys.readouterr().out
    assert "the comparison starts over with the next validation" in output
    assert "Best epoch 4:" in output
    assert checkpoint.load(copied / "branch/models/best_model.pth")["epoch"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("best_by", ["balanced", "macro_f1"])
def test_the_best_epoch_is_chosen_by_the_metric_that_is_asked_for(tmp_path, tiny, capsys, best_by):
    assert run(tiny, "TEST.BEST_BY", best_by) == 0
    entries = history(tmp_path)
    best = max(entries, key=lambda entry: entry[best_by])
    state = checkpoint.load(tmp_path / "run/models/best_model.pth")
    assert (state["epoch"], state["best_result"], state["best_by"]) == (best["epoch"], best[best_by], best_by)
    output = capsys.readouterr().out
    title = {"balanced": "balanced accuracy", "macro_f1": "macro-F1"}[best_by]
    assert f"Best epoch {best['epoch']}: {title} {100 * best[best_by]:.2f} %, best_model.pth" in output
    assert f"Balanced: {100 * entries[-1]['balanced']:.2f}%" in output
    assert json.loads((tmp_path / "run/metrics.json").read_text())["balanced_accuracy"] == entries[-1]["balanced"]


def test_another_metric_starts_the_comparison_over(copied, tiny, capsys):
    assert run(tiny, "--ar", "True", "TRAIN.MAX_EPOCH", "5", "TEST.BEST_BY", "balanced") == 0
    output = capsys.readouterr().out
    assert "by Top1; the comparison starts over with the next validation, by balanced accuracy" in output
    state = checkpoint.load(copied / "run/models/last.pth")
    assert (state["best_epoch"], state["best_by"], state["best_result"]) == (5, "balanced", history(copied)[-1]["balanced"])
    assert models(copied)["best_model.pth"] == 5
    assert run(tiny, "--ar", "True", "TRAIN.MAX_EPOCH", "5") == 0   # finished, and compared by top-1 again
    assert "Best epoch: none by Top1" in capsys.readouterr().out


@pytest.mark.parametrize(("epochs", "told"), [
    ("3", "TRAIN.MAX_EPOCH is 3, and --ar {last} has 4 epochs: nothing is left to train, epoch 4 is validated again"),
    ("4", "TRAIN.MAX_EPOCH is 4, and --ar {last} has 4 epochs: nothing is left to train")])
def test_nothing_is_left_to_train(copied, tiny, capsys, epochs, told):
    before = files(copied / "run/models")
    assert run(tiny, "--ar", "True", "TRAIN.MAX_EPOCH", epochs) == 0
    output = capsys.readouterr().out
    assert told.format(last=copied / "run/models/last.pth") in output
    assert "Epoch 4 (last):" in output
    assert files(copied / "run/models") == before
    assert len(history(copied)) == 4


def test_a_run_that_has_nothing_to_train_does_not_begin(copied, tiny, capsys):
    assert run(tiny, "NAME", "branch", "RESUME_MODEL", str(copied / "run/models/last.pth"), "TRAIN.MAX_EPOCH", "3") == 2
    message = capsys.readouterr().err
    for part in ("TRAIN.MAX_EPOCH is 3, and RESUME_MODEL", "has 4 epochs", "RESUME_MODE state_dict", "main/valid.py"):
        assert part in message
    assert not (copied / "branch").exists()


def test_validation_reads_no_damaged_history(copied, tiny):
    (copied / "run/history.jsonl").write_text("{damaged\n")
    assert valid.main([*SHARED, *tiny, *EPOCHS]) == 0
    assert not (copied / "run/evaluations").exists()
