"""Several values of tau side by side: a table, tau_sweep.json, and a figure."""
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lib.core.figures import FULL, GREEN, GREY, SHOT_COLORS, save_figure
from lib.core.metrics import Metrics
from lib.utils.files import write_text_atomically

WARNING = ("choosing tau by these numbers is selection on the validation set: "
           "what is reported for the chosen one must come from other images")
Sweep = Mapping[float, Metrics]   # tau, ascending, to its metrics


def write_sweep(directory: Path, sweep: Sweep, tau: float, about: dict[str, Any]) -> dict[str, Path]:
    """Writes tau_sweep.json and figures/tau_sweep.png below ``directory``; returns what is where.

    Args:
        tau: the one that the headline is of.
        about: what tau_sweep.json says beside the numbers, such as the epoch and the checkpoint.
    """
    figures = directory / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    paths = {"sweep": directory / "tau_sweep.json", "figure": figures / "tau_sweep.png"}
    rows = [{"tau": value, **accuracies(metrics), "balanced_accuracy": metrics.balanced_accuracy, "nll": metrics.nll}
            for value, metrics in sweep.items()]
    content = about | {"warning": WARNING, "sweep": rows}
    write_text_atomically(paths["sweep"], json.dumps(content, indent=2) + "\n")
    save_figure(sweep_figure(sweep, tau), paths["figure"])
    return paths


def accuracies(metrics: Metrics) -> dict[str, float]:
    """Top-1 and the shot groups that there are."""
    return {"top1": metrics.top1, **metrics.shots}


def sweep_table(sweep: Sweep) -> str:
    """A row for each tau."""
    columns = list(accuracies(next(iter(sweep.values()))))
    lines = ["     tau" + "".join(f"{column.capitalize():>9}" for column in columns)]
    lines += [f"{tau:>8g}" + "".join(f"{100 * value:>8.2f}%" for value in accuracies(metrics).values())
              for tau, metrics in sweep.items()]
    return "\n".join(lines)


def sweep_figure(sweep: Sweep, tau: float) -> Figure:
    """Top-1 and the accuracies of the shot groups over tau; a line marks the tau of the headline."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    taus, rows = list(sweep), [accuracies(metrics) for metrics in sweep.values()]
    for name in rows[0]:
        top1 = name == "top1"
        axes.plot(taus, [100 * row[name] for row in rows], marker=".", color=GREEN if top1 else SHOT_COLORS[name],
                  linestyle="-" if top1 else ":", linewidth=2 if top1 else 1.5, label="top-1" if top1 else f"{name}-shot")
    best = max(taus, key=lambda value: sweep[value].top1)
    axes.plot(best, 100 * sweep[best].top1, "o", color=GREEN, fillstyle="none", markersize=10,
              label=f"highest top-1: {100 * sweep[best].top1:.2f} % at tau = {best:g} (selected on the validation set)")
    axes.axvline(tau, color=GREY, linestyle="--", linewidth=1, label=f"headline: tau = {tau:g}")
    axes.set_xlabel("tau (0: as trained, 1: rows of length 1)")
    axes.set_ylabel("accuracy (%)")
    axes.set_ylim(0, FULL)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure
