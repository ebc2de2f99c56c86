"""The log reaches every terminal that can be written to, and harms no run where it cannot."""
import io
import logging
import subprocess
import sys

import pytest

from lib.utils.log import log_to_file, output_is_lost, start_logging

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
TEXT = "3 × 鳥 → \udcff"


@pytest.fixture
def stream(monkeypatch, capfd):
    """Standard output and error with an encoding, and what was written to the former."""
    def make(encoding: str) -> io.BytesIO:
        content = io.BytesIO()
        for name, buffer in (("stdout", content), ("stderr", io.BytesIO())):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(buffer, encoding=encoding, write_through=True))
        return content

    return make


@pytest.mark.parametrize(("encoding", "logged", "printed"), [
    ("ascii", r"3 \xd7 \u9ce5 \u2192 \ufffd", r"3 \xd7 \u9ce5 \u2192 \udcff"),
    ("latin-1", r"3 × \u9ce5 \u2192 \ufffd", r"3 × \u9ce5 \u2192 \udcff"),
    ("utf-8", "3 × 鳥 → \N{REPLACEMENT CHARACTER}", r"3 × 鳥 → \udcff")])
def test_what_a_terminal_cannot_show_is_escaped(stream, encoding, logged, printed):
    content = stream(encoding)
    start_logging()
    logging.getLogger("lib.test").info("%s", TEXT)
    print(TEXT)   # noqa: T201
    shown = content.getvalue().decode(encoding).splitlines()
    assert shown[0].endswith(logged)
    assert shown[1] == printed
    assert sys.stderr.buffer.getvalue() == b""   # no "--- Logging error ---"


class Closed(io.StringIO):
    """A pipe whose reader is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self) -> None:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_pipe_without_a_reader_leaves_the_file(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(sys, "stdout", Closed())
    start_logging()
    logging.getLogger("lib.test").info("first")
    log_to_file(tmp_path / "log.txt")
    logging.getLogger("lib.test").info("second")
    assert output_is_lost()
    start_logging()   # closes the file
    lines = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split("  ")[-1] for line in lines] == ["first", "second"]
    assert capfd.readouterr().err == ""


def test_an_output_that_is_read_is_not_lost():
    assert not output_is_lost()


@pytest.mark.slow
def test_scripts_say_nothing_of_a_reader_that_is_gone(command, tmp_path):
    script = "python main/train.py --cfg configs/test/digits_lt.yaml --show | true; echo ${PIPESTATUS[0]}"
    result = command("bash", "-c", script)
    assert (result.stdout, result.stderr) == ("141\n", "")


@pytest.mark.slow
def test_names_of_any_alphabet_on_a_terminal_of_ascii(command, tiny, root, tmp_path):
    """From the command line Python keeps their bytes; from a file they cannot become a folder's name there, which is told."""
    variables = [f"{name}={value}" for name, value in ASCII.items()]
    words = [*variables, "python", "main/train.py", "--cfg"]
    digits = [*words, "configs/test/digits_lt.yaml", "--gpus", "cpu", *tiny]
    result = command("env", *digits, "NAME", "münchen_鳥", "TRAIN.MAX_EPOCH", 1)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert (tmp_path / "münchen_鳥/metrics.json").exists()
    config = tmp_path / "bird.yaml"
    config.write_text(f"_BASE_: {root}/configs/test/digits_lt.yaml\nNAME: 鳥\n", encoding="utf-8")
    result = command("env", *words, config, "--gpus", "cpu", "OUTPUT_DIR", tmp_path / "out")
    assert result.returncode == 2
    assert "characters that cannot be encoded in ascii, the encoding of file names here" in result.stderr
    assert "Traceback" not in result.stderr
    assert subprocess.run(["ls", tmp_path / "out"], capture_output=True, check=False).stdout == b""
