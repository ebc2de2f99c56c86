"""The numbers of a validation as text."""
import numpy as np

from lib.report.intervals import Interval
from lib.report.metrics import Metrics
from lib.utils.text import count, printable

TOO_FEW = "too few images to compare"   # see ``Interval.too_wide``


def summary(metrics: Metrics) -> str:
    """Top-k and balanced accuracy, and the shot groups, in two lines; then the same with the images behind them."""
    top = "".join(f"Top{k}: {100 * value:.2f}%  " for k, value in metrics.top.items())
    top += f"Balanced: {100 * metrics.balanced_accuracy:.2f}%"
    shots = "  ".join(f"{name.capitalize()}: {100 * value:.2f}% ({metrics.shot_sizes[name]} of {len(metrics.recall)} classes)"
                      for name, value in metrics.shots.items())
    return "\n".join([top, shots, *headline(metrics)])


def headline(metrics: Metrics) -> list[str]:
    """Balanced accuracy, and that of each shot group, with interval and number of images, a line each."""
    rows = [("Balanced", metrics.balanced_accuracy, metrics.interval(), metrics.valid_images)]
    rows += [(f"{name.capitalize()}-shot", value, metrics.interval(name), metrics.valid_images[metrics.members(name)])
             for name, value in metrics.shots.items()]
    return [f"{name}: {100 * value:.1f} % {behind(interval, images)}" for name, value, interval, images in rows]


def behind(interval: Interval, images: np.ndarray) -> str:
    """How far a mean recall is known, and from how many images; ``images`` of each class."""
    classes = count(int((images > 0).sum()), "class", "classes")
    text = f"(95 %: {100 * interval.low:.1f} to {100 * interval.high:.1f}; {count(int(images.sum()), 'image')}, {classes})"
    return text + f", {TOO_FEW}" * interval.too_wide


def class_table(metrics: Metrics, class_names: list[str], max_rows: int = 20) -> str:
    """Recall and precision by class, from frequent to rare; of many classes, the first and the last ones."""
    order = list(np.argsort(-metrics.train_images, kind="stable"))
    left_out = len(order) - max_rows
    shown = order if left_out <= 0 else order[:max_rows // 2] + order[-(max_rows // 2):]
    names = {number: printable(class_names[number]) for number in shown}
    width = max(5, *map(len, names.values()))
    lines = [f"{'class':<{width}}  train images  valid images   recall  precision"]
    for position, number in enumerate(shown):
        if left_out > 0 and position == max_rows // 2:
            lines.append(f"… {left_out} more in per_class.csv …")
        recall, precision = (f"{100 * value:.1f}%" if not np.isnan(value) else "–"
                             for value in (metrics.recall[number], metrics.precision[number]))
        lines.append(f"{names[number]:<{width}}  {metrics.train_images[number]:>12}  {metrics.valid_images[number]:>12}  "
                     f"{recall:>7}  {precision:>9}")
    return "\n".join(lines)
