"""Sets at the edge train, and so does a machine with fewer cores than readers."""
import json

import pytest
import torch

from lib.dataset import DATASETS, ArraySet
from main import train

DIGITS = "configs/test/digits_lt.yaml"


@pytest.fixture
def noise(monkeypatch):
    """Registers a data set of noise of so many classes and images of each; validation has one of each of at most 50 classes."""
    def register(classes: int, per_class: int) -> None:
        def make(train_part: bool, root: str, size: tuple[int, int]) -> ArraySet:
            labels = torch.arange(classes).repeat(per_class) if train_part else torch.arange(min(classes, 50))
            pixels = torch.randint(256, (len(labels), 1, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
            return ArraySet("noise", pixels, labels, [str(c) for c in range(classes)], [0.5] * 3, [0.25] * 3)

        monkeypatch.setitem(DATASETS._builders, "NOISE", make)
        monkeypatch.setitem(DATASETS._sections, "NOISE", "NOISE")

    return register


def run(tiny, *more: str) -> int:
    return train.main(["--cfg", DIGITS, "--gpus", "cpu", *tiny, "DATASET.DATASET", "NOISE", "TRAIN.MAX_EPOCH", "1", *more])


LDAM = ("LOSS.LOSS_TYPE", "LDAMLoss", "CLASSIFIER.TYPE", "FCNorm")
BBN = ("TRAIN.SAMPLER.TYPE", "bbn sampler", "TRAIN.COMBINER.TYPE", "bbn_mix")


@pytest.mark.parametrize(("classes", "per_class", "more"), [
    (1, 5, ()), (1, 5, LDAM), (3, 1, ("TRAIN.COMBINER.TYPE", "mix_up")), (3, 1, BBN), (2, 3, ("TRAIN.BATCH_SIZE", "100000")),
    pytest.param(10_000, 1, ("TRAIN.SAMPLER.TYPE", "weighted sampler", "TRAIN.BATCH_SIZE", "2000"), marks=pytest.mark.long)])
def test_sets_at_the_edge_train(tmp_path, tiny, noise, capsys, classes, per_class, more):
    noise(classes, per_class)
    assert run(tiny, *more) == 0, capsys.readouterr().err
    entry, = (json.loads(line) for line in (tmp_path / "run/history.jsonl").read_text().splitlines())
    assert len(entry["recall"]) == classes
    assert 0 <= entry["train_loss"] < 100


@pytest.mark.slow
def test_more_readers_than_cores(tmp_path, tiny, noise):
    noise(2, 40)
    assert run(tiny, "DATASET.IN_MEMORY", "never", "TRAIN.NUM_WORKERS", "16", "TRAIN.BATCH_SIZE", "8") == 0
