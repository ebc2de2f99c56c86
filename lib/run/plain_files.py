"""Reads weight files (torch formats and .safetensors) as tensors and plain values. Code in a file is never executed."""
import argparse
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch

from lib.utils.errors import InputError

# Types that make up a numpy scalar, under old and new module names. Published checkpoints store their best accuracy as one.
SCALAR = np.float64(0).__reduce__()[0]
PUBLISHED_GLOBALS = [(SCALAR, "numpy.core.multiarray.scalar"), (SCALAR, "numpy._core.multiarray.scalar"), np.dtype,
                     *{type(np.dtype(name)) for name in ("f2", "f4", "f8", "i4", "i8", "?")}]
# Types of command-line options, which others store with the weights. These classes only hold values.
HARMLESS_GLOBALS = [argparse.Namespace,
                    *((PurePosixPath, f"{module}.PosixPath") for module in ("pathlib", "pathlib._local")),
                    *((PureWindowsPath, f"{module}.WindowsPath") for module in ("pathlib", "pathlib._local"))]
ADVICE = ("only tensors and plain values are read, since anything else can run code. Where you trust the file, save its weights "
          "alone, such as torch.save(torch.load(FILE, weights_only=False)[\"state_dict\"], NEW_FILE); of a whole model, its "
          ".state_dict()")
OTHER_FILES = {b"version https://git-lfs": "it is a Git LFS pointer; git lfs pull replaces it by the file",
               b"<": "it is a web page or other text, not the downloaded file"}


def read_plain(path: Path, mapped: bool = False) -> Any:
    """Reads a weight file; a .safetensors file becomes a mapping of its tensors.

    Args:
        mapped: tensors are memory-mapped, that is read only when they are used. Older torch formats do not support this.

    Raises:
        InputError: the file cannot be read. The message has the reason only; the caller adds the name of the file.
    """
    with path.open("rb") as file:
        head = file.read(32)
    if path.suffix == ".safetensors" or looks_like_safetensors(head, path.stat().st_size):
        return read_safetensors(path)
    try:
        known: list[Any] = [*PUBLISHED_GLOBALS, *HARMLESS_GLOBALS]
        with torch.serialization.safe_globals(known):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:   # unpickling a foreign file can raise errors of any type
        raise InputError(explain(error, head)) from error


def explain(error: Exception, head: bytes) -> str:
    text = str(error).strip()
    unknown = re.search(r"unsupported (?:global: )?GLOBAL (\S+)", text, re.IGNORECASE)
    if unknown:
        return f"it holds an object of {unknown[1]}; {ADVICE}"
    if "TorchScript" in text:
        return "it is a TorchScript program; save the state_dict() of the model"
    for start, reason in OTHER_FILES.items():
        if head.startswith(start):
            return reason
    if text.startswith("Weights only load failed"):   # torch continues with advice on executing the file's code
        return "it was not written by torch.save, or it is damaged"
    return (text or type(error).__name__).split("\n")[0]


def looks_like_safetensors(head: bytes, size: int) -> bool:
    """Whether a file begins like .safetensors: the length of a header, and then the header as JSON."""
    return head[8:9] == b"{" and 8 + int.from_bytes(head[:8], "little") <= size


def read_safetensors(path: Path) -> Mapping[str, torch.Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise InputError("its format needs a package: pip install safetensors") from error
    try:
        return load_file(path)
    except Exception as error:   # errors of the package, of its Rust code, or of the system
        raise InputError(str(error).split("\n")[0]) from error
