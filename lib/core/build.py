"""Builds objects from the config; build, build_data and build_loading are the only modules under lib/ that read it."""
import logging
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from yacs.config import CfgNode as Config

from lib.backbone import BACKBONES, Backbone, Undrawn, named
from lib.cam_sampling import Generation, Plan, make_plan
from lib.combiner import COMBINERS, Combiner
from lib.core.build_data import build_dataset as build_dataset
from lib.core.build_data import build_datasets as build_datasets
from lib.core.build_data import build_part_survey as build_part_survey
from lib.core.build_data import build_survey as build_survey
from lib.core.build_data import build_test_set as build_test_set
from lib.core.build_data import choose_part as choose_part
from lib.core.build_data import has_survey as has_survey
from lib.core.build_loading import build_draw as build_draw
from lib.core.build_loading import build_eval_loader as build_eval_loader
from lib.core.build_loading import build_first_draw as build_first_draw
from lib.core.build_loading import build_loader as build_loader
from lib.core.build_loading import build_loaders as build_loaders
from lib.core.build_loading import build_normalize as build_normalize
from lib.core.build_loading import build_pair_loader as build_pair_loader
from lib.core.build_loading import build_transforms as build_transforms
from lib.core.build_loading import mean_and_std as mean_and_std
from lib.core.build_loading import memory_format as memory_format
from lib.core.build_loading import valid_batch_size as valid_batch_size
from lib.dataset import ImageSet
from lib.device.precision import Precision, choose_precision
from lib.device.runtime import Runtime, compiled
from lib.engine.evaluation import Head, own_logits
from lib.engine.graphed import graphed
from lib.engine.optimizer import OPTIMIZERS, freeze_zeros, parameter_groups, parse_factors
from lib.engine.step import EagerStep, TrainStep
from lib.loss import LOSSES, LongTailLoss
from lib.modules import CLASSIFIERS, HEADS, POOLINGS, ExpertClassifiers, TauNormalized
from lib.net import Network
from lib.report.priors import Adjustments, Shift, adjustment, read_prior
from lib.run import checkpoint
from lib.run.checkpoint import Start, read_start
from lib.run.identity import Identity, load_start
from lib.run.named_start import start_by_name
from lib.run.resume import newest_start
from lib.run.run import Run
from lib.update import UPDATES, Update
from lib.utils.options import FromCheckpoint
from lib.utils.schedule import SCHEDULES, Deferred, Schedule, climb

log = logging.getLogger(__name__)

SINGLE = {"NETWORK.EXPERTS.NUM": 1, "HEADS.TYPES": []}   # for checkpoints that are older than these keys
ARCHITECTURE = ("BACKBONE.", "MODULE.", "CLASSIFIER.", "NETWORK.EXPERTS.", "HEADS.")   # sections that define the architecture


def run_directory(cfg: Config) -> Run:
    return Run(Path(cfg.OUTPUT_DIR) / cfg.NAME)


def build_network(cfg: Config, num_classes: int) -> Network:
    """The network with its initial weights, on the CPU. Raises InputError if the backbone does not accept INPUT_SIZE."""
    backbone = build_backbone(cfg)
    pooling, num_experts = POOLINGS.build(cfg.MODULE.TYPE, cfg.MODULE), backbone.num_experts
    num_features = pooling.num_outputs(backbone.num_features, *backbone.output_size(tuple(cfg.INPUT_SIZE))) // num_experts
    classifiers = [CLASSIFIERS.build(cfg.CLASSIFIER.TYPE, cfg.CLASSIFIER, num_features, num_classes) for _ in range(num_experts)]
    heads = {name: HEADS.build(name, cfg.HEADS, num_features) for name in cfg.HEADS.TYPES}
    network = Network(backbone, pooling, classifiers[0] if num_experts == 1 else ExpertClassifiers(classifiers), heads)
    network.always_eval = cfg.EVAL_MODE
    if cfg.BACKBONE.FREEZE or network.classifier.second_stage:
        network.freeze_backbone(batchnorm=cfg.BACKBONE.FREEZE_BN)
    freeze_zeros(network, parse_factors(cfg.TRAIN.OPTIMIZER.LR_FACTORS))
    return network


