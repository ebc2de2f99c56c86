"""From the config to objects; with build_data, the only modules of lib/core that read it."""
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from yacs.config import CfgNode as Config

from lib.backbone import BACKBONES, Backbone, named
from lib.cam_sampling import Generation, Plan, make_plan
from lib.combiner import COMBINERS, Combiner
from lib.core.build_data import build_dataset as build_dataset
from lib.core.build_data import build_datasets as build_datasets
from lib.core.build_data import build_part_survey as build_part_survey
from lib.core.build_data import build_survey as build_survey
from lib.core.build_data import build_test_set as build_test_set
from lib.core.build_data import choose_part as choose_part
from lib.core.build_data import has_survey as has_survey
from lib.data_transform import TRANSFORMS, Transform, normalize
from lib.dataset import SAMPLERS, Draw, EpochBatches, EvalBatches, ImageSet, Ordered, make_loader
from lib.device.precision import Precision, choose_precision
from lib.device.runtime import Runtime, compiled
from lib.engine.graphed import graphed
from lib.engine.optimizer import OPTIMIZERS, freeze_zeros, parameter_groups, parse_factors
from lib.engine.step import EagerStep, Head, Loader, TrainStep, own_logits
from lib.loss import LOSSES, DiVEKLD, LongTailLoss
from lib.modules import CLASSIFIERS, POOLINGS, TauNormalized
from lib.net import Network
from lib.run import checkpoint
from lib.run.checkpoint import Start, read_start
from lib.run.identity import Identity, load_start
from lib.run.named_start import start_by_name
from lib.run.resume import newest_start
from lib.run.run import Run
from lib.utils.schedule import SCHEDULES, Deferred, Schedule

log = logging.getLogger(__name__)

MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
LARGE_BATCH = 2**20   # pixels of a forward pass that keep a GPU busy whose launches would take longer than a small batch
ARCHITECTURE = ("BACKBONE.", "MODULE.", "CLASSIFIER.")   # sections that say what a network is


def run_directory(cfg: Config) -> Run:
    return Run(Path(cfg.OUTPUT_DIR) / cfg.NAME)


def memory_format(cfg: Config) -> torch.memory_format:
    return MEMORY_FORMATS[cfg.TRAIN.MEMORY_FORMAT]


def build_network(cfg: Config, num_classes: int) -> Network:
    """The network with fresh weights, on the CPU. Raises InputError for an INPUT_SIZE that the backbone cannot take."""
    backbone = build_backbone(cfg)
    pooling = POOLINGS.build(cfg.MODULE.TYPE, cfg.MODULE)
    num_features = pooling.num_outputs(backbone.num_features, *backbone.output_size(tuple(cfg.INPUT_SIZE)))
    classifier = CLASSIFIERS.build(cfg.CLASSIFIER.TYPE, cfg.CLASSIFIER, num_features, num_classes)
    network = Network(backbone, pooling, classifier)
    network.always_eval = cfg.EVAL_MODE
    if cfg.BACKBONE.FREEZE or classifier.second_stage:
        network.freeze_backbone(batchnorm=cfg.BACKBONE.FREEZE_BN)
    freeze_zeros(network, parse_factors(cfg.TRAIN.OPTIMIZER.LR_FACTORS))
    return network


def build_backbone(cfg: Config) -> Backbone:
    """Raises InputError for an INPUT_SIZE that it cannot take."""
    size = tuple(cfg.INPUT_SIZE)
    backbone = BACKBONES.build(cfg.BACKBONE.TYPE, {**cfg.BACKBONE, "INPUT_SIZE": size})
    backbone.check_input(size)
    return backbone


def build_heads(cfg: Config, network: Network, scale: float = 1.0) -> dict[float | None, Head]:
    """What main/valid.py evaluates, by tau: TAU first, then the others of SWEEP; None is the classifier as it was trained, with
    its logits times ``scale``."""
    options = cfg.TEST.TAU_NORM
    if not options.USE_TAU_NORM:
        return {None: own_logits(scale)}
    return {tau: on_features(TauNormalized(network.classifier, tau)) for tau in map(float, [options.TAU, *options.SWEEP])}


def on_features(classifier: nn.Module) -> Head:
    return lambda output: classifier(output.features)


def find_start(cfg: Config, run: Run, auto_resume: bool, accept: Callable[[Start], None] = lambda start: None) -> Start:
    """Where training begins, in this order: this run's own checkpoint (only with ``auto_resume``), RESUME_MODEL,
    NETWORK.PRETRAINED_MODEL, BACKBONE.PRETRAINED_MODEL, scratch. What is named and missing is an error.

    Args:
        accept: raises InputError for what does not fit; of this run's checkpoints the newest one that does is taken.
    """
    if auto_resume:
        start = newest_start(run.models, accept)
        if start:
            return start
        log.info("--ar: no checkpoint to go on with in %s yet, so this run begins with epoch 1", run.models)
    start = named_start(cfg, run)
    start.tell_unused(cfg.flat())
    return start


