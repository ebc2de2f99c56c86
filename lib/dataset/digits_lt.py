"""Long-tailed handwritten digits: the embedded set, which comes with scikit-learn."""
import numpy as np
import torch

from lib.data_transform.resize import resize
from lib.dataset.base import DATASETS, ArraySet
from lib.dataset.long_tail import Profile, Ratio, SubsetSeed, long_tail_subset

# of the 1,437 training images at 8×8, pixels in [0, 1]
MEAN, STD = 0.3054, 0.3760


@DATASETS.register("IMBALANCEDIGITS", section="IMBALANCECIFAR")
class DigitsLT(ArraySet):
    """1,797 real 8×8 digits (E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998), long-tailed.

    Pixels are round(255 · v / 16). A stratified fifth is the validation set, whole. Images are brought to INPUT_SIZE once.

    Args:
        root: not used; the data is in the package.
        size: INPUT_SIZE.
    """

    reads_root = False

    def __init__(self, train: bool, root: str, size: tuple[int, int], *, ratio: Ratio, random_seed: SubsetSeed,
                 type_: Profile) -> None:
        from sklearn.datasets import load_digits  # here, since it takes a second that other data sets need not wait
        from sklearn.model_selection import train_test_split
        digits = load_digits()
        parts = train_test_split(np.arange(len(digits.target)), test_size=0.2, stratify=digits.target, random_state=0)
        part = np.sort(parts[0 if train else 1])
        labels = torch.from_numpy(digits.target[part]).long()
        pixels = torch.from_numpy(np.rint(digits.images[part] * (255 / 16)).astype(np.uint8))[:, None]
        names = [str(name) for name in digits.target_names]
        indices = long_tail_subset(labels, len(names), ratio, random_seed, type_, "scikit-learn") if train else None
        if train:
            pixels, labels = pixels[indices], labels[indices]
        super().__init__("IMBALANCEDIGITS", resize(pixels, size), labels, names, [MEAN] * 3, [STD] * 3, indices,
                         source=pixels)
