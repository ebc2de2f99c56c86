"""The identity of a network: its classes, the preprocessing of its images, and its training data.

It is in every checkpoint, and is compared with the data on which the checkpoint is used.
"""
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from lib.dataset import EnlargedSet, ImageSet, align, fingerprint, match_classes, shorten_names
from lib.dataset.fingerprint import digest_names
from lib.net import Network
from lib.run.checkpoint import Start
from lib.utils.errors import InputError

log = logging.getLogger(__name__)

KEYS = {"input_size": "INPUT_SIZE", "color_space": "COLOR_SPACE", "mean": "DATASET.MEAN", "std": "DATASET.STD",
        "test_transforms": "TRANSFORMS.TEST_TRANSFORMS", "exif": "DATASET.EXIF", "alpha": "DATASET.ALPHA"}   # of a preparation
SETS = TRAINING, VALIDATION, ADDED = "training set", "validation set", "images of CAM-based sampling"
FACTS = {"class_names": "class names or their order", "class_counts": "images per class", "labels": "labels or their order",
         "indices": "the chosen subset", "content": "pixels, or names of files"}   # of a fingerprint, the others may change
OTHERS = ("weights", "first stage", "network")   # kinds of starts with a classifier of another run
SHOWN = 80   # characters of a value in a message
UNTOLD = "%s does not say what data it was trained on (files of earlier versions and other programs do not); the rest is checked"
UNNAMED = "%s has no class names (files of earlier versions and other programs do not); class 0 is taken as %r, and so on"


class OtherDataError(InputError):
    """Raised if a run that should be resumed was trained on other data."""


class Identity(NamedTuple):
    """The classes, data and preprocessing of a network, in plain values; with its configuration, enough to predict from a
    checkpoint."""

    class_names: list[str]
    class_counts: Tensor            # (C,), training images
    preprocessing: dict[str, Any]   # how an image becomes what the network sees in validation, see ``build.preprocessing``
    data: dict[str, Any]            # fingerprints of the sets

    @classmethod
    def of(cls, train_set: ImageSet, valid_set: ImageSet | None, preprocessing: dict[str, Any]) -> "Identity":
        enlarged = train_set if isinstance(train_set, EnlargedSet) else None
        data = {TRAINING: fingerprint(enlarged.original if enlarged else train_set),
                VALIDATION: None if valid_set is None else fingerprint(valid_set),
                ADDED: enlarged.added() if enlarged else None}
        return cls(train_set.class_names, train_set.class_counts, preprocessing, data)

    def facts(self) -> dict[str, str]:
        """Fact to a short digest, which is equal for equal data."""
        return {f"{FACTS.get(fact, fact)} ({name})": digest_names([repr(value)])[:12]
                for name, facts in self.data.items() if facts for fact, value in facts.items()}


class Difference(NamedTuple):
    """A difference between the training of a checkpoint and the configuration or data here."""

    key: str    # of the configuration, or which set of images
    there: Any
    here: Any

    def __str__(self) -> str:
        if self.key in (TRAINING, VALIDATION, ADDED):
            return f"{self.key}: {self.here}"
        return f"{self.key} {shorten(self.there)} in the checkpoint, {shorten(self.here)} here"


def shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else f"{text[:SHOWN - 1]}…"


def known_names(state: Mapping[str, Any]) -> list[str] | None:
    """The class names of a checkpoint; older and foreign ones have none."""
    names = state.get("class_names")
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def compare_preprocessing(state: Mapping[str, Any], here: Identity) -> list[Difference]:
    """Differences in preprocessing to a checkpoint, by config key; none if the checkpoint does not tell."""
    there = state.get("preprocessing")
    there = there if isinstance(there, Mapping) else {}
    return [Difference(KEYS.get(name, name), there[name], value) for name, value in here.preprocessing.items()
            if name in there and repr(there[name]) != repr(value)]   # nobody knows what others have under that name


def compare_data(state: Mapping[str, Any], here: Identity, sets: Sequence[str] = SETS) -> list[Difference]:
    """Differences of the data sets to those of a checkpoint; none if the checkpoint does not tell."""
    there, found = state.get("data"), []
    if not isinstance(there, Mapping) or TRAINING not in there:
        counts = state.get("class_counts")   # all that checkpoints of an earlier version tell
        if not isinstance(counts, Tensor) or counts.tolist() == here.class_counts.tolist() or TRAINING not in sets:
            return []
        return [Difference(TRAINING, counts.tolist(), FACTS["class_counts"])]
    for name in sets:
        old, new = there.get(name), here.data[name]
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            what = [FACTS.get(fact, fact) for fact in (FACTS if name != ADDED else new) if old.get(fact) != new.get(fact)]
        else:
            what = [] if old == new else ["none here" if new is None else "none in the checkpoint"]
        if what:
            found.append(Difference(name, old, ", ".join(what)))
    return found


