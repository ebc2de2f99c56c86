"""From indices to normalised batches on the training device, from memory or from files.

Both loaders give the same images in the same order, and every batch brings its own random numbers, so that neither the number of
workers nor reading ahead changes anything. Where all images are of one size a worker does nothing but read, all transforms
work on whole batches on the device, and the two loaders agree to the last bit.
"""
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lib.data_transform import Transform
from lib.dataset.base import ImageSet
from lib.dataset.findings import Findings
from lib.dataset.reader import Reader, collate
from lib.dataset.requests import Requests, begin_worker, worker_part
from lib.dataset.sampler import EpochBatches, EvalBatches
from lib.utils.errors import InputError
from lib.utils.seed import Stream, spawn_seeds
from lib.utils.workers import left_to_parent, worker_context

MEMORY_LIMIT = 2e9   # bytes of a set that IN_MEMORY auto puts on the device

VIEWS = 7   # a key of random numbers

Normalize = Callable[[Tensor], Tensor]   # uint8 (B, 3, H, W) to float
Planned = tuple[Tensor, int]             # indices and seed of a batch


class Batch(NamedTuple):
    """A batch, as a training or evaluation step gets it."""

    images: Tensor    # (B, 3, H, W), float, normalised, on the training device
    labels: Tensor    # (B,), int64, on the training device
    indices: Tensor   # (B,), which images of the set, on the CPU
    stream: Stream    # random numbers of this batch
    views: tuple[Tensor, ...] = ()   # the same images, augmented in other ways (TRANSFORMS.VIEWS), like ``images``


class Loader:
    """The base of the two loaders: which images come in which order, and how they are prepared on the device."""

    def __init__(self, images: ImageSet, batches: EpochBatches | EvalBatches, transforms: Sequence[Transform],
                 normalize: Normalize, device: torch.device, views: Sequence[Sequence[Transform]] = ()) -> None:
        self.set, self.batches, self.transforms, self.normalize = images, batches, transforms, normalize
        self.device, self.views = device, views
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
        """The findings since the last call."""
        findings, self.findings = self.findings, Findings()
        return findings

    def close(self) -> None:
        """Stops reading ahead; after it there are no more batches."""

    def __len__(self) -> int:
        """The number of batches of a whole epoch."""
        return self.num_batches

    def plan(self) -> list[Planned]:
        """Indices and seed of each remaining batch of this epoch."""
        batches = self.batches.batches()
        return list(islice(zip(batches, self.batches.seeds(len(batches))), self.done, None))

    def digest(self, epoch: int) -> str:
        """A digest that is equal if an epoch has the same batches with the same random numbers."""
        batches = self.batches.of_epoch(epoch)
        content = hashlib.sha256()
        for indices, seed in zip(batches, self.batches.seeds(len(batches), epoch)):
            content.update(indices.numpy().tobytes() + seed.to_bytes(8, "little"))
        return content.hexdigest()

    def __iter__(self) -> Iterator[Batch]:
        return self.read(self.plan(), views=True)

    def read(self, plan: Sequence[Planned], views: bool = False) -> Iterator[Batch]:
        """The batches of a plan; without the further views of each image unless they are asked for."""
        raise NotImplementedError(f"{type(self).__name__} must read images")

    def stateful(self) -> Iterator[tuple[str, Transform]]:
        """The transforms with state, by name."""
        for place, transforms in enumerate((self.transforms, *self.views)):
            for number, transform in enumerate(transforms):
                if transform.by_class:
                    yield f"transform {place}.{number}", transform

    def finish(self, stored: Sequence[Tensor], labels: Tensor, indices: Tensor, seed: int) -> Batch:
        """Device-side transforms and normalisation.

        Args:
            stored: uint8 images, and those that further views are made of.
        """
        first, *others = stored
        seeds = spawn_seeds((seed, VIEWS), len(others)) if others else []   # so that more views leave the first one as it is
        stream = Stream(seed, self.device)
        images = self.augment(first, self.transforms, indices, stream)
        views = tuple(self.augment(own, transforms, indices, Stream(of_view, self.device))
                      for own, transforms, of_view in zip(others, self.views, seeds))
        return Batch(images, labels, indices, stream, views)

    def augment(self, images: Tensor, transforms: Sequence[Transform], indices: Tensor, stream: Stream) -> Tensor:
        for transform in transforms:
            self.findings.remark_all(transform.remark((images.shape[2], images.shape[3])), indices)
            if transform.by_class:
                images = transform.labelled(images, self.set.labels[indices], stream.generator)
            else:
                images = transform.batch(images, stream.generator)
        return self.normalize(images)


