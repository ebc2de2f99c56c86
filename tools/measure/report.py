"""The results of measurements as a table and as JSON."""
from collections.abc import Sequence
from typing import Any

from tools.measure.turns import spread

LABELS = {"bare": "bare step", "end_to_end": "end to end", "usual": "usual loop", "input": "input pipeline",
          "validation": "validation"}


def summarise_seconds(measured: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """The spread of the seconds of each part that was measured several times."""
    return {part: spread(one[part] for one in measured) for part in (measured[0] if measured else ())}


def lines(report: dict[str, Any]) -> list[str]:
    """The report as text: the measured configuration and hardware, then a line per part."""
    facts, git = report["environment"], report["git"]
    versions = f"torch {facts['versions']['torch']}" + f", CUDA {facts['cuda']}" * bool(facts["cuda"])
    turns = f", {report['steps']} steps a timing, {len(report['turns'])} of {report['repeats']} turns" * bool(report["turns"])
    text = [f"{', '.join(report['config'])}: {report['images']} images, batch {report['batch']}{turns}",
            f"{facts['hardware']} ({facts['processor']}), {versions}, commit {commit(git)}"]
    if report["summary"]:
        text += ["", *rate_lines(report["summary"])]
    if report["cam"]:
        text += ["", cam_line(report["cam"]["summary"], report["cam"]["sizes"])]
    if report["start_up"]["starts"]:
        text += ["", start_line(report["start_up"]["summary"])]
    if report["memory_mib"]:
        text += ["memory at its highest, MiB: " + ", ".join(f"{name.replace('_', ' ')} {value:.0f}"
                                                             for name, value in report["memory_mib"].items())]
    if report["run"]["runs"]:
        text += [run_line(report["run"]["summary"])]
    return text


def commit(git: dict[str, Any] | None) -> str:
    return "unknown" if git is None else git["commit"][:10] + " with changes" * git["changed"]


def rate_lines(summary: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    rows = [("", "images/s", "range", "× bare", "range", "× usual", "range")]
    for part, measured in summary.items():
        cells = [*middle_and_range(measured["images_per_second"], 1)]
        for other in ("bare", "usual"):
            cells += middle_and_range(measured.get(f"ratio_to_{other}"), 3)
        rows.append((LABELS[part], *cells))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.rjust(width) if number else cell.ljust(width) for number, (cell, width) in enumerate(zip(row, widths)))
            for row in rows]


def middle_and_range(values: dict[str, float] | None, digits: int) -> tuple[str, str]:
    if values is None:
        return "", ""
    return f"{values['median']:.{digits}f}", f"{values['min']:.{digits}f}–{values['max']:.{digits}f}"


def cam_line(summary: dict[str, dict[str, float]], sizes: dict[str, int]) -> str:
    batched, alone, ratio = ("{} ({})".format(*middle_and_range(summary[name], digits))
                             for name, digits in (("batched", 1), ("one_at_a_time", 1), ("ratio", 2)))
    return f"CAM-based sampling, {sizes['new_images']} new images: {batched} images/s, one at a time {alone}, ratio {ratio}"


def start_line(stages: dict[str, dict[str, float]]) -> str:
    middle, span = middle_and_range(stages["total"], 2)
    parts = ", ".join(f"{name.replace('_', ' ')} {values['median']:.2f}" for name, values in stages.items() if name != "total")
    return f"start to first batch: {middle} s ({span}); of it {parts}"


def run_line(summary: dict[str, dict[str, float]]) -> str:
    whole, training = ("{} s ({})".format(*middle_and_range(summary[part], 1)) for part in ("whole", "training"))
    return f"a whole run of {summary['epochs']['median']:.0f} epochs: {whole}; of it training {training}"
