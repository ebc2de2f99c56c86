"""Writes a trained network as one file that other programs run, and checks the file against PyTorch.

    python main/export.py output/birds --format onnx
    python main/export.py output/birds/models/best_model.pth --format torch_export --out birds.pt2 --images photos/

The exported network takes uint8 images (batch, 3, height, width) in R, G, B and returns probabilities; it includes normalisation
and softmax. Its metadata hold the class names, the input size and how to prepare a picture. Before the file is written, real
pictures (those of --images, by default the run's validation images) are classified by it and by PyTorch; it is written only if
all probabilities agree to 1e-4. docs/use.md has programs of ten lines that use it.
"""
import gc
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    gc.disable()   # until everything is imported, which takes a fifth of its time less then

import argparse
import csv
import hashlib
import logging
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lib.config.auto import is_resized
from lib.config.stored import stored_tree
from lib.core import build
from lib.inference import Predictor
from lib.inference.exported import FORMATS, TOLERANCE, batch_sizes, check, describe_model, export, opened, require_packages
from lib.inference.outputs import EXPORT, check_outputs, is_run
from lib.inference.predictor import find_checkpoint
from lib.report.report import FILES
from lib.run import checkpoint
from lib.utils.errors import InputError, RunFailedError
from lib.utils.files import write_bytes_atomically
from lib.utils.text import count, name_some, printable
from main.command import exit_status
from main.predict import add_prior, find_pictures, positive, told_by

log = logging.getLogger("main.export")

CHECKED = 64   # images, unless --number says how many


def run_export(args: argparse.Namespace) -> None:
    require_packages(args.format)
    path = find_checkpoint(args.checkpoint)
    predictor = Predictor.load(path, "cpu", told_by(args.cfg), args.prior)
    out = args.out or default_out(path, args.format)
    if args.out is None and out.parent.name == EXPORT:
        out.parent.mkdir(exist_ok=True)
    check_outputs([out], args.overwrite)
    images, whose = gather_images(path, predictor, args)
    began = time.monotonic()
    about = {"checkpoint": path.name, "epoch": checkpoint.load(path).get("epoch"),
             "checkpoint_sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "torch": str(torch.__version__),
             **({"prior": args.prior, "logit_shift": predictor.shift.tolist()} if args.prior else {})}
    content = export(predictor, args.format, describe_model(predictor, about))
    result = check(opened(content, args.format), predictor, images)
    sizes = ", ".join(map(str, batch_sizes(result.images)))
    comparison = (f"{count(result.images, 'image')} ({whose}), batches of {sizes}: largest difference of a "
                  f"probability {result.difference:.2g}, same class for {result.agreeing} of {result.images}")
    if not result.passed:
        raise RunFailedError(f"{out} is not written, since its probabilities differ from PyTorch's by more than {TOLERANCE:g}: "
                             f"{comparison}")
    write_bytes_atomically(out, content)
    names = name_some([printable(name) for name in predictor.class_names])
    height, width = predictor.preparation.size
    log.info("Checked against PyTorch on %s: passed (at most %g is allowed)", comparison, TOLERANCE)
    log.info("%s: %.1f MB, %s, input uint8 (batch, 3, %d, %d), %s: %s, in %.0f s", out, len(content) / 1e6, args.format, height,
             width, count(len(predictor.class_names), "class", "classes"), names, time.monotonic() - began)


def default_out(path: Path, kind: str) -> Path:
    """The default path: in the folder export/ of the checkpoint's run, or beside a checkpoint that belongs to no run."""
    run = path.absolute().parent.parent
    folder = run / EXPORT if is_run(run) else path.parent
    return folder / f"{path.stem}{FORMATS[kind]}"


def gather_images(path: Path, predictor: Predictor, args: argparse.Namespace) -> tuple[Tensor, str]:
    """The images of the check, uint8 (N, 3, H, W), and a description of them."""
    if args.images:
        paths, whose = find_pictures(args.images), "of --images"
    else:
        paths, whose = validated_on(path), "of the run's validation"
    if paths:
        prepared = predictor.preparation.images(evenly(paths, args.number))
        for one in prepared:
            if one.image is None:
                log.warning("%s", one.mistake)
        found = [one.image for one in prepared if one.image is not None]
        if found:
            return torch.stack(found), whose
        if args.images:
            raise InputError(f"--images: none of the {count(len(prepared), 'picture')} can be read; the log says why")
    found = list(of_arrays(path, predictor, args.number))
    if found:
        return torch.stack(found), whose
    log.warning("the pictures that %s was validated on no longer exist, so random pixels are used for the check; give pictures "
                "with --images", path)
    shape = (args.number, 3, *predictor.preparation.size)
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)), "random pixels"


def validated_on(path: Path) -> list[Path]:
    """The pictures in the validation table of the run that still exist."""
    table = path.absolute().parent.parent / FILES["predictions"]
    if not table.is_file():
        return []
    with table.open(encoding="utf-8", newline="") as file:
        names = [row.get("path") or "" for row in csv.DictReader(file)]
    return [Path(name) for name in names if name and Path(name).is_file()]


def of_arrays(path: Path, predictor: Predictor, number: int) -> Iterator[Tensor]:
    """Images of a validation set that does not consist of files, such as CIFAR; none if the set is not available."""
    config = checkpoint.load(path).get("config") or {}
    if not is_resized(config.get("DATASET.DATASET", "")):
        return
    try:
        images = build.build_datasets(stored_tree(config))[1]
    except InputError as error:
        log.warning("%s", error)
        return
    if images is None:
        return
    for index in evenly(range(len(images.labels)), number):
        yield predictor.preparation.prepared(images.open(index))


def evenly(items: Sequence, most: int) -> list:
    """At most ``most`` of the items, evenly spaced, since tables are often sorted by class."""
    chosen = min(most, len(items))
    return [items[place * len(items) // chosen] for place in range(chosen)]


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a .pth file, or the folder of a run")
    parser.add_argument("--format", choices=list(FORMATS), default="onnx", help="default onnx")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write (default: export/ in the folder of the run)")
    parser.add_argument("--images", type=Path, nargs="+", metavar="PICTURES-OR-FOLDERS", help="what is compared")
    parser.add_argument("--number", type=positive, default=CHECKED, metavar="N", help=f"images compared (default {CHECKED})")
    parser.add_argument("--overwrite", action="store_true", help="replace an exported file that is already there")
    add_prior(parser)
    parser.add_argument("--cfg", nargs="+", action="append", metavar="YAML",
                        help="configuration of the training, for a checkpoint that does not contain it")
    return exit_status(lambda: run_export(parser.parse_args(argv)))


if __name__ == "__main__":
    gc.enable()
    sys.exit(main(sys.argv[1:]))
