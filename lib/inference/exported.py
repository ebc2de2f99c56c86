"""Export of a trained network to one file that other programs can run: ONNX, or a torch.export program."""
import importlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lib.inference.predictor import Predictor
from lib.utils.errors import InputError, RunFailedError

FORMATS = {"onnx": ".onnx", "torch_export": ".pt2"}   # format: suffix of its files
PACKAGES = ("onnx", "onnxscript", "onnxruntime")      # required for ONNX
TOLERANCE = 1e-4   # largest accepted difference between the probabilities of the exported file and of PyTorch
METADATA = "metadata.json"   # name of the metadata inside a torch.export file
INPUT, OUTPUT = "images", "probabilities"

Run = Callable[[Tensor], Tensor]   # uint8 images (B, 3, H, W) to probabilities (B, C)


class Deployed(nn.Module):
    """The module that is exported: maps uint8 RGB images (B, 3, H, W) of the input size to probabilities (B, C).

    It computes softmax(s · f((x / 255 − mean) / std) + a), with the network f, its evaluation scale s, and the shift a for a
    known class prior. The channels are reversed first if the network was trained on BGR images.
    """

    factor: Tensor
    shift: Tensor
    adjustment: Tensor

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.network, self.scale, self.flipped = predictor.network, predictor.scale, predictor.flipped
        self.register_buffer("factor", (1 / (255 * predictor.std)).view(-1, 1, 1))
        self.register_buffer("adjustment", predictor.shift)
        self.register_buffer("shift", (-predictor.mean / predictor.std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        images = images.flip(1) if self.flipped else images
        logits = self.network(images.float() * self.factor + self.shift).logits
        return (self.scale * logits + self.adjustment).softmax(dim=1)


class Check(NamedTuple):
    """The result of a comparison between an exported file and PyTorch on the same images."""

    images: int
    difference: float   # largest absolute difference of a probability
    agreeing: int       # images with the same most probable class

    @property
    def passed(self) -> bool:
        """Whether the difference is within TOLERANCE; False if a probability is NaN."""
        return self.difference <= TOLERANCE


def require_packages(kind: str) -> None:
    """Raises InputError if packages that the format ``kind`` requires are not installed."""
    missing = []
    for name in PACKAGES if kind == "onnx" else ():
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise InputError(f"--format onnx needs {' and '.join(missing)}: pip install {' '.join(missing)}; --format torch_export "
                         "needs only PyTorch")


def describe_model(predictor: Predictor, about: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata that a program needs to use the exported file, in plain values.

    Args:
        about: further entries, by name.
    """
    return {"class_names": predictor.class_names, "input_size": list(predictor.preparation.size),
            "preprocessing": predictor.preparation.settings,
            "input": f"{INPUT}: uint8 (batch, 3, height, width) of input_size, in R, G, B; normalisation is inside",
            "output": f"{OUTPUT}: float32 (batch, classes), in the order of class_names; softmax is inside", **about}


def export(predictor: Predictor, kind: str, metadata: Mapping[str, Any]) -> bytes:
    """Exports the network; returns the content of the file.

    Args:
        kind: one of FORMATS.
        metadata: written into the file, with every value as ASCII JSON, which preserves any class name.

    Raises:
        RunFailedError: the exporter cannot express the network.
    """
    module = Deployed(predictor).eval()
    example = torch.zeros(2, 3, *predictor.preparation.size, dtype=torch.uint8, device=predictor.device)
    texts = {name: json.dumps(value) for name, value in metadata.items()}
    write = write_onnx if kind == "onnx" else write_program
    with torch.no_grad(), silence() as noise:
        try:
            return write(module, example, texts)
        except Exception as error:   # exporters raise errors of many types
            last = str(error).strip().splitlines()[-1:] or noise.getvalue().strip().splitlines()[-1:]
            raise RunFailedError(f"the network cannot be written as {kind} by PyTorch {torch.__version__}: "
                                 f"{type(error).__name__}: {''.join(last)}") from error


def write_onnx(module: nn.Module, example: Tensor, texts: Mapping[str, str]) -> bytes:
    import onnx
    program: Any = torch.onnx.export(module, (example,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                                input_names=[INPUT], output_names=[OUTPUT], verbose=False)
    model = program.model_proto
    onnx.helper.set_model_props(model, dict(texts))
    return model.SerializeToString()


def write_program(module: nn.Module, example: Tensor, texts: Mapping[str, str]) -> bytes:
    program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    buffer = io.BytesIO()
    content = "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in texts.items()) + "}"
    torch.export.save(program, buffer, extra_files={METADATA: content})
    return buffer.getvalue()


def opened(content: bytes, kind: str) -> Run:
    """Loads the content of an exported file; returns a function that runs it."""
    if kind == "onnx":
        import onnxruntime
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        return lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])
    module = torch.export.load(io.BytesIO(content)).module()
    device = next((value.device for value in module.state_dict().values()), torch.device("cpu"))
    return lambda images: module(images.to(device)).cpu()


@torch.inference_mode()
def check(run: Run, predictor: Predictor, images: Tensor) -> Check:
    """Compares the exported file with PyTorch on batches of several sizes.

    Args:
        images: uint8 (N, 3, H, W), at least one.
    """
    difference, agreeing = 0.0, 0
    for batch in images.split(batch_sizes(len(images))):
        ours, theirs = predictor.probabilities(batch), run(batch)
        largest = float((ours - theirs).abs().max())
        difference = largest if largest != largest else max(difference, largest)   # keeps NaN, which max() could drop
        agreeing += int((ours.argmax(dim=1) == theirs.argmax(dim=1)).sum())
        if difference != difference:
            break
    return Check(len(images), difference, agreeing)


def batch_sizes(images: int) -> list[int]:
    """Splits the number of images into batches of 1, 2 and the rest."""
    sizes = [min(1, images), min(2, images - 1), images - 3]
    return [size for size in sizes if size > 0]


@contextmanager
def silence() -> Iterator[io.StringIO]:
    """Captures the progress output of an exporter and suppresses its warnings."""
    noise, loggers = io.StringIO(), [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(noise), redirect_stderr(noise):
            warnings.simplefilter("ignore")
            yield noise
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)

