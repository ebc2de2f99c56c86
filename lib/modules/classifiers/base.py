"""The contract every classifier follows."""
from typing import NamedTuple

from torch import Tensor, nn

from lib.utils.part import Part
from lib.utils.registry import Registry

CLASSIFIERS = Registry("classifier")


class Origin(NamedTuple):
    """What is known about the file that a classifier's tensors come from."""

    source: str                    # config key and path, for messages
    kind: str = ""                 # its CLASSIFIER.TYPE; empty if the file does not say
    features_first: bool = False   # cosine classifiers are stored as (D, C); needed if D = C, where the shape does not tell

    @property
    def cosine(self) -> bool | None:
        """Whether its logits are cosines; None if the file does not say."""
        return CLASSIFIERS[self.kind].cosine if self.kind in CLASSIFIERS else None


class Classifier(nn.Module, Part):
    """A classifier: (B, D) features to (B, C) logits. Class activation maps also need a method ``class_vectors() -> (C, D)``.

    Class attributes:
        cosine: whether its logits are cosines, so that it cannot use the weights of a linear layer.
        second_stage: whether it is trained on the frozen backbone of a first stage (NETWORK.PRETRAINED_MODEL).
        fresh: with second_stage, prefixes of its parameter names that a first stage does not have.
        has_weight: whether there is a ``weight``, (C, D).
        why_no_tau_norm: why tau-normalization has no effect on it; empty if tau-normalization can be used.
    """

    cosine = False
    second_stage = False
    fresh: tuple[str, ...] = ()
    why_no_tau_norm = ""
    has_weight = True

    def transposed(self, tensors: dict[str, Tensor], origin: Origin) -> tuple[str, ...]:
        """Names of the matrices that the file stores transposed.

        Args:
            tensors: the classifier in the file, names without ``classifier.``.
        """
        return ()

    def from_first_stage(self, tensors: dict[str, Tensor], origin: Origin) -> dict[str, Tensor]:
        """The tensors that a second-stage classifier takes from the first stage's one, under its own names.

        Args:
            tensors: the first stage's classifier, names without ``classifier.``.

        Raises:
            InputError: this classifier cannot start from the first stage's one.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement from_first_stage, or leave second_stage False")
