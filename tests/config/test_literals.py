"""Values in every form in which published files, yacs users and YAML 1.2 write them, and texts that look like something else."""
import json
import math
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yacs.config import CfgNode

from lib.config import TREE, Config, ConfigError, load_config
from lib.config.literals import MOST_ALIASES, read_number
from lib.config.node import merge, plain
from tests.config.recipes import read, recipes

PLACES = {"DATASET.TRAIN_JSON": "/data/train.json", "DATASET.VALID_JSON": "/data/valid.json"}   # left out of CIFAR's recipes
BREAK = "\n" + 10 * " "   # the next line, further in than every key


def items(values: list, quote: str = "'", comma: str = ", ") -> str:
    return comma.join(f"{quote}{value}{quote}" if isinstance(value, str) else repr(value) for value in values)


def as_tuple(values: list, quote: str = "'", comma: str = ", ") -> str:
    return f"({items(values, quote, comma)}{',' if len(values) == 1 else ''})"


FORMS: dict[type, dict[str, Callable[[Any], str]]] = {   # what may follow "KEY:"; the first ones are those of the published files
    list: {
        "tuple": as_tuple,
        "tuple, double quotes": lambda v: as_tuple(v, '"'),
        "list": lambda v: f"[{items(v)}]",
        "tuple without spaces": lambda v: as_tuple(v, comma=","),
        "tuple of bare words": lambda v: as_tuple(v, ""),
        "tuple, comma at the end": lambda v: f"({items(v)},)" if v else "( )",
        "tuple in double quotes": lambda v: f'"{as_tuple(v)}"',
        "tuple in single quotes": lambda v: f"""'{as_tuple(v, '"')}'""",
        "tuple over lines": lambda v: as_tuple(v, comma=f",{BREAK}"),
        "tuple, folded": lambda v: f">{BREAK}{as_tuple(v)}",
        "tuple, block of text": lambda v: f"|{BREAK}{as_tuple(v, comma=f',{BREAK}')}",
        "list of bare words": lambda v: f"[{items(v, '')}]",
        "list, comma at the end": lambda v: f"[{items(v)},]" if v else "[ ]",
        "list in quotes": lambda v: f'"[{items(v)}]"',
        "list over lines": lambda v: "".join(f"{BREAK}- {items([item])}" for item in v) or " []",
        "list of quoted numbers": lambda v: json.dumps([str(item) for item in v]),
        "commas alone": lambda v: items(v, "") if len(v) > 1 else as_tuple(v),
        "commas alone, in quotes": lambda v: f'"{items(v)}"' if len(v) > 1 else as_tuple(v),
    },
    bool: {
        "True": str, "true": lambda v: str(v).lower(), "TRUE": lambda v: str(v).upper(), "True in quotes": lambda v: f'"{v}"',
        "true in quotes": lambda v: f"'{str(v).lower()}'", "yes": lambda v: "yes" if v else "no",
        "On": lambda v: "On" if v else "Off",
    },
    int: {
        "plain": str, "double quotes": lambda v: f'"{v}"', "single quotes": lambda v: f"'{v}'", "sign": lambda v: f"+{v}",
        "zeros before": lambda v: f"0{v}", "hexadecimal": lambda v: f"0x{v:X}", "octal": lambda v: f"0o{v:o}",
    },
    float: {
        "plain": repr, "exponent": lambda v: f"{round(v * 1e12)}e-12", "single quotes": lambda v: f"'{v!r}'",
        "double quotes": lambda v: f'"{v!r}"', "exponent in quotes": lambda v: f"'{v:.9e}'", "capital E": lambda v: f"{v:.9E}",
        "sign": lambda v: f"+{v!r}", "no zero before": lambda v: f"{v!r}".removeprefix("0"),
        "zeros behind": lambda v: f"{v!r}000",
    },
    str: {
        "single quotes": lambda v: f"'{v}'", "double quotes": lambda v: f'"{v}"', "plain": lambda v: v or "''",
        "folded": lambda v: f">-{BREAK}{v}", "nothing": str, "None": lambda v: v or "None", "null": lambda v: v or "null",
        "~": lambda v: v or "~", "None in quotes": lambda v: f'"{v or None}"',
    },
}
NAMED = [(kind, name) for kind, forms in FORMS.items() for name in forms]
LAYOUTS = ("sections", "full names", "both", "json")


