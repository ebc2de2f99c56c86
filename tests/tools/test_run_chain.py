"""Chains: which stages there are, what is run, skipped, resumed or refused. Whole chains are trained in end_to_end."""
import json
from pathlib import Path

import pytest

from lib.config import load_config
from lib.core.build import run_directory
from tools.run_chain import main

ROOT = Path(__file__).resolve().parents[2]
DIGITS, BSCE, MIXUP, FINETUNE = (str(ROOT / "configs" / name) for name in (
    "test/digits_lt.yaml", "tricks/bsce.yaml", "tricks/input_mixup.yaml", "tricks/finetune.yaml"))


class Starts:
    """Stands in for processes: keeps their words, and finishes runs, as far as ``epochs`` go."""

    def __init__(self, *statuses: int, epochs: int = 10**6) -> None:
        self.statuses, self.epochs, self.words = list(statuses), epochs, []

    def __call__(self, words: list[str]) -> int:
        self.words.append(words)
        status = self.statuses.pop(0) if self.statuses else 0
        if status == 0:
            files = [word for word in words if word.endswith(".yaml")]
            pairs = [word for word in words[words.index(files[-1]) + 1:] if word not in ("--ar", "True", "--overwrite")]
            finish(load_config(files, pairs), self.epochs)
        return status


def finish(cfg, epochs: int) -> None:
    run = run_directory(cfg)
    run.models.mkdir(parents=True, exist_ok=True)
    (run.directory / "config.yaml").write_text(cfg.to_yaml())
    run.history_file.write_text(json.dumps({"epoch": min(epochs, cfg.TRAIN.MAX_EPOCH)}) + "\n")
    for path in (run.models / "last.pth", run.directory / "metrics.json"):
        path.touch()


@pytest.fixture
def chain(tmp_path):
    """Runs a chain of the digits and fine-tuning below ``tmp_path``."""
    file = tmp_path / "chain.yaml"
    file.write_text(f"- []\n- {FINETUNE}\n")

    def chain(start, *words: str, cfg=(DIGITS, BSCE)) -> int:
        return main(["--chain", str(file), "--cfg", *cfg, "--gpus", "cpu", "OUTPUT_DIR", str(tmp_path / "runs"), *words], start)

    return chain


def test_stages_run_in_order_and_find_each_other(chain, tmp_path):
    start = Starts()
    assert chain(start) == 0
    first, second = start.words
    assert Path(first[1]).name == Path(second[1]).name == "train.py"
    assert [word for word in first if word.endswith(".yaml")] == [DIGITS, BSCE]
    assert [word for word in second if word.endswith(".yaml")] == [DIGITS, BSCE, FINETUNE]
    assert first[-2:] == second[-2:] == ["--ar", "True"]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["digits_lt_bsce", "digits_lt_bsce_finetune"]


def test_name_is_a_folder_for_the_whole_chain(chain, tmp_path):
    assert chain(Starts(), "NAME", "mine") == 0
    assert sorted(path.name for path in (tmp_path / "runs/mine").iterdir()) == ["digits_lt_bsce", "digits_lt_bsce_finetune"]
    text = (tmp_path / "runs/mine/digits_lt_bsce_finetune/config.yaml").read_text()
    assert str(tmp_path / "runs/mine/digits_lt_bsce/models/best_model.pth") in text


def test_what_is_finished_is_left_as_it_is(chain):
    assert chain(Starts()) == 0
    again = Starts()
    assert chain(again, "TRAIN.NUM_WORKERS", "3") == 0   # makes no difference to the result
    assert again.words == []


def test_a_failing_stage_ends_the_chain_with_its_status_and_is_the_next_to_run(chain, capsys):
    failing = Starts(0, 1)
    assert chain(failing) == 1
    assert len(failing.words) == 2
    assert "stage 2 of 2" in capsys.readouterr().out.splitlines()[-1]
    again = Starts()
    assert chain(again) == 0
    assert [FINETUNE in words for words in again.words] == [True]


@pytest.mark.parametrize(("words", "message"), [
    (["--gpus", "0,1"], "asked for 0,1, but CUDA finds one GPU, which is 0"),
    (["--gpus", "auto", "--processes", "2"], "2 processes but 1")])
def test_gpus_that_are_not_there_are_one_message_before_a_stage_begins(chain, monkeypatch, capsys, words, message):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    starts = Starts()
    assert chain(starts, *words) == 2
    assert starts.words == []
    assert message in capsys.readouterr().err


