"""Prediction of classes and probabilities of pictures, from a checkpoint alone."""
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lib.config.stored import stored_tree
from lib.core import build
from lib.core.prior import prior_doubts
from lib.data_transform import TRANSFORMS, Source, normalize
from lib.data_transform.resize import resize
from lib.dataset.decode import ReadOptions, open_image
from lib.net import Network
from lib.report.priors import FORMS, UNIFORM, adjustment, looks_like_a_file, parse_shift, read_prior
from lib.run import checkpoint
from lib.run.own_files import LAST, MODELS
from lib.utils.errors import InputError
from lib.utils.system import cpu_count
from lib.utils.threads import map_ranges

log = logging.getLogger(__name__)

BATCH_SIZE = 32
READ_AT_ONCE = 4   # images that a thread reads per task
NEEDED = ("input_size", "color_space", "mean", "std", "test_transforms", "exif", "alpha")


class Prediction(NamedTuple):
    """The most probable classes of a picture, in descending order of probability."""

    path: Path
    classes: list[str]
    probabilities: list[float]


class Prepared(NamedTuple):
    """A preprocessed picture, or the reason why it could not be read."""

    path: Path
    image: Tensor | None    # uint8 RGB, (3, H, W) of the input size
    mistake: str = ""


class Preparation:
    """The preprocessing of pictures: reads files as uint8 images of the input size, as in the validation of the checkpoint's run.

    Args:
        settings: the entry ``preprocessing`` of a checkpoint.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)
        self.size = tuple(settings["input_size"])
        self.options = ReadOptions(settings["exif"], settings["alpha"])
        self.transforms = [TRANSFORMS[step["name"]](self.size, **{name: value for name, value in step.items() if name != "name"})
                           for step in settings["test_transforms"]]

    def image(self, path: Path) -> Tensor:
        """Reads a picture as a uint8 RGB image (3, H, W) of the input size.

        Raises:
            InputError: the file is missing, or cannot be read as an image.
        """
        return self.prepared(open_image(path, "picture", self.options))

    def prepared(self, source: Source) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        if not self.transforms:
            return resize(source.pixels(), self.size)
        first, *others = self.transforms
        image = first.source(source, generator)
        for transform in others:
            image = transform.image(image, generator)
        return resize(image, self.size)

    def images(self, paths: Sequence[Path]) -> list[Prepared]:
        """Reads pictures with one thread per core, and returns them in the given order."""
        parts = map_ranges(lambda places: [self.prepare(paths[place]) for place in places], len(paths), READ_AT_ONCE, cpu_count())
        return [prepared for part in parts for prepared in part]

    def prepare(self, path: Path) -> Prepared:
        try:
            return Prepared(path, self.image(path))
        except InputError as error:
            return Prepared(path, None, str(error))


class Predictor:
    """A trained network with its class names and its preprocessing, which predicts the classes of pictures.

        predictor = Predictor.load("output/birds/models/last.pth")
        for prediction in predictor(["a.jpg", "b.jpg"]):
            print(prediction.path, prediction.classes[0], prediction.probabilities[0])

    Args:
        network: in eval mode, on ``device``.
        scale: factor of the logits before softmax (``LongTailLoss.evaluation_scale``).
        shift: (C,), added to the logits to adjust them to another class prior; None: 0.
    """

    def __init__(self, network: Network, class_names: Sequence[str], preparation: Preparation, scale: float,
                 device: torch.device, shift: Tensor | None = None) -> None:
        self.network, self.class_names, self.preparation = network, list(class_names), preparation
        self.scale, self.device = scale, device
        self.shift = torch.zeros(len(self.class_names), device=device) if shift is None else shift.to(device)
        mean, std = (torch.tensor(preparation.settings[key], device=device) for key in ("mean", "std"))
        self.flipped = preparation.settings["color_space"] == "BGR"
        self.mean, self.std = (values.flip(0) if self.flipped else values for values in (mean, std))

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu", others: Mapping[str, Any] | None = None,
             prior: str = "") -> "Predictor":
        """Loads a checkpoint, or the checkpoint of the last epoch in a run's folder. Code in the file is never executed.

        Args:
            others: entries that the file lacks because it is published or from an earlier version: "config", "class_names",
                "preprocessing", "evaluation_scale", "class_counts".
            prior: class prior of the pictures, in the same format as TEST.PRIOR; empty: no logit adjustment.

        Raises:
            InputError: the file is missing, damaged, or lacks an entry that prediction needs; the prior is invalid.
        """
        path = find_checkpoint(Path(path))
        state = {**(others or {}), **checkpoint.load(path)}
        lacking = [key for key in ("config", "class_names", "preprocessing") if not state.get(key)]
        lacking += [f"preprocessing.{key}" for key in NEEDED if not lacking and key not in state["preprocessing"]]
        if lacking:
            raise InputError(f"{path} does not hold {', '.join(lacking)}, like files of earlier versions and of others; the "
                             "configuration that it was trained with, and its data, tell it (--cfg)")
        shift = shift_for(prior, state, path) if prior else None
        network = build.build_network(stored_tree(state["config"]), len(state["class_names"]))
        checkpoint.load_network(network, state, f"checkpoint {path}")
        device = torch.device(device)
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's type stubs lack it
        network.eval().requires_grad_(False)
        return cls(network, state["class_names"], Preparation(state["preprocessing"]), state.get("evaluation_scale", 1.0), device,
                   shift)

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Maps uint8 RGB images (B, 3, H, W) of the input size to probabilities (B, C), float32 on the CPU."""
        return self.logits(images).softmax(dim=1).cpu()

    def logits(self, images: Tensor) -> Tensor:
        images = images.to(self.device)
        images = normalize(images.flip(1) if self.flipped else images, self.mean, self.std)
        return self.scale * self.network(images).logits + self.shift

    def __call__(self, paths: Sequence[str | Path], top: int = 5) -> list[Prediction]:
        """Predicts the ``top`` most probable classes of each picture.

        Raises:
            InputError: a picture is missing or cannot be read.
        """
        predictions: list[Prediction] = []
        for prepared, prediction in self.run([Path(path) for path in paths], top):
            if prediction is None:
                raise InputError(prepared.mistake)
            predictions.append(prediction)
        return predictions

    def run(self, paths: Sequence[Path], top: int, batch_size: int = BATCH_SIZE) -> Iterator[tuple[Prepared, Prediction | None]]:
        """Yields each picture with its prediction, in order; the prediction is None if the picture cannot be read."""
        for start in range(0, len(paths), batch_size):
            batch = self.preparation.images(paths[start:start + batch_size])
            yield from zip(batch, self.predict(batch, top))

    def predict(self, batch: Sequence[Prepared], top: int) -> list[Prediction | None]:
        images = [prepared.image for prepared in batch if prepared.image is not None]
        found: Iterator[Any] = iter(())
        if images:
            best = self.probabilities(torch.stack(images)).topk(min(top, len(self.class_names)))
            found = zip(best.indices.tolist(), best.values.tolist())
        predictions: list[Prediction | None] = []
        for prepared in batch:
            if prepared.image is None:
                predictions.append(None)
                continue
            classes, probabilities = next(found)
            predictions.append(Prediction(prepared.path, [self.class_names[label] for label in classes], probabilities))
        return predictions