def build_backbone(cfg: Config) -> Backbone:
    """The backbone, on the CPU. Raises InputError if it does not accept INPUT_SIZE."""
    size = tuple(cfg.INPUT_SIZE)
    backbone = BACKBONES.build(cfg.BACKBONE.TYPE, {**cfg.BACKBONE, "INPUT_SIZE": size})
    backbone.check_input(size)
    experts = cfg.NETWORK.EXPERTS
    if experts.NUM > 1:
        backbone.repeat(experts.NUM, backbone.experts_from if experts.FROM == "auto" else experts.FROM, experts.WIDTH)
    return backbone


def build_heads(cfg: Config, network: Network, scale: float = 1.0) -> dict[float | None, Head]:
    """The classifiers that main/valid.py evaluates, by tau: first TAU, then those of SWEEP. The key None is the trained
    classifier without tau-normalization, whose logits are multiplied by ``scale``."""
    options = cfg.TEST.TAU_NORM
    if not options.USE_TAU_NORM:
        return {None: own_logits(scale)}
    classifier = cast(nn.Linear, network.classifier)
    return {tau: on_features(TauNormalized(classifier, tau)) for tau in map(float, [options.TAU, *options.SWEEP])}


def build_adjustments(cfg: Config, criterion: LongTailLoss, class_counts: Tensor, images: ImageSet) -> Adjustments:
    """The logit adjustment of main/valid.py: −LOGIT_ADJUST · log p + log q is added to the logits. If only the test prior q is
    given, the weight of log p is 1 − τ, where τ · log p is what the loss has already accounted for in training.

    Args:
        class_counts: of the training set, (C,).
        images: the set that is evaluated.
    """
    options = cfg.TEST
    left = 1 - (criterion.prior_tau or 0.0)
    prior = read_prior(options.PRIOR, class_counts, images.class_names) if options.PRIOR else None
    tau = float(options.LOGIT_ADJUST) or (left if prior is not None else 0.0)
    headline = adjustment(class_counts, tau, prior) if tau or prior is not None else None
    taus = sorted({float(options.LOGIT_ADJUST), *map(float, options.SWEEP)}) if options.SWEEP else []
    shifts = {}
    for shift in (Shift(backward, float(ratio)) for ratio in options.SHIFTS for backward in (False, True)):
        chosen = images.labels[shift.rows(images.labels, class_counts)]
        own = torch.bincount(chosen, minlength=len(class_counts)) / len(chosen)
        shifts[shift] = adjustment(class_counts, left, own)
    return Adjustments(headline, {tau: adjustment(class_counts, tau, prior) for tau in taus}, shifts)


def on_features(classifier: nn.Module) -> Head:
    return lambda output: classifier(output.features)


def find_start(cfg: Config, run: Run, auto_resume: bool, accept: Callable[[Start], None] = lambda start: None) -> Start:
    """The weights that training starts from, the first that exists of: this run's own checkpoint (only with ``auto_resume``),
    RESUME_MODEL, NETWORK.PRETRAINED_MODEL, BACKBONE.PRETRAINED_MODEL, random initialisation. A named file that is missing is an
    error.

    Args:
        accept: raises InputError for a checkpoint that does not fit; the newest checkpoint of this run that fits is used.
    """
    if auto_resume:
        start = newest_start(run.models, accept)
        if start:
            return start
        log.info("--ar: there is no checkpoint in %s yet, so this run starts from epoch 1", run.models)
    start = named_start(cfg, run)
    start.tell_unused(cfg.flat())
    return start


def named_start(cfg: Config, run: Run) -> Start:
    """The weights that the configuration names; of several keys, the first in the order of ``checkpoint.KEYS`` counts."""
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
    return LOSSES.build(cfg.LOSS.LOSS_TYPE, cfg.LOSS, class_counts, deferred)


def build_combiner(cfg: Config, class_counts: Tensor, identity: Identity | None = None) -> Combiner:
    """The combiner, on the CPU. Raises InputError if a teacher is missing or was trained for other classes than ``identity``."""
    name, options = cfg.TRAIN.COMBINER.TYPE, dict(cfg.TRAIN.COMBINER)
    for option in COMBINERS.declared(name, FromCheckpoint):
        section, key = COMBINERS.section(name), f"TRAIN.COMBINER.{COMBINERS.key(name, option, options)}"
        trained = build_trained(cfg, key, len(class_counts), identity)
        options[section] = {**options[section], option: trained}
    combiner = COMBINERS.build(name, options, class_counts)
    combiner.max_epoch = cfg.TRAIN.MAX_EPOCH
    dims = {head: cfg.HEADS[HEADS.section(head)].DIM for head in combiner.needs_heads}
    combiner.expect(dims | dims_of_maps(cfg) if combiner.reads_maps else dims)
    return combiner


