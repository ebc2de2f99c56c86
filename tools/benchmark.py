"""How much of the bare training step's speed is left end to end, for any configuration.

    python tools/benchmark.py --cfg configs/test/fashion_lt.yaml --gpus cpu
    python tools/benchmark.py --cfg configs/cao_cifar/baseline/cifar10_im100.yaml --gpus cpu --random-images 12406

Two loops take turns, in one process, with the same network, optimizer, precision and threads. "bare": forward, backward and update
on one random batch that lies ready. "end to end": whole epochs as main/train.py trains them, with draws, augmentation, normalisation, mixing,
loss and totals, without validation. The ratio is taken pair by pair; median and range over the pairs are printed.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import json
import statistics
import time
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.config import Config
from lib.core import build
from lib.core.engine import Loader, train_one_epoch
from lib.core.run import environment, git_state
from lib.core.runtime import Runtime, to_device, unwrap
from lib.dataset import ImageSet
from lib.utils.errors import InputError
from lib.utils.seed import seed_globals
from main.command import make_parser, run_command
from main.train import Parts


class RandomImages(ImageSet):
    """Images of noise, as many as asked for, for a speed measurement without the data; labels in turn."""
