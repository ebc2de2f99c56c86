"""Weights by name: what they are of, where they are looked for, and what is said where they cannot be had."""
import socket
import urllib.error
import urllib.request

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision.models import ResNet18_Weights, resnet18

from lib.backbone import named
from lib.config import load_config
from lib.core import build
from lib.run.run import Run
from lib.utils.errors import InputError

CFG = "configs/test/digits_lt.yaml"
SIZE = (64, 64)


def config(*words: object):
    return load_config(CFG, ["INPUT_SIZE", "[64, 64]", *map(str, words)])


@pytest.fixture
def no_network(monkeypatch):
    def unreachable(*_, **__):
        raise urllib.error.URLError("no route to host")

    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    monkeypatch.setattr(urllib.request, "getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)


@pytest.fixture
def caches(monkeypatch, tmp_path):
    """torch's and the hub's, both empty."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def test_a_name_without_a_tag_is_the_package_s_own_choice():
    weights = named.look_up("torchvision:resnet18")
    assert weights == ("torchvision:resnet18.IMAGENET1K_V1", "res18", "", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225),
                       (224, 224))
    assert named.look_up("torchvision:resnet50").name == "torchvision:resnet50.IMAGENET1K_V2"
    assert named.look_up("torchvision:resnet50.IMAGENET1K_V1").name == "torchvision:resnet50.IMAGENET1K_V1"
    assert named.look_up("timm:convnext_tiny.fb_in22k")[:3] == ("timm:convnext_tiny.fb_in22k", "timm", "convnext_tiny")
    assert named.look_up("timm:test_vit")[:3] == ("timm:test_vit.r160_in1k", "timm", "test_vit")


def test_every_torchvision_name_is_a_backbone_here():
    for model, kind in named.TORCHVISION.items():
        assert named.look_up(f"torchvision:{model}").backbone == kind


def test_the_weights_own_normalisation_is_used_unless_another_is_given():
    """Those of CLIP and of the test models differ from ImageNet's."""
    cfg = config("BACKBONE.TYPE", "timm", "BACKBONE.PRETRAINED_MODEL", "timm:test_vit")
    assert (cfg.DATASET.MEAN, cfg.DATASET.STD, cfg.BACKBONE.TIMM.MODEL) == ([0.5] * 3, [0.5] * 3, "test_vit")
    assert cfg.BACKBONE.PRETRAINED_MODEL == "timm:test_vit.r160_in1k"
    own = ["DATASET.MEAN", "[0.1, 0.2, 0.3]", "DATASET.STD", "[1, 1, 1]"]
    cfg = config("BACKBONE.TYPE", "timm", "BACKBONE.PRETRAINED_MODEL", "timm:test_vit", *own)
    assert cfg.DATASET.MEAN == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(("words", "message"), [
    (["res18", "torchvision:vgg16"], "torchvision's 'vgg16' is not supported; known: resnet101"),
    (["res18", "torchvision:resnet18.V9"], "torchvision has no weights 'V9' for resnet18; it has IMAGENET1K_V1"),
    (["res34", "torchvision:resnet18"], "torchvision:resnet18.IMAGENET1K_V1 needs BACKBONE.TYPE res18, got res34"),
    (["res18", "timm:test_vit"], "timm:test_vit.r160_in1k needs BACKBONE.TYPE timm with BACKBONE.TIMM.MODEL test_vit, got res18"),
    (["timm", "timm:test_vit", "BACKBONE.TIMM.MODEL", "test_vit2"], "needs BACKBONE.TIMM.MODEL test_vit, got test_vit2"),
    (["timm", "timm:test_vit.nope"], "has no weights 'test_vit.nope' for test_vit; it has test_vit.r160_in1k"),
    (["timm", "timm:tset_vit"], "has no model 'tset_vit'; did you mean 'test_vit'?"),
])
def test_what_does_not_fit_is_refused_with_the_configuration(words, message):
    kind, name, *more = words
    with pytest.raises(InputError) as caught:
        config("BACKBONE.TYPE", kind, "BACKBONE.PRETRAINED_MODEL", name, *more)
    assert f"BACKBONE.PRETRAINED_MODEL: {message}" in str(caught.value) or message in str(caught.value)


def test_torchvision_s_weights_come_from_its_cache(caches, no_network, caplog):
    torch.manual_seed(1)
    whole = resnet18()
    file = caches / "torch/checkpoints" / ResNet18_Weights.DEFAULT.url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    torch.save(whole.state_dict(), file)
    cfg = config("BACKBONE.TYPE", "res18", "BACKBONE.PRETRAINED_MODEL", "torchvision:resnet18")
    network = build.build_network(cfg, 10)
    with caplog.at_level("INFO", logger="lib"):
        build.find_start(cfg, Run(caches / "run"), auto_resume=False).load_weights(network)
    assert torch.equal(network.backbone.layer4[1].conv2.weight, whole.layer4[1].conv2.weight)
    assert "images are normalised as in its training, mean [0.485, 0.456, 0.406]" in caplog.text


def test_timm_s_weights_come_from_the_hub_s_cache_in_this_size(caches, no_network, caplog):
    """Position embeddings of 160 × 160 are resampled to 64 × 64; a mean of one's own is said to differ."""
    torch.manual_seed(1)
    whole = timm.create_model("test_vit")
    folder = caches / "hub/models--timm--test_vit.r160_in1k"
    (folder / "snapshots/abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("abc")
    save_file(whole.state_dict(), folder / "snapshots/abc/model.safetensors")
    cfg = config("BACKBONE.TYPE", "timm", "BACKBONE.PRETRAINED_MODEL", "timm:test_vit", "DATASET.MEAN", "[0, 0, 0]",
                 "DATASET.STD", "[1, 1, 1]")
    network = build.build_network(cfg, 10)
    with caplog.at_level("INFO", logger="lib"):
        build.find_start(cfg, Run(caches / "run"), auto_resume=False).load_weights(network)
    assert torch.equal(network.backbone.model.blocks[0].attn.qkv.weight, whole.blocks[0].attn.qkv.weight)
    assert network.backbone.model.pos_embed.shape[1] == 4 * 4 + 1
    assert ("it was trained on images normalised with mean [0.5, 0.5, 0.5] and standard deviation [0.5, 0.5, 0.5]; "
            "DATASET.MEAN and STD are [0.0, 0.0, 0.0]") in caplog.text


def test_without_a_network_the_message_names_the_file_and_what_takes_it(caches, no_network):
    with pytest.raises(InputError) as caught:
        named.fetch("torchvision:resnet18", SIZE)
    url = ResNet18_Weights.DEFAULT.url
    assert str(caught.value) == (
        "BACKBONE.PRETRAINED_MODEL: torchvision:resnet18 cannot be downloaded (<urlopen error no route to host>); download "
        f"{url} on another machine and put it at {caches / 'torch/checkpoints' / url.rpartition('/')[2]}, or set "
        "BACKBONE.PRETRAINED_MODEL to the file and BACKBONE.TYPE to res18")
    with pytest.raises(InputError) as caught:
        named.fetch("timm:convnext_tiny.fb_in22k", SIZE)
    assert "cannot be downloaded ([Errno -2] Name or service not known); download " in str(caught.value)
    assert "/timm/convnext_tiny.fb_in22k/resolve/main/model.safetensors on another machine and set " in str(caught.value)
    assert str(caught.value).endswith("BACKBONE.TYPE to timm and BACKBONE.TIMM.MODEL to convnext_tiny")
