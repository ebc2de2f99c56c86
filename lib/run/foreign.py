"""Finds the weights of a network in a checkpoint of any origin: entry, prefix, head and layout.

Known are this project's files, the published ones, bare state dicts (torchvision, timm, LDAM-DRW), and what self-supervised
methods write around a backbone (MoCo, DINO, …). Nothing is told by a file's name: what fits the network is taken, and said.
"""
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from lib.backbone import Backbone
from lib.modules.classifiers import Classifier, Origin
from lib.utils.errors import InputError

FORMAT = 2   # of this project's checkpoints; before 2, which have no such entry, FCNorm's weight was (D, C)
DEPTH = 2    # entries within entries that are looked into
BACKBONE, CLASSIFIER, NETWORK_HEADS = "backbone.", "classifier.", "heads."
HEADS = ("classifier", "fc", "linear", "last_linear", "head")   # what follows a backbone, by first name: classifiers
EXTRAS = ("projection_head", "projector", "predictor", "prototypes")   # and parts that only pretraining needs
AVERAGED, DELAYED = {"ema", "teacher"}, {"k", "momentum", "target"}   # words in the names of copies that are updated by averaging
SHOWN = 5    # names in a message


class WeightsPlace(NamedTuple):
    """The place of a module's parameters in a file: the ``entry``, and the prefix of their names."""

    entry: str    # with dots between names; "" is the file itself
    prefix: str

    def words(self) -> set[str]:
        return {*re.split(r"[._]", f"{self.entry}.{self.prefix}")}

    def __str__(self) -> str:
        names = f"names with {self.prefix}" if self.prefix else "plain names"
        return f"{self.entry or 'top level'} ({names})"


class FoundWeights(NamedTuple):
    """Weights with the names and layout of a module, and the conversions that were applied."""

    tensors: dict[str, Tensor]
    transposed: frozenset[str] = frozenset()   # names whose matrices, and moments, the file has the other way round
    notes: tuple[str, ...] = ()
    fits: bool = True    # whether most of the backbone's parameters are there, in their shapes


def network_weights(network: Any, state: Mapping[str, Any], source: str, resumes: bool = False) -> FoundWeights:
    """The weights of a whole network. A head with the name of another library becomes the classifier.

    Args:
        network: has ``backbone`` and ``classifier``.
        state: the content of a file.
        source: key and path, for messages.
        resumes: the optimizer is taken too, whose moments go with the weights that were trained, not with an average of them.
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
    """A file's tensors by the names of this project's networks, and the name of its head where it has no named parts.

    Args:
        place: where the backbone is in ``entry``.
        own: the backbone's own tensors.
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
    """A file's classifier by the names and in the layout of ``classifier``, what was transposed for it, and what to say of it."""
    deeper = [all(name.startswith("fc.") for name in names) for names in (tensors, classifier.state_dict())]
    if tensors and deeper == [True, False]:
        tensors = within(tensors, "fc.")   # published cRT; LWS has names besides
    turned = classifier.transposed(tensors, origin)
    notes = [layout_note(name, tensors[name]) for name in turned]
    if not turned and format_of(state) < FORMAT and is_square_cosine(classifier, tensors):
        notes += ["the classifier's weight is square, so that its shape does not tell its layout; taken as (classes, features)"]
    return {name: value.T.contiguous() if name in turned else value for name, value in tensors.items()}, turned, notes


def backbone_weights(backbone: Backbone, state: Mapping[str, Any], source: str) -> FoundWeights:
    """Weights of a backbone alone: heads, and all that is beside it in the file, are left out by name."""
    own = backbone.weights.state_dict()
    place, entry, notes, fits = locate(own, state, source)
    try:
        inner = backbone.adapt(within(entry, place.prefix))
    except Exception as error:   # of another library's code, on weights of another model
        raise InputError(f"{source} does not fit this network ({str(error) or type(error).__name__})") from error
    left_out = [name for name in inner if name not in own and name.split(".")[0] in HEADS + EXTRAS]
    if fits:
        left_out += [name for name in entry if not name.startswith(place.prefix)]
    notes += [f"left out: {listed(left_out)}"] * bool(left_out)
    return FoundWeights({name: value for name, value in inner.items() if name not in left_out}, notes=tuple(notes), fits=fits)


def classifier_origin(state: Mapping[str, Any], source: str, head: str = "") -> Origin:
    """The information on the classifier in a file.

    Args:
        head: the name of the classifier in it; LDAM-DRW's is ``linear``.
    """
    config = state.get("config")
    ours = isinstance(config, Mapping)
    return Origin(source, str(config.get("CLASSIFIER.TYPE", "")) if isinstance(config, Mapping) else "",
                  features_first=head == "linear" or (ours and format_of(state) < FORMAT))


def heads_of(state: Mapping[str, Any]) -> list[str]:
    """The further heads that are listed in a file of this project."""
    config = state.get("config")
    names = config.get("HEADS.TYPES", []) if isinstance(config, Mapping) else []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def format_of(state: Mapping[str, Any]) -> int:
    number = state.get("format", 1)
    return number if isinstance(number, int) else 1


def locate(own: Mapping[str, Tensor], state: Mapping[str, Any], source: str,
           resumes: bool = False) -> tuple[WeightsPlace, Mapping[str, Tensor], list[str], bool]:
    """The place whose names and shapes agree best with ``own``, the tensors there, what to say of the choice, whether they fit.

    Raises:
        InputError: several places fit equally well, with other tensors, and nothing says which is meant.
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
    """Every mapping in a file that has named tensors, with its path."""
    tensors = {name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if tensors:
        yield path, tensors
    if depth:
        for name, value in state.items():
            if isinstance(name, str) and isinstance(value, Mapping):
                yield from tensor_entries(value, f"{path}.{name}".removeprefix("."), depth - 1)


def prefixes(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, tuple[bool, int, int]]]:
    """What stands before own names. Each prefix with how well it fits: whether most own names are there in their shapes, how
    many are there, and how many of those have their shape."""
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
    """The priority among several copies: averaged weights for evaluation, trained weights for resuming."""
    if place.words() & AVERAGED:
        return 1 if resumes else -1
    return 1 if place.words() & DELAYED else 0


def within(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def renamed(name: str, head: str) -> str:
    """A name of a network without parts, by those of this project's."""
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
    """Some names, and the number of the others."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
