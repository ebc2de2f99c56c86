"""JPEG files to network input on one core: the usual chain of libraries beside this project's.

    python tools/benchmark.py --jpeg
    python tools/benchmark.py --jpeg --size 800 600 --quality 95 --repeats 20 --json jpeg.json

The files are random windows of scikit-learn's two sample photographs. All ways take turns, each with all the files; printed are
the medians of their rates and of their ratios, turn by turn. Rates are per second of this process's CPU time: everything is one
thread and the files are in the page cache, so that on an idle machine this is the wall clock, and on a busy one still comparable.
OpenCV is needed: pip install -r tools/requirements.txt
"""
import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision import transforms as usual

from lib.data_transform import TRANSFORMS, Transform, normalize
from lib.data_transform.resize import RandomResizedCrop
from lib.dataset import decode
from lib.dataset.decode import open_image, read_image
from lib.run.environment import environment
from lib.utils.errors import InputError
from lib.utils.files import write_text_atomically
from main.command import exit_status
from tools.measure.options import new_file, positive

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TARGET = (224, 224)
BATCH = 64            # images of a batch on the device side
USUAL, WORKER, DEVICE = "usual chain", "worker side", "device side"


def write_photographs(folder: Path, count: int, size: tuple[int, int], quality: int) -> list[Path]:
    """JPEGs (4:2:0) of width × height: windows of 60 to 100 % of the photographs' width, at random places."""
    numbers = np.random.default_rng(0)
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    files = [folder / f"{number}.jpg" for number in range(count)]
    for number, file in enumerate(files):
        photograph = photographs[number % 2]
        width = int(min(photograph.width, photograph.height * size[0] / size[1]) * numbers.uniform(0.6, 1))
        height = int(width * size[1] / size[0])
        left, top = numbers.integers(photograph.width - width + 1), numbers.integers(photograph.height - height + 1)
        box = (left, top, left + width, top + height)
        photograph.resize(size, Image.Resampling.BICUBIC, box=box).save(file, quality=quality)
    return files


def usual_chain() -> Callable[[Path, int], torch.Tensor]:
    """The usual chain: OpenCV decodes, PIL and torchvision do all other operations, image by image."""
    transform = usual.Compose([
        usual.RandomResizedCrop(TARGET), usual.RandomHorizontalFlip(), usual.ColorJitter(0.4, 0.4, 0.4), usual.ToTensor(),
        usual.Normalize(MEAN, STD)])
    cv2 = import_opencv()
    return lambda file, seed: transform(Image.fromarray(cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)))


def import_opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise InputError("--jpeg: compares with OpenCV, which is not installed: pip install -r tools/requirements.txt") from error
    cv2.setNumThreads(1)
    return cv2


def worker_side(transform: RandomResizedCrop) -> Callable[[Path, int], torch.Tensor]:
    """From file to uint8 crop, as in a worker process."""
    return lambda file, seed: transform.source(open_image(file, "benchmark"), torch.Generator().manual_seed(seed))


def whole_image(transform: RandomResizedCrop) -> Callable[[Path, int], torch.Tensor]:
    """The reference: decode the whole image, crop, resize with antialiasing."""
    return lambda file, seed: transform.image(read_image(file, "benchmark"), torch.Generator().manual_seed(seed))


@contextmanager
def without_turbojpeg() -> Iterator[None]:
    found = decode.find_turbojpeg
    decode.find_turbojpeg = lambda: None
    try:
        yield
    finally:
        decode.find_turbojpeg = found


def by_pillow(read: Callable[[Path, int], torch.Tensor]) -> Callable[[Path, int], torch.Tensor]:
    def run(file: Path, seed: int) -> torch.Tensor:
        with without_turbojpeg():
            return read(file, seed)

    return run


def device_side(images: torch.Tensor, transforms: Sequence[Transform]) -> Callable[[], torch.Tensor]:
    mean, std = torch.tensor(MEAN), torch.tensor(STD)

    def run() -> torch.Tensor:
        batch, generator = images, torch.Generator().manual_seed(0)
        for transform in transforms:
            batch = transform.batch(batch, generator)
        return normalize(batch, mean, std)

    return run


