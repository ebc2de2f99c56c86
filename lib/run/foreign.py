"""Finds the weights of a network in checkpoints of this project and of others: entry, name prefix, head and weight layout.

Supported are checkpoints of this project, published ones, bare state dicts (torchvision, timm, LDAM-DRW), and self-supervised
checkpoints with a backbone inside (MoCo, DINO, …). The name of a file does not matter: the weights that fit the network are
taken, and the choice is logged.
"""
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from lib.backbone import Backbone
from lib.modules.classifiers import Classifier, Origin
from lib.utils.errors import InputError

FORMAT = 2   # of this project's checkpoints. Format 1 has no such entry, and FCNorm's weight is (D, C)
DEPTH = 2    # levels of nested entries that are searched
BACKBONE, CLASSIFIER, NETWORK_HEADS = "backbone.", "classifier.", "heads."
HEADS = ("classifier", "fc", "linear", "last_linear", "head")   # first names of classifiers
EXTRAS = ("projection_head", "projector", "predictor", "prototypes")   # first names of heads that only pretraining needs
AVERAGED, DELAYED = {"ema", "teacher"}, {"k", "momentum", "target"}   # words in the names of averaged copies
SHOWN = 5    # names that a message lists


class WeightsPlace(NamedTuple):
    """The place of a module's parameters in a file: an entry of the file, and the prefix of their names."""

    entry: str    # path of nested names, joined by dots; "" is the top level
    prefix: str

    def words(self) -> set[str]:
        return {*re.split(r"[._]", f"{self.entry}.{self.prefix}")}

    def __str__(self) -> str:
        names = f"names with {self.prefix}" if self.prefix else "plain names"
        return f"{self.entry or 'top level'} ({names})"


class FoundWeights(NamedTuple):
    """Weights of a file, converted to a module's names and layout, with notes on the conversion."""

    tensors: dict[str, Tensor]
    transposed: frozenset[str] = frozenset()   # names of matrices that the file stores transposed
    notes: tuple[str, ...] = ()
    fits: bool = True    # whether most parameters of the backbone are in the file, with equal shapes


def network_weights(network: Any, state: Mapping[str, Any], source: str, resumes: bool = False) -> FoundWeights:
    """Finds the weights of a whole network in a file. A head with another library's name is taken as the classifier.

    Args:
        network: has ``backbone`` and ``classifier``.
        state: the content of the file.
        source: config key and path, for messages.
        resumes: whether the optimizer state is loaded too. Its moments belong to the trained weights, not to their average.
    """
    own = network.backbone.state_dict()
    place, entry, notes, fits = locate(own, state, source, resumes)
    tensors, head = network_names(place, entry, own)
    notes += [f"{head}.* is taken as the classifier"] * (head not in ("", "classifier"))
    classifier, turned, more = classifier_layout(network.classifier, within(tensors, CLASSIFIER), state,
                                                 classifier_origin(state, source, head))
    unread = tuple(f"{NETWORK_HEADS}{name}." for name in heads_of(state) if name not in network.heads)
    others = {name: value for name, value in tensors.items() if not name.startswith((CLASSIFIER, *unread))}
    notes += [f"left out: {', '.join(prefix.rstrip('.') for prefix in unread)}, which nothing reads here"] * bool(unread)
    return FoundWeights(others | {CLASSIFIER + name: value for name, value in classifier.items()},
                   frozenset(CLASSIFIER + name for name in turned), (*notes, *more), fits)


