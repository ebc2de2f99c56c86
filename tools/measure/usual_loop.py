"""The usual way to train on CIFAR-sized images, which this project's speed is compared with.

As the BBN code (Zhou et al., CVPR 2020) and many since: worker processes, which start again every epoch, turn each image into a
PIL image and send it through torchvision's transforms; backbone and classifier are two calls of the wrapped network, told apart
by a flag; memory is contiguous, SGD is not fused, and loss and accuracy are fetched from the device at every step. The
network, its precision, batch size, threads and kernels are the configuration's own.
"""
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms as usual

from lib.config import Config
from lib.core import build
from lib.dataset import ImageSet
from lib.utils.system import cpu_count

if TYPE_CHECKING:
    from tools.measure.prepared import Bench

JITTER = 0.4   # of brightness, contrast and saturation


class UsualSet(Dataset):
    """Image by image; those of one size lie in one array of (N, H, W, 3), as torchvision's CIFAR keeps them."""

    def __init__(self, images: ImageSet, transform: usual.Compose) -> None:
        self.images, self.transform = images, transform
        self.array = images.pixels().permute(0, 2, 3, 1).contiguous().numpy() if images.image_size else None
        self.targets = images.labels.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.images.read(index).permute(1, 2, 0).numpy() if self.array is None else self.array[index]
        return self.transform(Image.fromarray(np.ascontiguousarray(pixels))), self.targets[index]


class UsualNetwork(nn.Module):
    """Two meanings of one forward pass: images to features, or features to logits."""

    def __init__(self, backbone: nn.Module, pooling: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.backbone, self.pooling, self.classifier = backbone, pooling, classifier

    def forward(self, x: Tensor, only_features: bool = False) -> Tensor:
        if not only_features:
            return self.classifier(x)
        for _, stage in self.backbone.stages():
            x = stage(x)
        return self.pooling(x).flatten(1)


def usual_transform(cfg: Config, mean: Sequence[float], std: Sequence[float]) -> usual.Compose:
    """TRANSFORMS.TRAIN_TRANSFORMS with torchvision's transforms, followed by conversion to tensors and normalisation."""
    size, detail = tuple(cfg.INPUT_SIZE), cfg.TRANSFORMS.PROCESS_DETAIL
    known = {
        "random_crop": usual.RandomCrop(size, padding=detail.RANDOM_CROP.PADDING),
        "random_horizontal_flip": usual.RandomHorizontalFlip(),
        "random_resized_crop": usual.RandomResizedCrop(size, tuple(detail.RANDOM_RESIZED_CROP.SCALE),
                                                       tuple(detail.RANDOM_RESIZED_CROP.RATIO)),
        "shorter_resize_for_crop": usual.Resize(int(min(size) / 0.875)),
        "normal_resize": usual.Resize(size),
        "center_crop": usual.CenterCrop(size),
        "color_jitter": usual.ColorJitter(JITTER, JITTER, JITTER),
    }
    chosen = [known[name] for name in cfg.TRANSFORMS.TRAIN_TRANSFORMS]
    return usual.Compose([*chosen, usual.ToTensor(), usual.Normalize(mean, std)])


def num_workers(cfg: Config) -> int:
    """The configuration's workers, at least one, and no more than there are cores."""
    return max(1, min(cfg.TRAIN.NUM_WORKERS, cpu_count()))


class UsualLoop:
    """The usual training loop, with which the benchmark compares.

    Args:
        bench: whose data, configuration and device are used; its network is not.
    """

    def __init__(self, bench: "Bench") -> None:
        cfg, images = bench.cfg, bench.train_set
        self.device, self.precision = bench.runtime.device, build.build_precision(cfg, bench.runtime.device)
        own = build.build_network(cfg, images.num_classes)
        network = UsualNetwork(own.backbone, own.module, own.classifier).to(self.device)
        on_gpu = self.device.type == "cuda"
        self.network = nn.DataParallel(network, list(range(bench.runtime.replicas))) if on_gpu else network
        self.optimizer = torch.optim.SGD(network.parameters(), lr=cfg.TRAIN.OPTIMIZER.BASE_LR, momentum=0.9, nesterov=True,
                                         weight_decay=cfg.TRAIN.OPTIMIZER.WEIGHT_DECAY)
        transform = usual_transform(cfg, images.mean.tolist(), images.std.tolist())
        self.set, self.batch_size = UsualSet(images, transform), bench.batch_size
        self.options = {"num_workers": num_workers(cfg), "pin_memory": cfg.PIN_MEMORY and on_gpu,
                        "drop_last": len(images.labels) >= bench.batch_size}
        self.cover(len(images.labels))

    def cover(self, batches: int) -> int:
        """Ends an epoch after so many batches, if it has more; returns the number of its images."""
        images, size = len(self.set), self.batch_size
        if self.options["drop_last"]:
            images = min(images // size, batches) * size
        self.loader = DataLoader(self.set, size, sampler=RandomSampler(self.set, num_samples=images), **self.options)
        return images

    def train(self, epochs: int) -> list[tuple[float, float]]:
        """Mean loss and accuracy of each epoch."""
        self.network.train()
        return [self.train_epoch() for _ in range(epochs)]

    def train_epoch(self) -> tuple[float, float]:
        total_loss, total_correct, images_done = 0.0, 0, 0
        for images, labels in self.loader:
            images, labels = images.to(self.device), labels.to(self.device)
            self.optimizer.zero_grad()
            with self.precision.autocast():
                features = self.network(images, only_features=True)
                logits = self.network(features)
                loss = F.cross_entropy(logits, labels)
            self.precision.step(loss, self.optimizer)
            predicted = logits.softmax(dim=1).argmax(dim=1)
            total_loss += loss.item() * len(labels)
            total_correct += (predicted == labels).sum().item()
            images_done += len(labels)
        return total_loss / images_done, total_correct / images_done
