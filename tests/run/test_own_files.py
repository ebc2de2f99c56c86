"""Which files of a directory are a run's, and what of them is deleted."""
import json
from pathlib import Path

import pytest

from lib.run import checkpoint, own_files
from lib.run.run import Run
from lib.utils.errors import InputError

OTHERS = ("notes.txt", "models/teacher.pth", "models/epoch_x.pth", "figures/mine.png", "tensorboard/mine", "data/.picture.tmp")


@pytest.fixture
def run(tmp_path) -> Run:
    """Six epochs, an epoch_N.pth every two, epoch 3 the best; reports of epoch 6, one of epoch 2; and files of somebody else."""
    run = Run(tmp_path / "run")
    run.open("NAME: run\n", 1, "CPU", tensorboard=True)
    for epoch in range(1, 7):
        run.record({"epoch": epoch, "rate": 0.1})
        run.save({"epoch": epoch, "state_dict": {}}, is_best=epoch in (1, 3), every=2)
    run.close()
    for name, epoch in (("", 6), ("tau_norm/tau_0.5", 6), ("tau_norm/tau_1.0", 2), ("evaluations/epoch_5_abc", 5)):
        (run.directory / name).mkdir(parents=True, exist_ok=True)
        (run.directory / name / "metrics.json").write_text(json.dumps({"epoch": epoch}))
    (run.directory / "tau_sweep.json").write_text(json.dumps({"epoch": 6}))
    (run.directory / "figures/confusion_matrix.png").write_bytes(b"a figure")
    for name in OTHERS:
        (run.directory / name).parent.mkdir(exist_ok=True)
        (run.directory / name).write_bytes(b"of somebody else")
    return run


def names(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()} - {".lock"}


def test_clearing_leaves_what_no_run_writes(run):
    run.clear()
    assert names(run.directory) == set(OTHERS)
    run.check_free()


def test_emptied_folders_go(run):
    for name in OTHERS:
        (run.directory / name).unlink()
    run.clear()
    assert {path.name for path in run.directory.iterdir()} == {"data"}


@pytest.mark.parametrize(("position", "lost"), [
    ((6, 0), set()), ((5, 0), {"last.pth", "epoch_6.pth"}), ((4, 7), {"last.pth", "previous.pth", "epoch_6.pth"}),
    ((2, 0), {"last.pth", "previous.pth", "best_model.pth", "epoch_4.pth", "epoch_6.pth"})])
def test_what_came_after_a_checkpoint(run, position, lost):
    found = {path.relative_to(run.directory).as_posix() for path in own_files.after(run.directory, position)}
    assert {name.removeprefix("models/") for name in found if name.startswith("models/")} == lost
    reports = {"metrics.json", "figures/confusion_matrix.png", "tau_sweep.json", "tau_norm/tau_0.5"}
    assert {name for name in found if not name.startswith("models/")} == (reports if lost else set())


def test_what_came_inside_the_epoch_is_later(run):
    run.save_part({"epoch": 6, "batch": 3, "state_dict": {}})
    assert [path.name for path in own_files.after(run.directory, (6, 0))] == ["mid_epoch.pth"]
    assert not list(own_files.after(run.directory, (6, 3)))


def test_rewinding_makes_the_checkpoint_the_last_one(run):
    source = run.models / "epoch_4.pth"
    content = source.read_bytes()
    run.rewind(source, (4, 0))
    assert checkpoint.load(run.models / "last.pth")["epoch"] == 4
    assert source.read_bytes() == (run.models / "last.pth").read_bytes() == content
    left = [path.name for path in own_files.checkpoints(run.models)]
    assert left == ["best_model.pth", "epoch_2.pth", "epoch_4.pth", "last.pth"]
    run.save({"epoch": 5, "state_dict": {}}, is_best=False, every=2)
    assert source.read_bytes() == content   # which was the same file


def test_without_links_it_is_copied(run, monkeypatch):
    def no_links(*args):
        raise OSError("Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    run.rewind(run.models / "epoch_4.pth", (4, 0))
    assert checkpoint.load(run.models / "last.pth")["epoch"] == 4


def test_a_damaged_one_is_judged_by_its_name(run):
    for name in ("epoch_4.pth", "best_model.pth"):
        (run.models / name).write_bytes(b"damaged")
    lost = {path.name for path in own_files.after(run.directory, (2, 0))}
    assert "epoch_4.pth" in lost
    assert "best_model.pth" not in lost   # nobody can tell


def test_of_a_linked_folder_the_link_is_deleted(run, tmp_path):
    run.models.rename(tmp_path / "elsewhere")
    run.models.symlink_to(tmp_path / "elsewhere")
    run.clear()
    assert not run.models.exists()
    assert (tmp_path / "elsewhere/last.pth").exists()


@pytest.mark.parametrize("read", ["run/models/last.pth", "run/../run/models/last.pth", "link/last.pth", "elsewhere.pth",
                                  "run/evaluations/deep/inside.json"])
def test_what_is_read_is_found_by_every_name(run, tmp_path, read):
    (tmp_path / "link").symlink_to(run.models)
    (tmp_path / "elsewhere.pth").symlink_to("link/last.pth")
    lost = list(own_files.written(run.directory))
    with pytest.raises(InputError, match=r"KEY: .* is read by this run, and would be deleted; choose another NAME"):
        own_files.check_spared([("OTHER", tmp_path / "run/notes.txt"), ("KEY", tmp_path / read)], lost, "deleted")


def test_what_only_lies_beside_it_may_be_read(run, tmp_path):
    reads = [("KEY", tmp_path / name) for name in ("run", "", "run/models", "run/models/teacher.pth", "run/data")]
    own_files.check_spared(reads, list(own_files.written(run.directory)), "deleted")


def test_what_training_writes(run):
    found = {path.name for path in own_files.replaced_by_training(run.directory, save_step=4, max_epoch=5)}
    assert {"last.pth", "best_model.pth", "previous.pth", "epoch_4.pth", "config.yaml", "metrics.json"} <= found
    assert not found & {"epoch_2.pth", "epoch_6.pth", "teacher.pth", "mid_epoch.pth"}


def test_unfinished_files_of_a_run_go_and_those_of_others_stay(run):
    for name in (".config.yaml.abc.tmp", "models/.last.pth.x.tmp", "figures/.class_counts.png.y.tmp",
                 "evaluations/e/.per_class.csv.z.tmp"):
        (run.directory / name).parent.mkdir(exist_ok=True)
        (run.directory / name).touch()
    (run.directory / ".mine.tmp").touch()
    own_files.remove_unfinished(run.directory)
    assert {name for name in names(run.directory) if name.endswith(".tmp")} == {".mine.tmp", "data/.picture.tmp"}
