"""A trained classifier with the lengths of its rows evened out."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.utils.errors import InputError


class TauNormalized(nn.Module):
    """A tau-normalized linear classifier, (B, D) to (B, C): its rows are w_c / ‖w_c‖ ** tau, its bias stays as it is.

    tau = 0 changes nothing, tau = 1 gives all rows length 1; those of frequent classes become longer in training. Kang et
    al., Decoupling Representation and Classifier for Long-Tailed Recognition, ICLR 2020, arXiv:1910.09217, section 4.1,
    where there is no bias; it is kept here, as published.

    Args:
        classifier: whose parameters are used, not copied: with 8,142 classes and 2,048 features, they are 67 MB.

    Raises:
        InputError: a tau so large that float32 cannot hold the rows.
    """

    def __init__(self, classifier: nn.Linear, tau: float) -> None:
        super().__init__()
        self.classifier, self.tau = classifier, tau
        if not torch.isfinite(self.rows()).all():
            raise InputError(f"TEST.TAU_NORM: tau {tau:g} is too large for this classifier; usual values are in [0, 1]")

    def rows(self) -> Tensor:
        """(C, D); a row of zeros stays."""
        weight = self.classifier.weight
        lengths = weight.norm(dim=1, keepdim=True)
        return weight * torch.where(lengths > 0, lengths, 1) ** -self.tau

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, self.rows(), self.classifier.bias)
