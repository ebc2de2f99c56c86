"""Class activation maps against their definition."""
import pytest
import torch
from torch import nn

from lib.backbone import BACKBONES, Backbone
from lib.modules import CLASSIFIERS, POOLINGS
from lib.net import Network, class_activation_maps, foreground, scale_maps


class OneConvolution(Backbone):
    """A linear backbone of one stage."""

    num_features, stride = 4, 1

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 1, bias=False)

    def stages(self):
        yield "layer1", self.conv1


def network(classifier: str, backbone: Backbone | None = None) -> Network:
    torch.manual_seed(0)
    backbone = backbone or OneConvolution()
    return Network(backbone, POOLINGS["GAP"](), CLASSIFIERS[classifier](backbone.num_features, 5)).eval()


IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 1, 2, 3, 4, 2])


def test_by_hand_without_relu():
    net = network("FC")
    kernel = net.backbone.conv1.weight[:, :, 0, 0]   # (4, 3)
    maps = class_activation_maps(net, IMAGES, LABELS)
    for image, label, found in zip(IMAGES, LABELS, maps):
        expected = sum(net.classifier.weight[label, d] * kernel[d, c] * image[c] for d in range(4) for c in range(3))
        torch.testing.assert_close(found, expected)
    assert maps.min() < 0


@pytest.mark.parametrize("backbone", [None, "res20_cifar", "res10", "res50", "resnext50"])
def test_the_mean_of_a_map_is_the_logit_without_its_bias(backbone):
    net = network("FC", BACKBONES[backbone]() if backbone else None)
    images = IMAGES if not backbone or "cifar" in backbone else torch.randn(6, 3, 64, 64)
    with torch.no_grad():
        maps = class_activation_maps(net, images, LABELS)
        logits = net(images).logits - net.classifier.bias
    torch.testing.assert_close(maps.mean(dim=(1, 2)), logits.gather(1, LABELS[:, None])[:, 0], rtol=1e-4, atol=1e-4)


def test_learned_scales_scale_the_maps():
    net = network("LWS")
    torch.nn.init.uniform_(net.classifier.scales)
    maps = class_activation_maps(net, IMAGES, LABELS)
    logits = net(IMAGES).logits - net.classifier.scales * net.classifier.fc.bias
    torch.testing.assert_close(maps.mean(dim=(1, 2)), logits.gather(1, LABELS[:, None])[:, 0])


def test_under_cosines_the_mean_is_the_cosine_times_the_features_length():
    net = network("FCNorm")
    maps = class_activation_maps(net, IMAGES, LABELS)
    output = net(IMAGES)
    expected = output.logits.gather(1, LABELS[:, None])[:, 0] * output.features.norm(dim=1)
    torch.testing.assert_close(maps.mean(dim=(1, 2)), expected)


def test_scaling_reaches_both_ends_and_ignores_shift_and_positive_factor():
    maps = torch.randn(4, 5, 7, generator=torch.Generator().manual_seed(2))
    scaled = scale_maps(maps, (5, 7))
    assert scaled.amin(dim=(1, 2)).tolist() == [0] * 4
    assert scaled.amax(dim=(1, 2)).tolist() == [1] * 4
    torch.testing.assert_close(scale_maps(3 * maps - 5, (5, 7)), scaled)


def test_resizing_is_bilinear_and_after_scaling():
    scaled = scale_maps(torch.tensor([[[2.0, 4.0]]]), (1, 4))
    torch.testing.assert_close(scaled, torch.tensor([[[0.0, 0.25, 0.75, 1.0]]]))


def test_foreground_is_from_three_quarters_of_the_mean_on():
    maps = torch.tensor([[[0.0, 0.75], [1.25, 2.0]]])   # mean 1
    assert foreground(maps).tolist() == [[[False, True], [True, True]]]
    assert not foreground(maps - torch.tensor([[0, 1e-3], [0, 0]]))[0, 0, 1]


def test_a_constant_map_is_all_foreground():
    assert foreground(scale_maps(torch.full((2, 3, 3), -7.5), (9, 9))).all()
    assert foreground(scale_maps(torch.zeros(1, 1, 1), (4, 4))).all()
