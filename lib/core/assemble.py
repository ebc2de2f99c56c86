"""Puts all parts together: a training that is ready for its first batch."""
from collections.abc import Callable

from yacs.config import CfgNode as Config

from lib.core import build
from lib.dataset import Loader
from lib.device.precision import ApexAmp
from lib.device.runtime import Runtime, to_device
from lib.engine.average import WeightAverage
from lib.engine.step import EagerStep
from lib.engine.training import Training
from lib.net import Network
from lib.run.checkpoint import Start
from lib.run.identity import Identity, load_start
from lib.run.state import restore_parts
from lib.utils.errors import InputError


def assemble(cfg: Config, identity: Identity, runtime: Runtime, loader: Loader,
             choose: Callable[[Network], Start] = lambda network: Start()) -> tuple[Training, Start]:
    """Builds the network, loads its weights, moves it to the device, then builds loss, combiner, optimizer and precision,
    restores their states, wraps the network for DDP and builds the step. The order matters. Call it on all ranks.

    Args:
        choose: returns the initial weights for the newly initialised network; called on rank 0.
    """
    with runtime.agree():
        network = build.build_network(cfg, len(identity.class_names))
        start = choose(network) if runtime.is_main else None
    start = runtime.broadcast_object(start)
    with runtime.agree():
        load_start(network, start, identity)
    network = to_device(network, runtime, build.memory_format(cfg), cfg.TRAIN.SYNCBN)
    average = WeightAverage(network, cfg.TRAIN.EMA_DECAY) if cfg.TRAIN.EMA_DECAY else None
    with runtime.agree():
        criterion = build.build_criterion(cfg, identity.class_counts).to(runtime.device)
        combiner = build.build_combiner(cfg, identity.class_counts, identity).to(runtime.device)
    optimizer, schedule = build.build_optimizer(cfg, network, criterion, combiner)
    update = build.build_update(cfg, identity.class_counts.to(runtime.device))
    with runtime.agree():
        precision = build.build_precision(cfg, runtime.device)
        if update.passes > 1 and isinstance(precision, ApexAmp):
            raise InputError(f"TRAIN.UPDATE.TYPE: {cfg.TRAIN.UPDATE.TYPE} needs {update.passes} backward passes per step, "
                             "which the loss scaling of apex does not support; set TRAIN.AMP_BACKEND to torch")
        network = precision.prepare(network, optimizer)
        if start.resumes:
            start.load_optimizer(optimizer, network)
    wrapped = runtime.wrap(network)
    with runtime.agree():
        eager = EagerStep(wrapped, criterion, combiner, optimizer, precision, update, cfg.TRAIN.UPDATE.ACCUMULATE,
                          cfg.TRAIN.UPDATE.CLIP_NORM)
        step = build.build_step(cfg, eager, runtime)
        training = Training(wrapped, criterion, combiner, optimizer, schedule, precision, update, average, step)
        if start.resumes:
            precision.load_state_dict(start.state.get("precision", {}))
            restore_parts(training, loader, start)
    return training, start
