"""LADE: a regulariser disentangles the label distribution of the training set from the logits."""
import math
from typing import Annotated

import torch
from torch import Tensor

from lib.loss.base import LOSSES, LongTailLoss, scaled_log_prior, shifted_cross_entropy, weighted_mean
from lib.utils.options import Range
from lib.utils.output import Output
from lib.utils.schedule import Deferred
from lib.utils.tensors import at_least_float32


@LOSSES.register("LADE")
class LADE(LongTailLoss):
    """Label distribution disentangling: CE(z + log p) − alpha · Σ_c p_c · (m_c − s_c − lambda · s_c²), balanced softmax with a
    regulariser of the logits.

    m_c is the mean of z_ic over the examples i of class c in the batch, or 0 if there are none;
    s_c = logsumexp_i(z_ic − log p_c) − log C − log B. The regulariser makes z_c an estimate of log p(x | c) / p(x) under a
    uniform prior, so that any test prior q can be added after training: z + log q (TEST.PRIOR). Hong et al., Disentangling Label
    Distribution for Long-tailed Visual Recognition, CVPR 2021, arXiv:2012.00321, Eq. 9 to 11.

    Each rank computes the regulariser from its own batch; the published code uses the images of all GPUs. The class means need a
    batch of 256 or more to be reliable. Empty classes are ignored.

    Args:
        alpha, lambda_: 0.1 and 0.01 for CIFAR-100 (the command of the authors' README; their configuration files have 0.1 and
            0.1), 0.05 and 0.5 for ImageNet-LT and iNaturalist.
    """

    deferrable = False
    mixes = False
    prior_tau = 1.0

    prior: Tensor
    log_prior: Tensor

    def __init__(self, class_counts: Tensor, deferred: Deferred | None = None, *, alpha: Annotated[float, Range(0, 1000)] = 0.1,
                 lambda_: Annotated[float, Range(0, 1000)] = 0.01) -> None:
        super().__init__(class_counts, deferred)
        self.alpha, self.lambda_ = alpha, lambda_
        self.log_num_classes = math.log(int((class_counts > 0).sum()))
        log_prior = scaled_log_prior(class_counts, 1.0)
        self.register_buffer("log_prior", log_prior.float(), persistent=False)
        self.register_buffer("prior", log_prior.exp().float(), persistent=False)

    def forward(self, output: Output | Tensor, targets: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        logits = at_least_float32(Output.of(output).logits)
        losses = shifted_cross_entropy(logits, self.log_prior, targets) - self.alpha * self.regulariser(logits, targets)
        return weighted_mean(losses, None, sample_weight)

    def regulariser(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Σ_c p_c · (m_c − s_c − lambda · s_c²), ()."""
        own = targets[:, None] == torch.arange(logits.shape[1], device=logits.device)
        means = torch.where(own, logits, 0).sum(dim=0) / own.sum(dim=0).clamp_min(1)
        log_prior = self.log_prior.to(logits.dtype).masked_fill(self.prior == 0, 0)
        spread = logits.logsumexp(dim=0) - log_prior - self.log_num_classes - math.log(len(logits))
        return (self.prior.to(logits.dtype) * (means - spread - self.lambda_ * spread.square())).sum()
