"""Checks what losses, combiners, heads and update rules declare that they require of each other."""
from collections.abc import Iterator

from lib.combiner import COMBINERS
from lib.config.node import Config
from lib.dataset import SAMPLERS
from lib.loss import LOSSES
from lib.modules import CLASSIFIERS, HEADS
from lib.update import UPDATES
from lib.utils.registry import Registry


def needs(cfg: Config) -> Iterator[str]:
    """Yields a line for each requirement that is not met. Unknown names are skipped, since ``validate`` reports them."""
    if cfg.TRAIN.COMBINER.TYPE in COMBINERS:
        yield from of_combiner(cfg)
    if cfg.LOSS.LOSS_TYPE in LOSSES:
        yield from of_loss(cfg)
    yield from itself(cfg)
    yield from of_heads(cfg)


def of_combiner(cfg: Config) -> Iterator[str]:
    name, sampler, loss = cfg.TRAIN.COMBINER.TYPE, cfg.TRAIN.SAMPLER.TYPE, cfg.LOSS.LOSS_TYPE
    combiner, key = COMBINERS[name], "TRAIN.COMBINER.TYPE"
    if combiner.rows and sampler in SAMPLERS and SAMPLERS[sampler].rows != combiner.rows:
        fitting = " or ".join(repr(other) for other in SAMPLERS if SAMPLERS[other].rows == combiner.rows)
        yield f"{key}: {name} needs TRAIN.SAMPLER.TYPE {fitting}, got {sampler!r}"
    if combiner.needs_loss not in (None, loss):
        yield f"{key}: {name} needs LOSS.LOSS_TYPE {combiner.needs_loss}, got {loss}"
    if not combiner.views and cfg.TRANSFORMS.VIEWS:
        readers = ", ".join(other for other in COMBINERS if COMBINERS[other].views)
        yield f"TRANSFORMS.VIEWS: {key} {name} does not use further views; {readers} does; set VIEWS to [] otherwise"
    if combiner.views and combiner.views != len(cfg.TRANSFORMS.VIEWS):
        yield (f"{key}: {name} needs {combiner.views} further views of each image, but TRANSFORMS.VIEWS has "
               f"{len(cfg.TRANSFORMS.VIEWS)}")
    rule = cfg.TRAIN.UPDATE.TYPE
    if rule in UPDATES and UPDATES[rule].splits_loss and not combiner.sums_examples:
        yield (f"TRAIN.UPDATE.TYPE: {rule} weights the loss of each example by class, but the loss of {key} {name} is not a sum "
               "over examples; sam and asam work with any loss")
    if combiner.whole_batches and cfg.TRAIN.UPDATE.ACCUMULATE > 1:
        yield (f"TRAIN.UPDATE.ACCUMULATE: TRAIN.COMBINER.TYPE {name} needs each batch as a whole, which so cannot be cut into "
               f"pieces, got {cfg.TRAIN.UPDATE.ACCUMULATE}; 1 or a smaller TRAIN.BATCH_SIZE works")
    missing = [head for head in combiner.needs_heads if head not in cfg.HEADS.TYPES]
    if missing:
        yield f"{key}: {name} needs {', '.join(missing)} in HEADS.TYPES, got {list(cfg.HEADS.TYPES)}"


def of_loss(cfg: Config) -> Iterator[str]:
    """Checks the requirements of the loss, and of the base loss that it contains (DiVEKLD)."""
    combiner = cfg.TRAIN.COMBINER.TYPE
    for key, name in used_losses(cfg):
        loss = LOSSES[name]
        if loss.needs_combiner not in (None, combiner):
            yield f"{key}: {name} needs TRAIN.COMBINER.TYPE {loss.needs_combiner}, got {combiner}"
        if loss.needs_classifier not in (None, cfg.CLASSIFIER.TYPE):
            yield f"{key}: {name} needs CLASSIFIER.TYPE {loss.needs_classifier}, got {cfg.CLASSIFIER.TYPE}"
        if cfg.TRAIN.TWO_STAGE.DRW and not loss.deferrable:
            yield f"TRAIN.TWO_STAGE.DRW: {name} has no re-balancing to defer; set DRW to False"
        if loss.needs_experts and cfg.NETWORK.EXPERTS.NUM < 2:
            yield f"{key}: {name} needs NETWORK.EXPERTS.NUM 2 or more, got {cfg.NETWORK.EXPERTS.NUM}"
        elif loss.num_experts not in (None, cfg.NETWORK.EXPERTS.NUM):
            yield f"{key}: {name} needs NETWORK.EXPERTS.NUM {loss.num_experts}, got {cfg.NETWORK.EXPERTS.NUM}"
        if not loss.mixes and combiner in COMBINERS and COMBINERS[combiner].mixes:
            yield (f"{key}: {name} depends on which examples share a label, so it does not work with TRAIN.COMBINER.TYPE "
                   f"{combiner}, which gives each example two labels")


def used_losses(cfg: Config) -> Iterator[tuple[str, str]]:
    """Yields (key, name) of the loss, and of each other loss that is one of its options."""
    name = cfg.LOSS.LOSS_TYPE
    yield "LOSS.LOSS_TYPE", name
    for option in LOSSES.declared(name, Registry):
        key = f"LOSS.{LOSSES.key(name, option, cfg.LOSS)}"
        base = cfg.flat()[key]
        if base in LOSSES and base != name:
            yield key, base


def itself(cfg: Config) -> Iterator[str]:
    """Reports losses that have themselves as base loss, even if they are not selected."""
    for name in LOSSES:
        for option in LOSSES.declared(name, Registry):
            key = f"LOSS.{LOSSES.key(name, option, cfg.LOSS)}"
            if cfg.flat()[key] == name:
                yield f"{key}: cannot be {name} itself; name another loss, such as BalancedSoftmaxCE"


def of_heads(cfg: Config) -> Iterator[str]:
    names = [name for name in cfg.HEADS.TYPES if isinstance(name, str) and name in HEADS]
    for name in {name for name in names if names.count(name) > 1}:
        yield f"HEADS.TYPES: has {name} twice; name each head once"
    for name in names:
        kind = cfg.CLASSIFIER.TYPE
        if not HEADS[name].reads_weight or kind not in CLASSIFIERS:
            continue
        if cfg.NETWORK.EXPERTS.NUM > 1:
            yield (f"HEADS.TYPES: {name} needs a single classifier, but with NETWORK.EXPERTS.NUM {cfg.NETWORK.EXPERTS.NUM} each "
                   "expert has its own")
        elif not CLASSIFIERS[kind].has_weight:
            yield f"HEADS.TYPES: {name} needs a classifier with a weight (classes, features), which CLASSIFIER.TYPE {kind} lacks"