def text_of(values: dict[str, Any], form: Callable[[Any], str], layout: str = "sections") -> str:
    """A yaml file with these values; ``form`` gives the text of each."""
    keys = sorted(values)
    inside = keys if layout == "sections" else keys[::2] if layout == "both" else []
    tree: dict = {}
    for key in inside:
        node = tree
        *sections, leaf = key.split(".")
        for section in sections:
            node = node.setdefault(section, {})
        node[leaf] = values[key]
    if layout == "json":
        return json.dumps({key: value if isinstance(value, list) else str(value) for key, value in values.items()}, indent=1)
    return "".join([*lines(tree, form), *(f"{key}: {form(values[key])}\n" for key in keys if key not in inside)])


def lines(tree: dict, form: Callable[[Any], str], depth: int = 0) -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield f"{'  ' * depth}{key}:\n"
            yield from lines(value, form, depth + 1)
        else:
            yield f"{'  ' * depth}{key}: {form(value)}\n"


def in_turn(first: int) -> Callable[[Any], str]:
    """Each value in another of its forms."""
    number = count(first)

    def form(value: Any) -> str:
        forms = list(FORMS[type(value)].values())
        return forms[next(number) % len(forms)](value)

    return form


def as_published(value: Any) -> str:
    """Texts in single quotes, True and False, 2e-4, lists as tuples but for LR_STEP."""
    if isinstance(value, list):
        epochs = value and value == sorted(set(value)) and isinstance(value[0], int)
        return FORMS[list]["list" if epochs else "tuple"](value)
    return "2e-4" if value == 2e-4 else next(iter(FORMS[type(value)].values()))(value)


@pytest.fixture
def load(tmp_path):
    def load(text: str, *words: str) -> dict[str, Any]:
        path = tmp_path / "own.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(path, words).flat()

    return load


def published_values(name: str) -> dict[str, Any]:
    """What the file gives, with the authors' folder for data elsewhere."""
    given = recipes()[name]
    values = {key: value.replace("{data}", "/data") if isinstance(value, str) else value for key, value in given.items()}
    return values | (PLACES if values["DATASET.DATASET"] in ("CIFAR", "iNaturalist") else {})


@pytest.mark.parametrize("name", recipes())
def test_the_published_file_loads_unmodified(load, name):
    """In its own form, and with each value in another one; as yacs itself reads it."""
    values = published_values(name)
    text = text_of(values, as_published)
    ours = load(text)
    assert {key: ours[key] for key in values} == values
    yacs = CfgNode(plain(TREE))
    yacs.merge_from_other_cfg(CfgNode.load_cfg(text))
    assert plain(yacs) == plain(unflat(ours))
    number = list(recipes()).index(name)
    again = load(text_of(values, in_turn(number), LAYOUTS[number % len(LAYOUTS)]))
    assert again == ours


def unflat(values: dict[str, Any]) -> CfgNode:
    tree = TREE.clone()
    for key, value in values.items():
        tree.put(key, value)
    return tree


KEYS = {   # of each kind, with values that every form of the kind can write
    list: {"INPUT_SIZE": [[32, 48]], "TRAIN.LR_SCHEDULER.LR_STEP": [[160, 180], [40], []], "DATASET.MEAN": [[0.1, 0.25, 0.5], []],
           "TRANSFORMS.TRAIN_TRANSFORMS": [["random_crop", "random_horizontal_flip"], ["normal_resize"], []],
           "TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP.SCALE": [[0.08, 1.0]]},
    bool: {"TRAIN.SYNCBN": [True, False]}, int: {"TRAIN.BATCH_SIZE": [8, 128]}, float: {"TRAIN.COMBINER.ALPHA": [0.1, 2.0, 1e-4]},
    str: {"NETWORK.PRETRAINED_MODEL": ["./output/a b/last.pth", ""], "BACKBONE.TYPE": ["res32_cifar"]},
}


def merged(text: str = "", words: tuple[str, ...] = (), folder: Path | None = None) -> tuple[Config, list[str]]:
    """The tree with these values, not validated, and what is wrong with them."""
    cfg, paths = TREE.clone(), []
    if folder is not None:
        paths = [folder / "own.yaml"]
        paths[0].write_text(text, encoding="utf-8")
    return cfg, merge(cfg, paths, words)


