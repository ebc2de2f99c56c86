"""A whole run of main/train.py, in a process of its own: start, epochs, validation, checkpoints and report.

Run by tools/benchmark.py as ``whole_run.py IMAGES CLASSES WORDS``; the words are main/train.py's. It trains on noise if IMAGES is
not 0.
"""
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import json
import subprocess
import tempfile
from collections.abc import Sequence

from lib.config import Config
from lib.dataset import DATASETS, ImageSet
from lib.utils.errors import InputError, RunFailedError
from main import train
from tools.measure.prepared import random_set

NOISE = "NOISE"


def seconds_of_a_run(cfg: Config, words: Sequence[str], random_images: int, random_classes: int) -> dict[str, float]:
    """Runs a whole training of ``cfg`` in a temporary folder.

    Args:
        words: of main/train.py that say what ``cfg`` is.

    Returns:
        Seconds of the whole process, and of them those from each epoch's begin to its last batch ("training"); and its epochs.

    Raises:
        InputError: ``cfg`` trains nothing.
        RunFailedError: it did not come to its end.
    """
    if cfg.DATASET.GENERATE_CAM_BASED_DATASET:
        raise InputError("--parts run: DATASET.GENERATE_CAM_BASED_DATASET True trains nothing, and would write its images; "
                         "--parts cam measures it")
    with tempfile.TemporaryDirectory() as folder:
        noise = ["DATASET.DATASET", NOISE] if random_images else []
        command = [sys.executable, str(Path(__file__).resolve()), str(random_images), str(random_classes), *words, *noise,
                   "OUTPUT_DIR", folder]
        started = time.perf_counter()
        result = subprocess.run(command, stdout=2, check=False)   # stderr: its lines are progress, and no part of the report
        whole = time.perf_counter() - started
        if result.returncode:
            raise RunFailedError(f"the run that was to be measured ended with exit status {result.returncode}; see above")
        lines = (Path(folder) / cfg.NAME / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return {"whole": whole, "training": sum(json.loads(line)["seconds"] for line in lines), "epochs": len(lines)}


def main(argv: Sequence[str]) -> int:
    images, classes, *words = argv
    sets: dict[tuple[int, int], ImageSet] = {}

    @DATASETS.register(NOISE)
    def noise(train: bool, root: str, size: tuple[int, int]) -> ImageSet:
        return sets.setdefault(size, random_set(int(images), int(classes), size))   # one for training and validation

    return train.main(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
