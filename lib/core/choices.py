"""Settings for images of one's own, from what was seen of them. docs/own_folder.md says what of it was measured."""
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from lib.backbone.named import Named, look_up
from lib.run.recognise import Kind
from lib.utils.errors import InputError

SMALL = 48           # side up to which pictures are trained on as they are, by the network for small images
LEAST_SIDE = 16      # of INPUT_SIZE
STRIDE = 4           # by which the sides of the network for small images are divisible
SIDES = (64, 96, 128, 160, 192, 224)   # of INPUT_SIZE for photographs
MOST_ON_CPU = 128    # where a network begins from scratch
LONGEST = 3          # times the usual epochs, after which more time brings nothing
STEPS = 60           # of an epoch, from which on the batch is doubled
LEAST_BATCH = 8      # images of one process, for BatchNorm
FEW = 0.3            # of the usual epochs, below which a network has hardly learned


class StartWeights(NamedTuple):
    """The weights with which a training begins."""

    kind: Kind | None       # None where BACKBONE.TYPE says it, and nobody else can tell
    size: Sequence[int]     # of the images that they were trained on
    mean: Sequence[float]   # of them; empty where that is unknown
    std: Sequence[float]
    config: Mapping[str, Any] = {}   # of a whole network of this project, which continues with the same images

    @classmethod
    def of_name(cls, weights: Named) -> "StartWeights":
        return cls(Kind(weights.backbone, weights.timm_model), weights.size, weights.mean, weights.std)

    @classmethod
    def of_file(cls, state: Mapping[str, Any], kind: Kind | None, stem: str, whole: bool) -> "StartWeights":
        """Args:
            state: the content of the file.
            stem: its name without suffix, by which timm knows what it trained.
            whole: its classifier is taken too, so that its images are to be treated alike.
        """
        config, images = (mapping(state.get(name)) for name in ("config", "preprocessing"))
        if kind is not None and kind.timm_model and not images:
            usual = timm_images(kind.timm_model, stem)
            return cls(kind, config.get("INPUT_SIZE") or usual.size, usual.mean, usual.std, config if whole else {})
        size = images.get("input_size") or config.get("INPUT_SIZE") or usual_size(kind)
        return cls(kind, size, images.get("mean", ()), images.get("std", ()), config if whole else {})


def timm_images(model: str, stem: str) -> Named:
    """What timm says of the weights that a file is named after, else of those that it takes for a model."""
    with suppress(InputError):
        if stem.partition(".")[0] == model:
            return look_up(f"timm:{stem}")
    return look_up(f"timm:{model}")


def usual_size(kind: Kind | None) -> Sequence[int]:
    """Of the images of weights that do not tell it."""
    return (32, 32) if kind is not None and is_small(kind.backbone) else (224, 224)


def mapping(value: Any) -> dict[str, Any]:
    """A mapping of a checkpoint; empty for anything else."""
    return dict(value) if isinstance(value, Mapping) else {}


class Pace(NamedTuple):
    """How fast a configuration trains, in seconds."""

    step: float         # of a batch for training
    steps: int          # of an epoch
    valid_step: float   # of a batch for validation
    valid_steps: int    # of a validation
    saving: float       # of an epoch's checkpoint
    start: float        # until the first batch

    @property
    def validation(self) -> float:
        return self.valid_step * self.valid_steps

    def of(self, epochs: int) -> float:
        """Seconds that so many epochs take, with the validations that go with them."""
        every = follow(epochs)["VALID_STEP"].value
        return epochs * (self.step * self.steps + self.saving) + math.ceil(epochs / every) * self.validation


def epochs_in(seconds: float, pace: Pace, usual: int) -> int:
    """The most epochs that take no longer, at least one, and no more than LONGEST times the usual number."""
    fitting = [epochs for epochs in range(1, LONGEST * usual + 1) if pace.of(epochs) <= seconds]
    return max(fitting, default=1)


class Facts(NamedTuple):
    """What is known when the choices are made."""

    images: int                      # for training
    classes: int
    side: int                        # median of the images' shorter sides, in pixels
    one_size: tuple[int, int] | None   # height and width that all of them have
    device: str                      # cpu | cuda
    cores: int = 1
    processes: int = 1
    weights: StartWeights | None = None
    mixes: bool = False              # mixup and its kin, which need longer
    batchnorm: bool = True           # in the backbone
    model_size: Sequence[int] = ()   # usual INPUT_SIZE of a model of timm
    balanced: bool = False           # all classes have as many images


class Decision(NamedTuple):
    """A chosen value, and the reason for it."""

    value: Any
    reason: str


def choose(facts: Facts, given: Mapping[str, Any]) -> dict[str, Decision]:
    """A choice for every key that may be left open.

    Args:
        given: values that are not left open, by key; the others follow from them.
    """
    chosen: dict[str, Decision] = {}

    def value(key: str) -> Any:
        return given[key] if key in given else chosen[key].value

    chosen["BACKBONE.TYPE"] = choose_backbone(facts)
    chosen["INPUT_SIZE"] = choose_size(facts, value("BACKBONE.TYPE"))
    chosen |= choose_transforms(facts, value("BACKBONE.TYPE"), tuple(value("INPUT_SIZE")))
    chosen["LOSS.LOSS_TYPE"] = choose_loss(facts, given)
    chosen["TRAIN.BATCH_SIZE"] = choose_batch(facts)
    batch = value("TRAIN.BATCH_SIZE") * facts.processes
    chosen["TRAIN.OPTIMIZER.TYPE"] = choose_optimizer(facts)
    chosen["TRAIN.OPTIMIZER.BASE_LR"] = choose_rate(facts, value("TRAIN.OPTIMIZER.TYPE"), batch)
    chosen["TRAIN.MAX_EPOCH"] = choose_epochs(facts, batch)
    chosen |= follow(value("TRAIN.MAX_EPOCH"))
    return chosen | choose_reading(facts)


