"""Examines a folder of pictures before training: which images are readable, which are equal, and which part each is in."""
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.dataset.decode import ReadOptions
from lib.dataset.folder.assignment import Assignment, Entry
from lib.dataset.folder.cache import LookCache
from lib.dataset.folder.copies import Copies, find_copies
from lib.dataset.folder.duplicates import Pair, describe_equal, describe_near
from lib.dataset.folder.groups import name_groups
from lib.dataset.folder.layout import PARTS, TEST, TRAIN, VALID
from lib.dataset.folder.parts import Parts, choose_parts
from lib.dataset.folder.source import KEY, Inventory, Item, apply_split, path_below, read_source
from lib.dataset.folder.split import describe_counts
from lib.dataset.folder.table import IGNORE, read_table
from lib.dataset.folder.verify import THREADS, Look, look_in_turns
from lib.utils.errors import InputError
from lib.utils.text import count, name_some

SPLIT_KEY = "DATASET.FOLDER.SPLIT"
OWN = "the run's own images"   # as its split.csv lists them
FEW_TRAIN = 5   # training images of a class below which it is named

Advance = Callable[[int], None]   # told the number of images that were read since the last time


class Options(NamedTuple):
    """The keys of DATASET.FOLDER, and how image files are read.

    Attributes:
        own: the split.csv of a run that is resumed or validated, which goes before ``split``; empty: none.
    """

    layout: str = "auto"
    split: str = ""
    valid_share: float = 0.2
    test_share: float = 0.0
    min_valid: int = 2
    seed: int = 0
    near_duplicates: bool = True
    folds: int = 0
    fold: int = 1
    cache: str = ""
    read: ReadOptions = ReadOptions()
    own: str = ""


@dataclass(frozen=True)
class Survey:
    """The findings as lines of text, with images by their names.

    Attributes:
        remarks: what was decided and what is left out, a line each.
        warnings: what may spoil a result, a line each.
        unreadable: what cannot be read, with the reason, a line each.
        equal: sets of equal images.
        near: pairs of images that are nearly equal.
    """

    assignment: Assignment
    remarks: list[str]
    warnings: list[str]
    unreadable: list[str]
    equal: list[list[str]]
    near: list[Pair]


def survey(root: str, options: Options, start: Callable[[int], Advance] | None = None) -> Survey:
    """Reads all images, finds which are equal or nearly so, and puts each into a part.

    Args:
        start: called with the number of images that must be read, before the first one is.

    Raises:
        InputError: see ``read_source`` and ``apply_split``; no image can be read; none for training or for validation.
    """
    source = read_source(root, options.layout)
    remarks = [*source.remarks, *find_split(source, options)]
    used = [item for item in source.items if item.part != IGNORE]
    looks = look_at_items(used, root, options, start)
    mistakes = [look.mistake.removeprefix(f"{KEY}: ") for look in looks if look.mistake]
    check_readable(mistakes, len(used), options)
    items = [item for item, look in zip(used, looks) if not look.mistake]
    left_out = [item for item, look in zip(used, looks) if look.mistake]
    left_out += [item for item in source.items if item.part == IGNORE]
    looks = [look for look in looks if not look.mistake]
    copies = find_copies(items, looks, options.near_duplicates)
    parts = [item.part for item in items]
    if not options.own and (options.folds or not options.split):
        labels = np.unique([item.label for item in items], return_inverse=True)[1]
        chosen = Parts(parts, labels, [look.file for look in looks], copies.groups, options.seed)
        shares = options.valid_share, 0 if options.split else options.test_share
        remarks += choose_parts(chosen, shares, options.min_valid, options.folds, options.fold)
        parts = chosen.parts.tolist()
    digests = [look.file.hex() for look in looks]
    groups = name_groups(copies.groups, [item.group for item in items], digests)
    places = [path_below(item.path, source.folder) for item in items]
    entries = [Entry(item.name, item.label, part, group, digest, place, look.size)
               for item, look, part, group, digest, place in zip(items, looks, parts, groups, digests, places)]
    entries += [Entry(item.name, item.label, IGNORE, item.group, "", item.path, (0, 0)) for item in left_out]
    assignment = Assignment.of(root, entries)
    check_parts(assignment, may_lack_validation=bool(options.own or options.split) or options.valid_share == 0)
    remarks += describe_looks(looks)
    warnings = [*describe_copies(items, parts, copies), *describe_classes(assignment, source.empty_classes, options.folds)]
    names = [item.name for item in items]
    near = [Pair(names[int(pair.one)], names[int(pair.other)], pair.likeness) for pair in copies.near]
    return Survey(assignment, remarks, warnings, source.unreadable + mistakes, equal_sets(names, copies), near)


