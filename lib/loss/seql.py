"""Cross-entropy that shields rare classes from the gradients of other classes' examples."""
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.loss.base import LOSSES, LongTailLoss, weighted_mean
from lib.utils.options import SHARE
from lib.utils.output import Output
from lib.utils.schedule import Deferred
from lib.utils.seed import uniform
from lib.utils.tensors import at_least_float32


@LOSSES.register("SEQL")
class SEQL(LongTailLoss):
    """Softmax equalization loss: cross-entropy over the logits that are left when each rare class that is not the label is left
    out with probability γ.

    A class is rare if n_c / N < ``lambda_``; each element of the (B, C) logits is decided by itself. What is left out has the
    logit −inf, so nothing overflows; the published code divided exponentials, and gave NaN.
    The decisions are a function of the batch's seed (``on_batch``) and of the place in the batch, so that all calls for one
    batch agree: the two labels of a mixture meet the same softmax, and a run repeats itself wherever it is resumed.
    Tan et al., Equalization Loss for Long-Tailed Object Recognition, CVPR 2020, arXiv:2003.05176.
    """

    deferrable = False

    rare: Tensor
    seed: Tensor

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, *, gamma: Annotated[float, SHARE] = 0.9,
                 lambda_: Annotated[float, SHARE] = 0.005) -> None:
        super().__init__(class_counts, deferred)
        self.gamma = gamma
        self.register_buffer("rare", class_counts.double() / class_counts.sum() < lambda_, persistent=False)
        self.register_buffer("seed", torch.tensor(0), persistent=False)

    def on_batch(self, seed: int) -> None:
        self.seed.fill_(seed)   # in place: a captured CUDA graph reads it from here

    def forward(self, output: Output | Tensor, targets: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        logits = at_least_float32(Output.of(output).logits)
        left_out = self.rare & (uniform(self.seed, logits.shape) < self.gamma)
        left_out = left_out.scatter(1, targets[:, None], False)
        losses = F.cross_entropy(logits.masked_fill(left_out, -torch.inf), targets, reduction="none")
        return weighted_mean(losses, None, sample_weight)