def network_names(place: WeightsPlace, entry: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Renames a file's tensors as in this project's networks; also returns the name of the head taken as classifier, or "".

    Args:
        place: the place of the backbone in ``entry``.
        own: the state dict of the backbone.
    """
    base = place.prefix.removesuffix(BACKBONE)
    tensors = {name.removeprefix(base): value for name, value in entry.items()}
    if place.prefix != base or any(name.startswith(BACKBONE) for name in tensors):
        return tensors, ""
    firsts = {name.split(".")[0] for name in tensors}
    heads = [head for head in HEADS if head in firsts and not any(name.startswith(f"{head}.") for name in own)]
    head = heads[0] if len(heads) == 1 else ""
    return {renamed(name, head): value for name, value in tensors.items()}, head


def classifier_layout(classifier: Classifier, tensors: dict[str, Tensor], state: Mapping[str, Any],
                      origin: Origin) -> tuple[dict[str, Tensor], tuple[str, ...], list[str]]:
    """Converts a file's classifier to the names and layout of ``classifier``; returns tensors, transposed names, notes."""
    deeper = [all(name.startswith("fc.") for name in names) for names in (tensors, classifier.state_dict())]
    if tensors and deeper == [True, False]:
        tensors = within(tensors, "fc.")   # published cRT; LWS has further names
    turned = classifier.transposed(tensors, origin)
    notes = [layout_note(name, tensors[name]) for name in turned]
    if not turned and format_of(state) < FORMAT and is_square_cosine(classifier, tensors):
        notes += ["the classifier's weight is square, so that its shape does not tell its layout; taken as (classes, features)"]
    return {name: value.T.contiguous() if name in turned else value for name, value in tensors.items()}, turned, notes


def backbone_weights(backbone: Backbone, state: Mapping[str, Any], source: str) -> FoundWeights:
    """Finds the weights of a backbone in a file. Heads and all other tensors of the file are left out by name."""
    own = backbone.weights.state_dict()
    place, entry, notes, fits = locate(own, state, source)
    try:
        inner = backbone.adapt(within(entry, place.prefix))
    except Exception as error:   # raised by another library for weights of another model
        raise InputError(f"{source} does not fit this network ({str(error) or type(error).__name__})") from error
    left_out = [name for name in inner if name not in own and name.split(".")[0] in HEADS + EXTRAS]
    if fits:
        left_out += [name for name in entry if not name.startswith(place.prefix)]
    notes += [f"left out: {listed(left_out)}"] * bool(left_out)
    return FoundWeights({name: value for name, value in inner.items() if name not in left_out}, notes=tuple(notes), fits=fits)


def classifier_origin(state: Mapping[str, Any], source: str, head: str = "") -> Origin:
    """Reads the kind and layout of a file's classifier from its configuration.

    Args:
        head: the name of the classifier in the file, such as ``linear`` in LDAM-DRW.
    """
    config = state.get("config")
    ours = isinstance(config, Mapping)
    return Origin(source, str(config.get("CLASSIFIER.TYPE", "")) if isinstance(config, Mapping) else "",
                  features_first=head == "linear" or (ours and format_of(state) < FORMAT))


def heads_of(state: Mapping[str, Any]) -> list[str]:
    """Names of further heads, from the configuration in a checkpoint of this project."""
    config = state.get("config")
    names = config.get("HEADS.TYPES", []) if isinstance(config, Mapping) else []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def format_of(state: Mapping[str, Any]) -> int:
    number = state.get("format", 1)
    return number if isinstance(number, int) else 1


def locate(own: Mapping[str, Tensor], state: Mapping[str, Any], source: str,
           resumes: bool = False) -> tuple[WeightsPlace, Mapping[str, Tensor], list[str], bool]:
    """Finds the place whose names and shapes agree best with ``own``; returns it, its tensors, notes, and whether they fit.

    Raises:
        InputError: several places with different tensors fit equally well.
    """
    entries = dict(tensor_entries(state))
    scores = {WeightsPlace(entry, prefix): score for entry, tensors in entries.items()
              for prefix, score in prefixes(own, tensors)}
    if not scores:
        entry = "state_dict" if "state_dict" in entries else ""
        tensors = entries.get(entry, {})
        wrapped = bool(tensors) and all(name.startswith("module.") for name in tensors)
        return WeightsPlace(entry, "module." * wrapped), tensors, [], False
    best = max(scores.values())
    equal = [place for place, score in scores.items() if score == best]
    first = min(rank(place, resumes) for place in equal)
    chosen, *rivals = [place for place in equal if rank(place, resumes) == first]
    found = within(entries[chosen.entry], chosen.prefix)
    for rival in rivals:
        other = within(entries[rival.entry], rival.prefix)
        if any(not other[name].equal(found[name]) for name in own if name in found and name in other):
            raise InputError(f"{source} has several networks that fit: {'; '.join(map(str, [chosen, *rivals]))}; "
                             "save the one that is meant in a file of its own")
    notes = [f"{chosen} is taken, of {'; '.join(map(str, equal))}"] * (len(equal) > 1)
    return chosen, entries[chosen.entry], notes, best[0]


def tensor_entries(state: Mapping[str, Any], path: str = "", depth: int = DEPTH) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yields (path, tensors) of every mapping in a file that has named tensors."""
    tensors = {name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if tensors:
        yield path, tensors
    if depth:
        for name, value in state.items():
            if isinstance(name, str) and isinstance(value, Mapping):
                yield from tensor_entries(value, f"{path}.{name}".removeprefix("."), depth - 1)


def prefixes(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, tuple[bool, int, int]]]:
    """Yields each prefix that precedes names of ``own`` in a file, with its score: whether most own names have equal shapes
    there, the number of own names there, and the number of those with equal shapes."""
    shapes: Counter[str] = Counter()
    names: Counter[str] = Counter()
    for name, value in tensors.items():
        parts = name.split(".")
        for number in range(len(parts)):
            rest = ".".join(parts[number:])
            if rest in own:
                prefix = name.removesuffix(rest)
                names[prefix] += 1
                shapes[prefix] += own[rest].shape == value.shape
    for prefix, count in names.items():
        yield prefix, (2 * shapes[prefix] > len(own), count, shapes[prefix])


def rank(place: WeightsPlace, resumes: bool) -> int:
    """The rank of a copy of the weights; the lowest is taken: averaged weights (EMA), or the trained ones to resume a run."""
    if place.words() & AVERAGED:
        return 1 if resumes else -1
    return 1 if place.words() & DELAYED else 0


def within(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def renamed(name: str, head: str) -> str:
    """Converts the name of a tensor in a plain network (no ``backbone.``) to its name in this project."""
    first, _, rest = name.partition(".")
    return CLASSIFIER + rest if head and first == head else BACKBONE + name


def is_square_cosine(classifier: Classifier, tensors: Mapping[str, Tensor]) -> bool:
    shape = tensors["weight"].shape if "weight" in tensors else ()
    return classifier.cosine and len(shape) == 2 and shape[0] == shape[1]


def layout_note(name: str, value: Tensor) -> str:
    why = ""
    if value.shape[0] == value.shape[1]:
        why = "; it is square, but files of this kind have features first"
    return f"{CLASSIFIER}{name} is transposed from (features, classes) = {tuple(value.shape)}{why}"


def listed(names: Iterable[str]) -> str:
    """Lists the first names, and counts the others."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
