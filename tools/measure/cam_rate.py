"""Speed of CAM-based sampling, beside a loop that handles one image at a time."""
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from lib.cam_sampling import Generation, Plan, Writer, file_name
from lib.cam_sampling.geometry import Moves, bounding_boxes, paste, source_maps
from lib.cam_sampling.output import remove
from lib.config import Config
from lib.core import build
from lib.data_transform.resize import resize
from lib.dataset import ImageSet
from lib.device.runtime import Runtime, to_device
from lib.net import class_activation_maps, foreground, scale_maps

LOOP_IMAGES = 300   # that the loop makes, evenly spaced over the plan; its rate does not depend on how many


def cam_rates(cfg: Config, repeats: int, train_set: ImageSet, runtime: Runtime) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Images/s of both, in turn, PNG files included, and their ratio; the network has fresh weights, which changes no speed."""
    network = to_device(build.build_network(cfg, train_set.num_classes), runtime, build.memory_format(cfg), sync_batchnorm=False)
    generation = build.build_generation(cfg, train_set, network, runtime.device)
    plan = build.build_plan(cfg, train_set)
    numbers = torch.linspace(0, len(plan.labels) - 1, min(LOOP_IMAGES, len(plan.labels))).long().tolist()
    rates = []
    for number in range(repeats + 1):   # the first pair warms up
        with folder_of(plan) as folder:
            started = time.perf_counter()
            one_at_a_time(generation, plan, numbers, folder)
            loop = len(numbers) / (time.perf_counter() - started)
        with folder_of(plan) as folder:
            started = time.perf_counter()
            in_batches(generation, plan, folder)
            batched = len(plan.labels) / (time.perf_counter() - started)
        if number:
            rates.append({"one_at_a_time": loop, "batched": batched, "ratio": batched / loop})
    return rates, {"new_images": len(plan.labels), "sources": len(plan.sources.unique()), "batch": generation.batch_size}


@contextmanager
def folder_of(plan: Plan) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    try:
        for label in plan.labels.unique().tolist():
            (folder / file_name(label, 0)).parent.mkdir()
        yield folder
    finally:
        remove(folder)


def in_batches(generation: Generation, plan: Plan, folder: Path) -> None:
    """In batches, as main/train.py does it."""
    with Writer(folder) as writer:
        for made in generation.run(plan):
            pairs = zip(plan.labels[made.numbers].tolist(), plan.places[made.numbers].tolist())
            writer.write([file_name(*pair) for pair in pairs], made.results.cpu())


@torch.no_grad()
def one_at_a_time(generation: Generation, plan: Plan, numbers: list[int], folder: Path) -> None:
    """Handles one new image after the other with the same functions: read, network, map, move, paste, write."""
    generation.network.eval()
    for number in numbers:
        one = slice(number, number + 1)
        image = generation.images.read(int(plan.sources[number]))[None].to(generation.device)
        view = generation.normalize(resize(image, generation.size))
        maps = class_activation_maps(generation.network, view, plan.labels[one].to(generation.device))
        size = tuple(image.shape[2:])
        mask = foreground(scale_maps(maps, size))
        moves = Moves.from_uniform(plan.uniform[one].to(generation.device))
        result = paste(image, mask, source_maps(moves, bounding_boxes(mask), size))
        name = file_name(int(plan.labels[number]), int(plan.places[number]))
        Image.fromarray(result[0].permute(1, 2, 0).cpu().numpy()).save(folder / name)