def named_start(cfg: Config, run: Run) -> Start:
    """The file of weights that the configuration names first, in the order of ``checkpoint.KEYS``."""
    if cfg.RESUME_MODEL:
        kind = "run" if cfg.RESUME_MODE == "all" else "weights"
        return read_start(kind, run.find_model(cfg.RESUME_MODEL), "RESUME_MODEL")
    if cfg.NETWORK.PRETRAINED:
        kind = "first stage" if CLASSIFIERS[cfg.CLASSIFIER.TYPE].second_stage else "weights"
        return read_start(kind, run.find_model(cfg.NETWORK.PRETRAINED_MODEL), "NETWORK.PRETRAINED_MODEL")
    if named.is_named(cfg.BACKBONE.PRETRAINED_MODEL):
        normalisation = cfg.DATASET.MEAN, cfg.DATASET.STD
        return start_by_name(cfg.BACKBONE.PRETRAINED_MODEL, tuple(cfg.INPUT_SIZE), normalisation, cfg.COLOR_SPACE)
    if cfg.BACKBONE.PRETRAINED_MODEL:
        return read_start("backbone", run.find_model(cfg.BACKBONE.PRETRAINED_MODEL), "BACKBONE.PRETRAINED_MODEL")
    return Start()


def build_criterion(cfg: Config, class_counts: Tensor) -> LongTailLoss:
    stage = cfg.TRAIN.TWO_STAGE
    deferred = Deferred(stage.START_EPOCH) if stage.DRW else None
    criterion = LOSSES.build(cfg.LOSS.LOSS_TYPE, cfg.LOSS, class_counts, deferred)
    if isinstance(criterion, DiVEKLD):   # its base loss takes the options of its own section
        criterion.base = LOSSES.build(cfg.LOSS.DiVEKLD.BASELOSS, cfg.LOSS, class_counts, deferred)
    return criterion


def build_combiner(cfg: Config, class_counts: Tensor, identity: Identity | None = None) -> Combiner:
    """The combiner, on the CPU. Raises InputError for a teacher that is missing or does not fit the classes of ``identity``."""
    options = cfg.TRAIN.COMBINER
    if options.TYPE == "dive":
        options = {**options, "DIVE": {"TEACHER_MODEL": build_teacher(cfg, len(class_counts), identity)}}
    return COMBINERS.build(cfg.TRAIN.COMBINER.TYPE, options, class_counts)


def build_teacher(cfg: Config, num_classes: int, identity: Identity | None) -> Network:
    """The network that TRAIN.COMBINER.DIVE.TEACHER_MODEL holds, on the CPU.

    It is of the kind that its own configuration says, if the checkpoint has one; else of the kind that is trained here.
    """
    key = "TRAIN.COMBINER.DIVE.TEACHER_MODEL"
    path = run_directory(cfg).find_model(cfg.TRAIN.COMBINER.DIVE.TEACHER_MODEL)
    state = checkpoint.load(path, key)
    own, kind = state.get("config", {}), cfg.clone()
    kind.defrost()
    for name in cfg.flat():
        if name in own and name.startswith(ARCHITECTURE):
            kind.put(name, own[name])
    teacher = build_network(kind, num_classes)
    load_start(teacher, Start("network", f"{key} {path}", state), identity)
    return teacher.to(memory_format=memory_format(cfg))


def build_optimizer(cfg: Config, network: nn.Module) -> tuple[Optimizer, Schedule]:
    """The optimizer of what is trained, and its rate as a multiple of BASE_LR for each epoch."""
    options = cfg.TRAIN.OPTIMIZER
    groups = parameter_groups(network, parse_factors(options.LR_FACTORS), options.BASE_LR)
    return OPTIMIZERS.build(options.TYPE, options, groups, options.BASE_LR), build_schedule(cfg)


def build_schedule(cfg: Config) -> Schedule:
    options = cfg.TRAIN.LR_SCHEDULER
    return SCHEDULES.build(options.TYPE, options, cfg.TRAIN.MAX_EPOCH, cfg.TRAIN.OPTIMIZER.BASE_LR)


def build_precision(cfg: Config, device: torch.device) -> Precision:
    return choose_precision(device, cfg.TRAIN.APEX, cfg.TRAIN.AMP_BACKEND)


def build_step(cfg: Config, step: EagerStep, runtime: Runtime) -> TrainStep:
    """The step as the epochs call it; to be made once the optimizer has its state. Evaluation and checkpoints keep to the network
    as it is, so that logits and names do not depend on COMPILE."""
    if cfg.TRAIN.COMPILE:
        step = step._replace(network=compiled(step.network, runtime))
    return graphed(step, runtime) if cfg.TRAIN.CUDA_GRAPHS else step


