"""Measures how well the logits of a trained network separate images of its classes from foreign images.

    python tools/out_of_distribution.py photos/ textures/ --checkpoint output/birds --out birds_ood
    python tools/out_of_distribution.py configs/test/{digits_lt,fashion_lt}.yaml --checkpoint output/digits_lt --out ood
    python tools/out_of_distribution.py ood/known.npz ood/foreign.npz --out again

KNOWN and FOREIGN are each a folder of pictures, a configuration (its validation set) or a .npz of logits that this tool wrote.
Images are prepared as for the network. Three scores are measured: 1 - max softmax, energy (-logsumexp) and - max logit; foreign
images are the positive class. Remove images that show one of the network's classes from FOREIGN: they would count
as foreign.
"""
import gc
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    gc.disable()   # until everything is imported, which takes a fifth of its time less then

import argparse
import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.config import load_config
from lib.core import build
from lib.dataset import ImageSet
from lib.inference import Predictor
from lib.inference.outputs import check_outputs
from lib.inference.predictor import BATCH_SIZE, Preparation, Prepared, find_checkpoint
from lib.report.ood import detect, detection_dict, detection_table, scores_figure
from lib.report.style import save_figure
from lib.utils.errors import InputError, MissingPathError
from lib.utils.files import write_bytes_atomically, write_text_atomically
from lib.utils.progress import Counter
from lib.utils.text import count
from main.command import exit_status
from main.predict import find_pictures, positive

log = logging.getLogger("tools.out_of_distribution")

FILES = {"known": "known.npz", "foreign": "foreign.npz", "numbers": "ood.json", "figure": "ood.png"}


class Scored(NamedTuple):
    """The logits that a network computes for a set of images."""

    logits: Tensor           # (N, C) float32
    class_names: list[str]
    network: str             # SHA-256 of its checkpoint
    images: str              # where they come from


def measure_detection(args: argparse.Namespace) -> None:
    outputs = {name: args.out / file for name, file in FILES.items()}
    sources = {"known": args.known, "foreign": args.foreign}
    stored = {name: path for name, path in sources.items() if path.suffix == ".npz"}
    if len(stored) < 2 and args.checkpoint is None:
        raise InputError(f"--checkpoint: needed for {next(path for path in sources.values() if path.suffix != '.npz')}, which is "
                         "not a .npz of logits; a run's folder or a .pth file")
    args.out.mkdir(parents=True, exist_ok=True)
    written = [path for name, path in outputs.items() if name not in stored]
    check_outputs(written, args.overwrite)
    path = find_checkpoint(args.checkpoint) if args.checkpoint else None
    predictor = Predictor.load(path) if path and len(stored) < 2 else None
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path else ""
    sets = {name: read_logits(source) if name in stored else compute(source, predictor, digest, args.batch)
            for name, source in sources.items()}
    known, foreign = sets["known"], sets["foreign"]
    if known.class_names != foreign.class_names or known.network != foreign.network:
        what = "classes" if known.class_names != foreign.class_names else "checkpoints"
        raise InputError(f"{args.known} and {args.foreign}: logits of different networks (the {what} differ); both must come "
                         "from the same network")
    for name, one in sets.items():
        if name not in stored:
            write_bytes_atomically(outputs[name], packed(one))
    results = detect(known.logits, foreign.logits)
    about = {"known": known.images, "foreign": foreign.images, "checkpoint_sha256": known.network,
             "images": [len(known.logits), len(foreign.logits)]}
    write_text_atomically(outputs["numbers"], json.dumps(detection_dict(results, about), indent=2) + "\n")
    save_figure(scores_figure(known.logits, foreign.logits, results), outputs["figure"])
    print(f"{count(len(known.logits), 'known image')}, {count(len(foreign.logits), 'foreign image')}\n{detection_table(results)}")
    log.info("Written: %s", ", ".join(str(path) for path in written))


