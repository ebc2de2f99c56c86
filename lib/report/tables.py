"""The metrics of a validation as text and CSV tables."""
from collections.abc import Mapping, Sequence

import numpy as np

from lib.dataset import ImageSet
from lib.report.intervals import Interval
from lib.report.metrics import Metrics
from lib.report.predictions import Predictions
from lib.utils.text import count, csv_text, pad, printable, width

CLASS_COLUMNS = ("class", "name", "train_images", "valid_images", "recall", "precision", "f1", "recall_low", "recall_high")
PREDICTION_COLUMNS = ("index", "path", "true", "predicted", "true_class", "predicted_class", "classes_before_true",
                      "probability_true")
TOO_FEW = "too few images to compare"   # see ``Interval.too_wide``


def summary(metrics: Metrics) -> str:
    """Top-k and balanced accuracy and the shot groups, in two lines; then with intervals and numbers of images."""
    top = "".join(f"Top{k}: {100 * value:.2f}%  " for k, value in metrics.top.items())
    top += f"Balanced: {100 * metrics.balanced_accuracy:.2f}%"
    shots = "  ".join(f"{name.capitalize()}: {100 * value:.2f}% ({metrics.shot_sizes[name]} of {len(metrics.recall)} classes)"
                      for name, value in metrics.shots.items())
    return "\n".join([top, shots, *headline(metrics)])


def expert_rows(metrics: Metrics, experts: Sequence[Metrics]) -> list[tuple[str, dict[str, float]]]:
    """Each expert alone, and the mean of their logits, which is what a network of experts predicts with."""
    names = [f"expert {number}" for number in range(1, len(experts) + 1)]
    return [(name, one.outline()) for name, one in zip([*names, "mean logits"], [*experts, metrics])]


def experts_table(metrics: Metrics, experts: Sequence[Metrics]) -> str:
    rows = expert_rows(metrics, experts)
    columns = list(rows[0][1])
    lines = ["             " + "".join(f"{column.replace('_', ' '):>20}" for column in columns)]
    lines += [f"{name:<13}" + "".join(f"{100 * row[column]:>19.2f}%" for column in columns) for name, row in rows]
    return "\n".join(lines)


def headline(metrics: Metrics) -> list[str]:
    """A line for balanced accuracy, and one for each shot group, with interval and number of images."""
    rows = [("Balanced", metrics.balanced_accuracy, metrics.interval(), metrics.valid_images)]
    rows += [(f"{name.capitalize()}-shot", value, metrics.interval(name), metrics.valid_images[metrics.members(name)])
             for name, value in metrics.shots.items()]
    return [f"{name}: {100 * value:.1f} % {behind(interval, images)}" for name, value, interval, images in rows]


def behind(interval: Interval, images: np.ndarray) -> str:
    """The interval of a mean recall and the number of its images, as text; ``images`` is the number for each class."""
    classes = count(int((images > 0).sum()), "class", "classes")
    text = f"(95 %: {100 * interval.low:.1f} to {100 * interval.high:.1f}; {count(int(images.sum()), 'image')}, {classes})"
    return text + f", {TOO_FEW}" * interval.too_wide


def class_table(metrics: Metrics, class_names: list[str], max_rows: int = 20) -> str:
    """Recall and precision by class, from frequent to rare; if there are many classes, only the first and the last."""
    order = list(np.argsort(-metrics.train_images, kind="stable"))
    left_out = len(order) - max_rows
    shown = order if left_out <= 0 else order[:max_rows // 2] + order[-(max_rows // 2):]
    names = {number: printable(class_names[number]) for number in shown}
    columns, intervals = max(5, *map(width, names.values())), metrics.recall_intervals
    lines = [f"{'class':<{columns}}  train images  valid images     recall    95 % interval  precision"]
    for position, number in enumerate(shown):
        if left_out > 0 and position == max_rows // 2:
            lines.append(f"… {left_out} more in per_class.csv …")
        recall, precision = metrics.recall[number], metrics.precision[number]
        low, high = 100 * intervals[number]
        known = f"{'no images':<26}" if np.isnan(recall) else f"{100 * recall:>8.1f}%  {low:>5.1f} to {high:>5.1f}%"
        lines.append(f"{pad(names[number], columns)}  {metrics.train_images[number]:>12}  {metrics.valid_images[number]:>12}  "
                     f"{known}  {'–' if np.isnan(precision) else f'{100 * precision:.1f}%':>9}")
    return "\n".join(lines)


def class_csv(metrics: Metrics, class_names: Sequence[str]) -> str:
    """CSV with a row per class, in label order; undefined numbers are empty. Names go through ``safe_cell``."""
    scores = np.column_stack([metrics.recall, metrics.precision, metrics.f1, metrics.recall_intervals])
    rows = [(number, name, metrics.train_images[number], metrics.valid_images[number],
             *("" if np.isnan(score) else f"{score:.6f}" for score in scores[number]))
            for number, name in enumerate(class_names)]
    return csv_text([CLASS_COLUMNS, *rows])


def predictions_csv(predictions: Predictions, images: ImageSet, unreadable: Mapping[int, str]) -> str:
    """CSV with a row per image, in the order of the set; names and paths go through ``safe_cell``.

    Probabilities have enough digits to restore the same float32, so that runs can be compared.

    Args:
        unreadable: {index: error} of images that cannot be read; another image of the same class was evaluated instead.
    """
    shown, names = int((predictions.top[0] >= 0).sum()), images.class_names
    header = [*PREDICTION_COLUMNS, *(f"{column}_{place}" for place in range(1, shown + 1) for column in ("class", "probability")),
              "unreadable"]
    columns = (column.tolist() for column in predictions[:3])
    true = np.exp(-predictions.nll.numpy())
    top, probabilities = predictions.top.numpy(), predictions.probabilities.numpy()
    rows = [(index, str(images.path(index) or ""), names[label], names[predicted], label, predicted, rank, str(true[index]),
             *(cell for place in range(shown) for cell in (names[top[index, place]], str(probabilities[index, place]))),
             unreadable.get(index, ""))
            for index, (label, predicted, rank) in enumerate(zip(*columns))]
    return csv_text([header, *rows])
