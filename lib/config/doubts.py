"""Settings that are legal but probably not meant. A training logs them once, at its start."""
import os
from collections.abc import Iterator

from lib.combiner import COMBINERS
from lib.config.default import TREE
from lib.config.families import declarations
from lib.config.node import Config
from lib.config.paths import PATHS
from lib.dataset import DATASETS
from lib.utils.options import FromCheckpoint
from lib.utils.system import cpu_count
from lib.utils.text import count

FEW_STEPS = 5         # an epoch with fewer steps is reported
HIGH_RATE = 100.0
MANY_WORKERS, WORKERS_PER_CORE = 16, 4   # up to 16 workers are never reported, since published recipes use 16
STEPWISE = ("multistep", "warmup")   # schedules that read LR_STEP
RANDOM = ("random", "jitter", "augment", "cutout", "blur")   # words in the names of random transforms


def doubts(cfg: Config) -> list[str]:
    """Lists all doubtful settings, a line each, beginning with the full key. ``Start.tell_unused`` reports unused weights."""
    return [*rates(cfg), *checkpoints(cfg), *experts(cfg), *machine(cfg), *data_doubts(cfg)]


def data_doubts(cfg: Config) -> list[str]:
    """Doubtful settings that affect validation too."""
    return [*validation(cfg), *unread_data(cfg), *variables(cfg)]


def doubt_steps(cfg: Config, steps: int, images: int, processes: int) -> list[str]:
    """Reports an epoch of few steps. The number of steps is known only once the data is loaded.

    Args:
        steps: number of steps of an epoch, the same on every process.
        images: number of training images.
    """
    if steps >= FEW_STEPS:
        return []
    batch, epochs = cfg.TRAIN.BATCH_SIZE * processes, cfg.TRAIN.MAX_EPOCH
    enough = max(1, images // processes // FEW_STEPS)
    return [f"TRAIN.BATCH_SIZE: an epoch has only {count(steps, 'step')} ({count(images, 'image')} in batches of {batch:,}), "
            f"{steps * epochs:,} in {count(epochs, 'epoch')}; BATCH_SIZE {enough:,} gives {FEW_STEPS} or more"]


def rates(cfg: Config) -> Iterator[str]:
    options, last = cfg.TRAIN.LR_SCHEDULER, cfg.TRAIN.MAX_EPOCH
    section = "TRAIN.LR_SCHEDULER"
    if options.TYPE in STEPWISE:
        never = ", ".join(str(step) for step in options.LR_STEP if step > last)
        if never:
            yield f"{section}.LR_STEP: the learning rate is not lowered at epoch {never}, since TRAIN.MAX_EPOCH is {last}"
        if options.LR_STEP and options.LR_FACTOR > 1:
            yield f"{section}.LR_FACTOR: {options.LR_FACTOR:g} raises the learning rate at LR_STEP; a value below 1 lowers it"
    elif last < options.COSINE_DECAY_END:
        yield (f"{section}.COSINE_DECAY_END: the cosine decay ends at epoch {options.COSINE_DECAY_END}, after TRAIN.MAX_EPOCH "
               f"{last}, so it is not completed")
    if options.TYPE == "warmup":
        first, warm = min(options.LR_STEP, default=last), options.WARM_EPOCH
        if warm >= last:
            yield f"{section}.WARM_EPOCH: all epochs are warm-up, since it takes {warm} epochs and TRAIN.MAX_EPOCH is {last}"
        elif first < warm:
            yield f"{section}.LR_STEP: the learning rate is lowered at epoch {first}, during the warm-up of {warm} epochs"
    base = cfg.TRAIN.OPTIMIZER.BASE_LR
    if base > HIGH_RATE:
        yield f"TRAIN.OPTIMIZER.BASE_LR: {base:g} is too high for most networks; 0.1 is a usual value for SGD"


def validation(cfg: Config) -> Iterator[str]:
    options = cfg.DATASET
    files = {os.path.realpath(os.path.join(options.ROOT, name)) for name in (options.TRAIN_JSON, options.VALID_JSON)}
    if options.TRAIN_JSON and len(files) == 1:
        yield (f"DATASET.VALID_JSON: is the same file as DATASET.TRAIN_JSON, {files.pop()}, so the network is validated on its "
               "training images, which says nothing about new images")
    random = [name for name in cfg.TRANSFORMS.TEST_TRANSFORMS if any(part in name for part in RANDOM)]
    if random:
        yield f"TRANSFORMS.TEST_TRANSFORMS: {', '.join(random)} changes the images of the validation set at random"


def unread_data(cfg: Config) -> Iterator[str]:
    options = cfg.DATASET
    if options.ROOT and not getattr(DATASETS[options.DATASET], "reads_root", True):
        yield f"DATASET.ROOT: {options.ROOT} is not read, since the images of {options.DATASET} (DATASET.DATASET) are not files"
    added = options.CAM_DATA_JSON_SAVE_PATH
    if added and not (options.USE_CAM_BASED_DATASET or options.GENERATE_CAM_BASED_DATASET):
        yield f"DATASET.CAM_DATA_JSON_SAVE_PATH: {added} is not read, since DATASET.USE_CAM_BASED_DATASET is False"
    for key in ("SPLIT", "TEST_SHARE", "FOLDS") if options.DATASET != "FOLDER" else ():
        if options.FOLDER[key]:
            yield (f"DATASET.FOLDER.{key}: {options.FOLDER[key]} is not used, since DATASET.DATASET is {options.DATASET}, "
                   "not FOLDER")


def checkpoints(cfg: Config) -> Iterator[str]:
    """Reports checkpoints that are set as options of components that are not selected."""
    values = cfg.flat()
    for key, node, name, _ in declarations(TREE, FromCheckpoint):
        if values[key] and values[f"{node}.TYPE"] != name:
            yield f"{key}: {values[key]} is not read, since {node}.TYPE is {values[f'{node}.TYPE']}"


def experts(cfg: Config) -> Iterator[str]:
    options = cfg.NETWORK.EXPERTS
    for key in ("FROM", "WIDTH") if options.NUM == 1 else ():
        if options[key] != TREE.NETWORK.EXPERTS[key]:
            yield f"NETWORK.EXPERTS.{key}: {options[key]} is not read, since NETWORK.EXPERTS.NUM is 1"
    combiner = cfg.TRAIN.COMBINER.TYPE
    for name in cfg.HEADS.TYPES:
        if name not in COMBINERS[combiner].needs_heads:
            yield f"HEADS.TYPES: {name} is computed but not used, since TRAIN.COMBINER.TYPE {combiner} does not read it"


def machine(cfg: Config) -> Iterator[str]:
    cores, threads = cpu_count(), cfg.TRAIN.NUM_THREADS
    if threads > cores:
        yield (f"TRAIN.NUM_THREADS: {threads} threads on {count(cores, 'core')} slow each other down; 0 uses one per core")
    for key in ("TRAIN.NUM_WORKERS", "TEST.NUM_WORKERS"):
        workers = cfg.flat()[key]
        if workers > max(MANY_WORKERS, WORKERS_PER_CORE * cores):
            yield f"{key}: {workers} processes on {count(cores, 'core')} slow each other down and use much memory"


def variables(cfg: Config) -> Iterator[str]:
    for key, path in cfg.flat().items():
        if key in PATHS and "$" in path:
            yield f"{key}: {path} is used literally; ~ is expanded, but variables such as $HOME are not"
