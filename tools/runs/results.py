"""Summarises the histories of finished runs in one row per configuration, as text, as JSON and for the galleries."""
import json
import logging
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from lib.config import Config
from lib.run.run import Run
from lib.utils.errors import InputError
from lib.utils.files import write_text_atomically
from lib.utils.text import shell_line
from tools.runs.jobs import Job, state

log = logging.getLogger("tools.run_gallery")

MEASURED = ("trick", "data", "command", "error", "seeds", "epochs", "input_size", "hardware", "commit")   # keys of measured.yaml
SHOTS = ("many", "medium", "few")
SET_NAMES = {"IMBALANCECIFAR10": "CIFAR-10", "IMBALANCECIFAR100": "CIFAR-100", "IMBALANCEFASHIONMNIST": "Fashion-MNIST",
             "IMBALANCEDIGITS": "digits"}


def make_rows(jobs: Sequence[Job], titles: dict[str, str], command_tail: Sequence[str]) -> list[dict[str, Any]]:
    """A row per configuration, in their order; lists in a row have a number per finished seed.

    Args:
        titles: recipe to the title of its entry in the gallery, where it has one.
        command_tail: GPUS and KEY VALUE words of the command that trains one of the runs.
    """
    recipes: dict[str, list[Job]] = {}
    for job in jobs:
        recipes.setdefault(",".join(job.files), []).append(job)
    return [make_row(own, titles.get(files, ""), ["bash", "data_parallel_train.sh", files, *command_tail])
            for files, own in recipes.items()]


def make_row(jobs: Sequence[Job], title: str, command: Sequence[str]) -> dict[str, Any]:
    cfg = jobs[0].settled
    finished = [job for job in jobs if is_finished(job)]
    last = [job.run.history()[-1] for job in finished]
    errors = [round(100 * (1 - entry["valid_accuracy"]), 4) for entry in last]
    sessions = [session for job in finished for session in read_sessions(job.run)]
    return {
        "trick": title, "data": data_name(cfg), "command": shell_line(command), "error": errors,
        "seeds": [job.cfg.SEED for job in finished], "epochs": cfg.TRAIN.MAX_EPOCH, "input_size": list(cfg.INPUT_SIZE),
        "hardware": together(map(hardware, sessions)), "commit": together(map(commit, sessions)),
        "recipe": jobs[0].recipe, "unfinished_seeds": [job.cfg.SEED for job in jobs if job not in finished],
        "error_mean": mean(errors), "error_std": deviation(errors),
        "shots": {name: [round(100 * entry[name], 4) for entry in last if name in entry] for name in SHOTS},
        "seconds": [round(sum(entry.get("seconds") or 0.0 for entry in job.run.history()), 1) for job in finished],
    }


def is_finished(job: Job) -> bool:
    """Whether a run is finished; False also for a damaged history, which is reported as a failure elsewhere."""
    try:
        return state(job).finished
    except InputError:
        return False


def read_sessions(run: Run) -> list[dict[str, Any]]:
    """The run's environment.json. If it is missing or damaged, the log says so, and its entries are unknown."""
    path = run.directory / "environment.json"
    try:
        path.read_text(encoding="utf-8")   # of which ``sessions`` replaces what is no UTF-8, and takes a missing file for none
        sessions = run.sessions()
        if not sessions or not all(map(is_session, sessions)):
            raise InputError(f"{path}: is not a list of starts with their hardware")
        return sessions
    except (OSError, ValueError, InputError) as error:
        log.warning("%s cannot be read (%s); hardware and commit of this run are shown as unknown", path,
                    getattr(error, "strerror", None) or error)
        return [{"hardware": "unknown", "processor": "", "git": {"commit": "unknown", "changed": False}}]


def is_session(session: Any) -> bool:
    if not isinstance(session, dict) or not all(isinstance(session.get(key), str) for key in ("hardware", "processor")):
        return False
    git = session.get("git")
    return git is None or (isinstance(git, dict) and isinstance(git.get("commit"), str))


def hardware(session: dict[str, Any]) -> str:
    on_cpu = session["hardware"].startswith("CPU")
    return f"{session['hardware']}, {session['processor']}" if on_cpu else session["hardware"]


def commit(session: dict[str, Any]) -> str:
    git = session["git"]
    return "none" if git is None else git["commit"][:10] + " with changes" * bool(git.get("changed"))


def together(values: Iterable[str]) -> str:
    """The common value, or all different values."""
    return "; ".join(dict.fromkeys(values))


