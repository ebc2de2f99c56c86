"""From indices to normalised batches on the training device, from memory or from files.

Both loaders give the same images in the same order, and every batch brings its own random numbers, so that neither the number of
workers nor reading ahead changes anything. Where all images are of one size a worker does nothing but read, all transforms
work on whole batches on the device, and the two loaders agree to the last bit.
"""
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lib.data_transform import Transform
from lib.dataset.base import ImageSet
from lib.dataset.reader import Reader, collate
from lib.dataset.sampler import EpochBatches, EvalBatches
from lib.utils.errors import InputError
from lib.utils.seed import Stream, spawn_seeds
from lib.utils.workers import follow_parent, left_to_parent, worker_context

MEMORY_LIMIT = 2e9   # bytes of a set that IN_MEMORY auto puts on the device

Normalize = Callable[[Tensor], Tensor]   # uint8 (B, 3, H, W) to float


class Batch(NamedTuple):
    """What a training or evaluation step gets."""

    images: Tensor    # (B, 3, H, W), float, normalised, on the training device
    labels: Tensor    # (B,), int64, on the training device
    indices: Tensor   # (B,), which images of the set, on the CPU
    stream: Stream    # random numbers of this batch


class Findings:
    """What a loader has come across in its images since it was last asked.

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


class Loader:
    """What the two loaders share: which images, in which order, and what becomes of them on the device."""

    def __init__(self, images: ImageSet, batches: EpochBatches | EvalBatches, transforms: Sequence[Transform],
                 normalize: Normalize, device: torch.device) -> None:
        self.set, self.batches, self.transforms, self.normalize = images, batches, transforms, normalize
        self.device = device
        self.findings = Findings()
        self.done = 0
        self.measure()

    def on_epoch(self, epoch: int, done: int = 0) -> None:
        """``done``: batches of the epoch that were trained on before, and are neither read nor given again."""
        self.batches.on_epoch(epoch)
        self.done = done
        self.measure()

    def measure(self) -> None:
        """Length of this epoch: with DRS on a set enlarged by CAM-based sampling, the stages differ in it."""
        sizes = [len(rows) for rows in self.batches.batches()]
        self.num_batches, self.num_images = len(sizes), sum(sizes)

    def take_findings(self) -> Findings:
        """What was found since the last call."""
        findings, self.findings = self.findings, Findings()
        return findings

    def close(self) -> None:
        """Ends what reads ahead; after it there are no more batches."""

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return self.num_batches

    def plan(self) -> Iterator[tuple[Tensor, int]]:
        """Indices and seed of each batch of this epoch that is still to come."""
        batches = self.batches.batches()
        return islice(zip(batches, self.batches.seeds(len(batches))), self.done, None)

    def digest(self, epoch: int) -> str:
        """Equal where an epoch has the same batches with the same random numbers; an epoch that is being read goes on."""
        self.on_epoch(epoch)
        content = hashlib.sha256()
        for indices, seed in self.plan():
            content.update(indices.numpy().tobytes() + seed.to_bytes(8, "little"))
        return content.hexdigest()

    def finish(self, images: Tensor, labels: Tensor, indices: Tensor, seed: int) -> Batch:
        """Device-side transforms and normalisation of uint8 images."""
        stream = Stream(seed, self.device)
        for transform in self.transforms:
            self.findings.remark_all(transform.remark(tuple(images.shape[2:])), indices)
            images = transform.batch(images, stream.generator)
        return Batch(self.normalize(images), labels, indices, stream)


class MemoryLoader(Loader):
    """Batches of images that all lie on the device as uint8.

    Args:
        images: a set whose images are of one size.
        batches: which of them, in which order.
        transforms: what is done to a batch of them, in this order.
        skip_unreadable: see ``Reader``.
    """

    def __init__(self, images: ImageSet, batches: EpochBatches | EvalBatches, transforms: Sequence[Transform],
                 normalize: Normalize, device: torch.device, skip_unreadable: bool = False) -> None:
        super().__init__(images, batches, transforms, normalize, device)
        self.reader = Reader(images, (), skip_unreadable)
        self.pixels = images.pixels(self.read).to(device).contiguous(memory_format=torch.channels_last)
        self.labels = images.labels.to(device)

    def read(self, index: int) -> Tensor:
        taken = self.reader.take(index)
        self.findings.note(index, taken.complaint, taken.remarks)
        return taken.image

    def __iter__(self) -> Iterator[Batch]:
        plan = list(self.plan())
        if not plan:   # validation with more ranks than batches
            return
        # an epoch's indices at once, since a copy from the host may wait for all that the device has yet to do
        on_device = torch.cat([indices for indices, _ in plan]).to(self.device)
        for (indices, seed), chosen in zip(plan, on_device.split([len(indices) for indices, _ in plan])):
            yield self.finish(self.pixels[chosen], self.labels[chosen], indices, seed)


class FileLoader(Loader):
    """Batches read image by image in worker processes.

    Where sizes differ, a worker also runs the transforms up to the last one that brings an image to its fixed size.

    Args:
        num_workers: processes that read; 0 reads in this one.
        pin_memory: page-locked batches, for a GPU.
        skip_unreadable: see ``Reader``.

    Raises:
        InputError: images of different sizes, and no transform that makes them equal.
    """

    def __init__(self, images: ImageSet, batches: EpochBatches | EvalBatches, transforms: Sequence[Transform],
                 normalize: Normalize, device: torch.device, num_workers: int, pin_memory: bool = True,
                 skip_unreadable: bool = False) -> None:
        cut = worker_part(images, transforms)
        super().__init__(images, batches, transforms[cut:], normalize, device)
        self.requests = Requests(bool(cut))
        self.loader = DataLoader(
            Reader(images, transforms[:cut], skip_unreadable), batch_sampler=self.requests, num_workers=num_workers,
            collate_fn=collate, pin_memory=pin_memory and device.type == "cuda", persistent_workers=num_workers > 0,
            multiprocessing_context=worker_context() if num_workers else None,
            worker_init_fn=partial(begin_worker, parent=os.getpid()))

    def __iter__(self) -> Iterator[Batch]:
        labels = self.set.labels
        self.requests.plan = list(self.plan())
        with left_to_parent():
            answers = iter(self.loader)
        for answer, (indices, seed) in zip(answers, self.requests.plan):
            if isinstance(answer, InputError):
                raise answer
            images, notes = answer
            for place in notes.complaints.keys() | notes.remarks.keys():
                self.findings.note(int(indices[place]), notes.complaints.get(place, ""), notes.remarks.get(place, ()))
            images = images.to(self.device, non_blocking=True)
            yield self.finish(images, labels[indices].to(self.device, non_blocking=True), indices, seed)

    def close(self) -> None:
        """Ends the worker processes. Left to the garbage collector, which may take their queues first, each takes 5 s to end."""
        del self.loader


class Requests:
    """The plan of the epoch that begins, as lists of (index, seed of this image)."""

    def __init__(self, random: bool) -> None:
        self.random = random
        self.plan: list[tuple[Tensor, int]] = []

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for indices, seed in self.plan:
            seeds = spawn_seeds(seed, len(indices)) if self.random else [0] * len(indices)
            yield list(zip(indices.tolist(), seeds))


def worker_part(images: ImageSet, transforms: Sequence[Transform]) -> int:
    """How many transforms must run image by image: none where sizes are equal, else up to the last that fixes the size."""
    if images.image_size is not None:
        return 0
    fixing = [number for number, transform in enumerate(transforms, start=1) if transform.fixes_size]
    if not fixing:
        raise InputError(f"TRANSFORMS: the images of {images.name} differ in size; name one that fixes it, such as "
                         "random_resized_crop, center_crop or normal_resize")
    return fixing[-1]


def begin_worker(worker: int, parent: int) -> None:
    follow_parent(parent)
    torch.set_num_threads(1)


def make_loader(images: ImageSet, batches: EpochBatches | EvalBatches, transforms: Sequence[Transform],
                normalize: Normalize, device: torch.device, *, in_memory: str, num_workers: int,
                pin_memory: bool, skip_unreadable: bool = False) -> MemoryLoader | FileLoader:
    """Args:
        in_memory: "auto" (images of one size, and below 2 GB in all), "always" or "never".
        skip_unreadable: see ``Reader``.

    Raises:
        InputError: "always" with images of different sizes; an image that cannot be read.
    """
    if in_memory == "always" and images.image_size is None:
        raise InputError(f"DATASET.IN_MEMORY: the images of {images.name} differ in size, so they cannot lie in one array; "
                         "'auto' reads them by workers")
    fits = images.image_size is not None and images.num_bytes < MEMORY_LIMIT
    if in_memory == "always" or (in_memory == "auto" and fits):
        return MemoryLoader(images, batches, transforms, normalize, device, skip_unreadable)
    return FileLoader(images, batches, transforms, normalize, device, num_workers, pin_memory, skip_unreadable)
