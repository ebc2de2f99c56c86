"""The table of what methods cost: what is in it, how its ratios come about, and what is left of it when it is interrupted."""
import json
import statistics

import pytest
import torch

from lib.config import load_config
from lib.data_transform.curriculum import Curriculum
from tools import benchmark
from tools.measure import methods
from tools.measure.methods import REFERENCE, alternate, of_a_single_stage, table

DIGITS = "configs/test/digits_lt.yaml"
TINY = ["--cfg", DIGITS, "--gpus", "cpu", "--random-images", "40", "--random-classes", "4", "--batches", "1", "--repeats", "1"]
WORDS = ["BACKBONE.TYPE", "res20_cifar", "INPUT_SIZE", "[8, 8]", "TRAIN.BATCH_SIZE", "16"]
LATER = {"crt", "lws", "mislas", "los", "gcl_stage2", "h2t", "max_norm", "disalign", "marc", "dive", "finetune", "tau_norm"}


def rows_of(text: str) -> dict[str, list[str]]:
    lines = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    return {name.strip(): [cell.strip() for cell in cells] for name, *cells in lines[1:]}


def test_methods_are_the_fragments_of_one_stage_that_change_a_step():
    found = set(of_a_single_stage())
    assert {"sam", "bcl", "proco", "balpoe", "sade", "curriculum", "input_mixup", "bbn_mixup", "cmo", "ldam", "bsce"} <= found
    assert not found & LATER
    assert not found & {"balance_sampling", "progressive_sampling", "drw", "drs", "epochs100", "weight_decay"}
    assert set(methods.fragments()) >= found | LATER


