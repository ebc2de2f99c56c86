"""Parses the values of yaml files and of the command line by the type of their key.

The key decides, not the value: a text key takes what is written as text, so that a run can be called 010, on or 1:30. Other keys
read numbers by the core schema of YAML 1.2 (010 is ten, 0o10 eight, 1:30 text), lists in yaml's form or as the literals that
yacs takes, ``(32, 32)``, ``()`` and ``('a', 'b')``, and all of them in quotes as well.
"""
import os
import re
import reprlib
from typing import Any

import yaml

from lib.utils.options import LARGEST

INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
ONE_WORD = re.compile(r"[\w.+-]{1,80}")
BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}   # yaml 1.1 has all of them
NOTHING = ("", "~", "null", "Null", "NULL", "None")
HOME = "~"
MOST_ALIASES = 30     # of one file; some more, nested, would stand for billions of values
NAMES = {bool: "True or False", int: "a whole number", float: "a number", str: "text", list: "a list"}

short = reprlib.Repr()
short.maxlevel, short.maxlist, short.maxdict, short.maxstring, short.maxother = 2, 8, 4, 200, 200


class Scalar(str):
    """A value of a yaml file as text.

    Attributes:
        quoted: whether it is in quotes, so that ``null`` is text.
    """

    quoted = False

    def substitute(self, old: str, new: str) -> "Scalar":
        result = Scalar(self.replace(old, new))
        result.quoted = self.quoted
        return result


def coerce(value: Any, default: Any) -> Any:
    """Converts ``value`` to the type of a key with this default. Raises TypeError; its message is put after the key."""
    kind = type(default)
    if kind is list:
        elements = read_list(value) if isinstance(value, Scalar) else value
        if isinstance(elements, list):
            return [coerce_element(element, default) for element in elements]
    elif isinstance(value, Scalar):
        result = read_text(value, default) if kind is str else read_plain(value, kind)
        if result is not None:
            return result
    raise TypeError(f"takes {expected_form(default)}, got {shown(value)}{hint(value, kind)}")


def coerce_element(element: Any, default: list) -> Any:
    if not default:   # a list of numbers or names, or of lists of them
        if isinstance(element, list):
            return [coerce_element(inner, default) for inner in element]
        if not isinstance(element, Scalar):
            return element
        number = read_number(element)
        return str(element) if number is None else float(number)
    try:
        return coerce(element, default[0])
    except TypeError:
        raise TypeError(f"takes {expected_form(default[0])} in each place of its list, got {shown(element)}") from None


def read_text(value: Scalar, default: str) -> str | None:
    """The text; null is the empty text if that is the default."""
    if (value in NOTHING and not value.quoted) or (value == "None" and not default):
        return None if default else ""
    return str(value)


def read_plain(value: Scalar, kind: type) -> bool | int | float | None:
    """A boolean or a number; None if it is not of ``kind``."""
    if kind is bool:
        return BOOLEANS.get(value.strip().lower())
    number = read_number(value)
    if kind is float:
        return None if number is None else float(number)
    return number if isinstance(number, int) and abs(number) <= LARGEST else None


def read_number(text: str) -> int | float | None:
    """A number by the core schema of YAML 1.2, or None."""
    text = text.strip()
    if INTEGER.fullmatch(text):
        try:
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        except ValueError:   # thousands of digits, which Python does not read
            return None
    if NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return float(text) if FLOAT.fullmatch(text) else None


def read_list(text: str) -> list | None:
    """The elements of text such as ``[32, 32]``, ``(32, 32)`` or ``32, 32``; None for other text."""
    inner = text.strip()
    if inner[:1] + inner[-1:] in ("()", "[]"):
        inner = inner[1:-1].strip()
    elif "," not in inner or set(inner) & set("()[]"):
        return None
    try:
        return yaml.load(f"[{inner}]", Loader=YamlLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def expand_home(path: str) -> str:
    """``~`` and ``~user`` at the beginning are home directories, also where no shell has seen the path.

    Raises:
        LookupError: there is no such home directory.
    """
    if not path.startswith(HOME) or "\0" in path:
        return path
    expanded = os.path.expanduser(path)
    if expanded == path:
        raise LookupError(f"there is no home directory {path.split('/')[0][:80]!r}")
    return expanded


def expected_form(default: Any) -> str:
    plain = default in ("", []) or isinstance(default, bool)
    return NAMES[type(default)] if plain else f"{NAMES[type(default)]} (such as {default!r})"


def shown(value: Any) -> str:
    """A value for a message, shortened to a line or two."""
    if not isinstance(value, Scalar):
        return short.repr(value)
    if value in NOTHING and not value.quoted:
        return "nothing"
    return str(value) if read_number(value) is not None and len(value) < short.maxstring else short.repr(str(value))


def hint(value: Any, kind: type) -> str:
    """The end of a message: what would have worked, if that is clear."""
    if not isinstance(value, Scalar):
        return ""
    number = read_number(value)
    if kind is int and isinstance(number, float) and number.is_integer() and abs(number) <= LARGEST:
        return f"; write {int(number)}"
    if kind is int and isinstance(number, int):
        return f"; the largest integer is {LARGEST}"
    if kind is list and value[:1] in ("(", "[") and value[-1:] not in (")", "]"):
        return f"; quote the whole list, such as '{value} …{')' if value[0] == '(' else ']'}', so that it is one word"
    if kind is list and value in NOTHING:
        return "; write [] for an empty list"
    return f"; write [{value}] for a list of one element" if kind is list and ONE_WORD.fullmatch(value) else ""


class YamlLoader(yaml.SafeLoader):
    """A yaml loader that keeps values as they are written, and refuses a key that comes twice, of which yaml would silently
    take the last value."""

    yaml_implicit_resolvers = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}   # <<, which merges mappings
    yaml_constructors = {None: yaml.SafeLoader.construct_undefined}
    aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > MOST_ALIASES:
                raise yaml.composer.ComposerError(None, None, f"more than {MOST_ALIASES} aliases", self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: dict[str, int] = {}
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key, line = key_node.value if isinstance(key_node, yaml.ScalarNode) else None, key_node.start_mark.line + 1
            if key is None:
                raise yaml.constructor.ConstructorError(None, None, "a key must be a name", key_node.start_mark)
            if key in seen:
                where = f"in lines {seen[key]} and {line}" if seen[key] != line else "in one line"
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} comes twice, {where}", key_node.start_mark)
            seen[key] = line
        return super().construct_mapping(node, deep)

    def construct_text(self, node: yaml.ScalarNode) -> Scalar:
        scalar = Scalar(self.construct_scalar(node))
        scalar.quoted = node.style is not None
        return scalar


for tag in ("str", "int", "float", "bool", "null", "merge"):   # a tag that is written out says no more than the key
    YamlLoader.add_constructor(f"tag:yaml.org,2002:{tag}", YamlLoader.construct_text)
# at once and not in two steps, so that a list or mapping that holds itself is an error
YamlLoader.add_constructor("tag:yaml.org,2002:seq", lambda loader, node: loader.construct_sequence(node, deep=True))
YamlLoader.add_constructor("tag:yaml.org,2002:map", lambda loader, node: loader.construct_mapping(node, deep=True))


class Dumper(yaml.SafeDumper):
    """A yaml dumper that quotes every text that some yaml reader could take for something else."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        other = read_number(text) is not None or text in NOTHING or text.lower() in BOOLEANS
        style = "'" if other else None if text.isprintable() else '"'   # which escapes, line ends of Unicode too
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


Dumper.add_representer(str, Dumper.represent_text)
