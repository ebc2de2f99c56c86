"""Mixing inside the network, on one device and on several."""
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DataParallel, scatter_gather

from lib.backbone import BACKBONES
from lib.combiner import COMBINERS
from lib.combiner.base import draw_partners
from lib.dataset import Batch
from lib.device.runtime import num_chunks
from lib.loss import LOSSES
from lib.modules import CLASSIFIERS, POOLINGS
from lib.net import Mix, Network, Output, mix_locations
from lib.utils.errors import UnknownNameError
from lib.utils.seed import Stream

SIZE = 7
COUNTS = torch.ones(SIZE, dtype=torch.long)
SHARE = 0.3


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return Network(BACKBONES["res20_cifar"](), POOLINGS["GAP"](), CLASSIFIERS["FC"](64, SIZE)).eval()


class FixedShare:
    def beta(self, first: float, second: float) -> float:
        return SHARE


def batch() -> Batch:
    """Every example is a class of its own, so that targets tell the partners."""
    stream = Stream(5)
    stream.host = FixedShare()
    images = torch.randn(SIZE, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return Batch(images, torch.arange(SIZE), torch.arange(SIZE), stream)


def step(network: nn.Module, location: str):
    return COMBINERS["manifold_mix_up"](COUNTS, location=location)(network, LOSSES["CrossEntropy"](COUNTS), batch())


def partners_told_by(targets: torch.Tensor) -> torch.Tensor:
    return (targets - SHARE * torch.eye(SIZE)).argmax(dim=1)


@pytest.mark.parametrize("location", ["stem", "layer1", "layer2", "layer3", "pool", "fc"])
def test_hidden_states_and_labels_have_the_same_partners(network, location):
    """By hand: all layers one after the other, and the mixture where it belongs."""
    partner, _ = draw_partners(SIZE, 1, Stream(5).generator)
    layers = [*network.backbone.stages(), ("pool", network.module), ("fc", lambda x: network.classifier(x.flatten(1)))]
    x = batch().images
    for name, layer in layers:
        x = layer(x)
        x = SHARE * x + (1 - SHARE) * x[partner] if name == location else x
    result = step(network, location)
    torch.testing.assert_close(result.logits, x)
    torch.testing.assert_close(result.targets, SHARE * torch.eye(SIZE) + (1 - SHARE) * torch.eye(SIZE)[partner])
    torch.testing.assert_close(result.loss, F.cross_entropy(x, result.targets))


def test_where_a_network_can_mix(network):
    assert mix_locations(network.backbone) == ["stem", "layer1", "layer2", "layer3", "pool", "fc"]
    assert mix_locations(BACKBONES["res10"]())[-3:] == ["layer4", "pool", "fc"]


def test_a_place_that_is_not_there_does_not_mix_labels_alone(network):
    with pytest.raises(UnknownNameError, match="layer 'layer4' for mixup; choose one of stem, layer1, layer2, layer3, pool, fc"):
        step(network, "layer4")


class Parts(DataParallel):
    """DataParallel on the CPU: torch's own scattering, and one module for all parts."""

    def __init__(self, module: nn.Module, num_parts: int) -> None:
        nn.Module.__init__(self)
        self.module, self.device_ids, self.sizes = module, list(range(num_parts)), []

    def forward(self, *inputs):
        parts = scatter_gather.scatter(inputs, self.device_ids)
        self.sizes = [len(images) for images, _ in parts]
        outputs = [self.module(*part) for part in parts]
        return Output(*(torch.cat([getattr(one, name) for one in outputs]) for name in ("logits", "features")))


@pytest.fixture
def scatter_on_cpu(monkeypatch):
    """Cuts tensors as torch.cuda.comm.scatter does, without sending them anywhere."""
    class Scatter:
        @staticmethod
        def apply(devices, chunk_sizes, dim, tensor):
            assert chunk_sizes is None
            return tensor.chunk(len(devices), dim)

    monkeypatch.setattr(scatter_gather, "Scatter", Scatter)


@pytest.mark.parametrize(("num_parts", "sizes"), [(1, [7]), (2, [4, 3]), (3, [3, 3, 1]), (4, [2, 2, 2, 1]), (5, [2, 2, 2, 1])])
@pytest.mark.parametrize("location", ["layer2", "fc"])
def test_partners_never_cross_the_parts_of_dataparallel(network, scatter_on_cpu, num_parts, sizes, location):
    parts = Parts(network, num_parts)
    assert num_chunks(parts) == num_parts
    result = step(parts, location)
    assert parts.sizes == sizes
    partner = partners_told_by(result.targets)
    home = torch.arange(SIZE).chunk(num_parts)
    assert all(set(partner[part].tolist()) == set(part.tolist()) for part in home), "a permutation of each part"
    expected = network(batch().images, Mix(location, partner, torch.full((SIZE,), SHARE))).logits
    torch.testing.assert_close(result.logits, expected)


def test_one_device_is_one_chunk(network):
    assert num_chunks(network) == num_chunks(DataParallel(network)) == 1
