"""tools/out_of_distribution.py on a trained network, and on what are no logits of one."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.dataset import DATASETS
from lib.inference import Predictor
from lib.utils.errors import InputError
from main import train
from tests.messy_folder import picture, save
from tools import out_of_distribution as tool

DIGITS = "configs/test/digits_lt.yaml"


@pytest.fixture(scope="module")
def measured(tmp_path_factory, tiny_in, no_figures) -> tuple[Path, Path, Path]:
    """A run, foreign pictures, and what was measured of them."""
    folder = tmp_path_factory.mktemp("ood")
    assert train.main(["--cfg", DIGITS, "--gpus", "cpu", *tiny_in(folder), "TRAIN.MAX_EPOCH", "1"]) == 0
    pictures = folder / "foreign"
    pictures.mkdir()
    for number in range(6):
        save(picture(number), pictures / f"{number}.png")
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut short")
    assert tool.main([DIGITS, str(pictures), "--checkpoint", str(folder / "run"), "--out", str(folder / "out")]) == 0
    return folder / "run", pictures, folder / "out"


def test_the_logits_are_the_network_s(measured):
    run, _, out = measured
    images = DATASETS["IMBALANCEDIGITS"](False, "", (8, 8), ratio=0.1, random_seed=0, type_="exp")
    expected = Predictor.load(run).logits(images.pixels())
    torch.testing.assert_close(torch.from_numpy(np.load(out / "known.npz")["logits"]), expected.detach())
    numbers = json.loads((out / "ood.json").read_text())
    assert numbers["images"] == [360, 6]
    assert [one["score"] for one in numbers["scores"]] == ["1 - max softmax", "energy", "- max logit"]
    assert (out / "ood.png").exists()


def test_stored_logits_give_the_same_without_the_network(measured, tmp_path):
    out = measured[2]
    assert tool.main([str(out / "known.npz"), str(out / "foreign.npz"), "--out", str(tmp_path / "again")]) == 0
    first, again = (json.loads((folder / "ood.json").read_text()) for folder in (out, tmp_path / "again"))
    assert first == again


@pytest.mark.parametrize(("words", "message"), [
    (["{out}/known.npz", "{pictures}"], "--checkpoint: needed for"), (["{out}/known.npz", "nowhere.npz"], "no file nowhere.npz"),
    (["{out}/known.npz", "{out}/ood.json.npz"], "is not a .npz of logits that this tool wrote"),
    (["{out}/known.npz", "{out}/other.npz"], "logits of different networks (the checkpoints differ)"),
    (["{out}/known.npz", "nothing", "--checkpoint", "{run}"], "no file or folder nothing"),
])
def test_what_cannot_be_measured_is_one_message(measured, tmp_path, capsys, words, message):
    run, pictures, out = measured
    (out / "ood.json.npz").write_bytes((out / "ood.json").read_bytes())
    with np.load(out / "foreign.npz") as content:
        np.savez(out / "other.npz", **{**content, "network": np.array("another")})
    filled = [word.format(out=out, pictures=pictures, run=run) for word in words]
    assert tool.main([*filled, "--out", str(tmp_path / "new")]) == 2
    assert message in capsys.readouterr().err
    assert list((tmp_path / "new").glob("*")) == []


def test_nothing_is_overwritten_unasked(measured, capsys):
    run, pictures, out = measured
    before = (out / "ood.json").read_bytes()
    words = [DIGITS, str(pictures), "--checkpoint", str(run), "--out", str(out)]
    assert tool.main(words) == 2
    assert "already there; --overwrite replaces it" in capsys.readouterr().err
    assert (out / "ood.json").read_bytes() == before
    assert tool.main([*words, "--overwrite"]) == 0


def test_an_unreadable_image_of_a_configuration_is_left_out_by_name(measured, tmp_path, monkeypatch, capsys):
    run, pictures, _ = measured
    images = DATASETS["IMBALANCEDIGITS"](False, "", (8, 8), ratio=0.1, random_seed=0, type_="exp")
    whole = images.open

    def open_but_one(index):
        if index == 3:
            raise InputError("three.png: cut short")
        return whole(index)

    monkeypatch.setattr(images, "open", open_but_one)
    monkeypatch.setattr(tool.build, "build_datasets", lambda cfg: (images, images))
    assert tool.main([DIGITS, str(pictures), "--checkpoint", str(run), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert "left out: three.png: cut short" in shown.out + shown.err
    assert json.loads((tmp_path / "out/ood.json").read_text())["images"] == [359, 6]
