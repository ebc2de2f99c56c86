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

from lib.core import checkpoint
from lib.modules import CLASSIFIERS
from lib.utils.errors import InputError, MissingPathError


class Small(nn.Module):
    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.classifier = nn.Linear(4, num_classes)


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


@pytest.mark.parametrize(("network", "first", "reason"), [
    (second_stage("LWS"), second_stage("FCNorm"), "first.pth has the cosine classifier FCNorm.*CLASSIFIER.TYPE cRT"),
    (second_stage("LWS"), Small(num_classes=5), r"classifier\.fc\.weight \(5, 4\) for \(3, 4\)"),
    (second_stage("LWS", bias=False), Small(), r"unexpected: classifier\.fc\.bias"),
    (second_stage("LWS"), second_stage("FC", bias=False), r"missing: classifier\.fc\.bias")])
def test_a_first_stage_that_does_not_fit_is_refused(network, first, reason):
    with pytest.raises(InputError, match=reason):
        checkpoint.load_first_stage(network, first.state_dict(), "NETWORK.PRETRAINED_MODEL first.pth")


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


def stepped(kind, network, **options):
    optimizer = kind(network.parameters(), lr=0.5, **options)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


def start_with(optimizer) -> checkpoint.Start:
    return checkpoint.Start("run", "RESUME_MODEL last.pth", {"optimizer": optimizer.state_dict()})


def test_moments_come_from_the_file_and_options_from_the_configuration():
    """A published optimizer knows nothing of fused kernels, and the rate of this run is in its own yaml."""
    saved = stepped(torch.optim.SGD, Small(), momentum=0.9)
    network = Small()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.8, fused=True)
    start_with(saved).load_optimizer(optimizer)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["fused"]) == (0.1, 0.8, True)
    assert all((optimizer.state[p]["momentum_buffer"] == 1).all() for p in network.parameters())


@pytest.mark.parametrize(("kind", "options"), [(torch.optim.SGD, {"momentum": 0.9}), (torch.optim.Adam, {})])
def test_moments_of_another_memory_format_are_those_of_the_same_elements(kind, options):
    """A fused kernel walks through memory, whatever the strides are."""
    def convolution() -> nn.Module:
        torch.manual_seed(0)
        return nn.Conv2d(3, 4, 3, bias=False)

    grown = []
    for before, after in ((torch.contiguous_format, torch.channels_last), (torch.channels_last, torch.contiguous_format),
                          (torch.contiguous_format, torch.contiguous_format)):
        network = convolution().to(memory_format=before)
        optimizer = kind(network.parameters(), lr=0.5, fused=True, **options)
        gradient = torch.randn(network.weight.shape, generator=torch.Generator().manual_seed(1))
        network.weight.grad = gradient.to(memory_format=before)
        optimizer.step()
        moved = convolution().to(memory_format=after)
        resumed = kind(moved.parameters(), lr=0.5, fused=True, **options)
        start_with(optimizer).load_optimizer(resumed)
        moved.weight.grad = torch.zeros_like(moved.weight)
        resumed.step()
        grown.append(moved.weight.detach())
    for weight in grown[:2]:
        torch.testing.assert_close(weight, grown[2])


@pytest.mark.parametrize("saved", [lambda: stepped(torch.optim.Adam, Small()),
                                   lambda: stepped(torch.optim.SGD, nn.Linear(2, 2), momentum=0.9)])
def test_another_optimizer_is_refused(saved):
    optimizer = torch.optim.SGD(Small().parameters(), lr=0.1, momentum=0.9)
    with pytest.raises(InputError, match=r"RESUME_MODEL last\.pth holds the state of another optimizer"):
        start_with(saved()).load_optimizer(optimizer)


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


@pytest.mark.parametrize("saved", [{}, {"state": {}, "param_groups": 3}, {"state": {0: 1}, "param_groups": []}])
def test_what_no_optimizer_made_is_refused(saved):
    optimizer = torch.optim.SGD(Small().parameters(), lr=0.1, momentum=0.9)
    with pytest.raises(InputError, match="holds the state of another optimizer"):
        checkpoint.Start("run", "file", {"optimizer": saved}).load_optimizer(optimizer)
