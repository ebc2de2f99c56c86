"""Reports of problems with the images that loaders read, logged once, on rank 0."""
import logging
from collections.abc import Sequence

from lib.dataset import Findings, Loader
from lib.device.runtime import Runtime

log = logging.getLogger(__name__)

SHOWN_COMPLAINTS = 5   # images that are named one by one; the others are only counted


class FindingsLog:
    """A log, on rank 0, of what the loaders of all ranks found in their images. Each unreadable image and each remark is logged
    once per run, and totals at its end."""

    def __init__(self, loaders: Sequence[Loader], runtime: Runtime) -> None:
        self.loaders, self.runtime = loaders, runtime
        self.known = [Findings() for _ in loaders]          # all findings of each loader
        self.said: list[dict[str, int]] = [{} for _ in loaders]   # remark: number of images last reported

    def tell(self) -> None:
        """Logs the findings since the last call. Call it on all ranks."""
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
        """Logs the totals that have grown since they were last logged. Call it on all ranks."""
        self.tell()
        for loader, known, said in zip(self.loaders, self.known, self.said):
            if known.unreadable and self.runtime.is_main:
                log.warning("%s: in total, %d of %d images could not be read and were replaced by others of their class",
                            loader.set.name, len(known.unreadable), len(loader.set.labels))
            for remark in sorted(remark for remark, number in said.items() if len(known.remarks[remark]) > number):
                self.say(loader, remark, known, said)

    def unreadable(self, number: int) -> dict[int, str]:
        """Maps each unreadable image of a loader, which was replaced by another, to the reason; on rank 0 those of all ranks."""
        return self.known[number].unreadable

    def say(self, loader: Loader, remark: str, known: Findings, said: dict[str, int]) -> None:
        said[remark] = len(known.remarks[remark])
        if self.runtime.is_main:
            log.info("%s: %d of %d images %s", loader.set.name, said[remark], len(loader.set.labels), remark)
