"""Learns the weights of the experts on the validation set and on its shifted subsets, for main/valid.py."""
import logging
from contextlib import closing

import torch
from torch import Tensor

from lib.config import Config
from lib.core import build
from lib.dataset import ImageSet
from lib.device.precision import Precision
from lib.device.runtime import Runtime
from lib.engine.aggregation import AggregationSettings, learn_weights
from lib.net import Network
from lib.report.priors import Shift

log = logging.getLogger("main.valid")


def aggregate(cfg: Config, network: Network, images: ImageSet, class_counts: Tensor, precision: Precision,
              runtime: Runtime) -> dict[Shift | None, Tensor]:
    """Returns the weights learned on each set, by set; None is the whole set. Every rank learns all of them."""
    options = cfg.TEST.AGGREGATION
    if not options.USE:
        return {}
    shifts = [Shift(backward, float(ratio)) for ratio in cfg.TEST.SHIFTS for backward in (False, True)]
    network.eval()
    settings = AggregationSettings(options.EPOCHS, options.RATE, options.LEAST)
    found: dict[Shift | None, Tensor] = {}
    for shift in (None, *shifts):
        rows = torch.arange(len(images.labels)) if shift is None else shift.rows(images.labels, class_counts)
        log.info("Learning the weights of the experts on %d images (%s), without their labels", len(rows),
                 "all of them" if shift is None else shift.name)
        with closing(build.build_pair_loader(cfg, images, rows, runtime)) as loader:
            found[shift] = learn_weights(network, loader, precision, settings)
    return found