@pytest.mark.parametrize(("kind", "name"), NAMED)
def test_each_form_of_each_kind(tmp_path, kind, name):
    for key, values in KEYS[kind].items():
        for value in values:
            for layout in ("sections", "full names"):
                text = text_of({key: value}, FORMS[kind][name], layout)
                cfg, problems = merged(text, folder=tmp_path)
                assert (problems, cfg.flat()[key]) == ([], value), text
                assert type(cfg.flat()[key]) is kind
                assert [type(item) for item in cfg.flat()[key]] == [type(item) for item in value] if kind is list else True


@pytest.mark.parametrize(("text", "number"), [
    ("010", 10), ("0o10", 8), ("0x1F", 31), ("+1", 1), ("-7", -7), ("00", 0), (" 3 ", 3),
    ("1e-4", 1e-4), ("1E5", 1e5), (".5", 0.5), ("5.", 5.0), ("+.5e+1", 5.0), ("-.inf", -math.inf), (".INF", math.inf),
    *((text, None) for text in ("1:30", "190:20:30", "1_000", "0b11", "2021-05-19", "1,5", "", ".", "e5", "1e", "0x", "-0x1F",
                                "0o9", "inf", "nan", "١٢", "1 000", "True", "1j", "9" * 5000))])
def test_numbers_of_yaml_1_2(text, number):
    assert read_number(text) == number
    assert type(read_number(text)) is type(number)


def test_nan_is_read_and_refused(load):
    assert math.isnan(read_number(".NaN"))
    with pytest.raises(ConfigError, match=r"TRAIN\.OPTIMIZER\.BASE_LR: .*nan"):
        load("TRAIN: {OPTIMIZER: {BASE_LR: .nan}}")


LIKE_OTHERS = ["010", "0o10", "0x1F", "1:30", "1e3", ".5", "5.", "on", "No", "true", "Yes", "2021", "2021-05-19", "1_000", ".inf",
               "+1", "=", "<<", "y", "None_", "nul", "(1, 2)", "a, b"]
OTHERS = ["null", "~", "None", "NULL", "a: b", "#x", "'", '"', " a ", "ü", "猫", "a\\b", "{a}", "- a"]


@pytest.mark.parametrize("text", LIKE_OTHERS)
def test_a_text_key_keeps_what_is_written(tmp_path, text):
    for whole in (f"NAME: {text}\n", f"NAME: '{text}'\n", f'{{NAME: "{text}"}}'):
        cfg, _ = merged(whole, folder=tmp_path)
        assert text == cfg.NAME
    cfg, _ = merged(words=("NAME", text))
    assert text == cfg.NAME


@pytest.mark.parametrize("text", [*LIKE_OTHERS, *OTHERS])
def test_texts_come_back_from_the_resolved_configuration(tmp_path, text):
    cfg = TREE.clone()
    cfg.NAME = cfg.OUTPUT_DIR = text
    cfg.TRANSFORMS.TRAIN_TRANSFORMS = [text, "x"]
    again, problems = merged(cfg.to_yaml(), folder=tmp_path)
    assert (problems, again) == ([], cfg)
    by_yacs = CfgNode.load_cfg(cfg.to_yaml())   # that is, by yaml 1.1
    assert [text, "x"] == by_yacs.TRANSFORMS.TRAIN_TRANSFORMS


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_values_come_back_from_the_resolved_configuration(tmp_path, data):
    cfg = TREE.clone()
    for key in data.draw(st.sets(st.sampled_from(sorted(TREE.flat())), max_size=5)):
        cfg.put(key, data.draw(values_like(TREE.flat()[key])))
    again, problems = merged(cfg.to_yaml(), folder=tmp_path)
    assert (problems, again) == ([], cfg)


def values_like(default: Any) -> st.SearchStrategy:
    kinds = {bool: st.booleans(), int: st.integers(-2**63 + 1, 2**63 - 1), float: st.floats(allow_nan=False),
             str: st.text(max_size=20).filter(lambda text: text not in ("", "None"))}
    if isinstance(default, list):
        return st.lists(kinds[type(default[0])] if default else kinds[float], max_size=4)
    return kinds[type(default)]


