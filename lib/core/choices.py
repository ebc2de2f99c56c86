"""Chooses settings for a user's own images, from facts about them. docs/own_folder.md says which rules were measured."""
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from lib.backbone.named import Named, look_up
from lib.run.recognise import Kind
from lib.utils.errors import InputError

SMALL = 48           # up to this side, images keep their size and a network for small images is used
LEAST_SIDE = 16      # smallest INPUT_SIZE
STRIDE = 4           # INPUT_SIZE of the network for small images must be divisible by this
SIDES = (64, 96, 128, 160, 192, 224)   # choices of INPUT_SIZE for photographs
MOST_ON_CPU = 128    # largest INPUT_SIZE on a CPU without pre-trained weights
LONGEST = 3          # times the usual number of epochs; more epochs do not help
STEPS = 60           # steps per epoch that the batch size should leave
LEAST_BATCH = 8      # images per process, for BatchNorm
FEW = 0.3            # of the usual number of epochs; with fewer, a network has hardly learned


class StartWeights(NamedTuple):
    """The weights from which a training starts."""

    kind: Kind | None       # the architecture; None if the file does not tell, so that BACKBONE.TYPE must be given
    size: Sequence[int]     # of the images that they were trained on
    mean: Sequence[float]   # of the same images; empty if unknown
    std: Sequence[float]
    config: Mapping[str, Any] = {}   # of a whole network of this project, which is trained further on images of the same form

    @classmethod
    def of_name(cls, weights: Named) -> "StartWeights":
        return cls(Kind(weights.backbone, weights.timm_model), weights.size, weights.mean, weights.std)

    @classmethod
    def of_file(cls, state: Mapping[str, Any], kind: Kind | None, stem: str, whole: bool) -> "StartWeights":
        """Args:
            state: the content of the file.
            stem: its name without suffix, by which timm identifies its own weights.
            whole: whether the classifier is loaded too, so that images must be prepared in the same way.
        """
        config, images = (mapping(state.get(name)) for name in ("config", "preprocessing"))
        if kind is not None and kind.timm_model and not images:
            usual = timm_images(kind.timm_model, stem)
            return cls(kind, config.get("INPUT_SIZE") or usual.size, usual.mean, usual.std, config if whole else {})
        size = images.get("input_size") or config.get("INPUT_SIZE") or usual_size(kind)
        return cls(kind, size, images.get("mean", ()), images.get("std", ()), config if whole else {})


def timm_images(model: str, stem: str) -> Named:
    """timm's information on the weights that a file is named after, else on the default weights of the model."""
    with suppress(InputError):
        if stem.partition(".")[0] == model:
            return look_up(f"timm:{stem}")
    return look_up(f"timm:{model}")


def usual_size(kind: Kind | None) -> Sequence[int]:
    """Image size for weights that do not say what they were trained on."""
    return (32, 32) if kind is not None and is_small(kind.backbone) else (224, 224)


def mapping(value: Any) -> dict[str, Any]:
    """``value`` as a dict if it is a mapping, else an empty dict."""
    return dict(value) if isinstance(value, Mapping) else {}


class Pace(NamedTuple):
    """How fast a configuration trains, in seconds."""

    step: float         # per training batch
    steps: int          # number of training batches per epoch
    valid_step: float   # per validation batch
    valid_steps: int    # number of batches per validation
    saving: float       # per checkpoint, one each epoch
    start: float        # until the first batch

    @property
    def validation(self) -> float:
        return self.valid_step * self.valid_steps

    def of(self, epochs: int) -> float:
        """Seconds for this number of epochs, including their validations."""
        every = follow(epochs)["VALID_STEP"].value
        return epochs * (self.step * self.steps + self.saving) + math.ceil(epochs / every) * self.validation


def epochs_in(seconds: float, pace: Pace, usual: int) -> int:
    """The largest number of epochs that fits into ``seconds``, but at least one and at most LONGEST times the usual number."""
    fitting = [epochs for epochs in range(1, LONGEST * usual + 1) if pace.of(epochs) <= seconds]
    return max(fitting, default=1)


class Facts(NamedTuple):
    """The facts from which the settings are chosen."""

    images: int                      # for training
    classes: int
    side: int                        # median of the images' shorter sides, in pixels
    one_size: tuple[int, int] | None   # height and width if all images have the same size
    device: str                      # cpu | cuda
    cores: int = 1
    processes: int = 1
    weights: StartWeights | None = None
    mixes: bool = False              # mixup or similar, which needs more epochs
    batchnorm: bool = True           # the backbone has BatchNorm
    model_size: Sequence[int] = ()   # usual INPUT_SIZE of a timm model
    balanced: bool = False           # all classes have the same number of images


class Decision(NamedTuple):
    """A chosen value, and the reason for it."""

    value: Any
    reason: str


