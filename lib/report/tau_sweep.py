"""Sweeps over tau, of tau-normalization or of logit adjustment: a table, a JSON file and a figure."""
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from lib.report.metrics import BEST_BY, Metrics
from lib.report.style import CRITERION_COLORS, FULL, GREEN, GREY, PURPLE, SHOT_COLORS, save_figure
from lib.utils.files import write_text_atomically

WARNING = ("choosing tau by these numbers is selection on the validation set: "
           "report the chosen tau on other images")
Sweep = Mapping[float, Metrics]   # {tau: metrics}, in ascending order of tau


class SweepKind(NamedTuple):
    """The names of the files and of the axis of a sweep."""

    stem: str   # of the file names
    axis: str


NORMALIZATION = SweepKind("tau_sweep", "tau (0: as trained, 1: rows of length 1)")
ADJUSTMENT = SweepKind("logit_adjust_sweep", "tau (0: as trained, 1: the training prior is removed)")


def write_sweep(directory: Path, sweep: Sweep, tau: float, about: dict[str, Any], best_by: str = "accuracy",
                kind: SweepKind = NORMALIZATION) -> dict[str, Path]:
    """Writes a JSON file (such as tau_sweep.json) and a figure below ``directory``; returns their paths by name.

    Args:
        tau: the tau of the reported result.
        about: further entries of the JSON file, such as the epoch and the checkpoint.
        best_by: TEST.BEST_BY; the highest value of this metric is marked.
    """
    figures = directory / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    paths = {"sweep": directory / f"{kind.stem}.json", "figure": figures / f"{kind.stem}.png"}
    rows = [{"tau": value, "top1": metrics.top1, **metrics.shots, "balanced_accuracy": metrics.balanced_accuracy,
             "macro_f1": metrics.macro_f1, "nll": metrics.nll} for value, metrics in sweep.items()]
    content = about | {"warning": WARNING, "best_by": best_by, "best_tau": best_tau(sweep, best_by), "sweep": rows}
    write_text_atomically(paths["sweep"], json.dumps(content, indent=2) + "\n")
    save_figure(sweep_figure(sweep, tau, best_by, kind), paths["figure"])
    return paths


def best_tau(sweep: Sweep, best_by: str) -> float:
    """The best tau; if several are equally good, the smallest."""
    return max(sweep, key=lambda tau: sweep[tau].score(best_by))


def scores(metrics: Metrics, best_by: str) -> dict[str, float]:
    """Top-1 and balanced accuracy, and the accuracies of the shot groups; macro-F1 if ``best_by`` compares by it."""
    chosen = {"macro-F1": metrics.macro_f1} if best_by == "macro_f1" else {}
    return {"top1": metrics.top1, "balanced": metrics.balanced_accuracy, **chosen, **metrics.shots}


def sweep_table(sweep: Sweep, best_by: str = "accuracy") -> str:
    """A table with a row for each tau; the best one is marked."""
    columns = list(scores(next(iter(sweep.values())), best_by))
    lines = ["     tau" + "".join(f"{column[0].upper() + column[1:]:>10}" for column in columns)]
    best = best_tau(sweep, best_by)
    lines += [f"{tau:>8g}" + "".join(f"{100 * value:>9.2f}%" for value in scores(metrics, best_by).values())
              + f"  highest {BEST_BY[best_by].title}" * (tau == best) for tau, metrics in sweep.items()]
    return "\n".join(lines)


def sweep_figure(sweep: Sweep, tau: float, best_by: str = "accuracy", kind: SweepKind = NORMALIZATION) -> Figure:
    """Top-1, balanced and shot-group accuracies over tau; a line marks the tau of the reported result."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    taus, rows = list(sweep), [scores(metrics, best_by) for metrics in sweep.values()]
    colors = {"top1": GREEN, "balanced": PURPLE, "macro-F1": CRITERION_COLORS["macro_f1"], **SHOT_COLORS}
    for name in rows[0]:
        group, label = name in SHOT_COLORS, {"top1": "top-1"}.get(name, name)
        axes.plot(taus, [100 * row[name] for row in rows], marker=".", color=colors[name], linestyle=":" if group else "-",
                  linewidth=1.5 if group else 2, label=f"{name}-shot" if group else label)
    best, title = best_tau(sweep, best_by), BEST_BY[best_by].title.replace("Top1", "top-1")
    height = 100 * sweep[best].score(best_by)
    axes.plot(best, height, "o", color=CRITERION_COLORS[best_by], fillstyle="none", markersize=10,
              label=f"highest {title}: {height:.2f} % at tau = {best:g} (selected on the validation set)")
    axes.axvline(tau, color=GREY, linestyle="--", linewidth=1, label=f"reported: tau = {tau:g}")
    axes.set_xlabel(kind.axis)
    axes.set_ylabel("accuracy (%)")
    axes.set_ylim(0, FULL)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure
