"""Files of weights in every format that is read, and messages for those that are not."""
import argparse
import builtins
import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lib.run import checkpoint
from lib.run.checkpoint import load
from lib.utils.errors import InputError, MissingPathError

WEIGHTS = {"conv1.weight": torch.arange(6.0).view(2, 3), "bn1.num_batches_tracked": torch.tensor(3)}


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("zip_format", [True, False])
def test_both_formats_of_torch(tmp_path, zip_format):
    torch.save(WEIGHTS, tmp_path / "a.pth", _use_new_zipfile_serialization=zip_format)
    assert same(load(tmp_path / "a.pth"), WEIGHTS)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_safetensors_whatever_their_name(tmp_path, name):
    save_file(WEIGHTS, tmp_path / name, metadata={"format": "pt"})
    assert same(load(tmp_path / name), WEIGHTS)


def test_a_damaged_safetensors_file_is_named(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(WEIGHTS, path)
    for data in (path.read_bytes()[:-4], b"", b"{}", path.read_bytes()[:20]):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"BACKBONE.PRETRAINED_MODEL: .*a\.safetensors cannot be read"):
            load(path, "BACKBONE.PRETRAINED_MODEL")


def test_the_package_that_is_missing_is_named(tmp_path, monkeypatch):
    save_file(WEIGHTS, tmp_path / "a.safetensors")
    original = builtins.__import__

    def without(name: str, *args):
        if name.startswith("safetensors"):
            raise ImportError(name)
        return original(name, *args)

    for name in [name for name in sys.modules if name.startswith("safetensors")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"a\.safetensors cannot be read as a checkpoint \(.*pip install safetensors\)"):
        load(tmp_path / "a.safetensors")


def test_options_of_other_projects_do_no_harm(tmp_path):
    """Others store what argparse gave them, with paths in it, and numbers of numpy."""
    options = argparse.Namespace(lr=0.1, output=Path("runs/1"), nested=argparse.Namespace(a=[1]))
    for value in (np.float64(0.5), np.float32(0.5), np.int64(3), np.bool_(True), np.float16(2)):
        torch.save({"model": WEIGHTS, "args": options, "best": value, "milestones": Counter([3])}, tmp_path / "a.pth")
        state = load(tmp_path / "a.pth")
        assert same(state["model"], WEIGHTS)
        assert state["best"] == value
        assert state["args"].lr == 0.1


class Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("zip_format", [True, False])
def test_options_do_not_open_a_way_for_code(tmp_path, zip_format):
    target = tmp_path / "owned"
    for content in ({"args": argparse.Namespace(a=Payload(target))}, {"args": Payload(target)}, Payload(target)):
        torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=zip_format)
        with pytest.raises(InputError, match=r"evil\.pth cannot be read.*holds an object of \S*mkdir"):
            load(tmp_path / "evil.pth")
    assert not target.exists()


def test_an_object_is_named_with_the_way_out(tmp_path):
    torch.save({"state_dict": WEIGHTS, "network": nn.Linear(1, 1)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"an object of torch\.nn\.modules\.linear\.Linear; .*torch\.save\(.*state_dict"):
        load(tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_program_is_no_file_of_weights(tmp_path):
    torch.jit.script(nn.Linear(1, 1)).save(tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a\.pt cannot be read.*TorchScript program; save the state_dict\(\)"):
        load(tmp_path / "a.pt")


@pytest.mark.parametrize(("text", "reason"), [
    ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"), ("<!DOCTYPE html><html>", "a web page")])
def test_what_a_download_left_instead_is_told(tmp_path, text, reason):
    (tmp_path / "a.pth").write_text(text)
    with pytest.raises(InputError, match=rf"a\.pth cannot be read.*{reason}"):
        load(tmp_path / "a.pth")


def test_a_bare_name_that_lies_in_the_working_directory(tmp_path, monkeypatch):
    """A name without a "/" is in the run's models/, which not everybody knows."""
    monkeypatch.chdir(tmp_path)
    checkpoint.save(WEIGHTS, [tmp_path / "x.pth"])
    with pytest.raises(MissingPathError, match=r"RESUME_MODEL: no file run/models/x\.pth; .*\./x\.pth"):
        load(Path("run/models/x.pth"), "RESUME_MODEL")
    (tmp_path / "x.pth").rename(tmp_path / "y.pth")
    with pytest.raises(MissingPathError, match="train that stage first"):
        load(Path("run/models/x.pth"), "RESUME_MODEL")
