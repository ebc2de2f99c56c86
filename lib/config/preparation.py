"""The image preprocessing of a configuration, in the form in which checkpoints store it."""
from typing import Any

from lib.config.node import Config
from lib.core.build import mean_and_std
from lib.data_transform import TRANSFORMS
from lib.dataset import ImageSet


def preprocessing(cfg: Config, images: ImageSet) -> dict[str, Any]:
    """The preprocessing of validation images, in plain values, so that a checkpoint alone is enough to predict.

    An image is decoded, rotated by its EXIF orientation if "exif" is set, and its transparency is removed as "alpha" says. Then
    the test transforms are applied, the result is resized to the input size if necessary, and normalised; "BGR" finally
    reverses the channels.
    """
    mean, std = ([float(str(value)) for value in values.numpy()] for values in mean_and_std(cfg, images))   # shortest digits
    options = cfg.TRANSFORMS.PROCESS_DETAIL
    steps = [{"name": name, **TRANSFORMS.arguments(name, options)} for name in cfg.TRANSFORMS.TEST_TRANSFORMS]
    return {"input_size": list(cfg.INPUT_SIZE), "color_space": cfg.COLOR_SPACE, "mean": mean, "std": std,
            "test_transforms": steps, "exif": cfg.DATASET.EXIF, "alpha": cfg.DATASET.ALPHA}
