"""Registries, which map names to builders, and read a builder's options from a config section."""
import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin

from lib.utils.errors import UnknownNameError

BEGINNING = 4   # first letters of a name that suffice to suggest it


def closest(word: str, known: Iterable[str]) -> str:
    """The end of an "unknown name" message: the most similar known name, or all known names."""
    known = sorted(known)
    same = [name for name in known if name.lower() == word.lower()]
    completions = [name for name in known if len(word) >= BEGINNING and name.lower().startswith(word.lower())]
    matches = same[:1] or completions[:1] or difflib.get_close_matches(word, known, n=1)   # 'res32' is 'res32_cifar'
    if not matches:   # 'LDAM' for 'LDAMLoss': too short for the ratio, but contained
        matches = [name for name in known if word and word.lower() in name.lower()][:1]
    return f"did you mean {matches[0]!r}?" if matches else f"known: {', '.join(known)}"


class Registry:
    """A table of builders by name: ``@LOSSES.register("CDT")`` adds one, ``LOSSES["CDT"]`` returns it.

    A builder's keyword-only arguments are its options. ``build`` reads them from the builder's section of the
    family's config node (``LOSS.LDAMLoss.MAX_MARGIN`` for ``max_margin``), or from the family's node itself if
    members share an option (``TRAIN.COMBINER.ALPHA``).

    The annotation of an option declares its values: ``Annotated[float, Range(0, 1)]``, ``Annotated[str, Choice("a", "b")]``. A
    registry declares that the option is one of its members: for ``baseloss: Annotated[str | LongTailLoss, LOSSES]`` the
    configuration gives a name, and the builder receives that member, built with the options of its own section.
    """

    def __init__(self, family: str) -> None:
        self.family = family
        self._builders: dict[str, Callable] = {}
        self._sections: dict[str, str] = {}

    def register(self, name: str, section: str | None = None) -> Callable:
        """Decorator that adds a builder. ``section`` is the config node of its options, by default the name itself; a name in
        lower case becomes upper case with underscores ("weighted sampler" has WEIGHTED_SAMPLER)."""
        def add(builder: Callable) -> Callable:
            if name in self._builders:
                raise ValueError(f"{self.family} {name!r} is already registered by {self._builders[name].__module__}")
            self._builders[name] = builder
            self._sections[name] = section or (name.upper().replace(" ", "_") if name.islower() else name)
            return builder

        return add

    def __getitem__(self, name: str) -> Any:
        if name not in self._builders:
            raise UnknownNameError(f"unknown {self.family} {name!r}; {closest(name, self._builders)}")
        return self._builders[name]

    def __contains__(self, name: str) -> bool:
        return name in self._builders

    def __iter__(self) -> Iterator[str]:
        return iter(self._builders)

    def section(self, name: str) -> str:
        """Name of the config node that holds the options of ``name``."""
        return self._sections[name]

    def options(self, name: str) -> dict[str, str]:
        """{config key: argument}: ``def __init__(self, counts, *, lambda_=.1)`` gives ``{"LAMBDA": "lambda_"}``."""
        parameters = inspect.signature(self[name]).parameters.values()
        return {p.name.rstrip("_").upper(): p.name for p in parameters if p.kind is p.KEYWORD_ONLY}

    def declared(self, name: str, kind: type) -> dict[str, Any]:
        """{config key: declaration} of all options that have a declaration of this kind, such as ``Range``."""
        parameters = inspect.signature(self[name]).parameters
        found: dict[str, Any] = {}
        for key, argument in self.options(name).items():
            annotation = parameters[argument].annotation
            if get_origin(annotation) is Annotated:
                found.update((key, entry) for entry in get_args(annotation)[1:] if isinstance(entry, kind))
        return found

    def key(self, name: str, option: str, node: Mapping[str, Any]) -> str:
        """The key of an option in ``node``, the config node of the family: in the section of ``name``, or in the node itself."""
        return f"{self._sections[name]}.{option}" if option in node.get(self._sections[name], {}) else option

    def build(self, name: str, node: Mapping[str, Any], *args: Any) -> Any:
        """Builds ``name`` from ``args`` and its options in ``node``, the config node of the family."""
        arguments = self.arguments(name, node)
        for key, registry in self.declared(name, Registry).items():
            argument = self.options(name)[key]
            if arguments[argument] != name:   # else the name is passed on, and the builder raises an error for itself as a part
                arguments[argument] = registry.build(arguments[argument], node, *args)
        return self[name](*args, **arguments)

    def arguments(self, name: str, node: Mapping[str, Any]) -> dict[str, Any]:
        """{argument: value} of the options of ``name`` in ``node``."""
        options = self.options(name)
        section = node.get(self._sections[name], {})
        return {argument: section[key] if key in section else node[key] for key, argument in options.items()}


def import_submodules(package: str) -> None:
    """Imports every module of a package, so that its ``register`` decorators run."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
