"""A file is the old one or the new one, never half of one."""
import os
import stat

import pytest

from lib.utils.files import write_bytes_atomically, write_text_atomically


def test_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_text_atomically(path, "old")
    write_text_atomically(path, "nü")
    assert path.read_text(encoding="utf-8") == "nü"
    assert os.listdir(tmp_path) == ["a.json"]


def test_text_with_a_file_name_that_is_no_utf8_is_written_as_far_as_it_can_be(tmp_path):
    write_text_atomically(tmp_path / "a.txt", f"run {os.fsdecode(bytes([0xe9]))}")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "run \ufffd"


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch, function):
    path = tmp_path / "last.pth"
    path.write_bytes(b"old")

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match="disk full"):
        write_bytes_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["last.pth"]


def test_others_may_read_what_the_umask_lets_them(tmp_path):
    write_text_atomically(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)
