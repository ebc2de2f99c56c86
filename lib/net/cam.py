"""Class activation maps: where in an image a network sees a class."""
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.net.network import Network

FOREGROUND = 0.75   # share of a map's mean from which a pixel is foreground


def class_activation_maps(network: Network, images: Tensor, labels: Tensor) -> Tensor:
    """M_y(i, j) = Σ_d w_yd f_d(i, j) of each image's own class y, without ReLU, Eq. 2 of Zhou et al., Learning Deep Features for
    Discriminative Localization, CVPR 2016, arXiv:1512.04150.

    With global average pooling the mean of a map over its positions is the logit of the class without its bias; under
    FCNorm it is the cosine times the length of the features, so that the map's form is the cosine's as well.

    Args:
        images: (B, 3, H, W), normalised.
        labels: (B,).

    Returns:
        (B, h, w), as large as the last feature maps.
    """
    maps = network.backbone(images).float()
    with torch.autocast(images.device.type, enabled=False):   # the network alone is of lower precision
        return torch.einsum("bdhw,bd->bhw", maps, network.classifier.class_vectors()[labels].float())


def scale_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, h, w), each brought to [0, 1] by its minimum and maximum, then bilinearly to ``size``. A constant map is 0."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    scaled = (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)
    return F.interpolate(scaled[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def foreground(maps: Tensor) -> Tensor:
    """Where a scaled map (B, H, W) is at least ¾ of its mean; never nothing, and of a constant map everything."""
    return maps >= FOREGROUND * maps.mean(dim=(1, 2), keepdim=True)
