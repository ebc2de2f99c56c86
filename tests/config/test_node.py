"""Stacking, types, and messages of the configuration."""
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.config import TREE, ConfigError, load_config, split_words

BASE = "BACKBONE: {TYPE: res32_cifar}\nINPUT_SIZE: [32, 32]\nTRAIN: {MAX_EPOCH: 100}\n"


@pytest.fixture
def write(tmp_path):
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    write("base.yaml", BASE)
    return write


def problems(path, overrides=()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return [line.strip() for line in str(caught.value).split("\n")[1:]]


def test_a_file_wins_over_its_base_and_the_command_line_over_all(write):
    path = write("deep/own.yaml", "_BASE_: ../base.yaml\nTRAIN: {BATCH_SIZE: 7}\nNAME: own\n")
    cfg = load_config(path, ["NAME", "typed"])
    assert (cfg.BACKBONE.TYPE, cfg.TRAIN.MAX_EPOCH, cfg.TRAIN.BATCH_SIZE, cfg.NAME) == ("res32_cifar", 100, 7, "typed")
    assert cfg.TEST.BATCH_SIZE == TREE.TEST.BATCH_SIZE


def test_of_several_bases_the_later_one_wins_and_the_file_itself_last(write):
    write("a.yaml", "NAME: a\nSEED: 1\nSHOW_STEP: 11\n")
    write("b.yaml", "NAME: b\nSEED: 2\n")
    cfg = load_config(write("c.yaml", "_BASE_: [base.yaml, a.yaml, b.yaml]\nNAME: c\n"))
    assert (cfg.NAME, cfg.SEED, cfg.SHOW_STEP) == ("c", 2, 11)


def test_several_files_stack_like_several_bases(write):
    a, b = write("a.yaml", "NAME: a\nSEED: 1\n"), write("b.yaml", "NAME: b\n")
    stacked = load_config([write("base.yaml", BASE), a, b])
    assert stacked == load_config(write("c.yaml", "_BASE_: [base.yaml, a.yaml, b.yaml]\n"))


def test_a_value_of_a_base_can_be_set_back_to_the_default(write):
    write("a.yaml", "_BASE_: base.yaml\nTRAIN: {MAX_EPOCH: 7}\n")
    assert load_config(write("b.yaml", f"_BASE_: a.yaml\nTRAIN: {{MAX_EPOCH: {TREE.TRAIN.MAX_EPOCH}}}\n")).TRAIN.MAX_EPOCH == 60


def test_the_tree_itself_is_never_changed(write):
    before = TREE.flat()
    load_config(write("own.yaml", "_BASE_: base.yaml\nTRAIN: {LR_SCHEDULER: {LR_STEP: [1, 2]}}\n"))
    assert TREE.flat() == before


def test_a_loaded_configuration_is_frozen(write):
    cfg = load_config(write("base.yaml", BASE))
    with pytest.raises(AttributeError):
        cfg.TRAIN.MAX_EPOCH = 3


@pytest.mark.parametrize(("words", "key", "value"), [
    (["TRAIN.OPTIMIZER.BASE_LR", "2e-4"], "TRAIN.OPTIMIZER.BASE_LR", 2e-4),
    (["TRAIN.OPTIMIZER.BASE_LR", "1"], "TRAIN.OPTIMIZER.BASE_LR", 1.0),
    (["TRAIN.LR_SCHEDULER.LR_STEP", "(3, 4)"], "TRAIN.LR_SCHEDULER.LR_STEP", [3, 4]),
    (["TRAIN.LR_SCHEDULER.LR_STEP", "[3]"], "TRAIN.LR_SCHEDULER.LR_STEP", [3]),
    (["INPUT_SIZE", "(16,16)"], "INPUT_SIZE", [16, 16]),
    (["NAME", "2021"], "NAME", "2021"), (["NAME", "010"], "NAME", "010"), (["NAME", "true"], "NAME", "true"),
    (["TRAIN.SYNCBN", "True"], "TRAIN.SYNCBN", True), (["TRAIN.SYNCBN", "false"], "TRAIN.SYNCBN", False),
    (["TRANSFORMS.TEST_TRANSFORMS", "[]"], "TRANSFORMS.TEST_TRANSFORMS", []),
    (["TRANSFORMS.TEST_TRANSFORMS", "['center_crop']"], "TRANSFORMS.TEST_TRANSFORMS", ["center_crop"]),
    (["DATASET.MEAN", "[.1, 2e-1, 1]"], "DATASET.MEAN", [0.1, 0.2, 1]),
    (["DATASET.ROOT", "''"], "DATASET.ROOT", "''"),
    (["DATASET.MEAN", "[0, 0, 0]", "DATASET.MEAN", "[.1, .2, .3]"], "DATASET.MEAN", [0.1, 0.2, 0.3]),
    (["TRAIN.LR_SCHEDULER.LR_STEP", "[]", "TRAIN.LR_SCHEDULER.LR_STEP", "[3]"], "TRAIN.LR_SCHEDULER.LR_STEP", [3]),
])
def test_types_of_the_command_line(write, words, key, value):
    result = load_config(write("base.yaml", BASE), words).flat()[key]
    assert (result, type(result)) == (value, type(value))


@pytest.mark.parametrize(("text", "message"), [
    ("TRAIN: {BATCH_SIZE: 3.5}", "TRAIN.BATCH_SIZE takes a whole number (such as 32), got 3.5"),
    ("TRAIN: {SYNCBN: 1}", "TRAIN.SYNCBN takes True or False"),
    ("TRAIN: {BATCH_SIZE: true}", "TRAIN.BATCH_SIZE takes a whole number"),
    ("NAME: [2021]", "NAME takes text (such as 'default'), got ['2021']"),
    ("NAME:", "NAME takes text (such as 'default'), got nothing"),
    ("TRAIN: {LR_SCHEDULER: {LR_STEP: 160}}", "TRAIN.LR_SCHEDULER.LR_STEP takes a list"),
    ("TRAIN: {LR_SCHEDULER: {LR_STEP: [a]}}", "TRAIN.LR_SCHEDULER.LR_STEP takes a whole number"),
    (f"TRAIN: {{OPTIMIZER: {{BASE_LR: {10**400}}}}}", "TRAIN.OPTIMIZER.BASE_LR int too large"),
    ("TRAIN: {OPTIMIZER: {BASE_LR: fast}}", "TRAIN.OPTIMIZER.BASE_LR takes a number"),
    ("LOSS: CrossEntropy", "LOSS is a section"),
    ("NAME: {a: 1}", "unknown key NAME.a; did you mean 'NAME'?"),
    ("TRAIN: {MAX_EPOCHS: 3}", "unknown key TRAIN.MAX_EPOCHS; did you mean 'TRAIN.MAX_EPOCH'?"),
    ("TRAIN: {BASE_LR: 0.1}", "unknown key TRAIN.BASE_LR; did you mean 'TRAIN.OPTIMIZER.BASE_LR'?"),
    ("zzz: 1", "unknown key zzz; --show prints all keys"),
    ("NAME: a\nNAME: b", "key 'NAME' comes twice"),
    ("TRAIN: [", "not yaml"), ("- 1\n- 2", "not a list"), ("just text", "not a str"),
    ("_BASE_: 3", "_BASE_ must be a path or a list of paths"),
    ('_BASE_: "\\0"', "cannot be the path of a file"), ('_BASE_: "\\ud800"', "cannot be the path of a file"),
    ("_BASE_: nowhere.yaml", "nowhere.yaml: no such file"),
    ("!!python/object/apply:os.system ['true']", "not yaml"),
])
def test_a_mistake_names_file_and_key(write, text, message):
    found = problems(write("bad.yaml", text))
    assert any(message in line and ".yaml" in line for line in found), found


@pytest.mark.parametrize("word", ["2024-99-99", "0x_", 3000 * "[", "(" + 3000 * "[" + ")"])
def test_a_word_that_is_no_yaml_is_text(write, word):
    found, = problems(write("a.yaml", BASE), ["TRAIN.BATCH_SIZE", word])
    assert found.strip().startswith("command line: TRAIN.BATCH_SIZE takes a whole number (such as 32), got '")


def test_all_mistakes_of_all_places_come_at_once(write):
    write("a.yaml", "TRAIN: {BATCHSIZE: 3}\n")
    path = write("b.yaml", "_BASE_: a.yaml\nNAME: [5]\nLOSS: {LOSS_TYPE: Nothing}\n")
    found = "\n".join(problems(path, ["SEEED", "1", "TRAIN.MAX_EPOCH", "x", "ODD"]))
    for part in ("a.yaml: unknown key TRAIN.BATCHSIZE", "b.yaml: NAME takes text", "command line: unknown key SEEED",
                 "command line: TRAIN.MAX_EPOCH takes a whole number", "command line: 'ODD' has no value", "LOSS.LOSS_TYPE"):
        assert part in found


def test_bases_that_go_in_a_circle(write):
    write("a.yaml", "_BASE_: b.yaml\n")
    assert "_BASE_ is circular" in problems(write("b.yaml", "_BASE_: a.yaml\n"))[0]


def test_a_missing_file_is_told_the_nearest(write, tmp_path):
    assert f"did you mean {tmp_path / 'base.yaml'}?" in problems(tmp_path / "bases.yaml")[0]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x00", b"a: \x07"])
def test_a_file_that_is_no_text(tmp_path, content):
    (tmp_path / "x.yaml").write_bytes(content)
    assert "x.yaml" in problems(tmp_path / "x.yaml")[0]


def test_a_folder_is_no_file(tmp_path):
    assert str(tmp_path) in problems(tmp_path)[0]


def test_yaml_text_loads_back(write):
    words = ["NAME", "010", "TRAIN.OPTIMIZER.BASE_LR", "1e-05", "DATASET.MEAN", "[0.1,0.2,0.3]"]
    cfg = load_config(write("base.yaml", BASE), words)
    assert load_config(write("again.yaml", cfg.to_yaml())) == cfg


def test_differences(write):
    cfg = load_config(write("base.yaml", BASE))
    old = {**cfg.flat(), "TRAIN.MAX_EPOCH": 3, "GONE": 1}
    assert cfg.differences(old) == {"TRAIN.MAX_EPOCH": (100, 3), "GONE": (None, 1)}


@pytest.mark.parametrize(("words", "files", "rest"), [
    (["a.yaml"], ["a.yaml"], []), (["a.yaml", "b.yaml", "NAME", "x"], ["a.yaml", "b.yaml"], ["NAME", "x"]),
    (["a.yaml,b.yaml", "NAME", "x.yaml"], ["a.yaml", "b.yaml"], ["NAME", "x.yaml"]), (["a.txt", "b"], ["a.txt"], ["b"])])
def test_words_behind_cfg(words, files, rest):
    assert split_words(words) == (files, rest)


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
                    st.lists(st.integers(-2, 300), max_size=3), st.just([[]]),
                    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2))
