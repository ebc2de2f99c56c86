"""The identity of a network: the classes of its outputs, its image preprocessing, and its training and validation data.

Every checkpoint stores it. It is compared with the data on which the checkpoint is used.
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
        "test_transforms": "TRANSFORMS.TEST_TRANSFORMS", "exif": "DATASET.EXIF", "alpha": "DATASET.ALPHA"}   # config keys
SETS = TRAINING, VALIDATION, ADDED = "training set", "validation set", "images of CAM-based sampling"
FACTS = {"class_names": "class names or their order", "class_counts": "images per class", "labels": "labels or their order",
         "indices": "the chosen subset", "content": "pixels, or names of files"}   # of a fingerprint: name in messages
OTHERS = ("weights", "first stage", "network")   # kinds of starts that load a classifier of another run
SHOWN = 80   # characters of a value that a message shows
UNTOLD = "%s does not say what data it was trained on (files of earlier versions and other programs do not); the rest is checked"
UNNAMED = "%s has no class names (files of earlier versions and other programs do not); class 0 is taken as %r, and so on"


class OtherDataError(InputError):
    """An error for a run to be resumed that was trained on other data."""


class Identity(NamedTuple):
    """The classes, data and preprocessing of a network, in plain values; with its configuration, enough to predict from a
    checkpoint."""

    class_names: list[str]
    class_counts: Tensor            # (C,), number of training images
    preprocessing: dict[str, Any]   # of validation images, see ``lib.config.preparation``
    data: dict[str, Any]            # fingerprint of each data set

    @classmethod
    def of(cls, train_set: ImageSet, valid_set: ImageSet | None, preprocessing: dict[str, Any]) -> "Identity":
        enlarged = train_set if isinstance(train_set, EnlargedSet) else None
        data = {TRAINING: fingerprint(enlarged.original if enlarged else train_set),
                VALIDATION: None if valid_set is None else fingerprint(valid_set),
                ADDED: enlarged.added() if enlarged else None}
        return cls(train_set.class_names, train_set.class_counts, preprocessing, data)

    def facts(self) -> dict[str, str]:
        """Maps each property of the data sets to a short digest, which is equal if the property is."""
        return {f"{FACTS.get(fact, fact)} ({name})": digest_names([repr(value)])[:12]
                for name, facts in self.data.items() if facts for fact, value in facts.items()}


class Difference(NamedTuple):
    """A difference between the training of a checkpoint and the run here."""

    key: str    # config key, or name of a data set
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
    """The class names in a checkpoint; None for checkpoints of earlier versions and other programs, which do not store them."""
    names = state.get("class_names")
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def compare_preprocessing(state: Mapping[str, Any], here: Identity) -> list[Difference]:
    """Differences in preprocessing from a checkpoint, by config key; empty if the checkpoint does not store it."""
    there = state.get("preprocessing")
    there = there if isinstance(there, Mapping) else {}
    return [Difference(KEYS.get(name, name), there[name], value) for name, value in here.preprocessing.items()
            if name in there and repr(there[name]) != repr(value)]   # repr(), since a foreign file may hold any type


def compare_data(state: Mapping[str, Any], here: Identity, sets: Sequence[str] = SETS) -> list[Difference]:
    """Differences of the data sets from those of a checkpoint; empty if the checkpoint does not store them."""
    there, found = state.get("data"), []
    if not isinstance(there, Mapping) or TRAINING not in there:
        counts = state.get("class_counts")   # earlier versions stored only this
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
    """Raises OtherDataError if a run is to be resumed on other classes or images than it was trained on."""
    names = known_names(start.state)
    found = [str(difference) for difference in compare_data(start.state, here)]
    found += [f"classes: {text}" for text in other_classes(names, here.class_names)]
    if found:
        raise OtherDataError(f"{start.source} was trained on other data than here ({'; '.join(found)}). Resume it with its own; "
                             "RESUME_MODEL with RESUME_MODE state_dict and another NAME begins with its weights")


def other_classes(names: Sequence[str] | None, here: Sequence[str]) -> Iterator[str]:
    """Yields how the classes of a checkpoint (``names``) differ from those here."""
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
    """The index of each class of ``here`` in the classifier of a checkpoint; None if classes are compared by number only.

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
    """Reorders the outputs of a loaded classifier as in the data: output c becomes the former output ``places[c]``."""
    if places is None or list(places) == sorted(places):
        return
    for name, value in classifier.state_dict().items():
        if value.dim() == 0 or len(value) != len(places):
            raise InputError(f"{source} numbers the classes in another order than the data, and {name} of its classifier has no "
                             "value per class that could be reordered; give the data that order")
        value.copy_(value[list(places)])
    log.info("%s numbers the classes in another order than the data: its classifier's outputs follow the data", source)


def align_to_checkpoint(state: Mapping[str, Any], sets: Sequence[ImageSet], source: str) -> None:
    """Renumbers the classes of the training and validation sets as in a checkpoint.

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
    """Loads the initial weights of a training, or those of a teacher. A classifier of another run is reordered to the classes
    here. The log reports differences in preprocessing.

    Args:
        here: None: classes are compared by number only, and differences are not logged.
    """
    fresh = network.classifier.fresh if start.kind == "first stage" else ()
    takes = start.kind in OTHERS and not all(name.startswith(fresh) for name in network.classifier.state_dict())
    places = class_places(start, here.class_names) if here is not None and takes else None
    start.load_weights(network)
    reorder_classes(network.classifier, places, start.source)
    for difference in compare_preprocessing(start.state, here) if here is not None and not start.resumes else ():
        log.info("%s was trained on images that were prepared in another way: %s", start.source, difference)
