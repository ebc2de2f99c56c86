"""The named outputs of a network."""
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """The output of a network, read by name and never by position. A ``Network`` returns float32 or float64, even under mixed
    precision, so that losses and statistics are computed in that precision."""

    logits: Tensor                       # (B, C), which are evaluated
    features: Tensor | None = None       # (B, D), input of the classifier
    heads: Mapping[str, Tensor] = {}     # further outputs: "experts" (B, E, C), "projection" (B, d), "teacher" (B, C), …

    @classmethod
    def of(cls, output: "Output | Tensor") -> "Output":
        """Turns plain (B, C) logits into an Output without features, so that a loss can be used in any training loop."""
        return cls(output) if isinstance(output, Tensor) else output

    def with_head(self, name: str, value: Tensor) -> "Output":
        return self._replace(heads={**self.heads, name: value})
