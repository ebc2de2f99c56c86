"""The test images: evaluated once, at the end of a training. Further evaluations are counted, since choices made by them bias
the result."""
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from torch import Tensor

from lib.config import Config
from lib.core import build
from lib.dataset import ImageSet, fingerprint
from lib.dataset.fingerprint import digest_names
from lib.device.runtime import Runtime
from lib.engine.training import Training
from lib.report.metrics import Evaluated, measure
from lib.report.report import write_report
from lib.report.tables import summary
from lib.run.findings import FindingsLog
from lib.run.identity import Identity
from lib.run.own_files import METRICS, TEST, reported_epoch
from lib.run.run import LAST, Run
from lib.utils.files import append_line
from main.evaluation import Evaluation, find_differences
from main.reporting import background, shot_bounds

log = logging.getLogger("main.train")

LOOKS = "test_looks.jsonl"   # in OUTPUT_DIR: all looks at the test images of any run there


def test_once(cfg: Config, run: Run, training: Training, test_set: ImageSet | None, runtime: Runtime, *, epoch: int,
              class_counts: Tensor) -> None:
    """Evaluates the network of the last epoch on the test images, unless that was done before; to be called on all ranks."""
    if test_set is None:
        return
    if cfg.DATASET.FOLDER.FOLDS:
        log.info("%s: %d images are not used for folds, but kept for a network that is trained on all folds", test_set.name,
                 len(test_set.labels))
        return
    folder = run.directory / TEST
    if runtime.broadcast_object(reported_epoch(folder / METRICS) == epoch if runtime.is_main else None):
        log.info("%s: epoch %d has been tested already, see %s; it is not tested again", test_set.name, epoch, folder / METRICS)
        return
    with closing(build.build_eval_loader(cfg, test_set, runtime)) as loader:
        predictions = training.evaluate(loader, runtime)
        findings = FindingsLog([loader], runtime)
        findings.tell()
    if runtime.is_main:
        with run.writing():
            metrics = measure(predictions, class_counts, shot_bounds(cfg))
            about = {"epoch": epoch, "checkpoint": LAST, "images_of": TEST}
            looks = record_look(cfg, run.directory, test_set, about)
            evaluated = Evaluated(predictions, metrics, test_set, findings.unreadable(0))
            write_report(folder, evaluated, about | {"look": looks}, background(run, run.models / LAST, about, cfg.flat()))
            log.info("Test images, epoch %d (last), %s:\n%s", epoch, say_looks(looks), summary(metrics))
            log.info("Test report: %s", folder)


def identify_test(cfg: Config, run: Run, path: Path, state: Mapping[str, Any], here: Identity) -> Evaluation:
    """Does for test images what ``identify`` does for validation images."""
    differences = find_differences(cfg, state, here)
    for difference in differences:
        log.warning("differs from the checkpoint: %s", difference)
    differs = {"differs": [str(difference) for difference in differences]} if differences else {}
    return Evaluation({"epoch": state.get("epoch"), "checkpoint": str(path), "images_of": TEST, **differs}, run.directory / TEST)


def count_look(cfg: Config, run: Run, evaluation: Evaluation, test_set: ImageSet) -> Evaluation:
    """Gives an evaluation on test images a folder of its own, and logs how often these images were evaluated."""
    looks = record_look(cfg, run.directory, test_set, evaluation.about)
    log.warning("%s: %s", test_set.name, say_looks(looks))
    numbers = (number for number in count(looks) if not (evaluation.base / f"look_{number}").exists())
    return Evaluation(evaluation.about | {"look": looks}, evaluation.base / f"look_{next(numbers)}")


def record_look(cfg: Config, directory: Path, test_set: ImageSet, about: dict[str, Any]) -> int:
    """Records an evaluation on these images; returns the number of evaluations by all runs of OUTPUT_DIR."""
    file, images = Path(cfg.OUTPUT_DIR) / LOOKS, identify(test_set)
    before = sum(entry.get("images") == images for entry in read_looks(file))
    append_line(file, json.dumps({"images": images, "run": str(directory), **about,
                                  "time": datetime.now().isoformat(" ", "seconds")}))
    return before + 1


def read_looks(file: Path) -> Iterator[dict[str, Any]]:
    if file.is_file():
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):   # cut short
                entry = json.loads(line)
                if isinstance(entry, dict):
                    yield entry


def identify(test_set: ImageSet) -> str:
    facts = fingerprint(test_set)
    return digest_names([str(facts[name]) for name in ("content", "labels", "class_names")])[:16]


def say_looks(looks: int) -> str:
    if looks == 1:
        return "tested for the first time"
    return f"tested {looks} times by now, so they give no unbiased result for what was chosen by earlier test results"
