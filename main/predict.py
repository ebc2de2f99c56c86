"""Predicts the classes of pictures from a checkpoint alone.

    python main/predict.py output/birds/models/last.pth photo.jpg more_photos/
    python main/predict.py output/birds more_photos/ --prior shares.json
    python main/predict.py output/birds more_photos/ --top 3 --csv predictions.csv --sheet predictions.png --gpus 0

CHECKPOINT is a file in models/, or the folder of a run, whose last epoch is used. It holds the class names and how pictures are
prepared. A folder stands for all pictures in it and in its subfolders. A checkpoint of an earlier version or another program
lacks this information; give the configuration that it was trained with by --cfg.
"""
import gc
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    gc.disable()   # until everything is imported, which takes a fifth of its time less then

import argparse
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from lib.config import gather_words, load_config
from lib.config.preparation import preprocessing
from lib.core import build
from lib.dataset.folder.files import Finder
from lib.device.runtime import Runtime
from lib.inference import Prediction, Predictor
from lib.inference.outputs import check_outputs
from lib.inference.predictor import BATCH_SIZE, Prepared
from lib.report.sheet import sheet_figure
from lib.report.style import save_figure
from lib.utils.errors import InputError, MissingPathError
from lib.utils.files import write_text_atomically
from lib.utils.progress import Counter
from lib.utils.text import count, csv_text, name_some, printable
from main.command import exit_status

log = logging.getLogger("main.predict")

MOST_SHOWN = 60   # pictures of a sheet


def predict(args: argparse.Namespace) -> None:
    outputs = [path for path in (args.csv, args.sheet) if path is not None]
    check_outputs(outputs, args.overwrite)
    with Runtime.start(args.gpus) as runtime:
        predictor = Predictor.load(args.checkpoint, runtime.device, told_by(args.cfg), args.prior)
        if args.prior:
            log.info("Class prior: %s; the logits are moved to it from the training set's", args.prior)
        paths = find_pictures(args.pictures)
        classes = count(len(predictor.class_names), "class", "classes")
        log.info("%s to predict, among %s, on %s", count(len(paths), "picture"), classes, runtime.describe())
        done: list[tuple[Prepared, Prediction | None]] = []
        counter = Counter("predicted:", len(paths))
        try:
            for prepared, prediction in predictor.run(paths, args.top, args.batch):
                if prediction is None:
                    log.warning("%s", prepared.mistake)
                elif args.csv is None:
                    print(line(prediction))
                drawn = args.sheet is not None and len(done) < MOST_SHOWN
                done.append((prepared if drawn else prepared._replace(image=None), prediction))
                counter.add(1)
        except KeyboardInterrupt:
            write(args, predictor, done)
            raise KeyboardInterrupt(f"{len(done)} of {len(paths)} pictures are predicted") from None
        write(args, predictor, done)
    unreadable = [prepared.path for prepared, prediction in done if prediction is None]
    if len(unreadable) == len(done):
        raise InputError(f"none of the {count(len(done), 'picture')} can be read; the log says why")
    if unreadable:
        log.warning("%s could not be read: %s", count(len(unreadable), "picture"), name_some(unreadable))


def told_by(words: Sequence[Sequence[str]] | None) -> dict[str, Any] | None:
    """The facts about a network that a configuration and its data contain, by their names in a checkpoint."""
    if not words:
        return None
    files, pairs = gather_words(words)
    cfg = load_config(files, pairs)
    train_set, valid_set = build.build_datasets(cfg)
    return {"config": cfg.flat(), "class_names": train_set.class_names,
            "preprocessing": preprocessing(cfg, train_set if valid_set is None else valid_set),
            "evaluation_scale": build.build_criterion(cfg, train_set.class_counts).evaluation_scale,
            "class_counts": train_set.class_counts}


def find_pictures(places: Sequence[Path]) -> list[Path]:
    """The named files and all pictures in the named folders, sorted, each once; what is left out is logged by kind."""
    paths: dict[Path, None] = {}
    for place in places:
        if place.is_dir():
            finder = Finder(place)
            paths |= dict.fromkeys(sorted(finder.images(place)))
            for kind, left_out in finder.left_out.items():
                log.info("%s: left out %s, %s: %s", place, count(len(left_out), "entry", "entries"), kind, name_some(left_out))
            for complaint in finder.unreadable:
                log.warning("%s: left out, cannot be opened: %s", place, complaint)
        elif place.exists():
            paths[place] = None
        else:
            raise MissingPathError(f"no file or folder {place}")
    if not paths:
        raise InputError(f"no pictures in {name_some(places)}")
    return list(paths)


def line(prediction: Prediction) -> str:
    pairs = zip(prediction.classes, prediction.probabilities)
    classes = "  ".join(f"{printable(name)} {100 * probability:.1f} %" for name, probability in pairs)
    return f"{printable(str(prediction.path))}  {classes}"


def write(args: argparse.Namespace, predictor: Predictor, done: Sequence[tuple[Prepared, Prediction | None]]) -> None:
    """Writes the requested table and sheet of the predictions made so far."""
    top = min(args.top, len(predictor.class_names))
    if args.csv is not None:
        columns = [f"{column}_{place}" for place in range(1, top + 1) for column in ("class", "probability")]
        header = ["path", *columns, "unreadable"]
        rows = [[str(prepared.path), *cells(prediction, top), prepared.mistake] for prepared, prediction in done]
        write_text_atomically(args.csv, csv_text([header, *rows]))
        log.info("Table: %s", args.csv)
    if args.sheet is not None:
        shown = [(prepared.image, prediction.path.name, list(zip(prediction.classes, prediction.probabilities)))
                 for prepared, prediction in done if prepared.image is not None and prediction is not None]
        if shown:
            save_figure(sheet_figure(shown), args.sheet)
            log.info("Sheet: %s, %d of %s", args.sheet, len(shown), count(len(done), "picture"))


def cells(prediction: Prediction | None, top: int) -> list[str]:
    if prediction is None:
        return [""] * 2 * top
    pairs = zip(prediction.classes, prediction.probabilities)
    return [cell for name, probability in pairs for cell in (name, f"{probability:.7g}")]


def positive(word: str) -> int:
    with suppress(ValueError):
        if int(word) > 0:
            return int(word)
    raise argparse.ArgumentTypeError(f"{word!r} is not a whole number above 0")


def add_prior(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prior", default="", metavar="PRIOR", help="how frequent each class is among the pictures: uniform, "
                        "forward-50 (as in a training set of that ratio), backward-50, or a JSON file, a number for each class")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a .pth file, or the folder of a run")
    parser.add_argument("pictures", type=Path, nargs="+", metavar="PICTURES-OR-FOLDERS")
    parser.add_argument("--top", type=positive, default=5, metavar="N", help="most probable classes per picture (default 5)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a CSV table with a row for each picture")
    parser.add_argument("--sheet", type=Path, metavar="FILE",
                        help=f"draw the first {MOST_SHOWN} pictures with their classes into a .png file")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files of --csv and --sheet")
    parser.add_argument("--gpus", default="auto", help="cpu, or a GPU's number (default: the first one, if there is any)")
    parser.add_argument("--batch", type=positive, default=BATCH_SIZE, help=f"pictures per batch (default {BATCH_SIZE})")
    add_prior(parser)
    parser.add_argument("--cfg", nargs="+", action="append", metavar="YAML",
                        help="configuration of the training, for a checkpoint that does not contain it")
    return exit_status(lambda: predict(parser.parse_intermixed_args(argv)))


if __name__ == "__main__":
    gc.enable()
    sys.exit(main(sys.argv[1:]))
