"""Generates the images: each class activation map is computed once, everything else in batches on the device."""
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from lib.cam_sampling.geometry import Moves, bounding_boxes, paste, source_maps
from lib.cam_sampling.plan import Plan
from lib.data_transform.resize import resize
from lib.dataset import ImageSet
from lib.net import Network, class_activation_maps, foreground, scale_maps
from lib.utils.errors import RunFailedError

Size = tuple[int, int]


class Made(NamedTuple):
    """Finished images of one size and what they were made from; on the device."""

    numbers: Tensor     # (B,) places in the plan, on the CPU
    kinds: Tensor       # (B,) of the moves
    originals: Tensor   # (B, 3, H, W) uint8
    maps: Tensor        # (B, H, W) in [0, 1]
    boxes: Tensor       # (B, 4) left, top, right, bottom of the foreground
    results: Tensor     # (B, 3, H, W) uint8


class View(NamedTuple):
    """An image of the training set: the original, and the whole image resized to INPUT_SIZE for the network."""

    image: Tensor   # uint8 (3, H, W)
    pixels: Tensor  # uint8 (3, *INPUT_SIZE)


class Generation:
    """Makes the images of CAM-based sampling.

    Args:
        images: the training set, its images of one size or of many.
        network: trained, on the device.
        normalize: uint8 (B, 3, H, W) to the input of the network.
        size: INPUT_SIZE.
        autocast: the precision of the network; its maps are float32.
        batch_size: images that the network and the warp take at once; changes nothing but speed and memory.
        num_readers: threads that read ahead.
    """

    def __init__(self, images: ImageSet, network: Network, normalize: Callable[[Tensor], Tensor], size: Size,
                 device: torch.device, *, batch_size: int, num_readers: int,
                 autocast: Callable[[], AbstractContextManager] = nullcontext) -> None:
        self.images, self.network, self.normalize, self.size, self.device = images, network, normalize, size, device
        self.batch_size, self.num_readers, self.autocast = batch_size, num_readers, autocast

    @torch.inference_mode()
    def run(self, plan: Plan) -> Iterator[Made]:
        """Yields the images of the plan, ordered by source and not by number.

        Raises:
            RunFailedError: the network gives maps that are not finite.
        """
        self.network.eval()
        order = plan.sources.argsort(stable=True)
        sources, counts = plan.sources[order].unique_consecutive(return_counts=True)
        numbers = order.split(counts.tolist())   # of each source, which new images
        blocks = torch.arange(len(sources)).split(self.batch_size)
        with ThreadPoolExecutor(self.num_readers) as readers:
            for block, read in zip(blocks, read_ahead(readers, self.read, [sources[block].tolist() for block in blocks])):
                yield from self.block(plan, read, self.images.labels[sources[block]], [numbers[place] for place in block])

    def read(self, index: int) -> View:
        image = self.images.read(index)
        return View(image, resize(image, self.size))

    def block(self, plan: Plan, sources: list[View], labels: Tensor, numbers: list[Tensor]) -> Iterator[Made]:
        """Yields all new images of some sources: one forward pass, then one group for each image size."""
        views = torch.stack([source.pixels for source in sources]).to(self.device)
        with self.autocast():
            maps = class_activation_maps(self.network, self.normalize(views), labels.to(self.device))
        if not maps.isfinite().all():
            raise RunFailedError("the class activation maps of the network are not finite, since its training has diverged")
        for size, members in by_size(sources).items():
            originals = torch.stack([sources[member].image for member in members]).to(self.device)
            yield from self.group(plan, originals, scale_maps(maps[members], size), [numbers[member] for member in members])

    def group(self, plan: Plan, originals: Tensor, maps: Tensor, numbers: list[Tensor]) -> Iterator[Made]:
        masks = foreground(maps)
        boxes = bounding_boxes(masks)
        owner = torch.arange(len(numbers)).repeat_interleave(torch.tensor([len(own) for own in numbers]))
        for batch, member in zip(torch.cat(numbers).split(self.batch_size), owner.split(self.batch_size)):
            member = member.to(self.device)
            moves = Moves.from_uniform(plan.uniform[batch].to(self.device))
            warps = source_maps(moves, boxes[member], (maps.shape[1], maps.shape[2]))
            results = paste(originals[member], masks[member], warps)
            yield Made(batch, moves.kind, originals[member], maps[member], boxes[member], results)


def by_size(sources: Iterable[View]) -> dict[Size, list[int]]:
    """The positions of the sources of each height and width."""
    groups: dict[Size, list[int]] = {}
    for place, source in enumerate(sources):
        groups.setdefault((source.image.shape[1], source.image.shape[2]), []).append(place)
    return groups


def read_ahead(pool: ThreadPoolExecutor, read: Callable[[int], View], blocks: list[list[int]]) -> Iterator[list[View]]:
    """Yields the images of each block while the next block is being read."""
    waiting: list[list[Future]] = []
    for block in blocks:
        waiting.append([pool.submit(read, index) for index in block])
        if len(waiting) == 2:
            yield [future.result() for future in waiting.pop(0)]
    for futures in waiting:
        yield [future.result() for future in futures]
