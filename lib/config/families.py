"""Which section of the tree belongs to which registry, and what the members of a registry declare about their options."""
from collections.abc import Iterator
from typing import Any

from lib.backbone import BACKBONES
from lib.combiner import COMBINERS
from lib.config.node import Config
from lib.data_transform import TRANSFORMS
from lib.dataset import DATASETS, SAMPLERS
from lib.engine.optimizer import OPTIMIZERS
from lib.loss import LOSSES
from lib.modules import CLASSIFIERS, HEADS, POOLINGS
from lib.update import UPDATES
from lib.utils.schedule import SCHEDULES

FAMILIES = {   # section with the options: registry
    "DATASET": DATASETS, "BACKBONE": BACKBONES, "MODULE": POOLINGS, "CLASSIFIER": CLASSIFIERS, "HEADS": HEADS,
    "LOSS": LOSSES, "TRAIN.COMBINER": COMBINERS, "TRAIN.SAMPLER": SAMPLERS, "TRAIN.UPDATE": UPDATES,
    "TRAIN.OPTIMIZER": OPTIMIZERS, "TRAIN.LR_SCHEDULER": SCHEDULES, "TRANSFORMS.PROCESS_DETAIL": TRANSFORMS,
}
OTHER_KEYS = {"DATASET": "DATASET.DATASET", "LOSS": "LOSS.LOSS_TYPE", "HEADS": "", "TRANSFORMS.PROCESS_DETAIL": ""}   # "": lists
TYPES = {OTHER_KEYS.get(node, f"{node}.TYPE"): registry for node, registry in FAMILIES.items() if OTHER_KEYS.get(node) != ""}


def node_of(tree: Config, path: str) -> Config:
    for name in path.split("."):
        tree = tree[name]
    return tree


def declarations(tree: Config, kind: type) -> Iterator[tuple[str, str, str, Any]]:
    """Yields (full key, section, member, declaration) of every option with a declaration of type ``kind``, such as ``Range``."""
    for path, registry in FAMILIES.items():
        node = node_of(tree, path)
        for name in registry:
            for option, entry in registry.declared(name, kind).items():
                key = registry.key(name, option, node)
                yield (f"{path}.{key}" if key.split(".")[0] in node else key), path, name, entry


def declared(tree: Config, kind: type) -> dict[str, Any]:
    """Maps the full key of an option to its declaration of type ``kind``."""
    return {key: entry for key, _, _, entry in declarations(tree, kind)}
