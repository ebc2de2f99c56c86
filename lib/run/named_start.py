"""Start of a training from named pretrained weights."""
import logging
from collections.abc import Sequence

from lib.backbone import named
from lib.run.checkpoint import Start

log = logging.getLogger(__name__)


def start_by_name(name: str, size: tuple[int, int], normalisation: tuple[Sequence[float], Sequence[float]],
                  color_space: str) -> Start:
    """Fetches named weights. The log gives the normalisation of their training images, and any difference from the one here.

    Args:
        name: BACKBONE.PRETRAINED_MODEL.
        size: INPUT_SIZE.
        normalisation: DATASET.MEAN and DATASET.STD.
        color_space: COLOR_SPACE.
    """
    weights = named.look_up(name)
    odd = named.difference(weights, *normalisation, color_space)
    if odd:
        log.warning("%s: %s", weights.name, odd)
    else:
        log.info("%s: images are normalised as in its training, mean %s, deviation %s", weights.name, list(weights.mean),
                 list(weights.std))
    return Start("backbone", f"{named.KEY} {weights.name}", named.fetch(weights.name, size))
