"""Backbone, pooling, classifier: one forward pass, one output type."""
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
    """Where and how a forward pass blends each example with a partner (manifold mixup)."""

    layer: str        # a stage of the backbone, "pool" or "fc"
    partner: Tensor   # (B,) index of each example's partner, in the part of the batch that one device sees
    weight: Tensor    # (B,) share of the example itself


class Graft(NamedTuple):
    """Images whose last feature maps replace some channels of the examples' own (H2T)."""

    images: Tensor     # (B, 3, H, W), one for each example
    channels: Tensor   # (B, D) bool, the channels that are replaced; of experts (B, E · D)


class Network(nn.Module, Part):
    """A backbone, a pooling, a classifier and further heads: images (B, 3, H, W) to an ``Output``. Of E experts the logits and
    features are the mean over the experts.

    Args:
        backbone: images to (B, D, h, w), in named stages.
        pooling: (B, D, h, w) to (B, D', h', w').
        classifier: (B, D' · h' · w') to (B, C); of experts to (B, E, C).
        heads: what else is made of the features, by name.

    Attributes:
        always_eval: ``train()`` leaves the network in eval mode (EVAL_MODE).
    """

    backbone: Backbone
    classifier: Any   # a Classifier
    heads: nn.ModuleDict

    def __init__(self, backbone: Backbone, pooling: nn.Module, classifier: Classifier,
                 heads: Mapping[str, NetworkHead] | None = None) -> None:
        super().__init__()
        self.backbone, self.module, self.classifier = backbone, pooling, classifier   # published names
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
        if logits.dim() == 3:   # of experts
            heads["experts"], logits = logits, logits.mean(dim=1)
            features = features.unflatten(1, (heads["experts"].shape[1], -1)).mean(dim=1)
        heads |= {name: head(features, self.classifier) for name, head in self.heads.items()}
        return Output(logits, at_least_float32(features), heads)

    def after_step(self) -> None:
        self.classifier.after_step()

    def after_epoch(self) -> None:
        self.classifier.after_epoch()

    def freeze_backbone(self, batchnorm: bool) -> None:
        """Trains the classifier only. BatchNorm statistics of the backbone keep moving, as published, unless ``batchnorm``."""
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
    """Names of the layers at which a forward pass can mix examples, in order."""
    return [*(name for name, _ in backbone.stages()), "pool", "fc"]


def blend(x: Tensor, mix: Mix | None, layer: str) -> Tensor:
    if mix is None or mix.layer != layer:
        return x
    weight = mix.weight.view(-1, *[1] * (x.dim() - 1)).to(x.dtype)
    return torch.lerp(x[mix.partner], x, weight)


def grafted(maps: Tensor, graft: Graft | None) -> Tensor:
    """The maps of the first half of (2B, D, h, w), with some channels of those of the other half: (B, D, h, w)."""
    if graft is None:
        return maps
    own, others = maps.chunk(2)
    return torch.where(graft.channels[:, :, None, None], others, own)