def test_ctrl_c_ends_the_chain(chain, capsys):
    interrupted = Starts(130)
    assert chain(interrupted) == 130
    assert len(interrupted.words) == 1
    assert "interrupted; the same command resumes this stage" in capsys.readouterr().out


def test_an_unfinished_stage_is_resumed(chain):
    assert chain(Starts(0, 1, epochs=5)) == 1
    again = Starts()
    assert chain(again) == 0
    assert [words[-2:] for words in again.words] == [["--ar", "True"]] * 2


@pytest.mark.parametrize(("word", "value", "message"), [
    ("SEED", "7", "SEED was 42, is 7"), ("TRAIN.MAX_EPOCH", "9", "TRAIN.MAX_EPOCH was 100, is 9")])
def test_another_configuration_is_refused_before_anything_runs(chain, capsys, word, value, message):
    assert chain(Starts()) == 0
    again = Starts()
    assert chain(again, word, value) == 2
    assert again.words == []
    error = capsys.readouterr().err
    assert message in error
    assert "--overwrite" in error
    assert chain(again, word, value, "--overwrite") == 0
    assert [words[-1] for words in again.words] == ["--overwrite"] * 2


def test_a_stage_older_than_the_one_it_continues_is_not_taken_for_finished(chain, tmp_path, capsys):
    assert chain(Starts()) == 0
    (tmp_path / "runs/digits_lt_bsce/models/last.pth").unlink()
    again = Starts()
    assert chain(again) == 2
    assert len(again.words) == 1
    assert "is older than" in capsys.readouterr().err


def test_stages_as_words_stack_by_commas(tmp_path, capsys):
    assert main(["--chain", DIGITS, f"{DIGITS},{MIXUP}", "OUTPUT_DIR", str(tmp_path), "--show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"1. {DIGITS}", f"   {tmp_path}/digits_lt: new",
                     f"2. {DIGITS} {MIXUP}", f"   {tmp_path}/digits_lt_input_mixup: new"]


def test_processes_go_through_torchrun(chain):
    start = Starts()
    assert chain(start, "--processes", "2") == 0
    assert [Path(words[1]).name for words in start.words] == ["launch.py"] * 2
    assert start.words[0][2:5] == ["--standalone", "--nproc_per_node", "2"]


@pytest.mark.parametrize(("text", "message"), [
    ("- 3\n", "a chain is a list of stages"), ("- [[a.yaml]]\n", "a chain is a list of stages"),
    ("- nowhere.yaml\n", "nowhere.yaml: no such file"), ("- []\n- []\n", "stages 1 and 2 share the directory")])
def test_a_chain_that_is_none(tmp_path, capsys, text, message):
    (tmp_path / "bad.yaml").write_text(text)
    start = Starts()
    assert main(["--chain", str(tmp_path / "bad.yaml"), "--cfg", DIGITS], start) == 2
    assert message in capsys.readouterr().err
    assert start.words == []


def test_options_that_are_given_twice_add_up(tmp_path, capsys):
    (tmp_path / "seed.yaml").write_text("SEED: 7\nNAME: seeded\n")
    words = ["--chain", DIGITS, "--cfg", str(tmp_path / "seed.yaml"), "--chain", str(MIXUP), "--cfg", DIGITS, "SHOW_STEP", "3"]
    assert main([*words, "OUTPUT_DIR", str(tmp_path), "--show"], Starts()) == 0
    lines = capsys.readouterr().out.splitlines()
    seeded = tmp_path / "seed.yaml"
    assert [line for line in lines if "/" in line and ": new" not in line] == [
        f"1. {seeded} {DIGITS} {DIGITS}", f"2. {seeded} {DIGITS} {MIXUP}"]


def test_a_chain_without_a_baseline(capsys):
    assert main(["--chain", str(ROOT / "configs/chains/crt.yaml")], Starts()) == 2
    assert "--cfg" in capsys.readouterr().err


@pytest.mark.parametrize("file", sorted((ROOT / "configs/chains").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_chain_fits_every_baseline_and_says_what_it_does(file, tmp_path, capsys):
    assert file.read_text().startswith("# ")
    for baseline in ("fashion_lt/baseline/fashion_im50.yaml", "cao_cifar/baseline/cifar100_im100.yaml"):
        words = ["--cfg", str(ROOT / "configs" / baseline), "OUTPUT_DIR", str(tmp_path), "--show"]
        assert main(["--chain", str(file), *words]) == 0, capsys.readouterr().err
    stages = [line for line in file.read_text().splitlines() if line.startswith("- ")]
    assert capsys.readouterr().out.count(": new") == 2 * len(stages)
