"""Configurations: one tree, yaml files over it, KEY VALUE pairs last."""
from collections.abc import Sequence
from pathlib import Path

from lib.config import auto
from lib.config.default import TREE
from lib.config.doubts import data_doubts, doubt_steps, doubts
from lib.config.node import Config, ConfigError, merge
from lib.config.paths import add_to_name
from lib.config.resolve import resolve
from lib.config.validate import validate

__all__ = ["TREE", "Config", "ConfigError", "add_to_name", "data_doubts", "divide_words", "doubt_steps", "doubts", "gather_words",
           "load_config", "split_files", "split_words", "validate"]


def load_config(paths: str | Path | Sequence[str | Path], overrides: Sequence[str] = ()) -> Config:
    """The tree with yaml files and KEY VALUE pairs merged in, later ones winning; validated and frozen.

    Raises:
        ConfigError: every mistake of all files, of the pairs, and of their combination, in one message.
    """
    cfg = TREE.clone()
    paths = [paths] if isinstance(paths, (str, Path)) else paths
    problems = merge(cfg, [Path(path) for path in paths], list(overrides))
    problems += resolve(cfg)
    problems += auto.problems(cfg)
    if problems:
        raise ConfigError("\n  ".join(["the configuration has mistakes:", *dict.fromkeys(problems)]))
    cfg.freeze()
    return cfg


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits the words after --cfg: first yaml files (a word may be several, joined by commas), then KEY VALUE pairs."""
    return gather_words([words])


def gather_words(options: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    """``split_words`` of an option that is given several times: the files of all, and the pairs of all."""
    named, pairs = divide_words(options)
    return [file for word in named for file in split_files(word)], pairs


def split_files(word: str) -> list[str]:
    """Splits yaml files that are joined by commas. A word without a file name is kept, so that a message can name it."""
    return [part for part in word.split(",") if part] or [word]


def divide_words(options: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    """The same, with files that are joined by commas left as they are."""
    named: list[str] = []
    pairs: list[str] = []
    for words in options:
        files = [all(part.endswith((".yaml", ".yml")) for part in word.split(",")) for word in words]
        count = files.index(False) if False in files else len(words)
        count = max(count, 1)   # the first word is meant as a file, whatever it is called
        named += words[:count]
        pairs += words[count:]
    return named, pairs
