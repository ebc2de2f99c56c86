"""What the reports of a training and of a validation have in common."""
from lib.config import Config
from lib.report.metrics import ShotBounds


def shot_bounds(cfg: Config) -> ShotBounds:
    return ShotBounds(cfg.TEST.MANY_SHOT, cfg.TEST.FEW_SHOT)
