"""Failures of the machine are one message that names what helps; all others stay what they are."""
import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from lib.dataset.base import ArraySet
from lib.dataset.reader import Reader
from lib.device.failures import GENERATION, TRAINING, VALIDATION, during, explain, lost_contact
from lib.utils.errors import RunFailedError
from main import train
from main.command import exit_status
from tests.dataset.file_set import FileSet

DIGITS = "configs/test/digits_lt.yaml"
# as torch 2.14 says it
ALLOCATION = ("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
              "4096 bytes. Error code 12 (Cannot allocate memory)")
GPU = ("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.10 GiB of which 12.00 MiB is free. "
       "Process 1 has 79.00 GiB memory in use.")
SHARED = "unable to allocate shared memory(shm) for file </torch_21171_586884544_2>: No space left on device (28)"
BUS = ("DataLoader worker (pid 123) is killed by signal: Bus error. It is possible that dataloader's workers are out of shared "
       "memory. Please try to raise your shared memory limit.")
DESCRIPTORS = ("Too many open files. Communication with the workers is no longer possible. Please increase the limit using "
               "`ulimit -n` in the shell or change the sharing strategy")
IN_WORKER = "Caught {0} in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File x\n{0}: {1}\n"


@pytest.mark.parametrize(("error", "parts"), [
    (torch.OutOfMemoryError(GPU), ["GPU memory is full in training", "TRAIN.BATCH_SIZE or INPUT_SIZE", "Tried to allocate 20"]),
    (RuntimeError("CUDA error: out of memory\nCUDA kernel errors"), ["GPU memory is full", "(CUDA error: out of memory)"]),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), ["GPU memory is full"]),
    (RuntimeError(ALLOCATION), ["machine's memory is full in training", "TRAIN.BATCH_SIZE", "DATASET.IN_MEMORY to never"]),
    (RuntimeError("std::bad_alloc"), ["machine's memory is full", "(std::bad_alloc)"]),
    (MemoryError(), ["machine's memory is full", "(MemoryError)"]),
    (MemoryError(IN_WORKER.format("MemoryError", "Unable to allocate 3 TiB")), ["NUM_WORKERS", "Unable to allocate 3 TiB)"]),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), ["machine's memory is full"]),
    (RuntimeError("received 0 items of ancdata"), ["too many open files in training", "TRAIN.NUM_WORKERS", "ulimit -n"]),
    (RuntimeError(DESCRIPTORS), ["too many open files", "ulimit -n"]),
    (OSError(errno.EMFILE, "Too many open files"), ["too many open files", "ulimit -n"]),
    (RuntimeError("unable to open shared memory object </torch_1_2_3> in read-write mode: Too many open files (24)"),
     ["too many open files"]),
    (RuntimeError(SHARED), ["/dev/shm, is too small in training", "TRAIN.NUM_WORKERS (0 uses", "--shm-size", "</torch_"]),
    (RuntimeError(IN_WORKER.format("RuntimeError", SHARED)), ["/dev/shm, is too small", "</torch_21171_586884544_2>"]),
    (RuntimeError("unable to write to file </torch_1_2_3>: No space left on device (28)"), ["/dev/shm, is too small"]),
    (RuntimeError(BUS), ["/dev/shm, is too small", "TRAIN.NUM_WORKERS", "Bus error. It is possible"]),
    (OSError(errno.ENOSPC, "No space left on device"), ["/dev/shm, is too small"]),
    (RuntimeError("DataLoader worker (pid 9) is killed by signal: Killed. "), ["was killed", "memory is full", "NUM_WORKERS"]),
    (RuntimeError("DataLoader worker (pid(s) 9, 10) exited unexpectedly"),
     ["a worker process that reads images ended", "exited unexpectedly"]),
    (RuntimeError("CUDA error: no kernel image is available for execution on the device\nx"), ["cannot use this GPU", "cpu"]),
    (RuntimeError("The NVIDIA driver on your system is too old (found version 11040)."), ["or its driver", torch.__version__]),
    (RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable"), ["another process uses the GPU"]),
])
def test_the_message_names_what_helps(error, parts):
    with pytest.raises(RunFailedError) as raised:
        with during(TRAINING):
            raise error
    message = str(raised.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


@pytest.mark.parametrize(("stage", "key"), [
    (TRAINING, "reduce TRAIN.BATCH_SIZE or"),
    (VALIDATION, "reduce TEST.BATCH_SIZE or INPUT_SIZE, set TEST.LARGE_BATCHES to False"),
    (GENERATION, "reduce TEST.BATCH_SIZE or"), ("", "reduce TRAIN.BATCH_SIZE, TEST.BATCH_SIZE or INPUT_SIZE")])
def test_the_key_is_that_of_what_was_going_on(stage, key):
    assert key in explain(torch.OutOfMemoryError(GPU), stage)


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("x"), KeyError("y"),
                                   RuntimeError("CUDA error: device-side assert triggered")])
def test_a_mistake_of_the_program_stays_what_it_is(error):
    with pytest.raises(type(error), match=re.escape(str(error))):
        with during(TRAINING):
            raise error
    with pytest.raises(type(error)):
        exit_status(lambda: raise_(error))


