"""The contract every classifier follows."""
from typing import NamedTuple

from torch import Tensor, nn

from lib.utils.part import Part
from lib.utils.registry import Registry

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


class Classifier(nn.Module, Part):
    """A classifier: (B, D) features to (B, C) logits. One that also has ``class_vectors() -> (C, D)`` has class activation maps.

    Class attributes:
        cosine: whether its logits are cosines, so that weights of a linear layer mean something else in it.
        second_stage: whether it is trained on the frozen backbone of a first stage (NETWORK.PRETRAINED_MODEL).
        fresh: with second_stage, beginnings of the names of its own that no first stage has.
        has_weight: whether there is a ``weight``, (C, D).
        why_no_tau_norm: why tau-normalization means nothing for it; empty where it does.
    """

    cosine = False
    second_stage = False
    fresh: tuple[str, ...] = ()
    why_no_tau_norm = ""
    has_weight = True

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
            InputError: a classifier that it cannot continue.
        """
        raise NotImplementedError(f"{type(self).__name__} must say what it takes over, or leave second_stage False")
