"""Writes trick_gallery.md and trick_combination.md from the files in tools/gallery.

    python tools/make_gallery.py            # after a change of tricks.yaml, reported.yaml, measured.yaml or the tree of keys
    python tools/make_gallery.py --check    # only says whether the documents are up to date (exit status 2 if not)

reported.yaml holds others' numbers, measured.yaml this project's, tricks.yaml the texts and what trains each reported row.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import re
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from lib.config import TREE, load_config
from lib.utils.errors import InputError
from lib.utils.files import write_text_atomically
from main.command import exit_status
from tools.runs.results import read_measured

ROOT = Path(__file__).resolve().parents[1]
GALLERY = ROOT / "tools/gallery"
COLUMNS = {"cifar10_im100": "CIFAR-10-LT-100", "cifar10_im50": "CIFAR-10-LT-50",
           "cifar100_im100": "CIFAR-100-LT-100", "cifar100_im50": "CIFAR-100-LT-50"}
EXAMPLE = "cifar10_im100"   # the column whose commands are written out
BASELINE = "configs/fashion_lt/baseline/fashion_im100.yaml"
SOURCE = "authors' tables of 2021-05-19, one run, best epoch"
NOT_ROWS = ("columns", "source", "notes")
PREFIXES = {"baselines": "baseline, ", "two_stage_drw": "DRW, ", "two_stage_drs": "DRS, ", "mixup_with_rebalancing": "mixup: "}
MADE = "<!-- made by tools/make_gallery.py from tools/gallery; change those -->"


def read(name: str) -> Any:
    return yaml.safe_load((GALLERY / name).read_text(encoding="utf-8"))


def reported_rows() -> dict[str, Any]:
    """Full name of a row, section/name, to its numbers: one per column, or one alone."""
    rows = {}
    for section, entries in read("reported.yaml").items():
        for name, value in entries.items() if section not in NOT_ROWS else ():
            parts = value if isinstance(value, dict) else {"": value}
            rows |= {f"{section}/{name}{'/' * bool(part)}{part}": numbers for part, numbers in parts.items()}
    return rows


def tricks(document: dict[str, list[dict]]) -> Iterator[tuple[list[dict], dict]]:
    """Families of one document with each of their tricks."""
    for family in document:
        for trick in family["tricks"]:
            yield family, trick


def columns_of(recipe: str) -> list[str]:
    return list(COLUMNS) if "{dataset}" in recipe else [""]


def stages(recipe: str, dataset: str) -> list[list[str]]:
    """The stages of a row's recipe, each a list of files to stack."""
    words = recipe.replace("{dataset}", dataset).split()
    return [[f"configs/{file}" for file in word.split(",")] for word in words]


def train_command(recipe: str, dataset: str) -> str:
    """The command for one number: training, or the whole chain if there are several stages."""
    chain = stages(recipe, dataset)
    if len(chain) > 1:
        return f"python tools/run_chain.py --chain {braces([','.join(stack) for stack in chain])} --gpus 0"
    files = ",".join(chain[0])
    if load_config([ROOT / file for file in chain[0]]).TRAIN.DISTRIBUTED:
        return f"bash distributed_data_parallel_train.sh {files} 4 0,1,2,3"
    return f"bash data_parallel_train.sh {files} 0"


def braces(paths: Sequence[str]) -> str:
    """Combines paths with common beginning and end in the form that shells expand: a/{b,c/d}/e.yaml."""
    parts = [path.split("/") for path in paths]
    shortest = min(map(len, parts))
    head = next(n for n in range(shortest) if len({part[n] for part in parts}) > 1)
    tail = next(n for n in range(1, shortest - head + 1) if n == shortest - head or len({part[-n] for part in parts}) > 1) - 1
    middle = ",".join("/".join(part[head:len(part) - tail]) for part in parts)
    return "/".join([*parts[0][:head], f"{{{middle}}}", *parts[0][len(parts[0]) - tail:]])


def stack_command(trick: dict) -> str:
    """The command that stacks the trick on another baseline."""
    if "chain" in trick:
        return f"python tools/run_chain.py --chain configs/chains/{trick['chain']}.yaml --cfg {BASELINE} --gpus 0"
    return f"bash data_parallel_train.sh {','.join([BASELINE, *fragments(trick)])} 0"


def fragments(trick: dict) -> list[str]:
    return [f"configs/tricks/{name}.yaml" for name in trick.get("stack", ())]


def document(name: str, families: list[dict]) -> str:
    reported, measured = reported_rows(), read_measured(GALLERY / "measured.yaml", option="")
    introduction = (GALLERY / f"introduction_{name}").read_text(encoding="utf-8")
    lines = [MADE, "", introduction, *overview(families, reported)]
    for family in families:
        lines += ["", f"## {family['family']}", "", family["about"].strip()]
        for trick in family["tricks"]:
            lines += ["", *entry(trick, reported, measured)]
    return "\n".join(lines) + "\n"