def test_a_lost_rank_is_told_by_whoever_hears_of_it(capsys):
    error = RuntimeError("[../gloo/transport/tcp/pair.cc:1] Connection closed by peer")
    with pytest.raises(RuntimeError):   # and no failed run
        with during(TRAINING):
            raise error
    assert lost_contact(error)
    assert exit_status(lambda: raise_(error)) == 1
    assert "lost contact with another rank" in capsys.readouterr().out


def raise_(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(("error", "message"), [
    (RuntimeError(ALLOCATION), "this machine's memory is full: reduce TRAIN.BATCH_SIZE, TEST.BATCH_SIZE"),
    (MemoryError(), "this machine's memory is full"),
    (PermissionError(errno.EACCES, "Permission denied", "/data/x"), "cannot read or write /data/x (Permission denied)"),
    (OSError(errno.ENOSPC, "No space left on device", "/data/x"), "no space left for /data/x"),
    (OSError(errno.ENOSPC, "No space left on device"), "no space left for what was to be written"),
    (OSError(errno.EMFILE, "Too many open files", "/data/x"), "too many open files: reduce TRAIN.NUM_WORKERS, TEST.NUM_WORKERS")])
def test_outside_of_any_stage(error, message, capsys):
    assert exit_status(lambda: raise_(error)) == 1
    assert message in capsys.readouterr().out


def test_a_file_name_that_the_locale_lacks_is_a_mistake(capsys):
    assert exit_status(lambda: raise_(UnicodeEncodeError("ascii", "m\xfcnchen", 1, 2, "ordinal not in range"))) == 2
    message = capsys.readouterr().err
    assert "file names are encoded in ascii in this locale, which cannot encode 'münchen'; set LC_ALL=C.UTF-8" in message
    with pytest.raises(UnicodeEncodeError):
        exit_status(lambda: raise_(UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed")))


class Full(Dataset):
    """Its worker meets what torch raises where /dev/shm is full."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int):
        raise RuntimeError(SHARED)


def test_what_a_worker_raises_arrives():
    loader = DataLoader(Full(), num_workers=1)
    with pytest.raises(RuntimeError) as raised:
        list(loader)
    assert explain(raised.value, TRAINING).endswith(f"such as with docker run --shm-size 8g (RuntimeError: {SHARED})")


def test_what_this_torch_says_of_too_little_memory():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**50)
    assert "this machine's memory is full" in explain(raised.value)


def test_a_training_says_when_it_happened(tiny, tmp_path, monkeypatch, capsys, no_figures):
    """The images of the validation set do not fit; then those of the training set."""
    for part, key in (("training", "TRAIN.BATCH_SIZE"), ("validation", "TEST.BATCH_SIZE")):
        monkeypatch.undo()
        name = "lib.engine.step.EagerStep.__call__" if part == "training" else "lib.engine.evaluation.predictions_of"
        monkeypatch.setattr(name, lambda *args: torch.empty(2**50))
        assert train.main(["--cfg", DIGITS, "--gpus", "cpu", *tiny, "NAME", part, "TRAIN.MAX_EPOCH", "1"]) == 1
        assert f"error: this machine's memory is full in {part}: reduce {key}" in capsys.readouterr().out


def test_a_set_that_does_not_fit_into_memory(tiny, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(ArraySet, "pixels", lambda self, read: torch.empty(2**50))
    assert train.main(["--cfg", DIGITS, "--gpus", "cpu", *tiny]) == 1
    assert "DATASET.IN_MEMORY to never" in capsys.readouterr().out


@pytest.mark.parametrize("skip", [False, True])
def test_a_limit_of_the_machine_makes_no_image_unreadable(monkeypatch, tmp_path, skip):
    """Else DATASET.ON_BAD_IMAGE skip would train on other images than there are."""
    def too_many(path):
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    images = FileSet([tmp_path / "a.png"] * 2)
    assert Reader(images, (), skip)[0, 0].image.shape == (3, 8, 8)
    monkeypatch.setattr(Path, "read_bytes", too_many)
    with pytest.raises(OSError, match="Too many open files") as raised:
        Reader(images, (), skip)[0, 0]
    assert "too many open files in training" in explain(raised.value, TRAINING)


LIMITED = """
import resource, sys
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))
    from main import train
    sys.exit(train.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_too_few_open_files(tiny, tmp_path, root):
    script = tmp_path / "limited.py"
    script.write_text(LIMITED)
    words = ["--cfg", DIGITS, "--gpus", "cpu", *tiny, "DATASET.IN_MEMORY", "never", "TRAIN.NUM_WORKERS", "2"]
    result = subprocess.run([sys.executable, script, *words], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, text=True,
                            capture_output=True, timeout=300, check=False)
    assert result.returncode == 1, result.stderr
    assert "error: too many open files in training: reduce TRAIN.NUM_WORKERS, or raise the limit of 24 with ulim" in result.stdout
    assert "main/train.py" not in result.stderr   # worker processes may say more, but there is no traceback of this one
