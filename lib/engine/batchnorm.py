"""Batches that BatchNorm cannot be trained with: the variance of one value per channel is useless."""
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lib.dataset import Loader
from lib.device.runtime import Runtime, num_chunks, unwrap
from lib.utils.errors import InputError


def check_batches(network: nn.Module, loader: Loader, size: tuple[int, int], runtime: Runtime) -> None:
    """Raises InputError for batches of one image on a device where BatchNorm gets no more than one value per channel of it.

    Args:
        network: as the step calls it, on its device.
        size: INPUT_SIZE.
    """
    batch = min(len(indices) for indices in loader.batches.batches())
    smallest = len(torch.arange(batch).chunk(num_chunks(network))[-1])
    layer = None if smallest > 1 else single_valued_layer(unwrap(network), size, runtime.world_size)
    if layer is not None:
        devices = num_chunks(network)
        share = f", of which {devices} GPUs get parts of {smallest}" * (devices > 1)
        raise InputError(f"TRAIN.BATCH_SIZE: the {len(loader.set.labels)} training images make batches of {batch}{share}, and at "
                         f"INPUT_SIZE {list(size)} BatchNorm in {layer} has one value per channel of an image, so it needs 2 "
                         "images or more; a larger BATCH_SIZE (or set), a larger INPUT_SIZE, or EVAL_MODE True works")


@torch.inference_mode()
def single_valued_layer(network: nn.Module, size: tuple[int, int], world_size: int) -> str | None:
    """The first BatchNorm layer that would be trained on a single value per channel of an image; None where there is none.

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
    network.eval()   # in which BatchNorm takes any number of values
    network(torch.zeros(1, 3, *size, device=next(network.parameters()).device))
    for hook in hooks:
        hook.remove()
    network.train()
    return found[0] if found else None