def shift_for(prior: str, state: Mapping[str, Any], path: Path) -> Tensor:
    """The logit adjustment of a checkpoint to a known class prior q, (C,): log q − (1 − τ) · log p.

    p is the training prior, and τ the strength with which the loss removed it from the logits in training. main/valid.py adjusts
    the logits in the same way with TEST.PRIOR.
    """
    counts = state.get("class_counts")
    if not isinstance(counts, Tensor):
        raise InputError(f"--prior: {path} does not hold the number of training images of each class, with which the prior is "
                         "compared; the configuration that it was trained with, and its data, tell it (--cfg)")
    if len(counts) != len(state["class_names"]):
        raise InputError(f"--prior: {path} is damaged: it has {len(counts)} class counts for {len(state['class_names'])} classes")
    criterion = build.build_criterion(stored_tree(state["config"]), counts)
    if not (parse_shift(prior, "--prior") or prior == UNIFORM or looks_like_a_file(prior)):
        raise InputError(f"--prior: must be {FORMS}, got {prior!r}")
    for doubt in prior_doubts(state["config"], criterion):
        log.warning("--prior: %s", doubt)
    return adjustment(counts, 1 - (criterion.prior_tau or 0.0), read_prior(prior, counts, state["class_names"], "--prior"))


def find_checkpoint(path: Path) -> Path:
    """Returns the path itself if it is a file, or the checkpoint of the last epoch if it is a run's folder."""
    if not path.is_dir():
        return path
    return path / MODELS / LAST if (path / MODELS).is_dir() else path / LAST
