"""A batch of one image trains where BatchNorm has several values of it, and is refused elsewhere, before anything is lost."""
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lib.config import load_config
from lib.core import build
from lib.device.runtime import Runtime
from lib.engine.batchnorm import check_batches, single_valued_layer
from lib.utils.errors import InputError
from main import train

DIGITS = "configs/test/digits_lt.yaml"
CPU = Runtime(torch.device("cpu"))


def network(*words: str):
    return build.build_network(load_config(DIGITS, [*words]), 10)


@pytest.mark.parametrize(("backbone", "side", "layer"), [
    ("res10", 32, "backbone.layer4.0.bn1"), ("res10", 64, None), ("res20_cifar", 8, None),
    ("res20_cifar", 4, "backbone.layer3.0.bn1")])
@pytest.mark.parametrize("images", [1, 2])
def test_torch_refuses_what_is_refused_here(backbone, side, layer, images):
    net = network("BACKBONE.TYPE", backbone, "INPUT_SIZE", f"[{side}, {side}]")
    assert single_valued_layer(net, (side, side), 1) == layer
    assert net.training
    if layer and images == 1:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            net(torch.zeros(images, 3, side, side))
    else:
        net(torch.zeros(images, 3, side, side))


def test_layers_that_are_not_trained_take_anything():
    net = network("BACKBONE.TYPE", "res10", "INPUT_SIZE", "[32, 32]")
    net.stopped_batchnorm = True   # BACKBONE.FREEZE_BN
    assert single_valued_layer(net, (32, 32), 1) is None
    assert single_valued_layer(network("BACKBONE.TYPE", "res10", "EVAL_MODE", "True"), (32, 32), 1) is None


def test_synchronised_layers_count_all_ranks():
    net = nn.SyncBatchNorm.convert_sync_batchnorm(network("BACKBONE.TYPE", "res10"))
    assert single_valued_layer(net, (32, 32), 1) == "backbone.layer4.0.bn1"
    assert single_valued_layer(net, (32, 32), 2) is None


@pytest.mark.parametrize(("sizes", "gpus", "refused"), [
    ([2, 2], 1, False), ([1], 1, True), ([5, 5], 4, True), ([8, 8], 4, False), ([4, 4], 4, True), ([3], 2, True),
    ([4], 2, False)])
def test_parts_of_data_parallel_count(sizes, gpus, refused):
    loader = SimpleNamespace(set=SimpleNamespace(labels=range(sum(sizes))),
                             batches=SimpleNamespace(batches=lambda: [torch.arange(size) for size in sizes]))
    net = nn.DataParallel(network("BACKBONE.TYPE", "res10", "INPUT_SIZE", "[32, 32]"))
    net.device_ids = list(range(gpus)) if gpus > 1 else []
    if not refused:
        check_batches(net, loader, (32, 32), CPU)
        return
    with pytest.raises(InputError, match=rf"TRAIN.BATCH_SIZE: the {sum(sizes)} training images give a batch of {sizes[0]}"):
        check_batches(net, loader, (32, 32), CPU)


def test_a_run_that_would_be_replaced_stays(tiny, tmp_path, capsys, no_figures):
    words = ["--cfg", DIGITS, "--gpus", "cpu", *tiny, "TRAIN.MAX_EPOCH", "1", "DATASET.IMBALANCECIFAR.RATIO", "0.05"]
    assert train.main(words) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.*") if path.is_file() and path.name != ".lock"}
    capsys.readouterr()
    more = ["TRAIN.BATCH_SIZE", "1", "INPUT_SIZE", "[4, 4]", "--overwrite"]
    assert train.main([*words, *more]) == 2
    error = capsys.readouterr().err
    assert "TRAIN.BATCH_SIZE: the" in error
    assert "At INPUT_SIZE [4, 4], BatchNorm in backbone.layer3.0.bn1" in error
    assert {path: path.read_bytes() for path in before} == before
