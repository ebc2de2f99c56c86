"""Refuses batches that are too small for BatchNorm, whose variance needs more than one value per channel."""
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lib.dataset import Loader
from lib.device.runtime import Runtime, num_chunks, unwrap
from lib.utils.errors import InputError


def check_batches(network: nn.Module, loader: Loader, size: tuple[int, int], runtime: Runtime) -> None:
    """Raises InputError if a device gets a batch of one image, for which a BatchNorm layer has only one value per channel.

    Args:
        network: as the training step calls it, on its device.
        size: INPUT_SIZE.
    """
    batch = min(len(indices) for indices in loader.batches.batches())
    smallest = len(torch.arange(batch).chunk(num_chunks(network))[-1])
    layer = None if smallest > 1 else single_valued_layer(unwrap(network), size, runtime.world_size)
    if layer is not None:
        devices = num_chunks(network)
        share = f", split over {devices} GPUs into parts of {smallest}" if devices > 1 else ""
        raise InputError(f"TRAIN.BATCH_SIZE: the {len(loader.set.labels)} training images give a batch of {batch}{share}. At "
                         f"INPUT_SIZE {list(size)}, BatchNorm in {layer} has only one value per channel and image, so it needs "
                         "2 images or more: increase BATCH_SIZE, INPUT_SIZE or the training set, or set EVAL_MODE to True")


@torch.inference_mode()
def single_valued_layer(network: nn.Module, size: tuple[int, int], world_size: int) -> str | None:
    """The first BatchNorm layer that has a single value per channel for one image; None if there is none.

    SyncBN counts the images of all ranks.
    """
    network.train()
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, _BatchNorm) and layer.training
              and not (isinstance(layer, nn.SyncBatchNorm) and world_size > 1)}
    found: list[str] = []

    def look(name: str, images: Tensor) -> None:
        if images.numel() == images.shape[1]:
            found.append(name)

    hooks = [layer.register_forward_pre_hook(lambda _, inputs, name=name: look(name, *inputs)) for name, layer in layers.items()]
    network.eval()   # in eval mode, BatchNorm accepts any number of values
    network(torch.zeros(1, 3, *size, device=next(network.parameters()).device))
    for hook in hooks:
        hook.remove()
    network.train()
    return found[0] if found else None
