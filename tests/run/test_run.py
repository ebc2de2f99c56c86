"""The run's directory: what is refused, kept, and forgotten."""
import errno
import fcntl
import json
import logging
import os
import shutil
from pathlib import Path

import pytest
import torch

from lib.run.environment import environment, git_state
from lib.run.run import Run
from lib.utils.errors import InputError, RunFailedError
from lib.utils.log import start_logging


@pytest.fixture
def run(tmp_path):
    start_logging()
    run = Run(tmp_path / "out" / "name")
    run.open("NAME: name\n", 1, "CPU", tensorboard=False)
    return run


def entry(epoch: int) -> dict:
    return {"epoch": epoch, "rate": 0.1, "train_loss": 1.0}


def test_a_start_that_failed_before_anything_was_trained_is_no_run(run):
    run.check_free()


def test_history_and_checkpoints_are_a_run(run):
    run.record(entry(1))
    with pytest.raises(InputError, match=r"already holds a run.*--ar True.*--overwrite"):
        run.check_free()
    run.history_file.unlink()
    run.save({"epoch": 1}, is_best=False, every=5)
    with pytest.raises(InputError, match="already holds a run"):
        run.check_free()


def test_resuming_forgets_what_came_after_the_checkpoint(run):
    for epoch in (1, 2, 3):
        run.record(entry(epoch))
    with run.history_file.open("a") as file:
        file.write('{"epoch": 4, "ra')   # killed while writing
    run.open("NAME: name\n", 3, "CPU", tensorboard=False)
    assert [line["epoch"] for line in run.history()] == [1, 2]
    run.record(entry(3))
    assert [json.loads(line)["epoch"] for line in run.history_file.read_text().splitlines()] == [1, 2, 3]


@pytest.mark.parametrize("name", ["environment.json", "history.jsonl"])
def test_a_damaged_file_is_named(run, name):
    (run.directory / name).write_text("{damaged\n")
    with pytest.raises(InputError, match=f"{name} is damaged"):
        run.open("NAME: name\n", 3, "CPU", tensorboard=False)


def test_environment_has_an_entry_per_start(run):
    run.open("NAME: name\n", 3, "one GPU", tensorboard=False)
    sessions = json.loads((run.directory / "environment.json").read_text())
    assert [session["first_epoch"] for session in sessions] == [1, 3]
    assert sessions[1]["hardware"] == "one GPU"
    assert sessions[0]["versions"]["torch"].startswith(torch.__version__.split("+")[0])


@pytest.mark.parametrize(("epoch", "best", "files"), [
    (4, False, {"last.pth"}), (5, False, {"last.pth", "epoch_5.pth"}), (4, True, {"last.pth", "best_model.pth"})])
def test_which_checkpoints_are_written(run, epoch, best, files):
    run.save({"epoch": epoch}, best, every=5)
    assert {path.name for path in run.models.iterdir()} == files


def test_clear_takes_only_what_a_run_wrote(run):
    run.record(entry(1))
    (run.directory / "notes.txt").write_text("mine")
    run.clear()
    assert [path.name for path in run.directory.iterdir()] == ["notes.txt"]
    run.check_free()


def test_a_file_in_the_place_of_the_directory(tmp_path):
    (tmp_path / "name").write_text("")
    with pytest.raises(InputError, match="is a file"):
        Run(tmp_path / "name").check_free()
    with pytest.raises(InputError, match="cannot write to"):
        Run(tmp_path / "name" / "below").open("", 1, "CPU", tensorboard=False)


def test_models_are_names_or_paths(run):
    assert run.find_model("epoch_5.pth") == run.models / "epoch_5.pth"
    assert str(run.find_model("./output/x/models/last.pth")) == "output/x/models/last.pth"


