"""Precision and digests of tensors."""
import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Converts half precision to float32; float32 and float64 do not change."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def digest_bytes(values: Tensor) -> str:
    """SHA-256 of uint8 values and their shape."""
    content = hashlib.sha256(repr(tuple(values.shape)).encode())
    content.update(values.contiguous().numpy().data)
    return content.hexdigest()


def digest_weights(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors of any dtype, in the order of their names; they are copied to the CPU one by one."""
    content = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().cpu().contiguous().flatten()
        content.update(name.encode() + digest_bytes(values.view(torch.uint8)).encode())
    return content.hexdigest()


def digest(numbers: Tensor) -> str:
    """SHA-256 of integers, equal on all machines."""
    return hashlib.sha256(numbers.cpu().numpy().astype("<i8").tobytes()).hexdigest()
