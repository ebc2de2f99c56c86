"""How values are written in yaml files and on the command line, and how they are converted to the type of their key.

The type of the key's default decides, not the form of the value. A text key takes any value as text, so that a run can be called
010, on or 1:30. Other keys read numbers by the core schema of YAML 1.2 (010 is ten, 0o10 is eight, 1:30 is text). Lists are
written as in yaml or as the literals of yacs, ``(32, 32)``, ``()`` and ``('a', 'b')``. All of these may also stand in quotes.
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
BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}   # all of YAML 1.1
NOTHING = ("", "~", "null", "Null", "NULL", "None")
HOME = "~"
MOST_ALIASES = 30     # per file; with a few more, nested aliases could expand to billions of values
NAMES = {bool: "True or False", int: "a whole number", float: "a number", str: "text", list: "a list"}

short = reprlib.Repr()
short.maxlevel, short.maxlist, short.maxdict, short.maxstring, short.maxother = 2, 8, 4, 200, 200


class Scalar(str):
    """A value of a yaml file as text, exactly as it is written there.

    Attributes:
        quoted: whether the value stands in quotes; a quoted ``null`` is text.
    """

    quoted = False

    def substitute(self, old: str, new: str) -> "Scalar":
        result = Scalar(self.replace(old, new))
        result.quoted = self.quoted
        return result


def coerce(value: Any, default: Any) -> Any:
    """Converts ``value`` to the type of a key with this default. Raises TypeError, whose message continues after the key."""
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
    """The text itself. An empty value such as null is the empty text if that is the default, and None otherwise."""
    if (value in NOTHING and not value.quoted) or (value == "None" and not default):
        return None if default else ""
    return str(value)


def read_plain(value: Scalar, kind: type) -> bool | int | float | None:
    """Reads a boolean or a number; None if the value is not of type ``kind``."""
    if kind is bool:
        return BOOLEANS.get(value.strip().lower())
    number = read_number(value)
    if kind is float:
        return None if number is None else float(number)
    return number if isinstance(number, int) and abs(number) <= LARGEST else None


def read_number(text: str) -> int | float | None:
    """Reads a number by the core schema of YAML 1.2; None for other text."""
    text = text.strip()
    if INTEGER.fullmatch(text):
        try:
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        except ValueError:   # Python refuses to convert thousands of digits
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
    """Expands ``~`` and ``~user`` at the beginning of a path, which no shell expands in a yaml file.

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
    """Shortens a value to a line or two, for messages."""
    if not isinstance(value, Scalar):
        return short.repr(value)
    if value in NOTHING and not value.quoted:
        return "nothing"
    return str(value) if read_number(value) is not None and len(value) < short.maxstring else short.repr(str(value))


def hint(value: Any, kind: type) -> str:
    """Suggests a value that would be accepted; empty if there is no obvious one."""
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
    """A yaml loader that keeps values as they are written, and refuses duplicate keys, of which yaml would silently take the
    last."""

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


for tag in ("str", "int", "float", "bool", "null", "merge"):   # explicit tags are ignored: the type of the key decides
    YamlLoader.add_constructor(f"tag:yaml.org,2002:{tag}", YamlLoader.construct_text)
# constructed in one step, not in two as in SafeLoader, so that a list or mapping that contains itself is an error
YamlLoader.add_constructor("tag:yaml.org,2002:seq", lambda loader, node: loader.construct_sequence(node, deep=True))
YamlLoader.add_constructor("tag:yaml.org,2002:map", lambda loader, node: loader.construct_mapping(node, deep=True))


class Dumper(yaml.SafeDumper):
    """A yaml dumper that quotes every text that another yaml reader could read as a number, boolean or null."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        other = read_number(text) is not None or text in NOTHING or text.lower() in BOOLEANS
        style = "'" if other else None if text.isprintable() else '"'   # double quotes allow escapes, for Unicode line ends
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


Dumper.add_representer(str, Dumper.represent_text)