def time_in_turns(files: list[Path], repeats: int) -> dict[str, list[float]]:
    """Images per second of CPU time, for every method in every turn."""
    cv2, crop = import_opencv(), RandomResizedCrop(TARGET)
    scaled = RandomResizedCrop(TARGET, scaled_decoding=True)
    ways = {
        "decoding alone (OpenCV)": lambda file, seed: cv2.imread(str(file)), USUAL: usual_chain(), WORKER: worker_side(crop),
        "  scaled decoding": worker_side(scaled), "  whole image": whole_image(crop), "  by Pillow": by_pillow(worker_side(crop))}
    flip, jitter = TRANSFORMS["random_horizontal_flip"](TARGET), TRANSFORMS["color_jitter"](TARGET)
    images = torch.stack([worker_side(crop)(files[number % len(files)], number) for number in range(BATCH)])
    batches = {DEVICE: device_side(images, [flip, jitter]), "  without jitter": device_side(images, [flip])}
    rates = {name: [] for name in (*ways, *batches)}
    for turn in range(repeats + 1):   # the first one warms up
        for name, way in ways.items():
            started = time.process_time()
            for number, file in enumerate(files):
                way(file, turn * len(files) + number)
            rates[name].append(len(files) / (time.process_time() - started))
        for name, batch in batches.items():
            started = time.process_time()
            batch()
            rates[name].append(BATCH / (time.process_time() - started))
    return {name: values[1:] for name, values in rates.items()}


def differences(files: list[Path]) -> dict[str, float]:
    """Mean absolute difference from the reference in levels of 255, per image: the mean and the largest over the images."""
    exact, scaled = RandomResizedCrop(TARGET), RandomResizedCrop(TARGET, scaled_decoding=True)
    result = {}
    for name, transform in (("exact", exact), ("scaled", scaled)):
        found = [(worker_side(transform)(file, seed).int() - by_pillow(whole_image(exact))(file, seed).int()).abs().float().mean()
                 for seed, file in enumerate(files)]
        result |= {f"{name}_mean": torch.stack(found).mean().item(), f"{name}_max": torch.stack(found).max().item()}
    return result


def show(args: argparse.Namespace, rates: dict[str, list[float]], found: dict[str, float], kilobytes: float) -> None:
    facts = environment("one core")
    print(f"{args.images} JPEGs of {args.size[0]}×{args.size[1]}, quality {args.quality}, {kilobytes:.0f} kB on average, to "
          f"{TARGET[0]}×{TARGET[1]}; {args.repeats} turns")
    print(f"{facts['processor']}, one core; {facts['jpeg_decoder']}")
    summary = {}
    for name, values in rates.items():
        ratio = statistics.median(value / chain for value, chain in zip(values, rates[USUAL]))
        summary[name.strip()] = {"images_per_second": statistics.median(values), "ratio": ratio}
        print(f"  {name:<26}{statistics.median(values):>8.0f} images/s  {ratio:6.2f} × the usual chain")
    print("mean absolute difference from the whole image by Pillow, in levels of 255, and that of the worst image:")
    for name in ("exact", "scaled"):
        print(f"  {name:<26}{found[f'{name}_mean']:>8.3f}  {found[f'{name}_max']:.3f}")
    if args.json:
        report = {"images": args.images, "size": args.size, "quality": args.quality, "kilobytes": kilobytes, "differences": found,
                  "environment": facts, "turns": rates, "summary": summary}
        write_text_atomically(args.json, json.dumps(report, indent=2) + "\n")


def measure(args: argparse.Namespace) -> None:
    if hasattr(os, "sched_setaffinity"):   # on Linux
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = write_photographs(Path(folder), args.images, tuple(args.size), args.quality)
        kilobytes = statistics.mean(file.stat().st_size for file in files) / 1000
        show(args, time_in_turns(files, args.repeats), differences(files), kilobytes)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmark.py --jpeg", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=positive, default=64, metavar="N", help="files (default 64)")
    parser.add_argument("--size", type=positive, nargs=2, default=[500, 375], metavar=("WIDTH", "HEIGHT"),
                        help="of the files, in pixels")
    parser.add_argument("--quality", type=int, choices=range(1, 96), default=90, metavar="Q",
                        help="of the JPEGs, 1 to 95 (default 90)")
    parser.add_argument("--repeats", type=positive, default=11, help="number of timed repetitions (default 11)")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write everything measured to this file as well")
    return exit_status(lambda: measure(parser.parse_args(argv)))