def test_a_word_of_the_command_line_is_read_like_a_value_of_a_file():
    """Where it is one word, without yaml's quotes and folds."""
    more = ("quotes", "lines", "folded", "block", "~")
    words = [(kind, name) for kind, name in NAMED if not any(part in name for part in more)]
    assert len(words) > 20
    for kind, name in [*words, (list, "tuple, double quotes"), (list, "list of quoted numbers")]:
        for key, values in KEYS[kind].items():
            for value in values:
                word = FORMS[kind][name](value)
                cfg, problems = merged(words=(key, word.replace("''", "")))
                assert (problems, cfg.flat()[key]) == ([], value), (name, word)


@pytest.mark.parametrize("word", ["", "None", "null", "NULL"])
def test_nothing_is_the_empty_text_where_that_is_the_default(tmp_path, word):
    assert merged("RESUME_MODEL: x.pth\n", ("RESUME_MODEL", word), tmp_path)[0].RESUME_MODEL == ""
    assert merged(words=("NAME", word))[1] == ["command line: NAME takes text (such as 'default'), got nothing"]
    assert "NAME takes text (such as 'default'), got nothing" in merged(f"NAME: {word}\n", folder=tmp_path)[1][0]


@pytest.mark.parametrize(("text", "message"), [
    ("TRAIN.BATCH_SIZE: 128.0", "TRAIN.BATCH_SIZE takes a whole number (such as 32), got 128.0; write 128"),
    ("TRAIN.BATCH_SIZE: '1e2'", "got 1e2; write 100"), ("TRAIN.BATCH_SIZE: 1_000", "got '1_000'"),
    ("TRAIN.BATCH_SIZE: 1:30", "takes a whole number (such as 32), got '1:30'"),
    ("TRAIN.BATCH_SIZE: 9223372036854775808", "got 9223372036854775808; the largest integer is 9223372036854775807"),
    (f"TRAIN.BATCH_SIZE: 0x{'F' * 5000}", "TRAIN.BATCH_SIZE takes a whole number"),
    (f"SEED: {'9' * 5000}", "SEED takes a whole number"),
    ("TRAIN.BATCH_SIZE: [32]", "TRAIN.BATCH_SIZE takes a whole number (such as 32), got ['32']"),
    ("TRAIN.BATCH_SIZE:", "got nothing"), ("TRAIN.BATCH_SIZE: None", "got nothing"), ("TRAIN.BATCH_SIZE: ''", "got ''"),
    ("TRAIN.OPTIMIZER.BASE_LR: 2021-05-19", "takes a number (such as 0.001), got '2021-05-19'"),
    ("TRAIN.OPTIMIZER.BASE_LR: 0,1", "got '0,1'"), ("TRAIN.OPTIMIZER.BASE_LR: yes", "got 'yes'"),
    ("TRAIN.SYNCBN: 1", "TRAIN.SYNCBN takes True or False, got 1"), ("TRAIN.SYNCBN: y", "got 'y'"),
    ("TRANSFORMS.TEST_TRANSFORMS: center_crop", "got 'center_crop'; write [center_crop] for a list of one element"),
    ("TRAIN.LR_SCHEDULER.LR_STEP: 160", "takes a list (such as [40, 50]), got 160; write [160] for a list of one element"),
    ("TRANSFORMS.TEST_TRANSFORMS:", "got nothing; write [] for an empty list"),
    ("TRANSFORMS.TEST_TRANSFORMS: None", "write [] for an empty list"),
    ("INPUT_SIZE: (32, 32", "got '(32, 32'; quote the whole list, such as '(32, 32 …)', so that it is one word"),
    ("INPUT_SIZE: ((32, 32), 32)", "INPUT_SIZE takes a whole number (such as 224) in each place of its list, got"),
    ("INPUT_SIZE: [[32, 32]]", "in each place of its list, got ['32', '32']"),
    ("INPUT_SIZE: [32, 3.5]", "in each place of its list, got 3.5"),
    ("INPUT_SIZE: (32,, 32)", "INPUT_SIZE takes a list"), ("INPUT_SIZE: (,)", "INPUT_SIZE takes a list"),
    ("INPUT_SIZE: [32, True]", "in each place of its list, got 'True'"), ("INPUT_SIZE: [32, null]", "got nothing"),
    ("INPUT_SIZE: {a: 1}", "unknown key INPUT_SIZE.a"),
    ("DATASET.MEAN: [a, b, c]", "DATASET.MEAN: must be empty or three numbers"),
    ("TRANSFORMS.TEST_TRANSFORMS: [[center_crop]]", "takes text (such as 'shorter_resize_for_crop') in each place of its list"),
    ("INPUT_SIZE: '!!python/name:os.system'", "INPUT_SIZE takes a list"),
    ("INPUT_SIZE: '[!!python/name:os.system a]'", "takes a list"),
    ("TRAIN.BATCH_SIZE: 64\nTRAIN:\n  BATCH_SIZE: 32", "TRAIN.BATCH_SIZE is given twice, by its section and by its full name"),
    ("TRAIN.OPTIMIZER:\n  TYPE: SGD\nTRAIN:\n  OPTIMIZER.TYPE: SGD", "TRAIN.OPTIMIZER.TYPE is given twice"),
    ("TRAIN: {BATCH_SIZE: 1}\nSEED: 1\nTRAIN: {SYNCBN: on}", "line 3: not yaml (key 'TRAIN' comes twice, in lines 1 and 3)"),
    *((text, "not yaml") for text in ("NAME: !!timestamp x", "NAME: !!binary x", "NAME: !!set {a}", "NAME: !a x", "!!str [a]: 1",
                                      "NAME: !!int [1]")),
    ("NAME: &a [*a]", "not yaml (found unconstructable recursive node)"), ("TRAIN: &a {TEST: *a}", "not yaml"),
    ("a: &a [1]\nb: [" + MOST_ALIASES * "*a, " + "*a]", f"not yaml (more than {MOST_ALIASES} aliases)"),
])
def test_what_is_refused_and_why(load, text, message):
    with pytest.raises(ConfigError) as caught:
        load(text)
    found = [line for line in str(caught.value).split("\n") if message in line]
    assert found, caught.value
    assert "own.yaml" in found[0] or message.startswith("DATASET.MEAN")
    assert max(map(len, str(caught.value).split("\n"))) < 800


