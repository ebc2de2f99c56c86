"""python main/train.py --folder …: expands these options to configuration files and KEY VALUE pairs."""
import argparse
import os
from pathlib import Path

from lib.backbone import named
from lib.run.own_files import LAST, MODELS
from lib.utils.errors import InputError

OWN = Path(__file__).resolve().parents[1] / "configs/own"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", metavar="FOLDER", help="your own pictures, a folder per class, or a .csv of paths and "
                        "labels; all settings are chosen from them. --cfg adds tricks")
    parser.add_argument("--weights", metavar="FILE-OR-NAME", help="what to begin with: a .pth or .safetensors file, a run, or a "
                        "name such as torchvision:resnet50 or timm:convnext_tiny.fb_in22k")
    parser.add_argument("--minutes", type=float, metavar="M", help="train as many epochs as end in about M minutes")


def expand(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Puts the options into ``args.cfg`` and ``args.words``; words of the command line have priority.

    Raises:
        InputError: the weights are neither a file nor the name of pretrained weights.
    """
    if not (args.cfg or args.folder):
        parser.error("one of --folder and --cfg is needed")
    words = []
    if args.folder is not None:
        args.cfg = [os.path.relpath(OWN / ("finetune.yaml" if args.weights else "scratch.yaml")), *args.cfg]
        words += ["DATASET.ROOT", args.folder]
    if args.weights is not None:
        words += [named.KEY, as_path(args.weights)]
    if args.minutes is not None:
        words += ["AUTO", "True", "TRAIN.MAX_EPOCH", "0", "TRAIN.MINUTES", f"{args.minutes:g}"]
    args.words = [*words, *args.words]


def as_path(text: str) -> str:
    """A path of weights: a bare file name is in the working directory; for a run, the checkpoint of its last epoch."""
    last = Path(text) / MODELS / LAST
    if last.is_file():
        return os.path.join(".", last)
    if named.is_named(text) or "/" in text:
        return text
    if not Path(text).is_file():
        name = text.partition(".")[0]
        source = "torchvision" if name in named.TORCHVISION else "timm"
        raise InputError(f"--weights: no file {text}; for weights by name, write {source}:{text}")
    return f"./{text}"
