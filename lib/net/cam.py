"""Class activation maps: how much each position of an image contributes to the logit of a class."""
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.net.network import Network

FOREGROUND = 0.75   # a pixel is foreground if its value is at least this fraction of the map's mean


def class_activation_maps(network: Network, images: Tensor, labels: Tensor) -> Tensor:
    """Class activation maps M_y(i, j) = Σ_d w_yd f_d(i, j) for the label y of each image, without ReLU. This is Eq. 2 of Zhou
    et al., Learning Deep Features for Discriminative Localization, CVPR 2016, arXiv:1512.04150.

    With global average pooling, the mean of a map over its positions is the logit of the class without its bias. With FCNorm it
    is the cosine times the norm of the features: the map of the cosine differs only by a constant factor.

    Args:
        images: (B, 3, H, W), normalised.
        labels: (B,).

    Returns:
        (B, h, w), with the size of the last feature maps.
    """
    maps = network.backbone(images).float()
    with torch.autocast(images.device.type, enabled=False):   # only the network runs in lower precision
        return torch.einsum("bdhw,bd->bhw", maps, network.classifier.class_vectors()[labels].float())


def scale_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Scales each of the maps (B, h, w) to [0, 1] by its minimum and maximum, then resizes it bilinearly to ``size``. A constant
    map becomes 0."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    scaled = (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)
    return F.interpolate(scaled[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def foreground(maps: Tensor) -> Tensor:
    """The mask of pixels where a scaled map (B, H, W) is at least ¾ of its mean; never empty, and all True for a constant map."""
    return maps >= FOREGROUND * maps.mean(dim=(1, 2), keepdim=True)
