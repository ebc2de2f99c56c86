"""Compares finished runs on the same images: which is better, and can the images tell?

    python tools/compare.py output/birds output/birds_mixup
    python tools/compare.py output/birds_ce_s* output/birds_bsce_s* --by few --out birds

Differences are relative to the first run. Runs that differ only in their seed share a row. Nothing is trained or evaluated: the
tool reads the files that main/train.py and main/valid.py have written. docs/compare.md explains each number.
"""
import gc
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    gc.disable()   # until everything is imported, which takes a fifth of its time less then

import argparse
import logging
import os
from collections.abc import Sequence

from lib.report.comparison import BY
from lib.report.comparison_page import (
    classes_csv_of,
    csv_of,
    differences_figure,
    make_comparison,
    page_of,
    recall_figure,
    text_of,
)
from lib.report.style import save_figure
from lib.utils.errors import InputError
from lib.utils.files import write_text_atomically
from lib.utils.text import count
from main.command import exit_status
from tools.runs.judged import Judged, common_images, group, read_run

log = logging.getLogger("tools.compare")

FILES = {"text": "comparison.txt", "table": "comparison.csv", "classes": "classes.csv", "differences": "differences.png",
         "recall_by_class": "recall_by_class.png", "page": "comparison.html"}


def compare_runs(args: argparse.Namespace) -> None:
    check_names(args.runs)
    runs = [read_run(directory, args.part) for directory in args.runs]
    names, chosen = common_images(runs, args.common)
    ground, entrants = group(chosen, names, args.apart)
    if len(entrants) < 2:
        raise InputError("these runs differ only in their seed, so they form a single row; --apart compares each of them")
    shown = make_comparison(entrants, ground, args.by, remarks(runs, chosen, names, args))
    out = choose_out(args)
    print(text_of(shown))
    figures = {"differences": differences_figure(shown), "recall_by_class": recall_figure(shown)}
    drawn = {name: save_figure(figure, out / FILES[name]) for name, figure in figures.items()}
    texts = {"text": text_of(shown, len(ground.class_names)), "table": csv_of(shown), "classes": classes_csv_of(shown),
             "page": page_of(shown, drawn, " and ".join(row.name for row in shown.rows) if len(shown.rows) == 2
                             else f"{shown.rows[0].name} and {len(shown.rows) - 1} others")}
    for name, text in texts.items():
        write_text_atomically(out / FILES[name], text)
    log.info("Written: %s", out / FILES["page"])
    log.info("beside it: %s", ", ".join(name for key, name in FILES.items() if key != "page"))


def check_names(runs: Sequence[Path]) -> None:
    if len(runs) < 2:
        raise InputError("at least two runs are needed; name their folders")
    places: dict[str, Path] = {}
    for run in runs:
        other = places.setdefault(os.path.realpath(run), run)
        if other is not run:
            raise InputError(f"{run}: is the same run as {other}; name each once")


def remarks(runs: Sequence[Judged], chosen: Sequence[Judged], names: Sequence[str], args: argparse.Namespace) -> list[str]:
    """Remarks on the differences between these runs."""
    lines = []
    if args.common and any(len(run.images) > len(names) for run in chosen):
        lines.append(f"Compared on the {count(len(names), 'image')} that all runs have; others were left out.")
    if len({run.checkpoint for run in runs}) > 1:
        lines.append("Checkpoints: " + "; ".join(f"{run.name}: {run.checkpoint}" for run in runs) + ".")
    if any(run.checkpoint.startswith("best_model") for run in runs):
        lines.append("A best_model.pth was selected on its validation set, so its accuracy on that set is too optimistic.")
    if any(run.train_images != runs[0].train_images for run in runs):
        lines.append(f"The runs were trained on different numbers of images; shot groups are those of {runs[0].name}.")
    if any(run.bounds != runs[0].bounds for run in runs):
        lines.append(f"The runs have different thresholds of shot groups; those of {runs[0].name} are used.")
    return lines


def choose_out(args: argparse.Namespace) -> Path:
    """The output folder: a new one, or that of --out, which may hold a comparison already if --overwrite is given."""
    if args.out is None:
        parent, number = args.runs[0].absolute().parent, 1
        while (parent / f"comparison_{number}").exists():
            number += 1
        args.out = parent / f"comparison_{number}"
    held = [name for name in FILES.values() if (args.out / name).exists()]
    if args.out.exists() and not args.out.is_dir():
        raise InputError(f"--out: {args.out} is a file; name a folder")
    if (args.out / "config.yaml").exists():
        raise InputError(f"--out: {args.out} holds a run, whose files are never overwritten; name another folder")
    if held and not args.overwrite:
        raise InputError(f"--out: {args.out} already holds {held[0]}; --overwrite replaces it")
    args.out.mkdir(parents=True, exist_ok=True)
    return args.out


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of runs, or of the runs of --folds")
    parser.add_argument("--by", choices=BY, default="balanced", help="accuracy to compare (default balanced)")
    parser.add_argument("--part", choices=("valid", "test"), default="valid", help="images to compare on (default valid)")
    parser.add_argument("--common", action="store_true", help="if the runs have different images, compare on those that all have")
    parser.add_argument("--apart", action="store_true", help="a row for each run, also for runs that differ only in their seed")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder to write (default: a new one beside the first run)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing comparison in --out")
    return exit_status(lambda: compare_runs(parser.parse_args(argv)))


if __name__ == "__main__":
    gc.enable()
    sys.exit(main(sys.argv[1:]))
