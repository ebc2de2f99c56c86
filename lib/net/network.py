"""Backbone, pooling, classifier: one forward pass, one output type."""
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lib.backbone import Backbone
from lib.utils.errors import UnknownNameError
from lib.utils.output import Output
from lib.utils.tensors import at_least_float32


class Mix(NamedTuple):
    """Where and how a forward pass blends each example with a partner (manifold mixup)."""

    layer: str        # a stage of the backbone, "pool" or "fc"
    partner: Tensor   # (B,) index of each example's partner, in the part of the batch that one device sees
    weight: Tensor    # (B,) share of the example itself


class Network(nn.Module):
    """Args:
        backbone: images to (B, D, h, w), in named stages.
        pooling: (B, D, h, w) to (B, D', h', w').
        classifier: (B, D' · h' · w') to (B, C).

    Attributes:
        always_eval: ``train()`` leaves the network in eval mode (EVAL_MODE).
    """

    def __init__(self, backbone: Backbone, pooling: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.backbone, self.module, self.classifier = backbone, pooling, classifier   # published names
        self.always_eval = self.stopped_batchnorm = False

    def forward(self, images: Tensor, mix: Mix | None = None) -> Output:
        if mix is not None and mix.layer not in mix_locations(self.backbone):
            raise UnknownNameError(f"no layer {mix.layer!r} to mix at; there are {', '.join(mix_locations(self.backbone))}")
        x = images
        for name, stage in self.backbone.stages():
            x = blend(stage(x), mix, name)
        features = blend(self.module(x), mix, "pool").flatten(1)
        logits = blend(self.classifier(features), mix, "fc")
        return Output(at_least_float32(logits), at_least_float32(features))

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
    """Names of the places where a forward pass can blend examples, in its order."""
    return [*(name for name, _ in backbone.stages()), "pool", "fc"]


def blend(x: Tensor, mix: Mix | None, layer: str) -> Tensor:
    if mix is None or mix.layer != layer:
        return x
    weight = mix.weight.view(-1, *[1] * (x.dim() - 1)).to(x.dtype)
    return torch.lerp(x[mix.partner], x, weight)
