"""Round trips, files of the published code, and files that nobody should trust."""
import hashlib
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from lib.backbone import Backbone
from lib.modules import CLASSIFIERS
from lib.run import checkpoint
from lib.utils.errors import InputError, MissingPathError


class Plain(nn.Sequential, Backbone):
    """A backbone without named stages."""


class Small(nn.Module):
    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.backbone = Plain(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.classifier = CLASSIFIERS["FC"](4, num_classes)


def filled(network: nn.Module, value: float) -> nn.Module:
    for tensor in network.state_dict().values():
        tensor.fill_(value)
    return network


def equal(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values())
    return all(torch.equal(a, b) for a, b in pairs)


def test_round_trip_keeps_every_bit(tmp_path):
    network = Small()
    path = tmp_path / "last.pth"
    checkpoint.save({"state_dict": network.state_dict(), "epoch": 7, "best_result": 1 / 3}, [path])
    state = checkpoint.load(path)
    other = filled(Small(), 0)
    checkpoint.load_network(other, state, "last")
    assert equal(network, other)
    assert (state["epoch"], state["best_result"]) == (7, 1 / 3)


def test_one_state_goes_to_several_files(tmp_path):
    paths = [tmp_path / "best_model.pth", tmp_path / "last.pth"]
    checkpoint.save({"epoch": 1}, paths)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_published_file_with_module_prefix_and_numpy_scalar(tmp_path):
    """The published code saved DataParallel's names, its best accuracy as numpy.float64 and a scheduler's state."""
    network = Small()
    published = {
        "state_dict": {f"module.{name}": value for name, value in network.state_dict().items()},
        "epoch": 200, "best_result": np.float64(0.7195), "best_epoch": 180, "scheduler": {"last_epoch": 200},
        "optimizer": torch.optim.SGD(network.parameters(), 0.1, momentum=0.9).state_dict(),
    }
    path = tmp_path / "best_model.pth"
    torch.save(published, path)
    other = filled(Small(), 0)
    start = checkpoint.read_start("run", path, "RESUME_MODEL")
    start.load_weights(other)
    assert equal(network, other)
    assert start.state["best_result"] == 0.7195


def test_numpy_scalar_under_its_old_module_name(tmp_path):
    path = tmp_path / "old.pth"
    torch.save({"best_result": np.float64(0.5)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert checkpoint.load(path)["best_result"] == 0.5


def test_whole_network_file_gives_its_backbone(tmp_path):
    network, other = Small(), Small(num_classes=5)
    path = tmp_path / "first.pth"
    checkpoint.save({"state_dict": network.state_dict()}, [path])
    before = other.classifier.weight.clone()
    checkpoint.read_start("backbone", path, "BACKBONE.PRETRAINED_MODEL").load_weights(other)
    assert equal(network.backbone, other.backbone)
    assert torch.equal(other.classifier.weight, before)


def test_bare_backbone_file_with_a_head(tmp_path):
    network, other = Small(), Small()
    tensors = network.backbone.state_dict() | {"fc.weight": torch.ones(1000, 4)}
    checkpoint.load_backbone(other.backbone, tensors, "file")
    assert equal(network.backbone, other.backbone)


def test_what_does_not_fit_is_named_all_at_once():
    tensors = Small(num_classes=5).state_dict()
    del tensors["backbone.0.bias"]
    tensors["extra"] = torch.ones(1)
    with pytest.raises(InputError) as caught:
        checkpoint.load_network(Small(), tensors, "NETWORK.PRETRAINED_MODEL first.pth")
    message = str(caught.value)
    for part in ("NETWORK.PRETRAINED_MODEL first.pth", "missing: backbone.0.bias", "unexpected: extra",
                 "classifier.weight (5, 4) for (3, 4)"):
        assert part in message


def test_nothing_is_loaded_from_what_does_not_fit():
    network = filled(Small(), 1)
    with pytest.raises(InputError):
        checkpoint.load_network(network, filled(Small(num_classes=5), 2).state_dict(), "file")
    assert equal(network, filled(Small(), 1))


def second_stage(name: str, **options) -> nn.Module:
    network = Small()
    network.classifier = CLASSIFIERS[name](4, 3, **options)
    return filled(network, 1)


@pytest.mark.parametrize("first", [Small(), Small(num_classes=5), second_stage("FCNorm"), second_stage("LWS")])
def test_crt_takes_everything_but_the_classifier_whatever_that_was(first):
    network = second_stage("cRT")
    checkpoint.load_first_stage(network, filled(first, 2).state_dict(), "file")
    assert all((tensor == 2).all() for tensor in network.backbone.state_dict().values())
    for tensor in network.classifier.state_dict().values():   # torch's initialisation: uniform in ±1 / √D
        assert tensor.abs().max() <= 0.5
        assert tensor.unique().numel() == tensor.numel()


def test_crt_begins_elsewhere_than_a_first_stage_of_the_same_seed():
    torch.manual_seed(0)
    first = Small()
    torch.manual_seed(0)
    network = Small()
    network.classifier = CLASSIFIERS["cRT"](4, 3)
    network.classifier.load_state_dict(first.classifier.state_dict())
    checkpoint.load_first_stage(network, first.state_dict(), "file")
    assert not torch.isclose(network.classifier.weight, first.classifier.weight).any()


@pytest.mark.parametrize("first", [Small(), second_stage("cRT")])
def test_lws_takes_the_classifier_under_its_own_name(first):
    network = second_stage("LWS")
    checkpoint.load_first_stage(network, {f"module.{name}": t for name, t in filled(first, 2).state_dict().items()}, "file")
    values = {name: tensor.unique().tolist() for name, tensor in network.state_dict().items()}
    assert values.pop("classifier.scales") == [1]
    assert set(map(tuple, values.values())) == {(2,)}


def test_lws_after_lws_goes_on_with_its_scales():
    network = second_stage("LWS")
    checkpoint.load_first_stage(network, filled(second_stage("LWS"), 2).state_dict(), "file")
    assert equal(network, filled(second_stage("LWS"), 2))


def state_of(network: nn.Module, kind: str = "", **more) -> dict:
    """As this project writes it (``kind`` is its CLASSIFIER.TYPE), or without a configuration."""
    own = {"config": {"CLASSIFIER.TYPE": kind}} if kind else {}
    return {"state_dict": network.state_dict(), **own, **more}


@pytest.mark.parametrize(("network", "first", "reason"), [
    (second_stage("LWS"), state_of(second_stage("FCNorm"), "FCNorm"), "has the cosine classifier FCNorm.*CLASSIFIER.TYPE cRT"),
    (second_stage("LWS", bias=False), state_of(second_stage("FCNorm"), "FCNorm"), "has the cosine classifier FCNorm"),
    (second_stage("LWS"), state_of(second_stage("FCNorm")), "classifier without bias.*CLASSIFIER.BIAS to False.*cRT"),
    (second_stage("LWS"), {"classifier.weight": torch.ones(4, 3)}, "has the cosine classifier FCNorm"),   # LDAM-DRW's layout
    (second_stage("LWS"), state_of(Small(num_classes=5)), r"classifier\.fc\.weight \(5, 4\) for \(3, 4\)"),
    (second_stage("LWS", bias=False), state_of(Small()), r"unexpected: classifier\.fc\.bias"),
    (second_stage("LWS"), state_of(second_stage("FC", bias=False), "FC"), r"missing: classifier\.fc\.bias")])
def test_a_first_stage_that_does_not_fit_is_refused(network, first, reason):
    with pytest.raises(InputError, match=f"NETWORK.PRETRAINED_MODEL first.pth.*{reason}"):
        checkpoint.load_first_stage(network, first, "NETWORK.PRETRAINED_MODEL first.pth")


def test_lws_says_what_it_cannot_know(caplog):
    """Without bias and without a configuration, a linear layer looks like cosines."""
    network = second_stage("LWS", bias=False)
    with caplog.at_level("WARNING", logger="lib.modules.classifiers.lws"):
        checkpoint.load_first_stage(network, state_of(second_stage("FC", bias=False), "FC"), "first.pth")
    assert not caplog.records
    with caplog.at_level("WARNING", logger="lib.modules.classifiers.lws"):
        checkpoint.load_first_stage(network, state_of(second_stage("FC", bias=False)), "first.pth")
    assert "first.pth does not say whether" in caplog.text


@pytest.mark.parametrize("name", ["cRT", "LWS"])
def test_only_the_classifier_may_differ_from_the_first_stage(name):
    tensors = Small().state_dict()
    del tensors["backbone.0.bias"]
    with pytest.raises(InputError, match=r"missing: backbone\.0\.bias$"):
        checkpoint.load_first_stage(second_stage(name), tensors, "file")


def test_a_trained_second_stage_is_loaded_as_it_is():
    for name in ("cRT", "LWS"):
        network = second_stage(name)
        checkpoint.Start("run", "file", filled(second_stage(name), 2).state_dict()).load_weights(network)
        assert equal(network, filled(second_stage(name), 2))


class Payload:
    def __init__(self, target) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path):
    target, path = tmp_path / "owned", tmp_path / "evil.pth"
    torch.save({"state_dict": {}, "best_result": Payload(target)}, path)
    with pytest.raises(InputError, match=r"evil\.pth cannot be read"):
        checkpoint.load(path)
    assert not target.exists()


@pytest.mark.parametrize("damage", ["empty", "half", "text", "pickle", "list"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "last.pth"
    checkpoint.save({"state_dict": Small().state_dict()}, [path])
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "half": whole[:len(whole) // 2], "text": b"not a checkpoint\n",
                      "pickle": pickle.dumps({"a": 1})[:-1], "list": b""}[damage])
    if damage == "list":
        torch.save([1, 2], path)
    with pytest.raises(InputError, match=r"TEST\.MODEL_FILE: .*last\.pth"):
        checkpoint.load(path, "TEST.MODEL_FILE")


def test_a_missing_file_tells_what_is_there(tmp_path):
    checkpoint.save({"epoch": 5}, [tmp_path / "epoch_5.pth"])
    with pytest.raises(MissingPathError, match=r"RESUME_MODEL: no file .*epoch_6\.pth; .* has epoch_5\.pth"):
        checkpoint.load(tmp_path / "epoch_6.pth", "RESUME_MODEL")


def test_weights_alone_cannot_be_resumed(tmp_path):
    path = tmp_path / "weights.pth"
    checkpoint.save({"state_dict": Small().state_dict()}, [path])
    with pytest.raises(InputError, match=r"no optimizer and no epoch.*RESUME_MODE state_dict"):
        checkpoint.read_start("run", path, "RESUME_MODEL")
    checkpoint.read_start("weights", path, "RESUME_MODEL")


@pytest.fixture
def sealed(tmp_path):
    path = tmp_path / "last.pth"
    checkpoint.save({"state_dict": Small().state_dict(), "epoch": 3}, [path])
    return path


def test_the_checksum_is_in_the_file_and_in_nobodys_way(sealed):
    """It is the zip archive's comment: plain torch.load and zip tools read the file as any other."""
    assert torch.load(sealed, weights_only=True)["epoch"] == 3
    assert torch.load(sealed, weights_only=True, mmap=True)["epoch"] == 3
    with zipfile.ZipFile(sealed) as archive:
        assert archive.testzip() is None
        assert archive.comment == b"sha256:" + hashlib.sha256(sealed.read_bytes()[:-71]).hexdigest().encode()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_every_flipped_bit_of_the_content_is_noticed(sealed, place, bit):
    whole = sealed.read_bytes()
    altered = bytearray(whole)
    altered[int(place * (len(whole) - 71))] ^= 1 << bit
    other = sealed.with_name("altered.pth")
    other.write_bytes(altered)
    with pytest.raises(InputError, match=r"RESUME_MODEL: .*altered\.pth (is damaged|cannot be read)"):
        checkpoint.load(other, "RESUME_MODEL")


def test_files_without_a_checksum_are_read(tmp_path):
    for new_format in (True, False):
        torch.save({"epoch": 4}, tmp_path / "other.pth", _use_new_zipfile_serialization=new_format)
        assert checkpoint.load(tmp_path / "other.pth")["epoch"] == 4


@pytest.mark.parametrize(("name", "value"), [("epoch", "3"), ("epoch", -2), ("best_result", torch.nan), ("batch", None)])
def test_a_position_that_makes_no_sense_is_named(tmp_path, name, value):
    path = tmp_path / "odd.pth"
    checkpoint.save({"state_dict": {}, "optimizer": {}, "epoch": 1} | {name: value}, [path])
    with pytest.raises(InputError, match=f"no checkpoint of a run; its {name} is"):
        checkpoint.read_start("run", path, "RESUME_MODEL")
