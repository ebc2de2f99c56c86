"""Which yaml files a configuration is made of."""
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from lib.config.node import BASE, read_yaml


def files_of(paths: Sequence[str | Path]) -> Iterator[Path]:
    """The given yaml files and all files that they inherit from (``_BASE_``). The configuration must have been loaded before."""
    for path in map(Path, paths):
        bases = read_yaml(path).get(BASE, [])
        yield path
        yield from files_of([path.parent / os.path.expanduser(base) for base in (bases if isinstance(bases, list) else [bases])])
