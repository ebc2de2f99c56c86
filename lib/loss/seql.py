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
    """Softmax equalization loss: cross-entropy over a random subset of the classes; each rare class that is not the label is left
    out with probability γ.

    A class is rare if n_c / N < ``lambda_``. Each element of the (B, C) logits is drawn independently; what is left out gets the
    logit −inf. (The published code divides exponentials, which overflows to NaN.)
    The draw depends only on the seed of the batch (``on_batch``) and the position in it, so all calls for one batch agree: both
    labels of a mixed example use the same softmax, and a resumed run gives the same results.
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
