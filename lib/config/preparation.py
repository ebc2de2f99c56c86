"""The preprocessing of a configuration in the form that checkpoints contain."""
from typing import Any

from lib.config.node import Config
from lib.core.build import mean_and_std
from lib.data_transform import TRANSFORMS
from lib.dataset import ImageSet


def preprocessing(cfg: Config, images: ImageSet) -> dict[str, Any]:
    """The preprocessing of validation images as plain values, so that a checkpoint is sufficient for prediction.

    A decoded image, upright if "exif" and without transparency by "alpha", goes through the test transforms, is brought to the
    input size where they leave another one, and is normalised; "BGR" turns the channels after that.
    """
    mean, std = ([float(str(value)) for value in values.numpy()] for values in mean_and_std(cfg, images))   # as short as typed
    options = cfg.TRANSFORMS.PROCESS_DETAIL
    steps = [{"name": name, **TRANSFORMS.arguments(name, options)} for name in cfg.TRANSFORMS.TEST_TRANSFORMS]
    return {"input_size": list(cfg.INPUT_SIZE), "color_space": cfg.COLOR_SPACE, "mean": mean, "std": std,
            "test_transforms": steps, "exif": cfg.DATASET.EXIF, "alpha": cfg.DATASET.ALPHA}
