"""One classifier for each expert."""
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lib.modules.classifiers.base import Classifier, Origin


class ExpertClassifiers(Classifier):
    """One classifier per expert: from (B, E · D), the concatenated features of the experts, to their logits, (B, E, C).

    Args:
        members: E classifiers of the same type, (B, D) to (B, C).
    """

    has_weight = False
    why_no_tau_norm = "it has a classifier for each of NETWORK.EXPERTS.NUM experts"

    def __init__(self, members: Sequence[Classifier]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.cosine, self.second_stage = members[0].cosine, members[0].second_stage
        self.fresh = tuple(f"members.{number}.{name}" for number in range(len(members)) for name in members[0].fresh)

    def each(self) -> list[Classifier]:
        return [cast(Classifier, member) for member in self.members]

    def forward(self, features: Tensor) -> Tensor:
        parts = features.chunk(len(self.members), dim=1)
        return torch.stack([member(part) for member, part in zip(self.members, parts)], dim=1)

    def class_vectors(self) -> Tensor:
        """The class vectors, (C, E · D): the mean of the experts' logits is class vector · features + mean bias."""
        return torch.cat([cast(Any, member).class_vectors() for member in self.each()], dim=1) / len(self.members)

    def transposed(self, tensors: dict[str, Tensor], origin: Origin) -> tuple[str, ...]:
        return tuple(f"members.{number}.{name}" for number, member in enumerate(self.each())
                     for name in member.transposed(own(tensors, number), origin))

    def from_first_stage(self, tensors: dict[str, Tensor], origin: Origin) -> dict[str, Tensor]:
        return {f"members.{number}.{name}": value for number, member in enumerate(self.each())
                for name, value in member.from_first_stage(own(tensors, number), origin).items()}

    def after_step(self) -> None:
        for member in self.each():
            member.after_step()

    def after_epoch(self) -> None:
        for member in self.each():
            member.after_epoch()


def own(tensors: dict[str, Tensor], number: int) -> dict[str, Tensor]:
    """The tensors of one expert, under the names that a single classifier gives them."""
    prefix = f"members.{number}."
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
