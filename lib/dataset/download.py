"""Downloads by torchvision, with a message for machines without a network."""
import logging
from pathlib import Path
from typing import Any

from lib.utils.errors import MissingPathError

log = logging.getLogger(__name__)


def fetch(name: str, root: Path, situation: str) -> Any:
    """torchvision's data set ``name`` (training part), downloaded to ``root``.

    Args:
        situation: what was looked for and not found, for the message.

    Raises:
        MissingPathError: it cannot be downloaded.
    """
    from torchvision import datasets  # not before it is needed, see lib/backbone/resnet.py

    log.info("%s; downloading %s to %s", situation, name, root)
    try:
        return getattr(datasets, name)(str(root), train=True, download=True)
    except (OSError, RuntimeError) as error:   # urllib's errors are OSErrors
        raise MissingPathError(f"DATASET.ROOT: {situation}, and {name} cannot be downloaded ({error}); "
                               f"put its files there, or name the folder that has them") from error