class Clock:
    """Seconds of the timings, in the order in which they are asked for."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def way(self, name: str, *times: float):
        own = iter(times)
        return lambda: self.calls.append(name) or next(own)


def test_a_ratio_is_that_to_the_timings_before_and_after():
    clock, ratios = Clock(), {"a": [], "b": []}
    ways = {REFERENCE: clock.way("x", 9, 9, 9, 1, 3, 5), "a": clock.way("a", 9, 4), "b": clock.way("b", 9, 2)}
    alternate(ways, 1, ratios)
    assert clock.calls == ["x", "a", "x", "b", "x"] * 2
    assert ratios == {"a": [4 / 2], "b": [2 / 4]}   # 4 between 1 and 3, 2 between 3 and 5; the first round is none


def test_the_table_has_medians_and_ranges_the_cheapest_first():
    lines = list(table({"dear": [3.0, 2.0, 10.0], "cheap": [1.5], "not yet": []}))
    assert lines[2:] == ["| cross-entropy | 1 | |", "| cheap | 1.50 | 1.50–1.50 |", "| dear | 3.00 | 2.00–10.00 |"]


def test_a_tiny_run_has_a_row_for_each_method(tmp_path, capsys):
    """One with two passes, one with views, one with state and one of a second stage."""
    names, file = ["sam", "bcl", "proco", "curriculum", "h2t"], tmp_path / "cost.json"
    assert benchmark.main([*TINY, "--json", str(file), *WORDS, "--methods", ",".join(names)]) == 0
    rows, found = rows_of(capsys.readouterr().out), json.loads(file.read_text())
    assert set(rows) == {REFERENCE, *names}
    assert rows[REFERENCE] == ["1", ""]
    assert found["summary"][REFERENCE] == {"median": 1.0, "min": 1.0, "max": 1.0}
    for name in names:
        assert len(found["ratios"][name]) == 1
        assert found["summary"][name]["median"] == statistics.median(found["ratios"][name]) > 0
        assert rows[name][0] == f"{found['summary'][name]['median']:.2f}"
    assert (found["images"], found["batch"], found["steps"], found["repeats"]) == (40, 16, 1, 1)
    assert found["environment"]["processor"]


@pytest.mark.long
def test_without_names_all_of_them_are_measured(capsys):
    assert benchmark.main([*TINY, *WORDS, "--methods"]) == 0
    assert set(rows_of(capsys.readouterr().out)) == {REFERENCE, *of_a_single_stage()}


def test_a_step_of_a_method_is_its_own(monkeypatch):
    """The network is called as often as the method says, with as many images; a curriculum works at its middle level."""
    seen, levels = [], []
    forward, labelled = methods.build.Network.forward, Curriculum.labelled

    def counted(self, images, *args, **options):
        seen.append(len(images))
        return forward(self, images, *args, **options)

    def looked(self, images, labels, generator=None):
        levels.append(set(self.levels.tolist()))
        return labelled(self, images, labels, generator)

    monkeypatch.setattr(methods.build.Network, "forward", counted)
    monkeypatch.setattr(Curriculum, "labelled", looked)
    expected = {"sam": [16, 16], "bcl": [48], "cmo": [16], "bbn_sampling": [32], "curriculum": [16]}
    for name, sizes in expected.items():
        seen.clear()
        assert benchmark.main([*TINY, *WORDS, "--methods", name]) == 0
        assert seen == [16, *sizes, 16] * 2, name
    assert levels == [{5}, {5}]


def test_what_is_measured_so_far_is_told_when_it_is_interrupted(monkeypatch, capsys, tmp_path):
    """In the third round, after the first of two methods."""
    calls = []

    def interrupted(function, device):
        calls.append(function)
        if len(calls) == 2 * 5 + 4:
            raise KeyboardInterrupt
        return 2.0

    monkeypatch.setattr(methods, "taken", interrupted)
    words = [*TINY, "--repeats", "7", "--json", str(tmp_path / "cost.json"), *WORDS]
    assert benchmark.main([*words, "--methods", "sam,bsce"]) == 130
    shown = capsys.readouterr().out
    assert "1 to 2 of 7 rounds" in shown
    assert rows_of(shown) == {REFERENCE: ["1", ""], "sam": ["1.00", "1.00–1.00"], "bsce": ["1.00", "1.00–1.00"]}
    assert shown.splitlines()[-1].endswith("interrupted")
    assert json.loads((tmp_path / "cost.json").read_text())["ratios"] == {"sam": [1.0, 1.0], "bsce": [1.0]}


def test_nothing_measured_is_no_table(monkeypatch, capsys):
    def interrupted(function, device):
        raise KeyboardInterrupt

    monkeypatch.setattr(methods, "taken", interrupted)
    assert benchmark.main([*TINY, *WORDS, "--methods", "sam"]) == 130
    assert "|" not in capsys.readouterr().out


def test_progress_has_a_rate_and_the_time_that_is_left(monkeypatch, capsys):
    monkeypatch.setattr(methods, "EVERY", 0.0)
    assert benchmark.main([*TINY, *WORDS, "--methods", "bsce"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "timings/s" in line]
    assert [line.split()[2] for line in lines] == [f"{number}/6" for number in range(1, 7)]
    assert lines[-1].endswith("ETA 0:00:00")


@pytest.mark.parametrize(("words", "message"), [
    (["--methods", "sam,smm"], "error: --methods: no fragment 'smm' in configs/tricks; did you mean 'sam'?"),
    (["--methods=INPUT_SIZE"], "error: --methods: no fragment 'INPUT_SIZE' in configs/tricks; known: "),
    (["LOSS.LOSS_TYPE", "FocalLoss", "--methods", "sam"],
     "error: LOSS.LOSS_TYPE: --methods compares with plain cross-entropy: --cfg must have CrossEntropy, not FocalLoss"),
    (["TRAIN.COMBINER.TYPE", "mix_up", "--methods"], "error: TRAIN.COMBINER.TYPE: --methods compares with plain cross-entropy"),
    (["--methods", "sam,drs"], "TRAIN.TWO_STAGE.DRS: ")])
def test_mistakes_are_one_message(words, message, capsys):
    assert benchmark.main([*TINY, *WORDS, *words]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err + shown.out


def test_what_nobody_named_and_does_not_fit_is_left_out_and_told(caplog):
    args = methods.argparse.Namespace(methods="", cfg=[DIGITS], words=["NETWORK.EXPERTS.FROM", "stem"])
    with caplog.at_level("WARNING"):
        found = methods.configurations(load_config(DIGITS, args.words), args)
    assert set(of_a_single_stage()) - set(found) >= {"balpoe", "ride", "sade"}
    assert "left out: sade, since --cfg does not go with it" in caplog.text
    assert "NETWORK.EXPERTS.FROM: " in caplog.text


def test_one_thread_of_a_cpu_is_timed_by_its_own_time():
    def slept():
        methods.time.sleep(0.2)

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert methods.taken(slept, torch.device("cpu")) < 0.1
        torch.set_num_threads(2)
        assert methods.taken(slept, torch.device("cpu")) >= 0.2
    finally:
        torch.set_num_threads(before)
