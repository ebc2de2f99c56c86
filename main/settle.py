"""Chooses and logs the values that a configuration leaves open (AUTO), and the number of epochs that fit into TRAIN.MINUTES."""
import logging
from collections.abc import Mapping
from typing import Any

from lib.backbone import named
from lib.backbone.timm_model import has_batchnorm, model_size
from lib.config import Config
from lib.config.auto import as_its_run, decide, undecided
from lib.core.choices import FEW, LONGEST, Decision, Facts, Pace, StartWeights, choose, epochs_in, follow
from lib.dataset import ImageSet
from lib.device.runtime import Runtime
from lib.run import checkpoint
from lib.run.recognise import recognise
from lib.run.run import Run
from lib.utils.errors import InputError
from lib.utils.system import cpu_count
from main.pace import Sets, measure_pace, seconds_left

log = logging.getLogger("main.train")

LOOKED_AT = 200   # images whose sizes are read
EPOCHS, MINUTES = "TRAIN.MAX_EPOCH", "TRAIN.MINUTES"


def settle(cfg: Config, run: Run, keeps: bool, sets: Sets, runtime: Runtime, started: float) -> Config:
    """The configuration with all open values chosen; unchanged if there are none.

    Args:
        keeps: whether the run in the directory is resumed; the values chosen for it are then kept.
        sets: the training and the validation set.
        started: start time of the command, by ``time.monotonic``.
    """
    if not undecided(cfg):
        return cfg
    values, times = {}, False
    with runtime.agree():
        if runtime.is_main:
            settled = as_its_run(cfg, run.directory) if keeps else cfg
            if settled is not cfg:
                log.info("chosen earlier, read from %s: %s", run.directory / "config.yaml", ", ".join(undecided(cfg)))
            times = cfg.TRAIN.MINUTES > 0 and EPOCHS in undecided(settled)
            settled = choose_by(settled, run, sets[0], runtime) if undecided(settled) else settled
            values = {key: new for key, (new, _) in settled.differences(cfg.flat()).items()}
    values, times = runtime.broadcast_object((values, times))
    with runtime.agree():
        settled = decide(cfg, values)
    if times:
        settled = fit_into_time(cfg, settled, sets, runtime, started)
    return decide(settled, {MINUTES: 0.0})   # so that config.yaml trains the same epochs again


def choose_by(cfg: Config, run: Run, train_set: ImageSet, runtime: Runtime) -> Config:
    """Chooses by the images; the log gives the reasons."""
    keys, facts = undecided(cfg), look(cfg, run, train_set, runtime)
    given = {key: value for key, value in cfg.flat().items() if key not in keys}
    chosen = choose(facts, given)
    taken = {key: chosen[key] for key in keys}
    if "BACKBONE.TYPE" in keys and facts.weights and facts.weights.kind and facts.weights.kind.timm_model:
        taken["BACKBONE.TIMM.MODEL"] = Decision(facts.weights.kind.timm_model, "the model of the pre-trained weights")
    if facts.weights and facts.weights.mean and not cfg.DATASET.MEAN and not cfg.DATASET.STD:
        taken |= {"DATASET.MEAN": Decision(list(facts.weights.mean), "of the images that the weights were trained on"),
                  "DATASET.STD": Decision(list(facts.weights.std), "likewise")}
    if cfg.TRAIN.OPTIMIZER.LR_FACTORS and facts.weights is None:
        log.warning("TRAIN.OPTIMIZER.LR_FACTORS: %s is meant for pre-trained weights, but none are loaded; set "
                    "BACKBONE.PRETRAINED_MODEL", ", ".join(cfg.TRAIN.OPTIMIZER.LR_FACTORS))
    log.info("Chosen from %d images of %d classes, shorter side %d pixels (median), on %s; override any by KEY VALUE:"
             "\n%s", facts.images, facts.classes, facts.side, runtime.describe(), table(taken))
    return decide(cfg, {key: choice.value for key, choice in taken.items()})


def table(chosen: Mapping[str, Decision]) -> str:
    rows = [(key, str(choice.value), choice.reason) for key, choice in chosen.items()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"    {key:<{widths[0]}}  {value:<{widths[1]}}  {reason}" for key, value, reason in rows)


