"""Long-tailed handwritten digits: the embedded set, which comes with scikit-learn."""
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from lib.data_transform.resize import resize
from lib.dataset.base import DATASETS, ArraySet
from lib.dataset.long_tail import Profile, Ratio, SubsetSeed, long_tail_subset
from lib.utils.errors import MissingPathError

FILE = "datasets/data/digits.csv.gz"   # in scikit-learn's package: 64 pixels from 0 to 16 and the digit, a line each
NAMES = [str(digit) for digit in range(10)]
# of the 1,437 training images at 8×8, pixels in [0, 1]
MEAN, STD = 0.3054, 0.3760


@DATASETS.register("IMBALANCEDIGITS", section="IMBALANCECIFAR")
class DigitsLT(ArraySet):
    """1,797 real 8×8 digits (E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998), long-tailed.

    Pixels are round(255 · v / 16). A stratified fifth is the validation set, whole. Images are brought to INPUT_SIZE once.
    scikit-learn itself is not imported, which would take 2 seconds.

    Args:
        root: not used; the data is in the package.
        size: INPUT_SIZE.
    """

    reads_root = False

    def __init__(self, train: bool, root: str, size: tuple[int, int], *, ratio: Ratio, random_seed: SubsetSeed,
                 type_: Profile) -> None:
        table = torch.from_numpy(read_digits())
        chosen = torch.zeros(len(table), dtype=torch.bool)
        chosen[torch.tensor([int(number) for number in VALIDATION.split()])] = True
        table = table[~chosen if train else chosen]
        labels = table[:, -1].long()
        pixels = (table[:, :-1] * (255 / 16)).round().to(torch.uint8).view(-1, 1, 8, 8)
        indices = long_tail_subset(labels, len(NAMES), ratio, random_seed, type_, "scikit-learn") if train else None
        if train:
            pixels, labels = pixels[indices], labels[indices]
        super().__init__("IMBALANCEDIGITS", resize(pixels, size), labels, NAMES, [MEAN] * 3, [STD] * 3, indices,
                         source=pixels)


def read_digits() -> np.ndarray:
    """(1797, 65) numbers."""
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise MissingPathError("IMBALANCEDIGITS needs the package scikit-learn, which is not installed: pip install scikit-learn")
    return np.loadtxt(Path(found.origin).parent / FILE, delimiter=",")


# The images for validation, counted from 0: those of scikit-learn's train_test_split with test_size=0.2, stratify=the digits,
# random_state=0, written down so that they stay the same with any version of it.
VALIDATION = """
21 24 28 34 35 37 39 42 45 51 57 77 78 81 87 96 99 102 103 105 110 117 119 131 132 134 148 159 170 173 186 188 197 198 202 204
205 211 214 227 240 243 245 252 254 264 267 275 276 279 283 286 293 298 304 305 306 307 308 312 314 326 328 335 339 344 346 364
372 374 376 380 386 393 397 403 405 407 410 413 417 420 423 425 430 433 440 442 452 454 481 493 496 497 499 500 520 527 528 538
553 556 565 567 568 569 573 587 593 604 608 610 619 637 639 641 649 652 666 667 675 694 700 701 702 704 705 709 716 719 734 738
741 744 749 760 766 767 768 770 772 783 786 787 788 789 794 800 802 805 806 808 811 812 820 822 852 854 855 860 865 876 885 888
890 899 900 905 908 918 926 929 937 943 944 945 951 960 973 977 985 989 990 992 997 1002 1003 1005 1006 1007 1009 1010 1012 1014
1016 1023 1030 1035 1037 1038 1049 1053 1056 1073 1081 1086 1088 1090 1096 1098 1101 1107 1108 1116 1118 1121 1123 1136 1141
1148 1150 1151 1152 1157 1159 1161 1162 1167 1168 1169 1173 1174 1180 1187 1192 1204 1217 1220 1221 1224 1232 1233 1242 1253
1261 1262 1264 1268 1269 1270 1287 1292 1296 1302 1312 1319 1330 1331 1332 1340 1350 1351 1352 1353 1364 1371 1372 1375 1395
1404 1405 1406 1415 1424 1429 1435 1440 1442 1450 1455 1466 1467 1470 1471 1474 1476 1482 1484 1487 1493 1496 1497 1505 1509
1512 1513 1520 1529 1530 1532 1540 1541 1542 1551 1558 1560 1566 1567 1576 1582 1592 1596 1602 1606 1608 1610 1613 1614 1617
1626 1628 1629 1634 1637 1645 1650 1655 1660 1664 1666 1668 1673 1674 1680 1688 1691 1696 1703 1704 1706 1716 1717 1726 1728
1734 1742 1745 1750 1755 1758 1767 1770 1771 1772 1776 1778 1781 1787 1789 1791
"""