def test_anchors_and_merged_mappings_are_read(load):
    values = load("TEST: &sizes\n  BATCH_SIZE: &size 48\n  NUM_WORKERS: 3\nTRAIN:\n  <<: *sizes\n  NUM_WORKERS: *size\n")
    assert [values[f"{part}.{key}"] for part in ("TRAIN", "TEST") for key in ("BATCH_SIZE", "NUM_WORKERS")] == [48, 48, 48, 3]


@pytest.mark.parametrize(("text", "name", "seed"), [
    *((text, "default", 42) for text in ("", "# nothing\n", "---\n", "null\n", "{}")), ("\ufeffNAME: a\n", "a", 42),
    ("NAME: !!str 010\n", "010", 42), ("SEED: !!int '010'\n", "default", 10), ("SEED: 010", "default", 10)])
def test_other_files_that_are_legal(load, text, name, seed):
    values = load(text)
    assert (values["NAME"], values["SEED"]) == (name, seed)


def test_the_later_published_version_loads(load):
    """Its options beside those of the first, with every default in the published form."""
    no_class = ("DATASET.DATASET", "LOSS.DiVEKLD.BASELOSS")
    keys = {key: value for key, value in read("config_keys.yaml").items() if key not in no_class}
    assert {key: value for key, value in load(text_of(keys, as_published)).items() if key in keys} == keys
    student = {"NAME": "dive", "LOSS.LOSS_TYPE": "DiVEKLD", "LOSS.DiVEKLD.POWER_NORM": True, "LOSS.DiVEKLD.TEMPERATURE": 2.0,
               "LOSS.DiVEKLD.BASELOSS": "BalancedSoftmaxCE", "TRAIN.COMBINER.TYPE": "dive",
               "TRAIN.COMBINER.DIVE.TEACHER_MODEL": "./output/cifar100_im100/dive_teacher/models/epoch_200.pth"}
    ours = load(text_of(student, as_published))
    assert {key: ours[key] for key in student} == student


def test_a_published_key_that_is_not_here_is_named(load):
    with pytest.raises(ConfigError, match=r"own\.yaml: unknown key LOSS\.DiVEKLD\.POWERS; did you mean 'LOSS\.DiVEKLD\.POWER'"):
        load("LOSS:\n  DiVEKLD:\n    POWERS: 0.5\n")
