"""How well a network's logits tell images of its classes from foreign ones: scores, their measures, a table and a figure."""
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lib.report.style import BLUE, ORANGE


def doubt(logits: Tensor) -> Tensor:
    """1 − max_c p_c, (N,): the summed probability of all other classes, so that confident predictions do not all round to 0."""
    others = logits.scatter(1, logits.argmax(dim=1, keepdim=True), -torch.inf)
    return (others.logsumexp(dim=1) - logits.logsumexp(dim=1)).exp()


SCORES = {   # from logits (N, C); a higher score means that an image is more likely foreign
    "1 - max softmax": doubt,
    "energy": lambda logits: -logits.logsumexp(dim=1),
    "- max logit": lambda logits: -logits.max(dim=1).values,
}
RECALL = 0.95   # share of foreign images found, at which the false positive rate is measured
BINS = 50


class Detection(NamedTuple):
    """How well one score finds the foreign images, which are the positive class."""

    score: str
    auroc: float
    aupr: float    # average precision
    fpr95: float   # share of known images that score at or above the threshold which 95 % of the foreign ones reach


def detect(known: Tensor, foreign: Tensor) -> list[Detection]:
    """For each of SCORES; logits (N, C) and (M, C).

    1 − max softmax is the baseline of Hendrycks and Gimpel, ICLR 2017, arXiv:1610.02136; the energy −logsumexp is of Liu et al.,
    NeurIPS 2020, arXiv:2010.03759. The three measures are those of Wang et al., PASCL, ICML 2022, arXiv:2207.01160.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve  # takes a second to import
    is_foreign = np.repeat([0, 1], [len(known), len(foreign)])
    found = []
    for name, score in SCORES.items():
        values = torch.cat([score(known.double()), score(foreign.double())]).numpy()
        false, true, _ = roc_curve(is_foreign, values, drop_intermediate=False)
        found.append(Detection(name, float(roc_auc_score(is_foreign, values)), float(average_precision_score(is_foreign, values)),
                               float(false[true >= RECALL].min())))
    return found


def detection_table(results: Sequence[Detection]) -> str:
    lines = ["score                AUROC     AUPR   FPR at 95 % recall"]
    lines += [f"{one.score:<16}{100 * one.auroc:>9.2f}%{100 * one.aupr:>8.2f}%{100 * one.fpr95:>20.2f}%" for one in results]
    return "\n".join(lines)


def detection_dict(results: Sequence[Detection], about: Mapping[str, Any]) -> dict[str, Any]:
    return {**about, "positive": "foreign", "scores": [one._asdict() for one in results]}


def scores_figure(known: Tensor, foreign: Tensor, results: Sequence[Detection]) -> Figure:
    """One histogram for each score, with the known and the foreign images."""
    figure = Figure(figsize=(4.2 * len(SCORES), 3.6), layout="constrained")
    for axes, (name, score), result in zip(figure.subplots(1, len(SCORES)), SCORES.items(), results):
        pair = [score(logits.double()).numpy() for logits in (known, foreign)]
        low, high = (float(bound) for bound in (min(values.min() for values in pair), max(values.max() for values in pair)))
        edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
        for values, color, label in zip(pair, (BLUE, ORANGE), ("known", "foreign")):
            axes.hist(values, edges, weights=np.full(len(values), 100 / len(values)), color=color, alpha=0.55,
                      label=f"{label}, {len(values):,} images")
        axes.set_title(f"{name}: AUROC {100 * result.auroc:.1f} %", fontsize=9)
        axes.set_xlabel("score, higher: more foreign")
        axes.set_ylabel("images of the set (%)")
        axes.legend(frameon=False, fontsize=7)
    return figure