def build_transforms(cfg: Config, names: list[str]) -> list[Transform]:
    transforms = [TRANSFORMS.build(name, cfg.TRANSFORMS.PROCESS_DETAIL, tuple(cfg.INPUT_SIZE)) for name in names]
    for number, transform in enumerate(transforms, start=1):
        transform.expect(transforms[number:])
    return transforms


def build_loaders(cfg: Config, train_set: ImageSet, valid_set: ImageSet | None, runtime: Runtime) -> tuple[Loader, Loader | None]:
    """The loader of the training epochs and the one of validation, if there are images for it, of this rank."""
    train_batches = EpochBatches(
        build_draw(cfg, train_set), cfg.TRAIN.BATCH_SIZE, first_stage=build_first_draw(cfg, train_set),
        deferred=Deferred(cfg.TRAIN.TWO_STAGE.START_EPOCH) if cfg.TRAIN.TWO_STAGE.DRS else None,
        seed=cfg.SEED, rank=runtime.rank, world_size=runtime.world_size)
    return (build_loader(cfg, train_set, train_batches, cfg.TRANSFORMS.TRAIN_TRANSFORMS, cfg.TRAIN.NUM_WORKERS, runtime),
            None if valid_set is None else build_eval_loader(cfg, valid_set, runtime))


def build_eval_loader(cfg: Config, images: ImageSet, runtime: Runtime) -> Loader:
    """The loader that gives this rank's images once, in order, as validation sees them."""
    batches = EvalBatches(len(images.labels), valid_batch_size(cfg, runtime.device), runtime.rank, runtime.world_size)
    return build_loader(cfg, images, batches, cfg.TRANSFORMS.TEST_TRANSFORMS, cfg.TEST.NUM_WORKERS, runtime)


def build_loader(cfg: Config, images: ImageSet, batches: EpochBatches | EvalBatches, names: list[str], workers: int,
                 runtime: Runtime) -> Loader:
    return make_loader(images, batches, build_transforms(cfg, names), build_normalize(cfg, images, runtime.device),
                       runtime.device, in_memory=cfg.DATASET.IN_MEMORY, num_workers=workers, pin_memory=cfg.PIN_MEMORY,
                       skip_unreadable=cfg.DATASET.ON_BAD_IMAGE == "skip")


def valid_batch_size(cfg: Config, device: torch.device) -> int:
    """Images of a forward pass without training; the number of ranks has no say, so that it changes no logits."""
    large = LARGE_BATCH // (cfg.INPUT_SIZE[0] * cfg.INPUT_SIZE[1]) if cfg.TEST.LARGE_BATCHES and device.type == "cuda" else 0
    return max(cfg.TEST.BATCH_SIZE, large)


def build_draw(cfg: Config, train_set: ImageSet) -> Draw:
    counts, epochs = train_set.class_counts, cfg.TRAIN.MAX_EPOCH
    if not cfg.TRAIN.SHUFFLE:
        return Ordered(train_set.labels, counts, epochs)
    return SAMPLERS.build(cfg.TRAIN.SAMPLER.TYPE, cfg.TRAIN.SAMPLER, train_set.labels, counts, epochs)


def build_first_draw(cfg: Config, train_set: ImageSet) -> Draw | None:
    """The plain permutation of DRS's first stage."""
    if not cfg.TRAIN.TWO_STAGE.DRS:
        return None
    return SAMPLERS.build("default", cfg.TRAIN.SAMPLER, train_set.labels, train_set.class_counts, cfg.TRAIN.MAX_EPOCH)


def mean_and_std(cfg: Config, images: ImageSet) -> tuple[Tensor, Tensor]:
    """Of R, G, B, (3,) each: those of the configuration, else the data set's own."""
    return tuple(torch.tensor(list(own)) if own else usual for own, usual in
                 ((cfg.DATASET.MEAN, images.mean), (cfg.DATASET.STD, images.std)))


def build_normalize(cfg: Config, images: ImageSet, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Scales to [0, 1] and normalises on the device; BGR turns the channels, with their mean and deviation."""
    mean, std, layout = *(values.to(device) for values in mean_and_std(cfg, images)), memory_format(cfg)
    if cfg.COLOR_SPACE == "BGR":
        return lambda batch: normalize(batch.flip(1), mean.flip(0), std.flip(0), layout)
    return lambda batch: normalize(batch, mean, std, layout)


def build_plan(cfg: Config, train_set: ImageSet) -> Plan:
    """Which images CAM-based sampling makes."""
    return make_plan(train_set, cfg.DATASET.CAM_NUMBER_THRES, cfg.SEED)


def build_generation(cfg: Config, train_set: ImageSet, network: Network, device: torch.device) -> Generation:
    """What makes them, on ``device``, where the network is."""
    return Generation(train_set, network, build_normalize(cfg, train_set, device), tuple(cfg.INPUT_SIZE), device,
                      batch_size=valid_batch_size(cfg, device), num_readers=max(cfg.TRAIN.NUM_WORKERS, 1))
