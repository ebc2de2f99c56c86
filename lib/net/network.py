"""The network: backbone, pooling, classifier and further heads, in one forward pass with one output type."""
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lib.backbone import Backbone
from lib.modules import Classifier, NetworkHead
from lib.utils.errors import UnknownNameError
from lib.utils.output import Output
from lib.utils.part import Part
from lib.utils.tensors import at_least_float32


class Mix(NamedTuple):
    """The parameters of manifold mixup: the layer at which examples are blended with partners, the partners, the weights."""

    layer: str        # name of a stage of the backbone, "pool" or "fc"
    partner: Tensor   # (B,) index of each example's partner in the batch of the same device
    weight: Tensor    # (B,) weight of the example itself; its partner has 1 − weight


class Graft(NamedTuple):
    """A second batch of images, of whose last feature maps some channels replace those of the examples (H2T)."""

    images: Tensor     # (B, 3, H, W), one for each example
    channels: Tensor   # (B, D) bool, the channels that are replaced; (B, E · D) for E experts


class Network(nn.Module, Part):
    """A network of a backbone, a pooling, a classifier and further heads, which maps images (B, 3, H, W) to an ``Output``. With E
    experts, the logits and features are means over the experts.

    Args:
        backbone: maps images to (B, D, h, w), in named stages.
        pooling: maps (B, D, h, w) to (B, D', h', w').
        classifier: maps (B, D' · h' · w') to (B, C); with E experts to (B, E, C).
        heads: further heads on the features, by name.

    Attributes:
        always_eval: whether ``train()`` leaves the network in eval mode (EVAL_MODE).
    """

    backbone: Backbone
    classifier: Any   # a Classifier
    heads: nn.ModuleDict

    def __init__(self, backbone: Backbone, pooling: nn.Module, classifier: Classifier,
                 heads: Mapping[str, NetworkHead] | None = None) -> None:
        super().__init__()
        self.backbone, self.module, self.classifier = backbone, pooling, classifier   # names of published checkpoints
        self.heads = nn.ModuleDict(heads or {})
        self.always_eval = self.stopped_batchnorm = False

    def forward(self, images: Tensor, mix: Mix | None = None, graft: Graft | None = None) -> Output:
        if mix is not None and mix.layer not in mix_locations(self.backbone):
            raise UnknownNameError(f"no layer {mix.layer!r} for mixup; choose one of {', '.join(mix_locations(self.backbone))}")
        x = images if graft is None else torch.cat([images, graft.images])
        for name, stage in self.backbone.stages():
            x = blend(stage(x), mix, name)
        features = blend(self.module(grafted(x, graft)), mix, "pool").flatten(1)
        logits = at_least_float32(blend(self.classifier(features), mix, "fc"))
        heads: dict[str, Tensor] = {}
        if logits.dim() == 3:   # (B, E, C) of E experts
            heads["experts"], logits = logits, logits.mean(dim=1)
            features = features.unflatten(1, (heads["experts"].shape[1], -1)).mean(dim=1)
        heads |= {name: head(features, self.classifier) for name, head in self.heads.items()}
        return Output(logits, at_least_float32(features), heads)

    def after_step(self) -> None:
        self.classifier.after_step()

    def after_epoch(self) -> None:
        self.classifier.after_epoch()

    def freeze_backbone(self, batchnorm: bool) -> None:
        """Freezes the backbone. Its BatchNorm statistics are still updated, as published, unless ``batchnorm`` is True."""
        self.backbone.requires_grad_(False)
        self.stopped_batchnorm = batchnorm

    def train(self, mode: bool = True) -> "Network":
        super().train(mode and not self.always_eval)
        if self.stopped_batchnorm:
            for module in self.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def mix_locations(backbone: Backbone) -> list[str]:
    """Names of the layers at which examples can be blended, in the order of the forward pass."""
    return [*(name for name, _ in backbone.stages()), "pool", "fc"]


def blend(x: Tensor, mix: Mix | None, layer: str) -> Tensor:
    if mix is None or mix.layer != layer:
        return x
    weight = mix.weight.view(-1, *[1] * (x.dim() - 1)).to(x.dtype)
    return torch.lerp(x[mix.partner], x, weight)


def grafted(maps: Tensor, graft: Graft | None) -> Tensor:
    """Replaces channels of the first half of the maps (2B, D, h, w) by those of the second half; returns (B, D, h, w)."""
    if graft is None:
        return maps
    own, others = maps.chunk(2)
    return torch.where(graft.channels[:, :, None, None], others, own)
