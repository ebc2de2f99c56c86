"""Class priors (of the training set, of shifted test sets, from a file), and the logit adjustment from one prior to another."""
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.utils.errors import InputError, MissingPathError
from lib.utils.registry import closest

KEY = "TEST.PRIOR"
UNIFORM = "uniform"
FORM = re.compile(r"(forward|backward)-(\d+(?:\.\d+)?)")
FORMS = f'"{UNIFORM}", "forward-50" or "backward-50" (with any ratio of 1 or more), or the path of a JSON file'


class Shift(NamedTuple):
    """A test set with a long-tailed class distribution: in the order of the training set (forward), or reversed (backward).

    Class i of C, from the most frequent of the training set to the rarest, has int(n · ratio ** (−i / (C − 1))) images, where n
    is the number of available images per class; backward, i counts from the rarest. Hong et al., LADE, CVPR 2021,
    arXiv:2012.00321, section 4.3.
    """

    backward: bool
    ratio: float

    @property
    def name(self) -> str:
        return f"{'backward' if self.backward else 'forward'}-{self.ratio:g}"

    def shares(self, class_counts: Tensor) -> np.ndarray:
        """Number of images of each class relative to the most frequent one, (C,); classes with equal counts keep their order."""
        order = np.argsort(-class_counts.numpy(), kind="stable")
        places = np.empty(len(order))
        places[order[::-1] if self.backward else order] = np.arange(len(order))
        return self.ratio ** (-places / max(len(order) - 1, 1))

    def rows(self, labels: Tensor, class_counts: Tensor) -> Tensor:
        """Indices of the images of the shifted set, ascending: the first images of each class, at least one.

        Args:
            labels: labels of a test set; n is the number of images of its smallest class.
            class_counts: training images per class; classes without test images are left out.
        """
        per_class = torch.bincount(labels, minlength=len(class_counts))
        there = (per_class > 0).nonzero().flatten()
        wanted = np.maximum((int(per_class[there].min()) * self.shares(class_counts[there]) + 1e-9).astype(int), 1)
        rows = [(labels == label).nonzero().flatten()[:number] for label, number in zip(there.tolist(), wanted.tolist())]
        return torch.cat(rows).sort().values


class Adjustments(NamedTuple):
    """Vectors that an evaluation adds to the logits, (C,) each; None or empty if it adds nothing."""

    headline: Tensor | None
    sweep: dict[float, Tensor]   # by tau
    shifts: dict[Shift, Tensor]


def parse_shift(text: str, key: str = KEY) -> Shift | None:
    """Parses a text such as "forward-50"; None for any other text. Raises InputError, with ``key``, for a ratio below 1."""
    match = FORM.fullmatch(text)
    if match is None:
        return None
    if float(match[2]) < 1:
        raise InputError(f"{key}: {text!r} has a ratio below 1; the ratio is that of the most frequent to the rarest class")
    return Shift(match[1] == "backward", float(match[2]))


def looks_like_a_file(text: str) -> bool:
    return "/" in text or "." in Path(text).name


def read_prior(text: str, class_counts: Tensor, class_names: Sequence[str], key: str = KEY) -> Tensor:
    """The class probabilities q that ``text``, the value of ``key``, names, (C,) in float64, summing to 1.

    A file holds JSON: a list of C positive numbers in the order of the classes, or an object {class name: number}. The numbers
    are divided by their sum. Raises InputError for anything else.
    """
    shift = parse_shift(text, key)
    if text == UNIFORM:
        values = torch.ones(len(class_counts), dtype=torch.double)
    elif shift:
        values = torch.from_numpy(shift.shares(class_counts))
    else:
        values = torch.tensor(numbers_of(Path(text).expanduser(), class_names, key), dtype=torch.double)
    return values / values.sum()


def numbers_of(path: Path, class_names: Sequence[str], key: str) -> list[float]:
    if not path.is_file():
        raise MissingPathError(f"{key}: no file {path}; give {FORMS}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{key}: {path} is not JSON ({error}); write [0.5, 0.3, 0.2] or {{\"cat\": 0.5, …}}") from error
    if isinstance(content, dict):
        unknown = [name for name in content if name not in class_names]
        missing = [name for name in class_names if name not in content]
        if unknown:
            raise InputError(f"{key}: {path} has an unknown class {unknown[0]!r}; {closest(unknown[0], class_names)}")
        if missing:
            raise InputError(f"{key}: {path} has no number for {len(missing)} of {len(class_names)} classes, such as "
                             f"{missing[0]!r}")
        content = [content[name] for name in class_names]
    if not isinstance(content, list) or len(content) != len(class_names):
        count = f"{len(content)} entries" if isinstance(content, list) else type(content).__name__
        raise InputError(f"{key}: {path} must hold a number for each of {len(class_names)} classes, got {count}")
    for name, value in zip(class_names, content):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise InputError(f"{key}: {path} has {value!r} for {name!r}; a probability or a count above 0 is needed")
    return [float(value) for value in content]


def adjustment(class_counts: Tensor, tau: float, prior: Tensor | None = None) -> Tensor:
    """The vector that logit adjustment adds to the logits, (C,) in float32: −tau · log p + log q.

    For a class without training images the first term is 0. Menon et al., Long-Tail Learning via Logit Adjustment, ICLR 2021,
    arXiv:2007.07314, Eq. 9; log q for a known test prior: Hong et al., CVPR 2021, arXiv:2012.00321, Eq. 4.

    Args:
        class_counts: training images, (C,).
        tau: 1 − τ of the loss (``prior_tau``) adjusts the logits to a uniform prior.
        prior: q, (C,); None for a uniform prior.
    """
    counts = class_counts.double()
    logs = torch.where(counts > 0, torch.log(counts.clamp_min(1) / counts.sum()), 0)
    return (-tau * logs + (0 if prior is None else prior.double().log())).float()
