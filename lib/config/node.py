"""A yacs tree that inherits (``_BASE_``), reports every mistake at once, and says what was meant."""
import copy
import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from lib.utils.errors import InputError

BASE = "_BASE_"
BEFORE = "{BEFORE}"
COMMAND_LINE = "command line"


class ConfigError(InputError):
    """All mistakes of a configuration, a line each."""


class Config(CfgNode):
    """A configuration tree; keys are known by their full names, such as ``TRAIN.OPTIMIZER.BASE_LR``."""

    def flat(self) -> dict[str, Any]:
        """Full key to value, for every leaf."""
        return dict(leaves(self))

    def to_yaml(self) -> str:
        """Text that loads back to the same tree."""
        return yaml.safe_dump(plain(self), sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)

    def differences(self, other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Full key to (own value, value in ``other``), for a flat tree that may lack keys or have more."""
        own = self.flat()
        return {key: (own.get(key), other.get(key)) for key in [*own, *(other.keys() - own.keys())]
                if own.get(key) != other.get(key)}

    def put(self, key: str, value: Any) -> None:
        """Sets a leaf by its full key."""
        *sections, leaf = key.split(".")
        node = self
        for section in sections:
            node = node[section]
        node[leaf] = value


def leaves(tree: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(full key, value) of everything that is not a section; an empty section is a leaf."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + str(key), value


def plain(value: Any) -> Any:
    """The tree in yaml's own types."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, (list, tuple)) else value


def merge(tree: Config, paths: Sequence[Path], words: Sequence[str]) -> list[str]:
    """Merges yaml files, bases first and later files last, then KEY VALUE words into ``tree``; returns what is wrong with them.

    ``tree`` as it comes says what kind of value each key takes.
    """
    problems: list[str] = []
    kinds = tree.flat()
    merge_stack(tree, paths, kinds, problems, below=())
    return problems + merge_pairs(tree, words, kinds)


def merge_stack(tree: Config, paths: Sequence[Path], kinds: dict[str, Any], problems: list[str], below: tuple[Path, ...]) -> bool:
    """Merges files one over the other; returns whether any of them sets NAME, itself or by its bases.

    Each one after the first that does not set NAME adds its own file name to it, so that baseline, input_mixup.yaml and
    bsce.yaml run as baseline_input_mixup_bsce, and different stacks in different directories.
    """
    named = False
    for number, path in enumerate(paths):
        before = tree.NAME
        sets_name = merge_file(tree, path, kinds, problems, below)
        if number and not sets_name:
            tree.NAME = f"{before}_{path.stem}"
        named |= sets_name
    return named


def merge_file(tree: Config, path: Path, kinds: dict[str, Any], problems: list[str], below: tuple[Path, ...]) -> bool:
    """Merges one file over its bases; returns whether they or it set NAME.

    ``below``: the files that this one is a base of, outermost first. ``{BEFORE}`` in a text stands for NAME as it is before
    the file's own values, that is for the run that the file continues.
    """
    try:
        place = path.resolve()
    except ValueError:   # a null character, or half of a surrogate pair
        named_by = f"{below[-1]}: {BASE}" if below else "--cfg"
        problems.append(f"{named_by}: {str(path)!r} cannot be the path of a file")
        return False
    if place in below:
        chain = " → ".join(str(file) for file in (*below, place))
        problems.append(f"{path}: {BASE} goes in a circle: {chain}")
        return False
    try:
        content = read_yaml(path)
    except ConfigError as error:
        problems.append(str(error))
        return False
    bases = content.pop(BASE, [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        problems.append(f"{path}: {BASE} is a path or a list of paths, got {bases!r}")
        bases = []
    named = merge_stack(tree, [path.parent / base for base in bases], kinds, problems, (*below, place))
    values = {key: value.replace(BEFORE, tree.NAME) if isinstance(value, str) else value for key, value in leaves(content)}
    problems += [f"{path}: {problem}" for problem in merge_leaves(tree, values, kinds)]
    return named or "NAME" in content


def merge_pairs(tree: Config, words: Sequence[str], kinds: dict[str, Any]) -> list[str]:
    """Merges KEY VALUE pairs of the command line; returns what is wrong with them."""
    problems = [f"{COMMAND_LINE}: {words[-1]!r} has no value; give KEY VALUE pairs"] if len(words) % 2 else []
    pairs = zip(words[::2], words[1::2])
    return problems + [f"{COMMAND_LINE}: {p}" for key, text in pairs for p in merge_leaves(tree, {key: Typed(text)}, kinds)]


def merge_leaves(tree: Config, values: dict[str, Any], kinds: dict[str, Any]) -> list[str]:
    problems = []
    for key, value in values.items():
        if key not in kinds:
            inside = [name for name in kinds if name.startswith(f"{key}.")]
            what = f"{key} is a section, with {', '.join(inside[:3])}…" if inside else f"unknown key {key}; {nearest(key, kinds)}"
            if not inside or value != {}:
                problems.append(what)
            continue
        try:
            tree.put(key, coerce(value, kinds[key]))
        except (TypeError, OverflowError) as error:   # OverflowError: more digits than a float holds
            problems.append(f"{key} {error}")
    return problems


def nearest(key: str, known: dict[str, Any]) -> str:
    """The known key that is meant: first by the name of the leaf, which may be in the wrong section or above a leaf."""
    by_leaf = {name.rpartition(".")[2]: name for name in known}
    above = [name for name in known if key.startswith(f"{name}.")]
    leaf = key.rpartition(".")[2]
    similar = (difflib.get_close_matches(key, known, n=1, cutoff=0.8) or above
               or [by_leaf[name] for name in difflib.get_close_matches(leaf, by_leaf, n=1)])
    return f"did you mean {similar[0]!r}?" if similar else "--show prints all keys"


class Typed(str):
    """A word of the command line: text, or what it is in yaml."""


def coerce(value: Any, default: Any) -> Any:
    """``value`` in the type of ``default``, or TypeError."""
    if isinstance(value, Typed):
        value = str(value) if isinstance(default, str) else read_word(value)
    if isinstance(default, bool) or isinstance(value, bool):
        if type(value) is type(default):
            return value
    elif isinstance(default, float):
        if isinstance(value, (int, float)):
            return float(value)
        if isinstance(value, str) and is_number(value):   # yaml 1.1 reads 2e-4 as text
            return float(value)
    elif isinstance(default, list):
        if isinstance(value, (list, tuple)):
            return [coerce_element(element, default) for element in value]
    elif type(value) is type(default):
        return value
    raise TypeError(f"takes {describe(default)}, got {'nothing' if value is None else repr(value)}")


def coerce_element(element: Any, default: list) -> Any:
    if default:
        return coerce(element, default[0])
    return float(element) if isinstance(element, str) and is_number(element) else element


def describe(default: Any) -> str:
    names = {bool: "True or False", int: "a whole number", float: "a number", str: "text", list: "a list"}
    return f"{names[type(default)]} (such as {default!r})" if default not in ("", []) else names[type(default)]


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_word(text: str) -> Any:
    """A word of the command line as yaml or Python would read it; text that is neither stays text."""
    if text.startswith("(") and text.endswith(")"):
        text = f"[{text[1:-1].rstrip(', ')}]"
    try:
        return yaml.load(text, Loader=UniqueKeyLoader)
    except (yaml.YAMLError, ValueError, RecursionError):   # ValueError: a date or a number that is none
        return str(text)


class UniqueKeyLoader(yaml.SafeLoader):
    """Plain values only, and an error where a key comes twice, of which yaml would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                raise yaml.constructor.ConstructorError(None, None, "a key must be a name", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} comes twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict:
    """The mapping in a yaml file, with names as keys. Raises ConfigError for anything else."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeyLoader)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; {similar_files(path)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text ({error.__class__.__name__})") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not yaml ({getattr(error, 'problem', None) or error})") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: a configuration is a mapping of keys to values, not a {type(content).__name__}")
    return names_only(copy.copy(content))


def names_only(tree: dict) -> dict:
    """The same tree with text as keys; yaml would read a key ``on`` as True."""
    return {str(key): names_only(value) if isinstance(value, dict) else value for key, value in tree.items()}


def similar_files(path: Path) -> str:
    """The end of a "no such file" message: what is there instead."""
    folder = path.parent if path.parent.is_dir() else Path("configs")
    names = {str(file): file.name for file in folder.rglob("*.yaml")}
    matches = difflib.get_close_matches(path.name, set(names.values()), n=1, cutoff=0.5)
    files = [file for file, name in names.items() if name in matches]
    return f"did you mean {files[0]}?" if files else f"{folder} has no yaml file of such a name"