keys = st.one_of(st.sampled_from(sorted(TREE.flat())), st.text(st.characters(codec="ascii"), max_size=12))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(keys, scalars, max_size=4), words=st.lists(st.one_of(keys, st.text(max_size=8)), max_size=5))
def test_whatever_comes_only_configuration_errors_come_out(tmp_path, values, words):
    tree: dict = {}
    for key, value in values.items():
        node = tree
        *sections, leaf = key.split(".")
        for section in sections:
            node = node.setdefault(section, {})
            if not isinstance(node, dict):
                break
        else:
            node[leaf] = value
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    with suppress(ConfigError):
        load_config(tmp_path / "x.yaml", words)


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir [owned]", "!!python/name:os.system ''",
                                 "!!python/object/new:os.mkdir [owned]"])
def test_yaml_makes_plain_values_only(write, tmp_path, monkeypatch, tag):
    monkeypatch.chdir(tmp_path)
    path = write("a.yaml", f"NAME: {tag}\n")
    with pytest.raises(ConfigError, match="not yaml"):
        load_config(path)
    with pytest.raises(ConfigError, match=r"TRAIN\.MAX_EPOCH"):
        load_config(write("b.yaml", "NAME: x\n"), ["TRAIN.MAX_EPOCH", tag])
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("word", ["", ",", ",,"])
def test_an_empty_configuration_is_not_the_default_one(word):
    """As from a variable of the shell that is not set."""
    assert split_words([word, "NAME", "x"]) == ([word], ["NAME", "x"])
    assert "cannot be read" in problems(split_words([word])[0])[0] or "no such file" in problems(split_words([word])[0])[0]


@pytest.mark.parametrize(("key", "shown"), [("", "''"), ("a\x1b[2J", "a\\x1b[2J"), ("x" * 1000, "x" * 199 + "…")])
def test_an_unknown_key_can_be_shown(write, key, shown):
    found, = problems(write("a.yaml", f'"{key}": 1\n'.replace("\x1b", "\\x1b")))
    assert f"a.yaml: unknown key {shown}; " in found
    assert problems(write("b.yaml", ""), [key, "1"]) == [f"command line: unknown key {shown}; --show prints all keys"]