def look(cfg: Config, run: Run, train_set: ImageSet, runtime: Runtime) -> Facts:
    sides, weights = sorted(min(size) for size in sizes(train_set)), find_weights(cfg, run)
    of_weights = weights.kind.timm_model if weights and weights.kind and cfg.BACKBONE.TYPE == "auto" else ""
    counts = train_set.class_counts
    model = cfg.BACKBONE.TIMM.MODEL if cfg.BACKBONE.TYPE == "timm" else of_weights
    return Facts(
        images=int(counts.sum()), classes=train_set.num_classes, side=sides[len(sides) // 2],
        one_size=train_set.image_size, device=runtime.device.type, cores=cpu_count(), processes=runtime.world_size,
        weights=weights, mixes=cfg.TRAIN.COMBINER.TYPE not in ("default", "dive"), batchnorm=not model or has_batchnorm(model),
        model_size=model_size(model) if model else (), balanced=bool((counts == counts[0]).all()))


def sizes(images: ImageSet) -> list[tuple[int, int]]:
    """Heights and widths of a sample of the readable images, evenly spaced."""
    if images.image_size is not None:
        return [images.image_size]
    step, found, last = max(1, len(images.labels) // LOOKED_AT), [], InputError(f"{images.name}: no image can be read")
    for index in range(0, len(images.labels), step):
        try:
            found.append(images.open(index).size)
        except InputError as error:   # told by name when it is read
            last = error
    if not found:
        raise last
    return found


def find_weights(cfg: Config, run: Run) -> StartWeights | None:
    """The network and the preprocessing of the initial weights.

    Raises:
        InputError: the backbone cannot be recognised, and BACKBONE.TYPE does not name it.
    """
    name, key = cfg.BACKBONE.PRETRAINED_MODEL, named.KEY
    if cfg.NETWORK.PRETRAINED:
        name, key = cfg.NETWORK.PRETRAINED_MODEL, "NETWORK.PRETRAINED_MODEL"
    elif cfg.RESUME_MODEL:
        name, key = cfg.RESUME_MODEL, "RESUME_MODEL"
    elif named.is_named(name):
        return StartWeights.of_name(named.look_up(name))
    if not name:
        return None
    path = run.find_model(name)
    state = checkpoint.load(path, key)
    kind = recognise(state, path)
    if kind is None and cfg.BACKBONE.TYPE == "auto":
        raise InputError(f"{key}: {path} does not say which backbone it has; set BACKBONE.TYPE, and for a model of timm also "
                         "BACKBONE.TIMM.MODEL")
    return StartWeights.of_file(state, kind, path.stem, whole=key != named.KEY)


def fit_into_time(cfg: Config, settled: Config, sets: Sets, runtime: Runtime, started: float) -> Config:
    """Chooses the number of epochs that fit into TRAIN.MINUTES, by the measured speed of some steps on a temporary network."""
    usual = settled.TRAIN.MAX_EPOCH
    pace = measure_pace(settled, sets, runtime, cfg.TRAIN.MINUTES)
    left = seconds_left(runtime, started, cfg.TRAIN.MINUTES) - pace.start
    epochs = epochs_in(left, pace, usual)
    values: dict[str, Any] = {key: choice.value for key, choice in follow(epochs).items() if key in undecided(cfg)}
    if runtime.is_main:
        tell(cfg.TRAIN.MINUTES, epochs, usual, pace)
    with runtime.agree():
        return decide(settled, {EPOCHS: epochs, **values})


def tell(minutes: float, epochs: int, usual: int, pace: Pace) -> None:
    log.info("%s %g: %.3f s per step, %d steps per epoch, %.2f s per epoch with its checkpoint, %.2f s per validation: "
             "TRAIN.MAX_EPOCH %d, about %.1f minutes", MINUTES, minutes, pace.step, pace.steps, pace.of(1) - pace.validation,
             pace.validation, epochs, (pace.of(epochs) + pace.start) / 60)
    if epochs == LONGEST * usual:
        log.info("%s: this takes less time, since at most %d times the usual %d epochs are trained", MINUTES, LONGEST, usual)
    if epochs < FEW * usual:
        log.warning("%s: %d epochs are too few to learn much; the usual number for so many images is %d, which take %.0f minutes "
                    "here. More minutes, a smaller INPUT_SIZE, a GPU or --weights help", MINUTES, epochs, usual,
                    pace.of(usual) / 60)
