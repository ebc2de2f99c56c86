"""Tau-normalization of a trained linear classifier."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.utils.errors import InputError


class TauNormalized(nn.Module):
    """A tau-normalized linear classifier, (B, D) to (B, C): its rows are w_c / ‖w_c‖ ** tau, its bias stays as it is.

    tau = 0 changes nothing, tau = 1 scales all rows to length 1; training makes the rows of frequent classes longer. Kang et
    al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020, arXiv:1910.09217, section 4.1. The
    paper has no bias; like the published code, this class leaves it unchanged.

    Args:
        classifier: its parameters are used, not copied: with 8,142 classes and 2,048 features they take 67 MB.

    Raises:
        InputError: tau is so large that the rows overflow float32.
    """

    def __init__(self, classifier: nn.Linear, tau: float) -> None:
        super().__init__()
        self.classifier, self.tau = classifier, tau
        if not torch.isfinite(self.rows()).all():
            raise InputError(f"TEST.TAU_NORM: tau {tau:g} is too large for this classifier; usual values are in [0, 1]")

    def rows(self) -> Tensor:
        """The normalized rows, (C, D); a row of zeros stays zero."""
        weight = self.classifier.weight
        lengths = weight.norm(dim=1, keepdim=True)
        return weight * torch.where(lengths > 0, lengths, 1) ** -self.tau

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, self.rows(), self.classifier.bias)
