"""Findings about images during reading."""
from collections.abc import Iterable

from torch import Tensor


class Findings:
    """The findings of a loader since the last request.

    Attributes:
        unreadable: what was wrong with images whose place another took, by their number.
        remarks: numbers of the images that each remark holds for, see ``Source``.
    """

    def __init__(self) -> None:
        self.unreadable: dict[int, str] = {}
        self.remarks: dict[str, set[int]] = {}

    def note(self, index: int, complaint: str, remarks: Iterable[str]) -> None:
        if complaint:
            self.unreadable[index] = complaint
        for remark in remarks:
            self.remarks.setdefault(remark, set()).add(index)

    def remark_all(self, remark: str, indices: Tensor) -> None:
        if remark:
            self.remarks.setdefault(remark, set()).update(indices.tolist())

    def add(self, other: "Findings") -> None:
        self.unreadable |= other.unreadable
        for remark, indices in other.remarks.items():
            self.remarks.setdefault(remark, set()).update(indices)

    @classmethod
    def together(cls, parts: Iterable["Findings"]) -> "Findings":
        whole = cls()
        for part in parts:
            whole.add(part)
        return whole
