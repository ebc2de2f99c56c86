"""A yacs tree with inheritance (``_BASE_``), which reports all mistakes at once and suggests the nearest key."""
import difflib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from lib.config.literals import HOME, NOTHING, Dumper, Scalar, YamlLoader, coerce, expand_home, read_number, shown
from lib.utils.errors import InputError
from lib.utils.text import printable

BASE = "_BASE_"
BEFORE = "{BEFORE}"
COMMAND_LINE = "command line"
LONGEST_KEY = 200   # characters of an unknown one, in a message


class ConfigError(InputError):
    """All mistakes of a configuration, a line each."""


class Config(CfgNode):
    """A configuration tree; keys are known by their full names, such as ``TRAIN.OPTIMIZER.BASE_LR``."""

    def flat(self) -> dict[str, Any]:
        """Full key to value, for every leaf."""
        return dict(leaves(self))

    def to_yaml(self) -> str:
        """Text that loads back to the same tree."""
        return yaml.dump(plain(self), Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)

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
    """Yields (full key, value) of everything that is not a section; an empty section is a leaf."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + str(key), value


def plain(value: Any) -> Any:
    """The tree as plain yaml types."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, (list, tuple)) else value


def merge(tree: Config, paths: Sequence[Path], words: Sequence[str]) -> list[str]:
    """Merges yaml files, bases first and later files last, then KEY VALUE words into ``tree``; returns what is wrong with them.

    The values that ``tree`` has before define the type of each key.
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
    except (ValueError, RuntimeError):   # a null character, half of a surrogate pair, or circular links
        named_by = f"{below[-1]}: {BASE}" if below else "--cfg"
        problems.append(f"{named_by}: {str(path)!r} cannot be the path of a file")
        return False
    if place in below:
        chain = " → ".join(str(file) for file in (*below, place))
        problems.append(f"{path}: {BASE} is circular: {chain}")
        return False
    try:
        content = read_yaml(path)
    except ConfigError as error:
        problems.append(str(error))
        return False
    own = content.pop(BASE, [])
    bases = own if isinstance(own, list) else [own]
    if not all(isinstance(base, Scalar) and base not in NOTHING and read_number(base) is None for base in bases):
        problems.append(f"{path}: {BASE} must be a path or a list of paths, got {shown(own)}")
        bases = []
    try:
        bases = [path.parent / expand_home(base) for base in bases]
    except LookupError as error:
        problems.append(f"{path}: {BASE}: {error}")
        bases = []
    named = merge_stack(tree, bases, kinds, problems, (*below, place))
    before, values = tree.NAME, {}
    for key, value in leaves(content):
        if key in values:
            problems.append(f"{path}: {key} is given twice, by its section and by its full name with dots; leave one of them out")
        values[key] = value.substitute(BEFORE, before) if isinstance(value, Scalar) else value
    problems += [f"{path}: {problem}" for problem in merge_leaves(tree, values, kinds)]
    return named or "NAME" in content


def merge_pairs(tree: Config, words: Sequence[str], kinds: dict[str, Any]) -> list[str]:
    """Merges KEY VALUE pairs of the command line; returns what is wrong with them."""
    problems = [f"{COMMAND_LINE}: {words[-1]!r} has no value; give KEY VALUE pairs"] if len(words) % 2 else []
    for key, word in zip(words[::2], words[1::2]):
        value = Scalar(word)
        value.quoted = word == HOME   # which is the home directory here, and in a file yaml's word for nothing
        problems += [f"{COMMAND_LINE}: {problem}" for problem in merge_leaves(tree, {key: value}, kinds)]
    return problems


def merge_leaves(tree: Config, values: dict[str, Any], kinds: dict[str, Any]) -> list[str]:
    problems = []
    for key, value in values.items():
        if key not in kinds:
            inside = [name for name in kinds if name.startswith(f"{key}.")]
            if not inside:
                problems.append(f"unknown key {printable(key, LONGEST_KEY) or repr(key)}; {nearest(key[:LONGEST_KEY], kinds)}")
            elif value != {}:
                problems.append(f"{key} is a section, not a key; it has {', '.join(inside[:3])}, …")
            continue
        try:
            tree.put(key, coerce(value, kinds[key]))
        except (TypeError, OverflowError) as error:   # OverflowError: more digits than a float holds
            problems.append(f"{key} {error}")
    return problems


def nearest(key: str, known: dict[str, Any]) -> str:
    """The known key that was probably meant: first by the name of the leaf, which may be in another section."""
    by_leaf = {name.rpartition(".")[2]: name for name in known}
    above = [name for name in known if key.startswith(f"{name}.")]
    leaf = key.rpartition(".")[2]
    similar = (difflib.get_close_matches(key, known, n=1, cutoff=0.8) or above
               or [by_leaf[name] for name in difflib.get_close_matches(leaf, by_leaf, n=1)])
    return f"did you mean {similar[0]!r}?" if similar else "--show prints all keys"


def read_yaml(path: Path) -> dict:
    """The mapping in a yaml file, values as they are written. Raises ConfigError for anything else."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=YamlLoader)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; {similar_files(path)}") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error.__class__.__name__
        raise ConfigError(f"{path}: cannot be read as text ({reason})") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not yaml ({getattr(error, 'problem', None) or error})") from error
    if content is None or (isinstance(content, Scalar) and content in NOTHING):
        return {}
    if not isinstance(content, dict):
        kind = "str" if isinstance(content, str) else type(content).__name__
        raise ConfigError(f"{path}: a configuration is a mapping of keys to values, not a {kind}")
    return content


def read_flat(path: Path, kinds: dict[str, Any]) -> dict[str, Any]:
    """Full key to value for a yaml file. Values that do not have the type of their key, by ``kinds``, remain text."""
    values = dict(leaves(read_yaml(path)))
    for key in values.keys() & kinds.keys():
        with suppress(TypeError, OverflowError):
            values[key] = coerce(values[key], kinds[key])
    return values


def similar_files(path: Path) -> str:
    """The end of a "no such file" message: similar files that exist."""
    folder = path.parent if path.parent.is_dir() else Path("configs")
    names = {str(file): file.name for file in (*folder.glob("*.yaml"), *Path("configs").rglob("*.yaml"))}
    matches = difflib.get_close_matches(path.name, set(names.values()), n=1, cutoff=0.5)
    files = [file for file, name in names.items() if name in matches]
    return f"did you mean {files[0]}?" if files else f"{folder} has no yaml file with a similar name"