def is_small(backbone: str) -> bool:
    return backbone.endswith("_cifar")


def choose_backbone(facts: Facts) -> Decision:
    if facts.weights and facts.weights.kind:
        return Decision(facts.weights.kind.backbone, "the weights are of it")
    if facts.side <= SMALL:
        return Decision("res32_cifar", f"small pictures: half of them have a side of {facts.side} pixels or less")
    return Decision("res18", "photographs, without weights")


def choose_size(facts: Facts, backbone: str) -> Decision:
    weights = facts.weights
    if weights and (weights.config or backbone == "timm" or is_small(backbone)):
        return Decision(list(weights.size), "that of the weights")
    if backbone == "timm":
        return Decision(list(facts.model_size), "the usual one of this model")
    if is_small(backbone):
        side = max(LEAST_SIDE, math.ceil(min(facts.side, SMALL) / STRIDE) * STRIDE)
        return Decision([side, side], f"the pictures' own side, {facts.side}, in steps of {STRIDE}")
    most = 224 if facts.device == "cuda" or weights else MOST_ON_CPU
    side = max([side for side in SIDES if side <= min(facts.side, most)], default=SIDES[0])
    limit = f"at most {most} on a CPU" if most < 224 else f"at most {most}"
    return Decision([side, side], f"half of the images have a shorter side of {facts.side} pixels or less; {limit}")


def choose_transforms(facts: Facts, backbone: str, size: tuple[int, int]) -> dict[str, Decision]:
    train, test, scale = "TRANSFORMS.TRAIN_TRANSFORMS", "TRANSFORMS.TEST_TRANSFORMS", (
        "TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP.SCALE")
    config = facts.weights.config if facts.weights else {}
    if all(key in config for key in (train, test, scale)):
        return {key: Decision(config[key], "as in the network's own training") for key in (train, test, scale)}
    crop = choose_scale(facts)
    if is_small(backbone):
        resize = [] if facts.one_size == size else ["normal_resize"]
        why = "small pictures are moved by some pixels, and mirrored"
        return {train: Decision([*resize, "random_crop", "random_horizontal_flip"], why), scale: crop,
                test: Decision(resize, "the whole picture")}
    return {train: Decision(["random_resized_crop", "random_horizontal_flip"], "windows of photographs, and mirrored"),
            scale: crop, test: Decision(["shorter_resize_for_crop", "center_crop"], "the middle of a photograph")}


def choose_scale(facts: Facts) -> Decision:
    return Decision([0.3, 1.0], "share of the image in a window")


def choose_loss(facts: Facts, given: Mapping[str, Any]) -> Decision:
    """Balanced softmax, unless something else re-balances already."""
    if facts.balanced:
        return Decision("CrossEntropy", "all classes have as many images")
    others = {"the sampler re-balances": given.get("TRAIN.SAMPLER.TYPE", "default") != "default",
              "TEST.TAU_NORM re-balances": given.get("TEST.TAU_NORM.USE_TAU_NORM", False)}
    for reason, holds in others.items():
        if holds:
            return Decision("CrossEntropy", reason)
    return Decision("BalancedSoftmaxCE", "rare classes count as much as common ones; CrossEntropy leaves them as they are")


def choose_batch(facts: Facts) -> Decision:
    batch = LEAST_BATCH
    while batch < 64 and facts.images >= STEPS * batch:
        batch *= 2
    own = max(LEAST_BATCH, batch // facts.processes)
    return Decision(own, f"{facts.images // (own * facts.processes)} steps per epoch")


def choose_optimizer(facts: Facts) -> Decision:
    if facts.batchnorm:
        return Decision("SGD", "the backbone has BatchNorm")
    return Decision("ADAMW", "the backbone has no BatchNorm (ViTs, ConvNeXt and their kin)")


def choose_rate(facts: Facts, optimizer: str, batch: int) -> Decision:
    rate = {"SGD": 0.05, "ADAM": 5e-4, "ADAMW": 5e-4}[optimizer] * math.sqrt(batch / 32)
    return Decision(float(f"{rate:.2g}"), f"for {optimizer} with batches of {batch}")


def choose_epochs(facts: Facts, batch: int) -> Decision:
    usual = min(max(60 * (1000 / facts.images) ** (0.8 if facts.images < 1000 else 0.5), 20), 240)
    tuned = facts.weights is not None and not facts.weights.config   # a second stage brings its own number
    epochs = round(max(usual / 3, 10) if tuned else usual) * (2 if facts.mixes else 1)
    steps = f"{epochs * max(facts.images // batch, 1):,} steps"
    return Decision(epochs, f"{steps}, a third of what training from scratch takes" if tuned else steps)


def follow(epochs: int) -> dict[str, Decision]:
    """What goes with a number of epochs."""
    warm = max(1, round(epochs / 20)) if epochs > 3 else 0
    return {"TRAIN.LR_SCHEDULER.WARM_EPOCH": Decision(warm, "a twentieth of the epochs"),
            "VALID_STEP": Decision(max(1, epochs // 20), "some twenty validations")}


def choose_reading(facts: Facts) -> dict[str, Decision]:
    workers = Decision(min(8, max(1, facts.cores // facts.processes)), f"{facts.cores} cores")
    return {"TRAIN.NUM_WORKERS": workers, "TEST.NUM_WORKERS": workers,
            "TEST.BATCH_SIZE": Decision(64, "images of a forward pass")}
