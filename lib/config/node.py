"""The configuration tree: a yacs tree with inheritance (``_BASE_``) that reports all mistakes at once, with suggestions."""
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
LONGEST_KEY = 200   # characters of an unknown key that a message shows


class ConfigError(InputError):
    """An error that lists all mistakes of a configuration, a line each."""


class Config(CfgNode):
    """A configuration tree. A full key names a leaf with its sections, such as ``TRAIN.OPTIMIZER.BASE_LR``."""

    def flat(self) -> dict[str, Any]:
        """Maps the full key of every leaf to its value."""
        return dict(leaves(self))

    def to_yaml(self) -> str:
        """The tree as yaml text, which loads to the same tree."""
        return yaml.dump(plain(self), Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)

    def differences(self, other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Maps each differing full key to (own value, value in ``other``); None stands for a key that one of them lacks."""
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
    """Yields (full key, value) of every leaf; an empty section counts as a leaf."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + str(key), value


def plain(value: Any) -> Any:
    """Converts a tree to plain dicts and lists, which yaml can write."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, (list, tuple)) else value


def merge(tree: Config, paths: Sequence[Path], words: Sequence[str]) -> list[str]:
    """Merges yaml files into ``tree``, each after its bases, then the KEY VALUE words; returns the mistakes.

    The values of ``tree`` before the call determine the type of each key.
    """
    problems: list[str] = []
    kinds = tree.flat()
    merge_stack(tree, paths, kinds, problems, below=())
    return problems + merge_pairs(tree, words, kinds)


def merge_stack(tree: Config, paths: Sequence[Path], kinds: dict[str, Any], problems: list[str], below: tuple[Path, ...]) -> bool:
    """Merges files in order, so that later ones override earlier ones; returns whether any file or any of its bases sets NAME.

    After the first file, each file that does not set NAME appends its file name to it. For example, a first file with NAME
    baseline, followed by input_mixup.yaml and bsce.yaml, gives baseline_input_mixup_bsce. Each stack has its own directory.
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
    """Merges the bases of a file and then the file itself; returns whether it or any of its bases sets NAME.

    ``below`` has the files that inherit from this one, outermost first. ``{BEFORE}`` in a text is replaced by NAME before the
    file's own values are merged, which is the NAME of the run that the file continues.
    """
    try:
        place = path.resolve()
    except (ValueError, RuntimeError):   # null character, unpaired surrogate, or circular links
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
    """Merges KEY VALUE pairs of the command line; returns the mistakes."""
    problems = [f"{COMMAND_LINE}: {words[-1]!r} has no value; give KEY VALUE pairs"] if len(words) % 2 else []
    for key, word in zip(words[::2], words[1::2]):
        value = Scalar(word)
        value.quoted = word == HOME   # ~ is the home directory here, but null in a yaml file
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
    """Suggests the known key closest to an unknown one: by the full key, by a leaf that it continues, or by its last name."""
    by_leaf = {name.rpartition(".")[2]: name for name in known}
    above = [name for name in known if key.startswith(f"{name}.")]
    leaf = key.rpartition(".")[2]
    similar = (difflib.get_close_matches(key, known, n=1, cutoff=0.8) or above
               or [by_leaf[name] for name in difflib.get_close_matches(leaf, by_leaf, n=1)])
    return f"did you mean {similar[0]!r}?" if similar else "--show prints all keys"


def read_yaml(path: Path) -> dict:
    """Reads the mapping in a yaml file, with values as they are written. Raises ConfigError if the file holds anything else."""
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
    """Maps full keys to the values in a yaml file, converted to the types in ``kinds`` where possible, else kept as text."""
    values = dict(leaves(read_yaml(path)))
    for key in values.keys() & kinds.keys():
        with suppress(TypeError, OverflowError):
            values[key] = coerce(values[key], kinds[key])
    return values


def similar_files(path: Path) -> str:
    """The end of a "no such file" message: a yaml file with a similar name, if there is one."""
    folder = path.parent if path.parent.is_dir() else Path("configs")
    names = {str(file): file.name for file in (*folder.glob("*.yaml"), *Path("configs").rglob("*.yaml"))}
    matches = difflib.get_close_matches(path.name, set(names.values()), n=1, cutoff=0.5)
    files = [file for file, name in names.items() if name in matches]
    return f"did you mean {files[0]}?" if files else f"{folder} has no yaml file with a similar name"
