"""Home directories, and texts that cannot be the name or the path of anything."""
import os
from pathlib import Path

import pytest

from lib.config import TREE, ConfigError, add_to_name, load_config
from lib.config.paths import LONGEST_PATH, MODELS, PATHS
from main.command import make_parser, run_command

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "configs/test/digits_lt.yaml"
NAMES = {"DATASET.ROOT": "data", "DATASET.TRAIN_JSON": "train.json", "DATASET.VALID_JSON": "valid.json"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "me"


def resolved(key: str, *words: str) -> str:
    json = ("DATASET.DATASET", "iNaturalist") if key.startswith("DATASET.") else ()
    return load_config(DIGITS, [*json, key, *words]).flat()[key]


def problems(*words: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(DIGITS, words)
    return [line.strip() for line in str(caught.value).split("\n")[1:]]


def test_every_key_that_is_a_path_is_known_as_one():
    texts = {key for key, value in TREE.flat().items() if isinstance(value, str)}
    assert {key for key in texts if key.endswith(("_MODEL", "_FILE", "_JSON", "_PATH", "ROOT", "_DIR"))} | {
        "DATASET.FOLDER.SPLIT", "DATASET.FOLDER.CACHE", "TEST.PRIOR"} == {*PATHS}


@pytest.mark.parametrize("key", PATHS)
def test_a_tilde_is_the_home_directory_in_files_and_on_the_command_line(home, tmp_path, key):
    assert resolved(key, "~/a b/x") == f"{home}/a b/x"
    assert resolved(key, "~") == str(home)
    assert resolved(key, "./~/x" if key != "OUTPUT_DIR" else "./x") == ("./~/x" if key != "OUTPUT_DIR" else "./x")
    own = tmp_path / "own.yaml"
    for text in ("~/x", "'~/x'", '"~/x"'):
        own.write_text(f"_BASE_: {DIGITS}\nDATASET.DATASET: iNaturalist\n{key}: {text}\n")
        assert load_config(own).flat()[key] == f"{home}/x"


@pytest.mark.parametrize("key", [key for key in PATHS if key not in MODELS])
def test_a_home_directory_that_is_not_there_is_named(home, key):
    assert problems("DATASET.DATASET", "iNaturalist", key, "~nobody_here/x") == [
        f"{key}: there is no home directory '~nobody_here'; "
        "for a folder of this name, put ./ in front of it, got '~nobody_here/x'"]


@pytest.mark.parametrize("key", MODELS)
def test_a_bare_name_of_a_checkpoint_is_a_file_in_models(home, key):
    assert resolved(key, "~old.pth") == "~old.pth"


def test_references_follow_the_home_directory(home):
    cfg = load_config(DIGITS, ["OUTPUT_DIR", "~/runs", "NETWORK.PRETRAINED", "True",
                               "NETWORK.PRETRAINED_MODEL", "{OUTPUT_DIR}/first/models/last.pth"])
    assert f"{home}/runs/first/models/last.pth" == cfg.NETWORK.PRETRAINED_MODEL
    assert "~" not in cfg.to_yaml()


def test_a_base_may_be_in_the_home_directory(home, tmp_path):
    home.mkdir()
    (home / "base.yaml").write_text("NAME: base\n")
    (tmp_path / "own.yaml").write_text("_BASE_: ~/base.yaml\n")
    assert load_config(tmp_path / "own.yaml").NAME == "base"
    (tmp_path / "own.yaml").write_text("_BASE_: ~nobody_here/base.yaml\n")
    with pytest.raises(ConfigError, match=r"own\.yaml: _BASE_: there is no home directory '~nobody_here'"):
        load_config(tmp_path / "own.yaml")


@pytest.mark.parametrize(("words", "message"), [
    (["OUTPUT_DIR", "a/~"], "OUTPUT_DIR: 'a/~' has a folder ~ in it"), (["OUTPUT_DIR", "./~/b"], "has a folder ~ in it"),
    (["NAME", "~"], "NAME: '~' is not the name of a single folder"),
    (["NAME", "a" * 256], "NAME: has 256 bytes, but the name of a folder can have 255"),
    (["NAME", "猫" * 86], "NAME: has 258 bytes"),
    (["NAME", "a\nb"], "NAME: has a control character, such as a line break, in it, 'a\\nb'"),
    (["NAME", "a\x1b[2J"], "in it, 'a\\x1b[2J'"), (["NAME", "a\x85"], "NAME: has a control character"),
    (["NAME", "a\u2028"], "NAME: has"),
    (["NAME", "\ud800"], "NAME: '\N{REPLACEMENT CHARACTER}' has characters that cannot be encoded in utf-8"),
    (["NAME", "a\0"], "NAME: has a null character in it"),
    (["OUTPUT_DIR", "a/" + "b" * 256], "has 256 bytes, but a file name can have at most 255"),
    (["OUTPUT_DIR", "b/" * LONGEST_PATH], f"but a path can have at most {LONGEST_PATH:,}"),
    (["OUTPUT_DIR", "b/" * (LONGEST_PATH // 2 - 30), "NAME", "x"], "OUTPUT_DIR: OUTPUT_DIR/NAME has"),
    (["OUTPUT_DIR", "a\n/b"], "OUTPUT_DIR: has a control character"),
    (["OUTPUT_DIR", "\0"], "OUTPUT_DIR: has a null character"), (["OUTPUT_DIR", "~\0"], "OUTPUT_DIR: has a null character"),
])
def test_what_is_no_name_and_no_path(words, message):
    line, = problems(*words)
    assert message in line
    assert len(line) < 300


@pytest.mark.parametrize("key", PATHS)
@pytest.mark.parametrize("text", ["a\0b", "a" * 256, "b/" * LONGEST_PATH, "\ud800", "~/a\0"])
def test_every_path_is_checked_before_anything_is_opened(key, text):
    assert any(line.startswith(f"{key}: ") for line in problems("DATASET.DATASET", "iNaturalist", key, text))


def test_the_empty_output_dir(tmp_path):
    (tmp_path / "own.yaml").write_text("OUTPUT_DIR: ''\n")
    with pytest.raises(ConfigError, match=r"OUTPUT_DIR: is empty; write \. for the working directory"):
        load_config(tmp_path / "own.yaml")


def test_a_stack_whose_name_grows_too_long_is_told_what_would_do(tmp_path):
    files = [tmp_path / f"{letter * 120}.yaml" for letter in "abc"]
    for file in files:
        file.write_text("SEED: 1\n")
    with pytest.raises(ConfigError, match=r"NAME: has 372 bytes, .*a shorter one \(stacked files without a NAME add their"):
        load_config([DIGITS, *files])
    assert load_config([DIGITS, *files], ["NAME", "short"]).NAME == "short"


def test_data_may_be_in_folders_of_any_name():
    words = ["DATASET.DATASET", "iNaturalist", "DATASET.ROOT", "a\nb", "DATASET.TRAIN_JSON", "c\td.json"]
    values = load_config(DIGITS, words).flat()
    assert [values[key] for key in ("DATASET.ROOT", "DATASET.TRAIN_JSON")] == ["a\nb", "c\td.json"]


@pytest.mark.parametrize("name", ["a" * 255, "猫" * 85, " a ", "caf\udce9", "a\\b", "-rf", "$HOME", "a:b*?", "…", "~a"])
def test_names_that_a_file_system_takes(name):
    assert name == load_config(DIGITS, ["NAME", name]).NAME
    os.fsencode(name)


@pytest.mark.parametrize(("name", "longer"), [("a", "a_bsce"), ("a" * 250, "a" * 250 + "_bsce"), ("a" * 255, "a" * 250 + "_bsce"),
                                              ("猫" * 85, "猫" * 83 + "_bsce")])
def test_a_name_that_is_added_to_stays_one(name, longer):
    assert add_to_name(name, "_bsce") == longer
    assert longer == load_config(DIGITS, ["NAME", longer]).NAME


def commands(*argv: str) -> tuple:
    """What the scripts' shared options come to."""
    seen = []
    status = run_command(lambda cfg, args: seen.append((cfg, args)), make_parser("test"), argv)
    assert status == 0
    return seen[0]


@pytest.mark.parametrize("name", ["-x", "-", "-h", "-1", "-x y"])
def test_values_may_begin_with_a_dash(name):
    """As in the command that is printed for a run whose yaml file calls it so."""
    cfg, args = commands("--cfg", str(DIGITS), "NAME", name, "--gpus", "cpu", "SEED", "7", "OUTPUT_DIR", "-out")
    assert (name, 7, "-out") == (cfg.NAME, cfg.SEED, cfg.OUTPUT_DIR)
    assert args.words == ["NAME", name, "SEED", "7", "OUTPUT_DIR", "-out"]


def test_several_cfg_options_add_up(tmp_path):
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text("SEED: 1\nSHOW_STEP: 3\n")
    other.write_text("SEED: 2\n")
    cfg, args = commands("--cfg", str(DIGITS), "--cfg", f"{one},{other}", "SAVE_STEP", "7", "--cfg", str(one), "VALID_STEP", "8")
    assert (cfg.SEED, cfg.SHOW_STEP, cfg.SAVE_STEP, cfg.VALID_STEP) == (1, 3, 7, 8)
    assert args.cfg == [str(DIGITS), str(one), str(other), str(one)]
    assert args.words == ["SAVE_STEP", "7", "VALID_STEP", "8"]
    assert cfg == load_config(args.cfg, args.words)   # which is what the commands printed for the next step say
