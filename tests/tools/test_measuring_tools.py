"""What the measuring tools share: Ctrl-C and mistakes end them with one message, before or after hours of measuring."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import benchmark, measure_scale
from tools.measure import jpeg_readers, scaling, startup

PATIENCE = 120   # seconds, on a busy machine
MAINS = {"jpeg": jpeg_readers.main, "scaling": scaling.main, "measure_scale": measure_scale.main}


@pytest.mark.slow
def test_an_interrupted_benchmark_leaves_neither_traceback_nor_files(root, tmp_path):
    words = [sys.executable, "tools/benchmark.py", "--jpeg", "--images", "20", "--repeats", "100000"]
    with subprocess.Popen(words, cwd=root, env={**os.environ, "TMPDIR": str(tmp_path)}, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as process:
        end = time.monotonic() + PATIENCE
        while len(list(tmp_path.rglob("*.jpg"))) < 20 and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert output.count("\n") == 1   # "interrupted"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("tool", MAINS)
def test_ctrl_c_is_one_line(tool, monkeypatch, capsys):
    def interrupted(*args) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules[MAINS[tool].__module__], "measure" if tool == "jpeg" else "run", interrupted)
    assert MAINS[tool]([]) == 130
    assert "interrupted" in capsys.readouterr().out


@pytest.mark.parametrize(("tool", "words"), [
    *((tool, ["--json", "nowhere/x.json"]) for tool in MAINS), *((tool, ["--images", "0"]) for tool in MAINS),
    ("jpeg", ["--quality", "500"]), ("jpeg", ["--json", "."]), ("scaling", ["--figure", "nowhere/x.png"]),
    ("scaling", ["--ranks", "0"]), ("measure_scale", ["--workers", "-1"])])
def test_mistakes_are_told_before_anything_is_measured(tool, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as raised:
        MAINS[tool](words)
    assert raised.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_more_classes_than_images(capsys):
    assert measure_scale.main(["--images", "5", "--classes", "6"]) == 2
    assert "at least the number of classes, 6, got 5" in capsys.readouterr().err


def test_a_system_that_does_not_tell_its_memory(monkeypatch, capsys):
    monkeypatch.setattr(scaling, "RESET", Path("/nowhere/clear_refs"))
    assert scaling.main([]) == 2
    assert "only Linux" in capsys.readouterr().err


def test_a_missing_opencv_is_one_message(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert jpeg_readers.main(["--images", "1"]) == 2
    assert "pip install -r tools/requirements.txt" in capsys.readouterr().err


def test_a_mistake_that_only_the_measured_process_notices_is_told_as_such(monkeypatch, capsys, tmp_path):
    """GPUs, for one: this process has not looked for them yet when the first of those that it measures is started."""
    complaint = "import sys; print('error: GPUS: none there', file=sys.stderr); sys.exit(2)"
    run = subprocess.run
    monkeypatch.setattr(startup.subprocess, "run", lambda words, **options: run([sys.executable, "-c", complaint], **options))
    words = ["--cfg", "configs/test/digits_lt.yaml", "--gpus", "cpu", "--parts", "memory"]
    assert benchmark.main(words) == 2
    assert capsys.readouterr().err == "error: GPUS: none there\n"
