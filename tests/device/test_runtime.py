"""Devices and threads of one process; several ranks are in test_distributed."""
import os

import pytest
import torch
from torch import nn

from lib.device.runtime import Runtime, set_threads, to_device, unwrap
from lib.utils.errors import InputError

CPU = torch.device("cpu")


def test_threads(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    set_threads(0, 1)          # OMP_NUM_THREADS is set in tests
    monkeypatch.delenv("OMP_NUM_THREADS")
    set_threads(0, 1)
    set_threads(0, 3)
    set_threads(0, 16)
    set_threads(5, 2)
    assert chosen == [8, 2, 1, 5]


def test_syncbn_on_a_cpu_is_batchnorm(caplog):
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    with caplog.at_level("INFO", logger="lib.device.runtime"):
        moved = to_device(network, Runtime(CPU, world_size=2), torch.channels_last, sync_batchnorm=True)
    assert isinstance(moved[1], nn.BatchNorm2d)
    assert "TRAIN.SYNCBN" in caplog.text


def test_one_process_wraps_nothing():
    network = nn.Linear(2, 2)
    assert Runtime(CPU).wrap(network) is network
    assert unwrap(nn.DataParallel(network)) is network


def test_one_process_agrees_with_itself():
    with pytest.raises(InputError, match=r"^as it was$"):
        with Runtime(CPU).agree():
            raise InputError("as it was")
    with pytest.raises(ZeroDivisionError):
        with Runtime(CPU).agree():
            _ = 1 / 0
