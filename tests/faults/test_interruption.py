"""SIGTERM and Ctrl-C end within a batch, and what they leave goes on to the last bit."""
import os
import re
import shlex
import signal

import pytest
import torch
from harness import CONFIG, results, same

from lib.dataset.loader import Loader
from lib.engine import evaluation
from lib.engine.progress import Progress
from main import train

pytestmark = pytest.mark.usefixtures("no_figures")
BATCHES = 8   # of an epoch of ``tiny``


def words(tiny, folder, *more: str) -> list[str]:
    return ["--cfg", CONFIG, "--gpus", "cpu", *tiny, "OUTPUT_DIR", str(folder), *more]


@pytest.fixture
def send(monkeypatch):
    """Sends a signal to this process after a batch of training; ``send(signal.SIGTERM, epoch=2, batch=5)``."""
    def arrange(number: int, epoch: int, batch: int) -> None:
        original = Progress.after_batch

        def after_batch(self, sums):
            original(self, sums)
            if (self.epoch, sums.batches) == (epoch, batch):
                os.kill(os.getpid(), number)

        monkeypatch.setattr(Progress, "after_batch", after_batch)

    return arrange


def command_of(output: str) -> list[str]:
    """The command that the output says goes on with the run, as words for main/train.py."""
    script, name, config, gpus, *rest = shlex.split(re.search(r"Resume with:\n\s+(.*)", output).group(1))
    assert (script, os.path.basename(name)) == ("bash", "data_parallel_train.sh")
    return ["--cfg", config, "--gpus", gpus, *rest]


@pytest.mark.parametrize(("number", "status", "more"), [
    (signal.SIGTERM, 143, ()),
    pytest.param(signal.SIGINT, 130, ("TRAIN.COMBINER.TYPE", "mix_up", "DATASET.IN_MEMORY", "never"), marks=pytest.mark.slow)])
def test_a_signal_ends_within_a_batch_and_the_command_it_tells_goes_on_bit_for_bit(tmp_path, tiny, send, monkeypatch, capsys,
                                                                                   number, status, more):
    more = ("TRAIN.MAX_EPOCH", "2", *more)
    assert train.main(words(tiny, tmp_path / "whole", *more)) == 0
    send(number, epoch=2, batch=5)
    assert train.main(words(tiny, tmp_path / "parts", *more)) == status
    monkeypatch.undo()
    part = torch.load(tmp_path / "parts/run/models/mid_epoch.pth", weights_only=True)
    assert (part["epoch"], part["batch"]) == (1, 5)
    assert train.main(command_of(capsys.readouterr().out)) == 0
    assert "resuming with epoch 2, batch 6" in capsys.readouterr().out
    whole, parts = results(tmp_path / "whole/run"), results(tmp_path / "parts/run")
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert same(value, parts[name]), name


@pytest.mark.slow
def test_a_signal_during_validation_comes_back_to_validation(tmp_path, tiny, monkeypatch, capsys):
    assert train.main(words(tiny, tmp_path / "whole")) == 0
    original, calls = evaluation.predictions_of, []

    def describe(logits, labels):
        calls.append(1)
        if len(calls) == 10:   # 8 batches of validation in each epoch
            os.kill(os.getpid(), signal.SIGTERM)
        return original(logits, labels)

    monkeypatch.setattr(evaluation, "predictions_of", describe)
    assert train.main(words(tiny, tmp_path / "parts")) == 143
    assert len(calls) == 10
    assert train.main([*words(tiny, tmp_path / "parts"), "--ar"]) == 0
    assert f"epoch 2, batch {BATCHES + 1}" in capsys.readouterr().out
    assert same(results(tmp_path / "whole/run"), results(tmp_path / "parts/run"))


@pytest.mark.slow
def test_no_image_of_the_epoch_is_seen_twice_or_left_out(tmp_path, tiny, send, monkeypatch):
    seen, original = [], Loader.finish

    def finish(self, images, labels, indices, seed):
        if self.num_batches == BATCHES and getattr(self.batches, "epoch", 0) == 2:
            seen.extend(indices.tolist())
        return original(self, images, labels, indices, seed)

    monkeypatch.setattr(Loader, "finish", finish)
    assert train.main(words(tiny, tmp_path / "whole", "TRAIN.MAX_EPOCH", "2", "TEST.BATCH_SIZE", "100")) == 0
    whole = seen.copy()
    seen.clear()
    send(signal.SIGTERM, epoch=2, batch=3)
    assert train.main(words(tiny, tmp_path / "parts", "TRAIN.MAX_EPOCH", "2", "TEST.BATCH_SIZE", "100")) == 143
    assert len(seen) == 3 * 64
    assert train.main([*words(tiny, tmp_path / "parts", "TRAIN.MAX_EPOCH", "2", "TEST.BATCH_SIZE", "100"), "--ar"]) == 0
    assert seen == whole
    assert len(set(seen)) == BATCHES * 64


@pytest.mark.slow
@pytest.mark.parametrize(("epoch", "begins"), [(1, "from the beginning"), (2, "last.pth")])
def test_with_other_batches_the_epoch_begins_again(tmp_path, tiny, send, monkeypatch, capsys, epoch, begins):
    """Half the batch size is half the images seen so far: position 5 would leave images out."""
    send(signal.SIGTERM, epoch, batch=5)
    assert train.main(words(tiny, tmp_path)) == 143
    monkeypatch.undo()
    assert train.main([*words(tiny, tmp_path, "TRAIN.BATCH_SIZE", "32"), "--ar"]) == 0
    output = capsys.readouterr().out
    assert re.search(rf"mid_epoch\.pth is from the middle of epoch {epoch} .* has other batches; resuming .*{begins}", output)
    assert not (tmp_path / "run/models/mid_epoch.pth").exists()
    found = results(tmp_path / "run")
    assert [entry["epoch"] for entry in found["history"]] == [1, 2, 3]
    if epoch == 1:   # nothing of the refused checkpoint is left
        assert train.main(words(tiny, tmp_path / "anew", "TRAIN.BATCH_SIZE", "32")) == 0
        anew = results(tmp_path / "anew/run")
        assert all(torch.equal(value, anew["last.pth"]["state_dict"][name])
                   for name, value in found["last.pth"]["state_dict"].items())


@pytest.mark.slow
def test_the_clock_writes_checkpoints_inside_an_epoch(tmp_path, tiny, monkeypatch):
    from lib.run.run import Run
    saved, original = [], Run.save_part

    def save_part(self, state):
        saved.append((state["epoch"] + 1, state["batch"]))
        original(self, state)

    monkeypatch.setattr(Run, "save_part", save_part)
    for name, minutes in (("often", "1e-9"), ("never", "0")):
        assert train.main(words(tiny, tmp_path / name, "TRAIN.CHECKPOINT_MINUTES", minutes, "TRAIN.MAX_EPOCH", "1")) == 0
        if name == "often":
            assert (1, 1) in saved
            assert (1, BATCHES) in saved
            assert len(saved) > BATCHES
            saved.clear()
    assert saved == []
    often, never = (results(tmp_path / name / "run")["last.pth"]["state_dict"] for name in ("often", "never"))
    assert same(often, never)


def test_a_signal_before_the_first_batch(tmp_path, tiny, monkeypatch, capsys):
    from lib.core import build
    monkeypatch.setattr(build, "build_datasets", lambda cfg, **_: os.kill(os.getpid(), signal.SIGTERM))
    assert train.main(words(tiny, tmp_path)) == 143
    assert "stopped by SIGTERM; no training was running" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
