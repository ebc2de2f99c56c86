"""The yaml files of a configuration."""
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from lib.config.node import BASE, read_yaml


def files_of(paths: Sequence[str | Path]) -> Iterator[Path]:
    """The named files and their bases, for a configuration that can be loaded."""
    for path in map(Path, paths):
        bases = read_yaml(path).get(BASE, [])
        yield path
        yield from files_of([path.parent / os.path.expanduser(base) for base in (bases if isinstance(bases, list) else [bases])])
