"""Classes are compared by their names: two sets, or a set and a network, may number them differently."""
import logging
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from lib.dataset.base import ImageSet
from lib.utils.errors import InputError

log = logging.getLogger(__name__)

SHOWN_NAMES = 5   # in a message


class Match(NamedTuple):
    """How one list of classes corresponds to another.

    Attributes:
        places: of each class among the others; None where names cannot tell.
        only_here, only_there: classes that the other side lacks; none where one side has no names, but numbers.
    """

    places: list[int] | None
    only_here: Sequence[str] = ()
    only_there: Sequence[str] = ()

    @property
    def reordered(self) -> bool:
        return self.places is not None and self.places != sorted(self.places)


def are_numbers(names: Sequence[str]) -> bool:
    """Whether the class names are numbers, as for files without ``class_names``."""
    return list(names) == [str(number) for number in range(len(names))]


def match_classes(names: Sequence[str], others: Sequence[str], what: str) -> Match:
    """Compares by name; accents count as equal however Unicode composes them, since macOS stores file names in another form.

    Args:
        what: which lists these are, for messages.

    Raises:
        InputError: the lists differ, and a name comes twice, so that nobody can tell which class is meant.
    """
    here, there = ([unicodedata.normalize("NFC", name) for name in side] for side in (names, others))
    if here == there:
        return Match(list(range(len(here))))
    if are_numbers(here) and are_numbers(there):   # of other lengths
        return Match(None)
    place, own = {name: number for number, name in enumerate(there)}, set(here)
    only_here, only_there = [name for name in here if name not in place], [name for name in there if name not in own]
    if only_here and (are_numbers(here) or are_numbers(there)):
        return Match(None)
    for side in (here, there):
        if len(set(side)) < len(side):
            twice = next(name for name in side if side.count(name) > 1)
            raise InputError(f"{what} list different classes, or in another order, and {twice!r} is the name of several; give "
                             "each class its own name, so that they can be compared")
    return Match(None if only_here else [place[name] for name in here], only_here, only_there)


def align(images: ImageSet, names: Sequence[str], whose: str) -> None:
    """Renumbers the classes of ``images`` in the order of ``names``, some of which may be absent; the log names these.

    Args:
        whose: ``names`` are, for messages.

    Raises:
        InputError: ``images`` has other classes.
    """
    found = match_classes(images.class_names, names, f"{images.name} and {whose}")
    if found.only_here:
        lacking = f", and lacks {shorten_names(found.only_there)}" if found.only_there else ""
        raise InputError(f"{images.name} has other classes than {whose}: it has {shorten_names(found.only_here)}{lacking}; "
                         "class_names of the JSON file names them, in the order of category_id")
    if found.places is None:
        if images.num_classes != len(names):
            raise InputError(f"{images.name} has {images.num_classes} classes, and {whose} has {len(names)}")
        log.info("%s and %s: class names cannot be compared, since one of the two has numbers only; class 0 is assumed to be %r, "
                 "and so on", images.name, whose, names[0])
    elif found.reordered or found.only_there:
        images.renumber(found.places, names)
        if found.reordered:
            log.info("%s numbers its classes in another order than %s: its labels follow that order", images.name, whose)
        if found.only_there:
            log.info("%s lists %d of the %d classes of %s; those without images: %s", images.name, len(found.places), len(names),
                     whose, shorten_names(found.only_there))


def absent_classes(images: ImageSet) -> list[str]:
    """Names of classes without images."""
    return [images.class_names[number] for number in (images.class_counts == 0).nonzero().flatten().tolist()]


def shorten_names(names: Sequence[str]) -> str:
    """The first few names, and the number of the others."""
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(map(repr, names[:SHOWN_NAMES])) + more