def overview(families: list[dict], reported: dict[str, Any]) -> Iterator[str]:
    yield "| top-1 error (%), reported | " + " | ".join(COLUMNS.values()) + " |"
    yield "|---" * (1 + len(COLUMNS)) + "|"
    for _, trick in tricks(families):
        for row, recipe in trick["rows"].items():
            if "{dataset}" in recipe:
                yield f"| [{label(row)}](#{anchor(trick['title'])}) | {' | '.join(map(number, reported[row]))} |"


def label(row: str) -> str:
    section, _, name = row.partition("/")
    return f"{PREFIXES.get(section, '')}{name.replace('/', ': ')}"


def anchor(title: str) -> str:
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def entry(trick: dict, reported: dict[str, Any], measured: list[dict]) -> Iterator[str]:
    yield from (f"### {trick['title']}", "", trick["what"].strip(), "", "$$", trick["formula"].strip(), "$$", "")
    yield f"* Paper: {trick['paper'].strip()}"
    yield f"* Options: {options(trick['options'])}"
    yield f"* Config: {configs(trick)}"
    if "note" in trick:
        yield f"* Note: {trick['note'].strip()}"
    yield from ("", "```bash", *commands(trick), "```", "")
    yield from reported_table(trick["rows"], reported)
    yield from elsewhere(trick.get("elsewhere", ()))
    yield from measured_table([result for result in measured if result["trick"] == trick["title"]])


def commands(trick: dict) -> Iterator[str]:
    """The commands for each row, and for the trick on another data set."""
    labels: dict[str, list[str]] = {}
    for row, recipe in trick["rows"].items():
        labels.setdefault(train_command(recipe, EXAMPLE), []).append(label(row))
    for text, rows in labels.items():
        yield f"{text}   # {'; '.join(rows)}"
    yield f"{stack_command(trick)}   # on another data set"


def options(names: list[str]) -> str:
    """Keys with their defaults; a section stands for all keys in it."""
    leaves = {key: value for key, value in TREE.flat().items() for name in names if key == name or key.startswith(f"{name}.")}
    return ", ".join(f"`{key}` ({value})" for key, value in leaves.items()) or "none"


def configs(trick: dict) -> str:
    files = [f"configs/chains/{trick['chain']}.yaml"] if "chain" in trick else fragments(trick) or [BASELINE]
    return " + ".join(f"[{file}]({file})" for file in files)


def reported_table(rows: dict[str, str], reported: dict[str, Any]) -> Iterator[str]:
    """The table of reported numbers; each links to its configuration."""
    if not rows:
        yield "Reported: not in the Bag-of-Tricks tables."
    wide = [row for row, recipe in rows.items() if "{dataset}" in recipe]
    if wide:
        yield f"| reported top-1 error (%), {SOURCE} | " + " | ".join(COLUMNS.values()) + " |"
        yield "|---" * (1 + len(COLUMNS)) + "|"
    for row in wide:
        links = [f"[{number(value)}]({stages(rows[row], dataset)[-1][-1]})" for value, dataset in zip(reported[row], COLUMNS)]
        yield f"| {label(row)} | {' | '.join(links)} |"
    single = [row for row in rows if row not in wide]
    yield from [""] * bool(single)
    for row in single:
        yield f"* {label(row)}: [{number(reported[row])}]({stages(rows[row], '')[-1][-1]})"


def elsewhere(numbers: Sequence[str]) -> Iterator[str]:
    """Accuracies that others reported, each with its source."""
    if numbers:
        yield from ("", "Reported elsewhere, top-1 accuracy (%):", "", *(f"* {text}" for text in numbers))


def measured_table(results: list[dict]) -> Iterator[str]:
    yield ""
    if not results:
        yield "Ours: not measured yet."
        return
    yield "| ours: top-1 error (%), last epoch | data | epochs | input | seeds | hardware | commit | command |"
    yield "|---" * 8 + "|"
    for result in results:
        size = "×".join(map(str, result["input_size"]))
        yield (f"| {spread(result['error'])} | {result['data']} | {result['epochs']} | {size} | "
               f"{', '.join(map(str, result['seeds']))} | {result['hardware']} | {result['commit']} | `{result['command']}` |")


def spread(errors: list[float]) -> str:
    """Mean ± standard deviation over the seeds; of one seed the number alone."""
    if len(errors) == 1:
        return f"{errors[0]:.2f} (one seed)"
    return f"{statistics.mean(errors):.2f} ± {statistics.stdev(errors):.2f} ({len(errors)} seeds)"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 2 if a document is not up to date")
    return exit_status(lambda: make(parser.parse_args(argv)))


def make(args: argparse.Namespace) -> None:
    stale = []
    for name, families in read("tricks.yaml").items():
        path, text = ROOT / name, document(name, families)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not args.check:
                write_text_atomically(path, text)
    if args.check and stale:
        raise InputError(f"{', '.join(stale)}: not up to date with tools/gallery; run python tools/make_gallery.py")
    print(f"{', '.join(stale)} written" if stale else "up to date")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
