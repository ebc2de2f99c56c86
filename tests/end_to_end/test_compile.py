"""Training with torch.compile."""
import json

import pytest
import torch

from lib.backbone import BACKBONES
from lib.backbone.resnet_cifar import ResNetCifar
from lib.device.runtime import Runtime, compiled
from lib.utils.errors import InputError
from main import train, valid

DIGITS = "configs/test/digits_lt.yaml"


@pytest.mark.long
def test_a_compiled_network_trains_as_it_would_have_and_keeps_its_names(tmp_path, tiny, monkeypatch):
    """One epoch of few images: rounding differs, and ReLU's kinks make a little more of it with every step."""
    monkeypatch.setitem(BACKBONES._builders, "res20_cifar", lambda: ResNetCifar(num_blocks=1))   # a third of the time to compile
    words = [*tiny, "DATASET.IMBALANCECIFAR.RATIO", "0.02", "TRAIN.COMBINER.TYPE", "manifold_mix_up", "TRAIN.MAX_EPOCH", "1",
             "TRAIN.COMBINER.MANIFOLD_MIX_UP.LOCATION", "layer2"]
    states, losses = [], []
    for compile_it in ("False", "True"):
        folder = tmp_path / compile_it / "run"
        options = ["--cfg", DIGITS, "--gpus", "cpu", *words, "OUTPUT_DIR", str(folder.parent), "TRAIN.COMPILE", compile_it]
        assert train.main(options) == 0
        states.append(torch.load(folder / "models/last.pth")["state_dict"])
        entry = json.loads((folder / "history.jsonl").read_text())
        losses.append(entry["train_loss"])
        assert valid.main(options) == 0
        assert json.loads((folder / "metrics.json").read_text())["top1"] == entry["valid_accuracy"]
    eager, compiled_state = states
    assert list(eager) == list(compiled_state)
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    for name, tensor in eager.items():
        torch.testing.assert_close(compiled_state[name], tensor, rtol=1e-2, atol=1e-2, msg=name)
    assert any(not torch.equal(compiled_state[name], tensor) for name, tensor in eager.items()), "it was not compiled at all"


def test_without_a_compiler_there_is_one_message(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"TRAIN\.COMPILE: there is no C\+\+ compiler 'no-such-compiler'"):
        compiled(torch.nn.Identity(), Runtime(torch.device("cpu")))


def test_dataparallel_is_left_as_it_is(caplog):
    network = torch.nn.Identity()
    with caplog.at_level("INFO", logger="lib.device.runtime"):
        assert compiled(network, Runtime(torch.device("cuda"), replicas=2)) is network
    assert "TRAIN.COMPILE: not compiled" in caplog.text
