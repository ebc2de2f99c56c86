"""What is recorded of the code that runs, and what is said where git does not tell it."""
import logging
import subprocess
from pathlib import Path

import pytest

from lib.run import environment
from lib.run.environment import git_state


@pytest.fixture
def told(monkeypatch, caplog, tmp_path):
    """git_state of a folder, and what the log says of it."""
    for name, value in (("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null"), ("LC_ALL", "de_DE.UTF-8"),
                        ("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(logging.getLogger("lib"), "propagate", True)

    def state(folder: Path) -> tuple:
        monkeypatch.setattr(environment, "ROOT", folder)
        caplog.clear()
        with caplog.at_level("INFO", logger="lib.run.environment"):
            return *git_state(), caplog.text

    return state


def repository(folder: Path, commits: int = 1) -> Path:
    folder.mkdir()
    git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "-q"], check=True)
    for number in range(commits):
        (folder / "a.txt").write_text(str(number))
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-qm", "x"], check=True)
    return folder


def test_commit_and_changes_of_any_bytes(told, tmp_path):
    folder = repository(tmp_path / "code")
    clean, diff, log = told(folder)
    assert len(clean["commit"]) == 40
    assert (clean["changed"], diff, log) == (False, "", "")
    (folder / "a.txt").write_bytes(b"caf\xe9 \xe2\x80\xa6\n")
    changed, diff, _ = told(folder)
    assert changed == clean | {"changed": True}
    assert "+caf\N{REPLACEMENT CHARACTER} …" in diff


def test_another_users_repository_is_told_with_the_remedy(told, tmp_path, monkeypatch):
    folder = repository(tmp_path / "the code")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")   # git's own way to test it
    state, diff, log = told(folder)
    assert (state, diff) == (None, "")
    assert "belongs to another user, which git does not trust" in log
    assert f"git config --global --add safe.directory '{folder}'\n" in log
    assert log.count("\n") == 1


@pytest.mark.parametrize(("commits", "inside", "message"), [
    (None, "", "is no clone, but a copy without its history"), (0, "", "has no commit yet"),
    (1, "code", "lies inside the repository of something else")])
def test_what_is_no_clone_of_this(told, tmp_path, commits, inside, message):
    folder = tmp_path / "outer"
    folder.mkdir() if commits is None else repository(folder, commits)
    (folder / inside).mkdir(exist_ok=True)
    state, _, log = told(folder / inside)
    assert state is None
    assert f"commit not recorded: {folder / inside} {message}" in log
    assert log.count("\n") == 1


def test_without_git(told, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert told(tmp_path)[0] is None
    assert "git is not installed" in told(tmp_path)[2]