def choose(facts: Facts, given: Mapping[str, Any]) -> dict[str, Decision]:
    """Chooses a value for every key that the user may leave open.

    Args:
        given: the values that the user has set, by key; the choices depend on them.
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
        return Decision(facts.weights.kind.backbone, "the backbone of the pre-trained weights")
    if facts.side <= SMALL:
        return Decision("res32_cifar", f"small images: the median of their shorter sides is {facts.side} pixels")
    return Decision("res18", "photographs, without pre-trained weights")


def choose_size(facts: Facts, backbone: str) -> Decision:
    weights = facts.weights
    if weights and (weights.config or backbone == "timm" or is_small(backbone)):
        return Decision(list(weights.size), "the size that the weights were trained with")
    if backbone == "timm":
        return Decision(list(facts.model_size), "the usual size of this model")
    if is_small(backbone):
        side = max(LEAST_SIDE, math.ceil(min(facts.side, SMALL) / STRIDE) * STRIDE)
        return Decision([side, side], f"the size of the images, {facts.side}, rounded to a multiple of {STRIDE}")
    most = 224 if facts.device == "cuda" or weights else MOST_ON_CPU
    side = max([side for side in SIDES if side <= min(facts.side, most)], default=SIDES[0])
    limit = f"at most {most} on a CPU" if most < 224 else f"at most {most}"
    return Decision([side, side], f"the median of the images' shorter sides is {facts.side} pixels; {limit}")


def choose_transforms(facts: Facts, backbone: str, size: tuple[int, int]) -> dict[str, Decision]:
    train, test, scale = "TRANSFORMS.TRAIN_TRANSFORMS", "TRANSFORMS.TEST_TRANSFORMS", (
        "TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP.SCALE")
    config = facts.weights.config if facts.weights else {}
    if all(key in config for key in (train, test, scale)):
        return {key: Decision(config[key], "as in the training of the given network") for key in (train, test, scale)}
    crop = choose_scale(facts)
    if is_small(backbone):
        resize = [] if facts.one_size == size else ["normal_resize"]
        why = "small images are shifted by a few pixels, and mirrored"
        return {train: Decision([*resize, "random_crop", "random_horizontal_flip"], why), scale: crop,
                test: Decision(resize, "the whole image")}
    return {train: Decision(["random_resized_crop", "random_horizontal_flip"], "random windows of photographs, mirrored"),
            scale: crop, test: Decision(["shorter_resize_for_crop", "center_crop"], "the middle of a photograph")}


def choose_scale(facts: Facts) -> Decision:
    return Decision([0.3, 1.0], "a random window has 30 to 100 % of the image's area")


def choose_loss(facts: Facts, given: Mapping[str, Any]) -> Decision:
    """Balanced softmax, unless something else re-balances already."""
    if facts.balanced:
        return Decision("CrossEntropy", "all classes have the same number of images")
    others = {"TRAIN.SAMPLER already re-balances": given.get("TRAIN.SAMPLER.TYPE", "default") != "default",
              "TEST.TAU_NORM already re-balances": given.get("TEST.TAU_NORM.USE_TAU_NORM", False)}
    for reason, holds in others.items():
        if holds:
            return Decision("CrossEntropy", reason)
    return Decision("BalancedSoftmaxCE", "rare classes count as much as frequent ones; with CrossEntropy they do not")


def choose_batch(facts: Facts) -> Decision:
    batch = LEAST_BATCH
    while batch < 64 and facts.images >= STEPS * batch:
        batch *= 2
    own = max(LEAST_BATCH, batch // facts.processes)
    return Decision(own, f"{facts.images // (own * facts.processes)} steps per epoch")


def choose_optimizer(facts: Facts) -> Decision:
    if facts.batchnorm:
        return Decision("SGD", "the backbone has BatchNorm")
    return Decision("ADAMW", "the backbone has no BatchNorm (such as ViT or ConvNeXt)")


def choose_rate(facts: Facts, optimizer: str, batch: int) -> Decision:
    rate = {"SGD": 0.05, "ADAM": 5e-4, "ADAMW": 5e-4}[optimizer] * math.sqrt(batch / 32)
    return Decision(float(f"{rate:.2g}"), f"for {optimizer} with batches of {batch}")


def choose_epochs(facts: Facts, batch: int) -> Decision:
    usual = min(max(60 * (1000 / facts.images) ** (0.8 if facts.images < 1000 else 0.5), 20), 240)
    tuned = facts.weights is not None and not facts.weights.config   # a second stage has its own number of epochs
    epochs = round(max(usual / 3, 10) if tuned else usual) * (2 if facts.mixes else 1)
    steps = f"{epochs * max(facts.images // batch, 1):,} steps"
    return Decision(epochs, f"{steps}, a third of what training from scratch needs" if tuned else steps)


def follow(epochs: int) -> dict[str, Decision]:
    """Settings that depend on the number of epochs."""
    warm = max(1, round(epochs / 20)) if epochs > 3 else 0
    return {"TRAIN.LR_SCHEDULER.WARM_EPOCH": Decision(warm, "one twentieth of the epochs"),
            "VALID_STEP": Decision(max(1, epochs // 20), "about twenty validations")}


def choose_reading(facts: Facts) -> dict[str, Decision]:
    workers = Decision(min(8, max(1, facts.cores // facts.processes)), f"{facts.cores} cores")
    return {"TRAIN.NUM_WORKERS": workers, "TEST.NUM_WORKERS": workers,
            "TEST.BATCH_SIZE": Decision(64, "images per forward pass")}
