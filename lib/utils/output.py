"""What a network gives, by name."""
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """The output of a network, read by name and never by position. Of a ``Network`` at least float32, under mixed precision
    too, so that losses and statistics are computed in it."""

    logits: Tensor                       # (B, C), what is evaluated
    features: Tensor | None = None       # (B, D), what the classifier saw
    heads: Mapping[str, Tensor] = {}     # what else there is: "experts" (B, E, C), "projection" (B, d), "teacher" (B, C), …

    @classmethod
    def of(cls, output: "Output | Tensor") -> "Output":
        """Plain (B, C) logits are an output without features, so that a loss can be used in anybody's loop."""
        return cls(output) if isinstance(output, Tensor) else output

    def with_head(self, name: str, value: Tensor) -> "Output":
        return self._replace(heads={**self.heads, name: value})
