"""One image file to one tensor."""
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lib.utils.errors import InputError, MissingPathError


def read_image(path: Path, entry: str) -> Tensor:
    """uint8 (3, H, W) in R, G, B, as PIL's ``convert("RGB")`` makes it of grey, palette and CMYK images.

    Transparency is dropped, and EXIF's orientation is not applied, both as in the published code.

    Args:
        entry: where the path comes from, for messages.
    """
    try:
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
    except FileNotFoundError as error:
        raise MissingPathError(f"{entry}: no file {path}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:   # PIL's answers to damaged files
        raise InputError(f"{entry}: {path} is no image that can be read ({error})") from error
    return torch.from_numpy(pixels).permute(2, 0, 1)