def find_split(source: Inventory, options: Options) -> Iterator[str]:
    """Applies a split file to the source's images."""
    file = options.own or options.split
    if file:
        key = OWN if options.own else SPLIT_KEY
        table = read_table(Path(file), key, ("path", "split"))
        yield f"the split is that of {file}"
        yield from table.remarks
        yield from apply_split(table, source, key)


def look_at_items(items: Sequence[Item], root: str, options: Options, start: Callable[[int], Advance] | None) -> list[Look]:
    """Examines the images; for unchanged files cached findings are used. If it is interrupted, its findings are kept."""
    cache = LookCache(options.cache, Path(root), options.read)
    looks = [cache.get(item.path) for item in items]
    new = [number for number, look in enumerate(looks) if look is None]
    advance = start(len(new)) if start and new else None
    paths, done = [items[number].path for number in new], 0
    try:
        for turn in look_in_turns(paths, [KEY] * len(new), THREADS, True, options.read):
            for look in turn:
                looks[new[done]] = look
                cache.put(paths[done], look)
                done += 1
            if advance is not None:
                advance(len(turn))
    finally:
        cache.flush()
    return [look for look in looks if look is not None]


def check_readable(mistakes: Sequence[str], total: int, options: Options) -> None:
    if total == 0:
        raise InputError(f"{options.own or options.split or KEY}: no image belongs to train, valid or test")
    if len(mistakes) == total:
        raise InputError(f"{KEY}: none of {count(total, 'image')} can be read: {mistakes[0]}")
    if mistakes and options.own:
        raise InputError(f"{OWN}: {options.own} lists {count(len(mistakes), 'image')} that cannot be read any more, such as "
                         f"{mistakes[0]}; restore the missing files")


def check_parts(assignment: Assignment, may_lack_validation: bool) -> None:
    held = {part: int(assignment.counts(part).sum()) for part in PARTS}
    if not held[TRAIN]:
        raise InputError(f"{KEY}: {assignment.root} has no training images left")
    if not held[VALID] and not may_lack_validation:
        raise InputError(f"{KEY}: {assignment.root} has no validation images; they are chosen from classes with at least two "
                         "different images")


def describe_looks(looks: Sequence[Look]) -> Iterator[str]:
    for remark, number in sorted(Counter(remark for look in looks for remark in look.remarks).items()):
        yield f"{number:,} of {len(looks):,} images {remark}"


def describe_copies(items: Sequence[Item], parts: Sequence[str], copies: Copies) -> Iterator[str]:
    labels, places = (np.unique(values, return_inverse=True)[1] for values in ([item.label for item in items], parts))
    for line in describe_equal(copies.equal, labels, places, lambda number: items[number].name):
        yield f"equal images: {line}"
    for line in describe_near(copies.near, labels, places, lambda number: items[number].name):
        yield f"nearly equal images: {line}"


def describe_classes(assignment: Assignment, empty: Sequence[str], folds: int) -> Iterator[str]:
    names, counts = assignment.class_names, {part: assignment.counts(part) for part in PARTS}
    if empty:
        yield f"folders without images, which are not used as classes: {len(empty):,} ({name_some(empty)})"
    if len(names) == 1:
        yield f"there is only one class, {name_some(names)}"
    if counts[VALID].any():
        yield from describe_counts(names, counts) if not folds else describe_untrained(names, counts[TRAIN])
    else:
        yield "no validation images: accuracy is not measured during training"
    few = np.flatnonzero((counts[TRAIN] > 0) & (counts[TRAIN] < FEW_TRAIN))
    if len(few):
        yield (f"fewer than {FEW_TRAIN} training images: {len(few):,} of {len(names):,} classes "
               f"({name_some([names[label] for label in few])})")
    pooled = counts[TRAIN] + counts[VALID]
    rare = np.flatnonzero((pooled > 0) & (pooled < folds))
    if len(rare):
        yield (f"fewer images than folds, so that some folds have none to validate: {len(rare):,} of {len(names):,} classes "
               f"({name_some([names[label] for label in rare])})")
    if counts[TEST].any() and not counts[TEST].all():
        lacking = [names[label] for label in np.flatnonzero(counts[TEST] == 0)]
        yield f"no test images: {len(lacking):,} of {len(names):,} classes ({name_some(lacking)})"


def describe_untrained(names: Sequence[str], counts: np.ndarray) -> Iterator[str]:
    """A remark on folds with classes of one image."""
    if not counts.all():
        lacking = [names[label] for label in np.flatnonzero(counts == 0).tolist()]
        yield f"no training images in this fold: {len(lacking):,} of {len(names):,} classes ({name_some(lacking)})"


def equal_sets(names: Sequence[str], copies: Copies) -> list[list[str]]:
    members: dict[int, list[str]] = {}
    for name, number in zip(names, copies.equal.tolist()):
        members.setdefault(number, []).append(name)
    return [found for found in members.values() if len(found) > 1]