def compute(source: Path, predictor: Predictor | None, digest: str, batch_size: int) -> Scored:
    if predictor is None:
        raise InputError(f"{source}: no checkpoint to compute its logits with; --checkpoint names one")
    batches: list[Tensor] = []
    with torch.inference_mode():
        batches += [predictor.logits(images).float().cpu() for images in images_of(source, predictor, batch_size)]
    if not batches:
        raise InputError(f"{source}: none of its images can be read; the log says why")
    return Scored(torch.cat(batches), predictor.class_names, digest, str(source))


def images_of(source: Path, predictor: Predictor, batch_size: int) -> Iterator[Tensor]:
    """Yields batches of images, uint8 (B, 3, H, W) of the input size, in R, G, B. Unreadable ones are left out with a warning."""
    name, number, read = find_images(source, predictor.preparation)
    counter = Counter(f"{name}:", number)
    for start in range(0, number, batch_size):
        prepared = read(range(start, min(start + batch_size, number)))
        for one in prepared:
            if one.image is None:
                log.warning("left out: %s", one.mistake)
        readable = [one.image for one in prepared if one.image is not None]
        if readable:
            yield torch.stack(readable)
        counter.add(len(prepared))


def find_images(source: Path, preparation: Preparation) -> tuple[str, int, Callable[[Sequence[int]], list[Prepared]]]:
    """Name of a configuration's validation set or of a folder, its number of images, and a function that reads some by row."""
    if source.suffix in (".yaml", ".yml"):
        size = str(list(preparation.size))   # to which some data sets resize their images themselves
        _, images = build.build_datasets(load_config([source], ["INPUT_SIZE", size]))
        if images is None:
            raise InputError(f"{source}: has no validation images")
        return images.name, len(images.labels), lambda rows: [prepare(images, row, preparation) for row in rows]
    if not source.exists():
        raise MissingPathError(f"no file or folder {source}; a folder of pictures, a .yaml or a .npz is needed")
    paths = find_pictures([source])
    return str(source), len(paths), lambda rows: preparation.images([paths[row] for row in rows])


def prepare(images: ImageSet, row: int, preparation: Preparation) -> Prepared:
    name = Path(f"{images.name}, image {row}")
    try:
        return Prepared(name, preparation.prepared(images.open(row)))
    except InputError as error:
        return Prepared(name, None, str(error))


def packed(scored: Scored) -> bytes:
    buffer = io.BytesIO()
    names = np.array([json.dumps(name) for name in scored.class_names])   # ASCII, whatever the names are
    np.savez_compressed(buffer, logits=scored.logits.numpy(), class_names=names, network=np.array(scored.network),
                        images=np.array(json.dumps(scored.images)))
    return buffer.getvalue()


def read_logits(path: Path) -> Scored:
    """Reads a file of logits. Raises InputError for other files."""
    if not path.is_file():
        raise MissingPathError(f"no file {path}")
    try:
        with np.load(path, allow_pickle=False) as content:
            logits = torch.from_numpy(content["logits"]).float()
            names = [json.loads(str(name)) for name in content["class_names"]]
            found = Scored(logits, names, str(content["network"]), json.loads(str(content["images"])))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: is not a .npz of logits that this tool wrote ({error})") from error
    if found.logits.dim() != 2 or found.logits.shape[1] != len(names) or not len(logits) or not logits.isfinite().all():
        raise InputError(f"{path}: must hold finite logits (images, classes), got {tuple(logits.shape)} for {len(names)} classes")
    return found


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("known", type=Path, metavar="KNOWN", help="images of the network's classes")
    parser.add_argument("foreign", type=Path, metavar="FOREIGN", help="images of other things")
    parser.add_argument("--checkpoint", type=Path, metavar="CHECKPOINT", help="a .pth file, or the folder of a run")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the logits, ood.json and ood.png go")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier measurement wrote to --out")
    parser.add_argument("--batch", type=positive, default=BATCH_SIZE, help=f"images at once (default {BATCH_SIZE})")
    return exit_status(lambda: measure_detection(parser.parse_args(argv)))


if __name__ == "__main__":
    gc.enable()
    sys.exit(main(sys.argv[1:]))
