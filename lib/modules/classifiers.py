"""From features to logits."""
import logging
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.utils.errors import InputError
from lib.utils.registry import Registry

log = logging.getLogger(__name__)

CLASSIFIERS = Registry("classifier")


class Origin(NamedTuple):
    """What is known of the file that a classifier's tensors are from."""

    source: str                    # config key and path, for messages
    kind: str = ""                 # its CLASSIFIER.TYPE; empty: the file does not say
    features_first: bool = False   # cosine classifiers are (D, C) in such files; their shape says so unless D = C

    @property
    def cosine(self) -> bool | None:
        """Whether its logits are cosines; None: the file does not say."""
        return CLASSIFIERS[self.kind].cosine if self.kind in CLASSIFIERS else None


class Classifier(nn.Module):
    """(B, D) features to (B, C) logits. One that also has ``class_vectors() -> (C, D)`` has class activation maps.

    Class attributes:
        cosine: whether its logits are cosines, so that weights of a linear layer mean something else in it.
        second_stage: whether it is trained on the frozen backbone of a first stage (NETWORK.PRETRAINED_MODEL).
        fresh: with second_stage, beginnings of the names of its own that no first stage has.
        why_no_tau_norm: why tau-normalization means nothing for it; empty where it does.
    """

    cosine = False
    second_stage = False
    fresh: tuple[str, ...] = ()
    why_no_tau_norm = ""

    def transposed(self, tensors: dict[str, Tensor], origin: Origin) -> tuple[str, ...]:
        """Names of the matrices that a file has the other way round.

        Args:
            tensors: the classifier in the file, names without ``classifier.``.
        """
        return ()

    def from_first_stage(self, tensors: dict[str, Tensor], origin: Origin) -> dict[str, Tensor]:
        """What a second-stage classifier takes over, by its own names, of the first stage's one.

        Args:
            tensors: the first stage's classifier, names without ``classifier.``.

        Raises:
            InputError: a classifier that it cannot go on from.
        """
        raise NotImplementedError(f"{type(self).__name__} must say what it takes over, or leave second_stage False")


@CLASSIFIERS.register("FC")
class FC(Classifier, nn.Linear):
    """Linear layer, (B, D) to (B, C), with torch's initialisation."""

    def __init__(self, num_features: int, num_classes: int, *, bias: bool = True) -> None:
        super().__init__(num_features, num_classes, bias)

    def class_vectors(self) -> Tensor:
        """(C, D): a logit is its class's vector times the features, plus the bias."""
        return self.weight


@CLASSIFIERS.register("FCNorm")
class FCNorm(Classifier):
    """Cosine of features and class vectors, (B, D) to (B, C), each in [−1, 1].

    ``weight`` (C, D) is uniform in [−1, 1], then each of its D columns is scaled to length 1 over the classes, as published.
    Class vectors so begin with a length of about √(D / C), on which depends how fast they turn: begun with length 1, LDAM-DRW
    ended 4 points lower on 1,485 images with a warm-up, and 12 without. The code of LDAM (Cao et al., NeurIPS 2019,
    arXiv:1906.07413) has (D, C).
    """

    cosine = True
    why_no_tau_norm = "its class vectors are scaled to length 1 whatever tau is"

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.empty(num_classes, num_features).uniform_(-1, 1), dim=0))

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(F.normalize(features, dim=1), self.class_vectors())

    def class_vectors(self) -> Tensor:
        """(C, D): a cosine is its class's vector times the features, divided by their length."""
        return F.normalize(self.weight, dim=1)

    def transposed(self, tensors: dict[str, Tensor], origin: Origin) -> tuple[str, ...]:
        shape, own = tuple(tensors["weight"].shape) if "weight" in tensors else (), tuple(self.weight.shape)
        if shape != own[::-1]:
            return ()
        return ("weight",) if shape != own or origin.features_first else ()


@CLASSIFIERS.register("cRT")
class CRT(FC):
    """Classifier re-training: a linear layer that begins anew on the frozen backbone of a first stage.

    Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020, arXiv:1910.09217,
    section 4.1. The first stage may have had any classifier, and other classes. Weights are drawn again after loading:
    those that this seed gives first are the ones that a first stage of the same seed began with, and its features fit them.
    """

    second_stage = True
    fresh = ("weight", "bias")

    def from_first_stage(self, tensors: dict[str, Tensor], origin: Origin) -> dict[str, Tensor]:
        self.reset_parameters()
        return {}


@CLASSIFIERS.register("LWS")
class LWS(Classifier):
    """Learnable weight scaling: the logits of a first stage's linear layer, each times the scale of its class.

    logits_c = s_c · (w_c · x + b_c), (B, D) to (B, C); w and b are frozen, s begins at 1 and is learned. Kang et al., as
    for cRT; theirs has no bias. A first stage with FC or cRT fits; one with LWS goes on with its scales.
    """

    second_stage = True
    fresh = ("scales",)
    why_no_tau_norm = "its scales are learned in the place of tau, which would undo them"

    def __init__(self, num_features: int, num_classes: int, *, bias: bool = True) -> None:
        super().__init__()
        self.fc = FC(num_features, num_classes, bias=bias).requires_grad_(False)
        self.scales = nn.Parameter(torch.ones(num_classes))

    def forward(self, features: Tensor) -> Tensor:
        return self.scales * self.fc(features)

    def class_vectors(self) -> Tensor:
        """(C, D), as of FC."""
        return self.scales[:, None] * self.fc.weight

    def from_first_stage(self, tensors: dict[str, Tensor], origin: Origin) -> dict[str, Tensor]:
        if "scales" in tensors or "fc.weight" in tensors:   # published cRT names its layer so
            return tensors
        shape, own = tensors["weight"].shape if "weight" in tensors else None, self.fc.weight.shape
        if origin.cosine or shape == own[::-1] != own:
            raise InputError(f"{origin.source} has the cosine classifier FCNorm, which LWS cannot scale; "
                             "CLASSIFIER.TYPE cRT begins anew after any classifier")
        if shape == own and "bias" not in tensors and origin.cosine is None:
            if self.fc.bias is not None:
                raise InputError(f"{origin.source} has a classifier without bias: either the cosines of FCNorm, which LWS cannot "
                                 "scale, so that CLASSIFIER.TYPE cRT is needed; or a linear layer, to be loaded with "
                                 "CLASSIFIER.BIAS False")
            log.warning("%s does not say whether its classifier is a linear layer or the cosines of FCNorm, which LWS cannot "
                        "scale; taken for a linear layer", origin.source)
        return {f"fc.{name}": value for name, value in tensors.items()}