def check_same_data(start: Start, here: Identity) -> None:
    """Raises OtherDataError where a run would be resumed on other classes or images than those that it was trained on."""
    names = known_names(start.state)
    found = [str(difference) for difference in compare_data(start.state, here)]
    found += [f"classes: {text}" for text in other_classes(names, here.class_names)]
    if found:
        raise OtherDataError(f"{start.source} was trained on other data than here ({'; '.join(found)}). Resume it with its own; "
                             "RESUME_MODEL with RESUME_MODE state_dict and another NAME begins with its weights")


def other_classes(names: Sequence[str] | None, here: Sequence[str]) -> Iterator[str]:
    """A description of how the classes of a checkpoint differ from those here; empty if they do not."""
    if names is None or list(names) == list(here):
        return
    found = match_classes(names, here, "the checkpoint and the data")
    if found.only_here:
        yield f"the checkpoint has {shorten_names(found.only_here)}"
    if found.only_there:
        yield f"the data have {shorten_names(found.only_there)}"
    if found.reordered:
        yield "another order"


def class_places(start: Start, here: Sequence[str]) -> list[int] | None:
    """Where the classifier of a checkpoint has each class of ``here``; None where classes are compared by number only.

    Raises:
        InputError: it was trained for other classes.
    """
    names = known_names(start.state)
    if names is None:
        log.info(UNNAMED, start.source, here[0])
        return None
    found = match_classes(here, names, f"{start.source} and the data")
    if found.only_here or found.only_there:
        remedy = ("Name a checkpoint that was trained for the data's classes" if start.kind == "network" else
                  "CLASSIFIER.TYPE cRT trains a new classifier; BACKBONE.PRETRAINED_MODEL takes the backbone alone")
        raise InputError(f"{start.source} was trained for other classes: {'; '.join(other_classes(names, here))}. {remedy}")
    if found.places is None:
        log.info("%s: class names cannot be compared, since either it or the data has numbers only; class 0 is taken for %r, and "
                 "so on", start.source, here[0])
    return found.places


def reorder_classes(classifier: nn.Module, places: Sequence[int] | None, source: str) -> None:
    """Puts the outputs of a classifier, just loaded, into the order of the data: output c becomes what ``places[c]`` was."""
    if places is None or list(places) == sorted(places):
        return
    for name, value in classifier.state_dict().items():
        if value.dim() == 0 or len(value) != len(places):
            raise InputError(f"{source} numbers the classes in another order than the data, and {name} of its classifier has no "
                             "value per class that could be reordered; give the data that order")
        value.copy_(value[list(places)])
    log.info("%s numbers the classes in another order than the data: its classifier's outputs follow the data", source)


def align_to_checkpoint(state: Mapping[str, Any], sets: Sequence[ImageSet], source: str) -> None:
    """Numbers the classes of the training and validation set as a checkpoint does.

    Raises:
        InputError: it was trained for other classes.
    """
    names, own = known_names(state), sets[0].class_names
    if names is None:
        log.info(UNNAMED, source, own[0])
        return
    found = list(other_classes(names, own))
    if found and found != ["another order"]:
        raise InputError(f"{source} was trained for other classes: {'; '.join(found)}; validate it on data with its classes")
    for images in sets:
        align(images, names, source)


def load_start(network: Network, start: Start, here: Identity | None) -> None:
    """Loads the weights that a training, or a teacher, begins with. The outputs of a classifier that is taken over from another
    run come into the order of the classes here; where its images were prepared in another way, that is said.

    Args:
        here: None: classes are compared by number only, and nothing is said.
    """
    fresh = network.classifier.fresh if start.kind == "first stage" else ()
    takes = start.kind in OTHERS and not all(name.startswith(fresh) for name in network.classifier.state_dict())
    places = class_places(start, here.class_names) if here is not None and takes else None
    start.load_weights(network)
    reorder_classes(network.classifier, places, start.source)
    for difference in compare_preprocessing(start.state, here) if here is not None and not start.resumes else ():
        log.info("%s was trained on images that were prepared in another way: %s", start.source, difference)
