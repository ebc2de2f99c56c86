"""Files of weights tell which backbone they are of."""
import json
from pathlib import Path

import pytest
import timm
import torch
from torchvision.models import get_model

from lib.backbone import BACKBONES
from lib.backbone.named import TORCHVISION
from lib.backbone.timm_model import TimmBackbone
from lib.config import load_config
from lib.core import build
from lib.run.checkpoint import load_backbone
from lib.run.recognise import recognise
from lib.utils.errors import InputError

CFG = "configs/test/digits_lt.yaml"


@pytest.mark.parametrize(("model", "kind"), TORCHVISION.items())
def test_torchvision_s_files(model, kind):
    with torch.device("meta"):
        state = get_model(model).state_dict()
    assert recognise(state, Path("weights.pth")) == (kind, "")


@pytest.mark.parametrize("kind", ["res10", "res20_cifar", "res56_cifar"])
def test_bare_backbones_and_networks_of_this_project(kind):
    with torch.device("meta"):
        state = BACKBONES[kind]().state_dict()
    assert recognise(state, Path("x.pth")) == (kind, "")
    published = {"state_dict": {f"module.backbone.{name}": value for name, value in state.items()}}
    assert recognise(published, Path("x.pth")) == (kind, "")


def test_a_checkpoint_of_this_project_says_it_itself():
    cfg = load_config(CFG, ["BACKBONE.TYPE", "timm", "BACKBONE.TIMM.MODEL", "test_vit", "INPUT_SIZE", "[32, 32]"])
    state = {"state_dict": build.build_network(cfg, 4).state_dict(), "config": cfg.flat()}
    assert recognise(state, Path("last.pth")) == ("timm", "test_vit")


@pytest.mark.parametrize("path", ["test_convnext.r160_in1k.safetensors", "test-convnext-0123abcd.pth",
                                  "test_convnext.r160/model.pth"])
def test_timm_s_files_by_their_name_or_that_of_their_folder(path):
    state = timm.create_model("test_convnext").state_dict()
    assert recognise(state, Path(path)) == ("timm", "test_convnext")


def test_timm_s_files_by_the_config_beside_them(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_convnext"}))
    state = timm.create_model("test_convnext").state_dict()
    assert recognise(state, tmp_path / "model.safetensors") == ("timm", "test_convnext")
    assert recognise(state, tmp_path.parent / "model.safetensors") is None


def test_a_name_alone_is_not_believed():
    assert recognise(timm.create_model("test_convnext").state_dict(), Path("test_vit.pth")) is None
    assert recognise({"weight": torch.zeros(3)}, Path("resnet50.pth")) is None


def test_the_message_for_another_backbone_names_it():
    with torch.device("meta"):
        state = get_model("resnet34").state_dict()
    with pytest.raises(InputError, match=r"does not fit this network.*; it was trained with BACKBONE\.TYPE res34$"):
        load_backbone(BACKBONES["res18"](), state, "BACKBONE.PRETRAINED_MODEL x.pth")


def test_a_timm_file_of_another_size_or_older_names_is_adapted():
    """By timm's own functions: position embeddings are resampled; ConvNeXt's first release had other names."""
    vit = timm.create_model("test_vit", num_classes=3)
    backbone = TimmBackbone(model="test_vit", input_size=(64, 96))
    load_backbone(backbone, vit.state_dict(), "a file")
    assert torch.equal(backbone.model.blocks[1].mlp.fc1.weight, vit.blocks[1].mlp.fc1.weight)
    assert backbone.model.pos_embed.shape[1] == 4 * 6 + 1
    cfg = load_config(CFG, ["BACKBONE.TYPE", "timm", "BACKBONE.TIMM.MODEL", "test_vit", "INPUT_SIZE", "[64, 96]"])
    again = build.build_network(cfg, 7)   # and this project's own checkpoint of it
    network = build.build_network(cfg, 5)
    load_backbone(again.backbone, {"state_dict": network.state_dict()}, "a checkpoint")
    assert torch.equal(again.backbone.model.pos_embed, network.backbone.model.pos_embed)
