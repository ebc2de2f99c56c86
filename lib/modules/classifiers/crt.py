"""A new linear layer on a trained backbone."""
from torch import Tensor

from lib.modules.classifiers.base import CLASSIFIERS, Origin
from lib.modules.classifiers.linear import FC


@CLASSIFIERS.register("cRT")
class CRT(FC):
    """Classifier re-training: a linear layer that is trained from scratch on the frozen backbone of a first stage.

    Kang et al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020, arXiv:1910.09217,
    section 4.1. The first stage may have had any classifier, and other classes. Weights are drawn again after loading:
    those that this seed gives first are the ones that a first stage of the same seed began with, and its features fit them.
    """

    second_stage = True
    fresh = ("weight", "bias")

    def from_first_stage(self, tensors: dict[str, Tensor], origin: Origin) -> dict[str, Tensor]:
        self.reset_parameters()
        return {}
