"""Configurations: a tree of defaults, which yaml files and then KEY VALUE pairs override."""
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
    """Merges yaml files and KEY VALUE pairs into the default tree, later ones overriding earlier ones; validates and freezes it.

    Raises:
        ConfigError: lists every mistake in the files, in the pairs, and in their combination, in one message.
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
    """Splits the words after --cfg into yaml files and KEY VALUE pairs. The files end before the first word that is not a yaml
    file; one word may name several files, joined by commas."""
    return gather_words([words])


def gather_words(options: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    """Like ``split_words``, for an option that is given several times: returns all files and all pairs."""
    named, pairs = divide_words(options)
    return [file for word in named for file in split_files(word)], pairs


def split_files(word: str) -> list[str]:
    """Splits a word into yaml files at its commas. A word without a file name is kept, so that an error message can name it."""
    return [part for part in word.split(",") if part] or [word]


def divide_words(options: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    """Like ``gather_words``, but does not split words at commas."""
    named: list[str] = []
    pairs: list[str] = []
    for words in options:
        files = [all(part.endswith((".yaml", ".yml")) for part in word.split(",")) for word in words]
        count = files.index(False) if False in files else len(words)
        count = max(count, 1)   # the first word is meant as a file, whatever its suffix
        named += words[:count]
        pairs += words[count:]
    return named, pairs