def data_name(cfg: Config) -> str:
    """Long-tailed set and imbalance factor; of other sets the name and the file of annotations."""
    name = cfg.DATASET.DATASET
    if name in SET_NAMES:
        kind = "" if cfg.DATASET.IMBALANCECIFAR.TYPE == "exp" else f" ({cfg.DATASET.IMBALANCECIFAR.TYPE})"
        return f"{SET_NAMES[name]}-LT-{1 / cfg.DATASET.IMBALANCECIFAR.RATIO:g}{kind}"
    return f"{name} ({Path(cfg.DATASET.TRAIN_JSON).name})" if cfg.DATASET.TRAIN_JSON else name


def mean(values: Sequence[float]) -> float | None:
    return statistics.mean(values) if values else None


def deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None of fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean ± standard deviation."""
    if not values:
        return "–"
    deviated = f" ± {deviation(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{deviated}"


def results_table(rows: Sequence[dict[str, Any]]) -> str:
    """Text: mean ± standard deviation over the seeds, percentages; shot groups are accuracies."""
    header = ("configuration", "seeds", "error", *SHOTS, "training s", "epochs")
    lines = [header]
    for row in rows:
        seeds = f"{len(row['seeds'])}" + f" of {len(row['seeds']) + len(row['unfinished_seeds'])}" * bool(row["unfinished_seeds"])
        shots = [spread(row["shots"][name]) for name in SHOTS]
        lines.append((row["recipe"], seeds, spread(row["error"]), *shots, spread(row["seconds"], 1), str(row["epochs"])))
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip() for cells in lines)


def write_results(rows: Sequence[dict[str, Any]], about: dict[str, Any], prefix: Path) -> list[Path]:
    """PREFIX.json and PREFIX.txt; returns their paths."""
    paths = [prefix.with_name(prefix.name + suffix) for suffix in (".json", ".txt")]
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(paths[0], json.dumps(about | {"rows": list(rows)}, indent=2) + "\n")
        write_text_atomically(paths[1], results_table(rows) + "\n")
    except OSError as error:
        raise InputError(f"--results: cannot write {prefix} ({error.strerror})") from error
    return paths


def read_measured(path: Path, option: str = "--append: ") -> list[dict[str, Any]]:
    """Raises InputError for a file that is not a list of measurements."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else []
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{option}{path} cannot be read ({error})") from error
    content = [] if content is None else content
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise InputError(f"{option}{path} is not a list of measurements like tools/gallery/measured.yaml")
    for number, entry in enumerate(content, start=1):
        lacking = [key for key in MEASURED if key not in entry]
        if lacking or not isinstance(entry["error"], list):
            what = f"has no {' and no '.join(lacking)}" if lacking else "has a key error that is not a list"
            raise InputError(f"{option}{path}: entry {number} {what}")
    return content


def append_measured(rows: Sequence[dict[str, Any]], path: Path) -> int:
    """Appends the new ones of these rows in the format of measured.yaml; returns their number.

    A row without a finished seed is left out, so is one that stands there already: the same call may be made again. What the file
    holds, comments included, stays as it is.
    """
    there = read_measured(path)
    new = [entry for row in rows if row["error"] and (entry := {key: row[key] for key in MEASURED}) not in there]
    if new:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if not there:   # an empty list may be written as []
            text = "".join(line for line in text.splitlines(keepends=True) if line.strip() not in ("[]", "---"))
        text += "\n" * bool(text and not text.endswith("\n"))
        rows_text = yaml.safe_dump(new, sort_keys=False, allow_unicode=True, default_flow_style=None, width=1000)
        write_text_atomically(path, text + rows_text)
    return len(new)


def find_title(files: Sequence[str], gallery: Path) -> str:
    """The entry of tricks.yaml beside measured.yaml that a configuration belongs to; empty where there is none.

    Of a single file, the entry that has it among its recipes; of a baseline with files of configs/tricks, the one with the same
    files, where lengths of the schedule do not count unless they are the trick.
    """
    if not gallery.exists():
        return ""
    families = [family for document in yaml.safe_load(gallery.read_text(encoding="utf-8")).values() for family in document]
    tricks = [trick for family in families for trick in family["tricks"]]
    baseline, *others = map(Path, files)
    if not others:
        found = [trick for trick in tricks if is_one_of(baseline, trick["rows"].values())]
    elif all(file.parent.name == "tricks" for file in others):
        stacks = [({*trick["stack"]}, trick) for trick in tricks if "stack" in trick]
        whole = {file.stem for file in others}
        short = {name for name in whole if not name.startswith("epochs")}
        found = [trick for wanted in (whole, short) for stack, trick in stacks if stack == wanted]
    else:
        found = []
    return found[0]["title"] if found else ""


def is_one_of(file: Path, recipes: Iterable[str]) -> bool:
    """Whether a file is one of these recipes, such as cui_cifar/loss/bsce/{dataset}.yaml."""
    return any(file.as_posix().endswith(recipe.replace("{dataset}", file.stem)) for recipe in recipes)
