"""Classifier re-training (cRT): a new linear layer on a trained backbone."""
from torch import Tensor

from lib.modules.classifiers.base import CLASSIFIERS, Origin
from lib.modules.classifiers.linear import FC


@CLASSIFIERS.register("cRT")
class CRT(FC):
    """Classifier re-training: a linear layer that is trained from scratch on the frozen backbone of a first stage.

    Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020, arXiv:1910.09217,
    section 4.1. The first stage may have any classifier, and other classes. The layer is initialised a second time after loading:
    its first random weights would equal the initial weights of a first stage with the same seed, which the backbone was trained
    with.
    """

    second_stage = True
    fresh = ("weight", "bias")

    def from_first_stage(self, tensors: dict[str, Tensor], origin: Origin) -> dict[str, Tensor]:
        self.reset_parameters()
        return {}