def dims_of_maps(cfg: Config) -> dict[str, int]:
    """The channels of the last feature maps of one expert, and the number of experts."""
    with torch.device("meta"), Undrawn():   # no memory, and no random numbers
        backbone = build_backbone(cfg)
    return {"maps": backbone.num_features // backbone.num_experts, "experts": backbone.num_experts}


def build_trained(cfg: Config, key: str, num_classes: int, identity: Identity | None) -> Network:
    """The network in the checkpoint that ``key`` names, on the CPU.

    Its architecture is that of the configuration in the checkpoint, or that of ``cfg`` if the checkpoint has none.
    """
    path = run_directory(cfg).find_model(cfg.flat()[key])
    state = checkpoint.load(path, key)
    own, kind = state.get("config", {}), cfg.clone()
    own = SINGLE | own if own else own
    kind.defrost()
    for name in cfg.flat():
        if name in own and name.startswith(ARCHITECTURE):
            kind.put(name, own[name])
    trained = build_network(kind, num_classes)
    load_start(trained, Start("network", f"{key} {path}", state), identity)
    return trained.to(memory_format=memory_format(cfg))


def build_optimizer(cfg: Config, network: nn.Module, *others: nn.Module) -> tuple[Optimizer, Schedule]:
    """The optimizer of all trained parameters, and the learning rate of each epoch as a multiple of BASE_LR.

    Args:
        others: the loss and the combiner, whose parameters are trained with the full learning rate.
    """
    options = cfg.TRAIN.OPTIMIZER
    groups = parameter_groups(network, parse_factors(options.LR_FACTORS), options.BASE_LR)
    more = [parameter for module in others for parameter in module.parameters() if parameter.requires_grad]
    groups += [{"params": more}] * bool(more)
    return OPTIMIZERS.build(options.TYPE, options, groups, options.BASE_LR), build_schedule(cfg)


def build_schedule(cfg: Config) -> Schedule:
    options = cfg.TRAIN.LR_SCHEDULER
    schedule = SCHEDULES.build(options.TYPE, options, cfg.TRAIN.MAX_EPOCH, cfg.TRAIN.OPTIMIZER.BASE_LR)
    return climb(options.WARMUP_EPOCHS, options.WARMUP_FROM, schedule)


def build_update(cfg: Config, class_counts: Tensor) -> Update:
    update = UPDATES.build(cfg.TRAIN.UPDATE.TYPE, cfg.TRAIN.UPDATE)
    update.class_counts = class_counts
    return update


def build_precision(cfg: Config, device: torch.device) -> Precision:
    return choose_precision(device, cfg.TRAIN.APEX, cfg.TRAIN.AMP_BACKEND, cfg.TRAIN.AMP_DTYPE)


def build_step(cfg: Config, step: EagerStep, runtime: Runtime) -> TrainStep:
    """The training step, compiled or captured as a CUDA graph if configured; call it after the optimizer's state is restored.
    Evaluation and checkpoints use the network that is not compiled, so that logits and names do not depend on COMPILE."""
    if cfg.TRAIN.COMPILE:
        step = step._replace(network=compiled(step.network, runtime))
    return graphed(step, runtime) if cfg.TRAIN.CUDA_GRAPHS else step


def build_plan(cfg: Config, train_set: ImageSet) -> Plan:
    """The plan of which images CAM-based sampling generates."""
    return make_plan(train_set, cfg.DATASET.CAM_NUMBER_THRES, cfg.SEED)


def build_generation(cfg: Config, train_set: ImageSet, network: Network, device: torch.device) -> Generation:
    """The generation of the images of CAM-based sampling, on ``device``, where the network is."""
    return Generation(train_set, network, build_normalize(cfg, train_set, device), tuple(cfg.INPUT_SIZE), device,
                      autocast=build_precision(cfg, device).autocast if cfg.TRAIN.AMP_DTYPE == "bfloat16" else nullcontext,
                      batch_size=valid_batch_size(cfg, device), num_readers=max(cfg.TRAIN.NUM_WORKERS, 1))
