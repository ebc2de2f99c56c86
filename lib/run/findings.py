"""Reports, once and on rank 0, on the images that loaders read."""
import logging
from collections.abc import Sequence

from lib.dataset import Findings, Loader
from lib.device.runtime import Runtime

log = logging.getLogger(__name__)

SHOWN_COMPLAINTS = 5   # images that are named one by one; of more, the number is told


class FindingsLog:
    """Reports, on rank 0, what the loaders of all ranks found in their images: each unreadable image and each remark once in a
    run, and totals at its end."""

    def __init__(self, loaders: Sequence[Loader], runtime: Runtime) -> None:
        self.loaders, self.runtime = loaders, runtime
        self.known = [Findings() for _ in loaders]          # of each loader, all that was found
        self.said: list[dict[str, int]] = [{} for _ in loaders]   # of each remark, how many images it was said of

    def tell(self) -> None:
        """Reports the findings since the last call; to be called on all ranks."""
        for loader, known, said in zip(self.loaders, self.known, self.said):
            found = Findings.together(self.runtime.gather_objects(loader.take_findings()))
            new = [found.unreadable[index] for index in sorted(found.unreadable.keys() - known.unreadable.keys())]
            known.add(found)
            if new and self.runtime.is_main:
                more = [f"and {len(new) - SHOWN_COMPLAINTS} more"] if len(new) > SHOWN_COMPLAINTS else []
                log.warning("%s: %d images could not be read and were replaced by others of their class:%s", loader.set.name,
                            len(new), "".join(f"\n    {line}" for line in [*new[:SHOWN_COMPLAINTS], *more]))
            for remark in sorted(known.remarks.keys() - said.keys()):
                self.say(loader, remark, known, said)

    def sum_up(self) -> None:
        """Reports totals that have grown since they were reported; to be called on all ranks."""
        self.tell()
        for loader, known, said in zip(self.loaders, self.known, self.said):
            if known.unreadable and self.runtime.is_main:
                log.warning("%s: in total, %d of %d images could not be read and were replaced by others of their class",
                            loader.set.name, len(known.unreadable), len(loader.set.labels))
            for remark in sorted(remark for remark, number in said.items() if len(known.remarks[remark]) > number):
                self.say(loader, remark, known, said)

    def unreadable(self, number: int) -> dict[int, str]:
        """The errors of images that were replaced by others, by index; on rank 0 those of all ranks."""
        return self.known[number].unreadable

    def say(self, loader: Loader, remark: str, known: Findings, said: dict[str, int]) -> None:
        said[remark] = len(known.remarks[remark])
        if self.runtime.is_main:
            log.info("%s: %d of %d images %s", loader.set.name, said[remark], len(loader.set.labels), remark)
