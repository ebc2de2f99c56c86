"""Models of timm: what they give is what timm's own classifier would see."""
import sys

import pytest
import timm
import torch
from torch import nn

from lib.backbone import BACKBONES
from lib.backbone.timm_model import TimmBackbone
from lib.config import load_config
from lib.core import build
from lib.net import Mix
from lib.run.checkpoint import load_backbone
from lib.utils.errors import InputError

CFG = "configs/test/digits_lt.yaml"
CAM = ["DATASET.GENERATE_CAM_BASED_DATASET", "True", "DATASET.CAM_DATA_SAVE_PATH", "cam",
       "DATASET.CAM_DATA_JSON_SAVE_PATH", "cam.json", "NETWORK.PRETRAINED", "True", "NETWORK.PRETRAINED_MODEL", "first.pth"]
MAPS, POOLED = ["test_resnet", "test_efficientnet"], ["test_convnext", "test_vit", "test_vit2", "test_mambaout"]
SIZE = (64, 64)


def words(model: str, size: tuple[int, int] = SIZE) -> list[str]:
    return ["BACKBONE.TYPE", "timm", "BACKBONE.TIMM.MODEL", model, "INPUT_SIZE", str(list(size))]


@pytest.mark.parametrize("model", MAPS + POOLED)
def test_features_are_those_of_timm_s_own_classifier(model):
    """A linear layer on them is timm's whole network, with timm's weights."""
    torch.manual_seed(0)
    options = {"img_size": SIZE} if "vit" in model else {}
    whole = timm.create_model(model, num_classes=7, **options).eval()
    backbone = TimmBackbone(model=model, input_size=SIZE).eval()
    weights = {name: value for name, value in whole.state_dict().items() if not name.startswith(f"{classifier_of(whole)}.")}
    load_backbone(backbone, weights, "timm")
    images = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        features = backbone(images).mean(dim=(2, 3))
        assert features.shape == (2, backbone.num_features)
        torch.testing.assert_close(whole.get_classifier()(features), whole(images))


def classifier_of(model: nn.Module) -> str:
    return model.pretrained_cfg["classifier"]


@pytest.mark.parametrize(("models", "maps", "stages"), [(MAPS, True, ["features"]), (POOLED, False, ["features", "head"])])
def test_which_have_maps_of_places(models, maps, stages):
    for model in models:
        backbone = TimmBackbone(model=model, input_size=SIZE)
        assert backbone.has_maps == maps, model
        assert [name for name, _ in backbone.stages()] == stages
        assert backbone(torch.randn(2, 3, *SIZE)).shape == (2, backbone.num_features, *backbone.output_size(SIZE))


@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
def test_the_whole_network_trains_and_mixes_at_every_place(model):
    cfg = load_config(CFG, words(model))
    network = build.build_network(cfg, 5)
    images, partner = torch.randn(4, 3, *SIZE), torch.tensor([1, 0, 3, 2])
    for place in ("features", "pool", "fc"):
        mixed = network.eval()(images, Mix(place, partner, torch.zeros(4)))
        torch.testing.assert_close(mixed.logits, network(images).logits[partner])
    optimizer, _ = build.build_optimizer(cfg, network)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    network.train()(images).logits.logsumexp(1).sum().backward()
    optimizer.step()
    assert not any(torch.equal(*pair) for pair in zip(before, network.parameters()) if pair[1].grad.any())


def test_a_model_with_position_embeddings_is_built_for_input_size():
    small, large = (TimmBackbone(model="test_vit", input_size=size) for size in ((64, 64), (64, 96)))
    assert small.model.pos_embed.shape[1] - 1 == 4 * 4
    assert large.model.pos_embed.shape[1] - 1 == 4 * 6
    assert large(torch.randn(1, 3, 64, 96)).shape == (1, small.num_features, 1, 1)


@pytest.mark.parametrize(("changes", "message"), [
    (words(""), "BACKBONE.TIMM.MODEL: must name a model of timm"),
    (words("convnext_tinny"), r"BACKBONE.TIMM.MODEL: timm \S+ has no model 'convnext_tinny'; did you mean 'convnext_tiny'\?"),
    (words("hf-hub:timm/test_vit"), "BACKBONE.TIMM.MODEL: timm .* has no model"),
    (words("test_vit", (60, 64)), r"INPUT_SIZE: timm's test_vit does not accept \[60, 64\] \(height and width must be "
                                  r"divisible by its patch size, 16 × 16 pixels\); its default size is \[160, 160\]"),
    ([*words("test_vit"), "TRAIN.COMBINER.TYPE", "manifold_mix_up", "TRAIN.COMBINER.MANIFOLD_MIX_UP.LOCATION", "layer3"],
     "TRAIN.COMBINER.MANIFOLD_MIX_UP.LOCATION: test_vit has no 'layer3'; it has features, head, pool, fc"),
    ([*words("test_vit"), *CAM],
     "DATASET.GENERATE_CAM_BASED_DATASET: test_vit pools its features itself, so there are no feature maps"),
])
def test_what_cannot_be_is_one_message(changes, message):
    with pytest.raises(InputError, match=message):
        load_config(CFG, changes)


def test_cam_of_a_model_with_maps_is_accepted():
    assert load_config(CFG, [*words("test_resnet"), *CAM]).BACKBONE.TIMM.MODEL == "test_resnet"


def test_without_the_package_the_message_is_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"BACKBONE\.TYPE: timm: the package timm is not installed; pip install timm"):
        BACKBONES["timm"](model="resnet18", input_size=(32, 32))