class MemoryLoader(Loader):
    """A loader of images that are all in the memory of the device as uint8.

    Args:
        images: a set whose images are of one size.
        batches: which of them, in which order.
        transforms: what is done to a batch of them, in this order.
        skip_unreadable: see ``Reader``.
    """

    def __init__(self, images: ImageSet, batches: EpochBatches | EvalBatches, transforms: Sequence[Transform],
                 normalize: Normalize, device: torch.device, skip_unreadable: bool = False,
                 views: Sequence[Sequence[Transform]] = ()) -> None:
        super().__init__(images, batches, transforms, normalize, device, views)
        self.reader = Reader(images, (), skip_unreadable)
        self.pixels = images.pixels(self.take).to(device).contiguous(memory_format=torch.channels_last)
        self.labels = images.labels.to(device)

    def take(self, index: int) -> Tensor:
        taken = self.reader.take(index)
        self.findings.note(index, taken.complaint, taken.remarks)
        return taken.image

    def read(self, plan: Sequence[Planned], views: bool = False) -> Iterator[Batch]:
        if not plan:   # validation with more ranks than batches
            return
        # an epoch's indices at once, since a copy from the host may wait for all that the device has yet to do
        on_device = torch.cat([indices for indices, _ in plan]).to(self.device)
        for (indices, seed), chosen in zip(plan, on_device.split([len(indices) for indices, _ in plan])):
            images = self.pixels[chosen]
            yield self.finish([images] * (1 + len(self.views) * views), self.labels[chosen], indices, seed)


class FileLoader(Loader):
    """A loader that reads images one by one in worker processes.

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
                 skip_unreadable: bool = False, views: Sequence[Sequence[Transform]] = ()) -> None:
        lists = (transforms, *views)
        cuts = [worker_part(images, some) for some in lists]
        first, *others = (some[cut:] for some, cut in zip(lists, cuts))
        super().__init__(images, batches, first, normalize, device, others)
        self.requests = Requests(bool(cuts[0]))
        by_worker, *of_views = [some[:cut] for some, cut in zip(lists, cuts)]
        self.loader = DataLoader(
            Reader(images, by_worker, skip_unreadable, of_views if cuts[0] else ()), batch_sampler=self.requests,
            num_workers=num_workers, collate_fn=collate, pin_memory=pin_memory and device.type == "cuda",
            persistent_workers=num_workers > 0, multiprocessing_context=worker_context() if num_workers else None,
            worker_init_fn=partial(begin_worker, parent=os.getpid()))

    def read(self, plan: Sequence[Planned], views: bool = False) -> Iterator[Batch]:
        labels = self.set.labels
        self.requests.plan = list(plan)
        with left_to_parent():
            answers = iter(self.loader)
        for answer, (indices, seed) in zip(answers, self.requests.plan):
            if isinstance(answer, InputError):
                raise answer
            pictures, notes, others = answer
            for place in notes.complaints.keys() | notes.remarks.keys():
                self.findings.note(int(indices[place]), notes.complaints.get(place, ""), notes.remarks.get(place, ()))
            stored = [images.to(self.device, non_blocking=True) for images in (pictures, *others)]
            if not others:   # sizes are equal, so all views are made on the device
                stored = stored * (1 + len(self.views))
            wanted = stored[:1 + len(self.views) * views]
            yield self.finish(wanted, labels[indices].to(self.device, non_blocking=True), indices, seed)

    def close(self) -> None:
        """Ends the worker processes. Left to the garbage collector, which may take their queues first, each takes 5 s to end."""
        del self.loader


def make_loader(images: ImageSet, batches: EpochBatches | EvalBatches, transforms: Sequence[Transform],
                normalize: Normalize, device: torch.device, *, in_memory: str, num_workers: int,
                pin_memory: bool, skip_unreadable: bool = False,
                views: Sequence[Sequence[Transform]] = ()) -> MemoryLoader | FileLoader:
    """Args:
        in_memory: "auto" (images of one size, and below 2 GB in all), "always" or "never".
        skip_unreadable: see ``Reader``.
        views: transforms of each further view.

    Raises:
        InputError: "always" with images of different sizes; an image that cannot be read.
    """
    if in_memory == "always" and images.image_size is None:
        raise InputError(f"DATASET.IN_MEMORY: the images of {images.name} differ in size, so they cannot lie in one array; "
                         "'auto' reads them by workers")
    fits = images.image_size is not None and images.num_bytes < MEMORY_LIMIT
    if in_memory == "always" or (in_memory == "auto" and fits):
        return MemoryLoader(images, batches, transforms, normalize, device, skip_unreadable, views)
    return FileLoader(images, batches, transforms, normalize, device, num_workers, pin_memory, skip_unreadable, views)