def test_the_log_file_has_what_was_logged_before_it_was_there(tmp_path):
    import logging
    start_logging()
    logging.getLogger("lib.run").info("before the directory")
    run = Run(tmp_path / "name")
    run.open("", 1, "CPU", tensorboard=False)
    logging.getLogger("main.train").info("after it")
    text = (run.directory / "log.txt").read_text()
    assert text.count("before the directory") == text.count("after it") == 1


def test_indices_are_written_in_their_order(run):
    run.record_indices(torch.tensor([5, 2, 9]))
    assert json.loads((run.directory / "indices.json").read_text()) == [5, 2, 9]


def test_environment_is_json():
    facts = environment("CPU")
    assert json.loads(json.dumps(facts)) == facts
    assert facts["versions"]["torch"]
    assert git_state()[0] is None or set(git_state()[0]) == {"commit", "changed"}


def answer_of_another_process(directory: Path) -> str:
    """Forks one that locks the directory and ends; returns its complaint, or nothing."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            Run(directory).lock()
        except InputError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    assert os.waitpid(process, 0) == (process, 0)
    with os.fdopen(reader) as answer:
        return answer.read()


def test_a_second_process_is_refused_and_readers_are_not(run):
    run.lock()
    assert f"is in use by process {os.getpid()}" in answer_of_another_process(run.directory)
    assert run.history() == []
    run.close()
    assert answer_of_another_process(run.directory) == ""
    assert f"process {os.getpid()} " not in (run.directory / ".lock").read_text()   # it did lock
    Run(run.directory).lock()   # the other one has ended, and its lock with it


def test_a_file_system_without_locks_is_told(run, monkeypatch, caplog):
    def no_locks(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    logging.getLogger("lib").propagate = True
    with caplog.at_level("WARNING", logger="lib.run.run"):
        run.lock()
    assert "does not support locks" in caplog.text
    assert run.claimed


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_disk_that_fails_is_one_message_and_the_checkpoint_before_stays(run, monkeypatch, error, function):
    run.save({"epoch": 1}, is_best=True, every=5)
    before = {path.name: path.read_bytes() for path in run.models.iterdir()}

    def fail(*args):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(RunFailedError, match=rf"cannot write to .*{os.strerror(error)}.*last\.pth holds epoch 1"):
        run.save({"epoch": 2}, is_best=True, every=5)
    monkeypatch.undo()
    after = {path.name: path.read_bytes() for path in run.models.iterdir() if path.name != "previous.pth"}
    assert after == before


def test_too_many_open_files_are_not_taken_for_a_full_disk(run, monkeypatch):
    def fail(*args):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Too many open files"):   # which lib.device.failures explains
        run.save({"epoch": 1}, is_best=True, every=5)


def test_a_directory_that_vanished_is_one_message(run):
    run.save({"epoch": 1}, is_best=False, every=5)
    shutil.rmtree(run.directory)
    with pytest.raises(RunFailedError, match="cannot write to"):
        run.record(entry(2))
    with pytest.raises(RunFailedError, match="cannot write to"):
        run.save({"epoch": 2}, is_best=False, every=5)


def test_without_links_the_old_checkpoint_is_moved(run, monkeypatch):
    def no_links(*args):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    for epoch in (1, 2):
        run.save({"epoch": epoch}, is_best=False, every=5)
    assert [torch.load(run.models / name)["epoch"] for name in ("last.pth", "previous.pth")] == [2, 1]


def test_what_killed_writers_left_is_cleared_away(run):
    (run.models / ".last.pth.abc123.tmp").write_bytes(b"half")
    run.open("NAME: name\n", 1, "CPU", tensorboard=False)
    assert list(run.models.iterdir()) == []


def test_the_launch_that_began_a_run_is_known(run, monkeypatch):
    assert not run.begun_by_this_launch()
    monkeypatch.setenv("LAUNCH_ID", "one")
    assert not run.begun_by_this_launch()
    run.open("NAME: name\n", 1, "CPU", tensorboard=False)
    assert run.begun_by_this_launch()
    monkeypatch.setenv("LAUNCH_ID", "another")
    assert not run.begun_by_this_launch()
