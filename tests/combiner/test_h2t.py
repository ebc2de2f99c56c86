"""Channels of balanced images' feature maps replaced by those of other images. Facts of spec/methods.md, section 14."""
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DataParallel, scatter_gather

from lib.config import ConfigError, load_config
from lib.core import build
from lib.dataset import Batch
from lib.loss import LOSSES
from lib.net import Network, Output
from lib.utils.seed import Stream
from tests.device.test_distributed import on_ranks

DIGITS = "configs/test/digits_lt.yaml"
COUNTS = torch.tensor([40, 9, 3])
SIZE, CHANNELS = 7, 64
LABELS = torch.tensor([0, 0, 1, 0, 0, 2, 1, 2, 1, 0, 2, 1, 1, 0])   # the shuffled row, then the balanced one


def parts(*words: str, share: float = 0.25):
    """Network and combiner of a configuration, in float64; BatchNorm in eval mode, so that images do not depend on each other."""
    cfg = load_config(DIGITS, ["BACKBONE.TYPE", "res20_cifar", "INPUT_SIZE", "[8, 8]", "TRAIN.SAMPLER.TYPE", "bbn sampler",
                               "TRAIN.COMBINER.TYPE", "h2t", "TRAIN.COMBINER.H2T.SHARE", str(share), *words])
    torch.manual_seed(0)
    network = build.build_network(cfg, len(COUNTS)).double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):   # statistics and weights of a trained network
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                tensor.add_(0.3 * torch.randn_like(tensor))
    return network, build.build_combiner(cfg, COUNTS)


def batch(seed: int = 3) -> Batch:
    images = torch.randn(2 * SIZE, 3, 8, 8, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    return Batch(images, LABELS, torch.arange(2 * SIZE), Stream(seed))


def maps_of(network: Network) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the shuffled row and the balanced one, stage by stage."""
    return network.backbone(batch().images).chunk(2)


@pytest.fixture(scope="module")
def network() -> Network:
    return parts()[0]


CRITERION = LOSSES["CrossEntropy"](COUNTS)


@pytest.mark.parametrize("loss", ["CrossEntropy", "BalancedSoftmaxCE", "CostSensitiveCE"])
def test_no_share_is_the_plain_step_of_the_balanced_row_bit_for_bit(loss):
    """Loss, logits, labels and gradients; the plain step has the other row in its batch as well, and no weight on it."""
    criterion, (network, combiner) = LOSSES[loss](COUNTS), parts(share=0.0)
    result = combiner(network, criterion, batch())
    result.loss.backward()
    gradients = [parameter.grad.clone() for parameter in network.classifier.parameters()]
    network.zero_grad()
    images, labels = batch().images, LABELS.chunk(2)[1]
    logits = network(torch.cat(images.chunk(2)[::-1])).logits[:SIZE]
    plain = criterion(logits, labels)
    plain.backward()
    assert torch.equal(result.logits, logits)
    assert torch.equal(result.targets, labels)
    assert torch.equal(result.loss, plain)
    for parameter, gradient in zip(network.classifier.parameters(), gradients, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-13, atol=1e-15)   # a sum over other rows of zeros
    torch.testing.assert_close(network(images.chunk(2)[1]).logits, logits, rtol=1e-10, atol=1e-12)   # whatever is beside it


def test_a_whole_share_gives_the_logits_of_the_other_row(network):
    result = parts(share=1.0)[1](network, CRITERION, batch())
    others, labels = network(batch().images).logits[:SIZE], LABELS.chunk(2)[1]
    torch.testing.assert_close(result.logits, others, rtol=1e-10, atol=1e-12)
    assert torch.equal(result.targets, labels)
    torch.testing.assert_close(result.loss, F.cross_entropy(others, labels))


@pytest.mark.parametrize(("share", "replaced"), [(0.0, 0), (0.01, 0), (0.25, 16), (0.26, 16), (0.5, 32), (0.99, 63), (1.0, 64)])
def test_as_many_channels_as_the_share_says(network, share, replaced):
    """By hand, and each channel is from one image as a whole; the pooling comes after."""
    combiner = parts(share=share)[1]
    channels, = combiner.draw(batch(), 1)
    assert (channels.dtype, channels.shape, int(channels.sum())) == (torch.bool, (CHANNELS,), replaced)
    others, own = maps_of(network)
    maps = own.clone()
    maps[:, channels] = others[:, channels]
    logits = network.classifier(maps.mean(dim=(2, 3)))
    result = combiner(network, CRITERION, batch())
    torch.testing.assert_close(result.logits, logits, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(result.loss, F.cross_entropy(logits, LABELS.chunk(2)[1]))


def test_positions_stay_apart_without_pooling():
    """Channels of maps are replaced, not features: of the four positions of a map all or none."""
    network, combiner = parts("MODULE.TYPE", "Identity")
    channels, = combiner.draw(batch(), 1)
    others, own = maps_of(network)
    maps = torch.where(channels[:, None, None], others, own)
    assert maps.shape == (SIZE, CHANNELS, 2, 2)
    torch.testing.assert_close(combiner(network, CRITERION, batch()).logits, network.classifier(maps.flatten(1)))


def test_each_expert_has_channels_of_its_own():
    network, combiner = parts("NETWORK.EXPERTS.NUM", "3", "NETWORK.EXPERTS.WIDTH", "0.75")
    assert (combiner.num_channels, combiner.num_experts) == (48, 3)
    drawn = [combiner.draw(batch(seed), 1)[0].chunk(3) for seed in range(5)]
    assert {int(channels.sum()) for experts in drawn for channels in experts} == {12}
    assert not any(torch.equal(first, second) for first, second, _ in drawn)
    channels, = combiner.draw(batch(), 1)
    others, own = maps_of(network)
    features = torch.where(channels[:, None, None], others, own).mean(dim=(2, 3))
    result = combiner(network, CRITERION, batch())
    torch.testing.assert_close(result.logits, network.classifier(features).mean(dim=1))


def test_channels_are_drawn_from_the_batch_and_evenly():
    combiner = parts()[1]
    drawn = torch.stack([combiner.draw(batch(seed), 1)[0] for seed in range(800)]).double()
    assert torch.equal(drawn[3], combiner.draw(batch(3), 1)[0].double())
    assert drawn.mean(dim=0).tolist() == pytest.approx([0.25] * CHANNELS, abs=0.07)
    pairs = (drawn.T @ drawn / len(drawn))[~torch.eye(CHANNELS, dtype=torch.bool)]
    assert pairs.mean().item() == pytest.approx(16 * 15 / (64 * 63))   # without replacement


def test_making_a_combiner_draws_no_random_numbers():
    """Otherwise the network's weights would depend on which combiner is made first."""
    parts()
    before = torch.get_rng_state()
    build.dims_of_maps(load_config(DIGITS, ["NETWORK.EXPERTS.NUM", "2"]))
    assert torch.equal(before, torch.get_rng_state())


class Parts(DataParallel):
    """DataParallel on the CPU: torch's own scattering, and one module for all parts."""

    def __init__(self, module: nn.Module, num_parts: int) -> None:
        nn.Module.__init__(self)
        self.module, self.device_ids, self.sizes = module, list(range(num_parts)), []

    def forward(self, *inputs, **options):
        inputs, options = scatter_gather.scatter_kwargs(inputs, options, self.device_ids)
        self.sizes = [len(images) for images, in inputs]
        outputs = [self.module(*own, **more) for own, more in zip(inputs, options, strict=True)]
        return Output(*(torch.cat([getattr(one, name) for one in outputs]) for name in ("logits", "features")))


@pytest.mark.parametrize(("num_parts", "sizes"), [(2, [4, 3]), (3, [3, 3, 1]), (5, [2, 2, 2, 1])])
def test_dataparallel_keeps_pairs_together(network, monkeypatch, num_parts, sizes):
    """Each device has both images of its pairs, so that the logits are those of one device."""
    scatter = type("Scatter", (), {"apply": staticmethod(lambda devices, sizes, dim, tensor: tensor.chunk(len(devices), dim))})
    monkeypatch.setattr(scatter_gather, "Scatter", scatter)
    wrapped, combiner = Parts(network, num_parts), parts()[1]
    result, alone = combiner(wrapped, CRITERION, batch()), combiner(network, CRITERION, batch())
    assert wrapped.sizes == sizes
    torch.testing.assert_close(result.logits, alone.logits, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(result.loss, alone.loss)


def gradient_of(wrapped: nn.Module, combiner, rank: int) -> list[torch.Tensor]:
    wrapped.zero_grad()
    given = batch(rank)._replace(images=batch().images * (1 + rank))
    combiner(wrapped, CRITERION, given).loss.backward()
    return [parameter.grad.clone() for parameter in wrapped.parameters()]


def on_a_rank(runtime) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Gradients without DDP and through it; each rank has images and channels of its own."""
    network, combiner = parts()
    alone = gradient_of(network, combiner, runtime.rank)
    return alone, gradient_of(runtime.wrap(network), combiner, runtime.rank)


@pytest.mark.slow
def test_two_ranks_have_the_mean_of_their_gradients():
    (alone, first), (other, second) = on_ranks(2, on_a_rank)
    assert not torch.equal(alone[-1], other[-1])
    for one, two, mean, same in zip(alone, other, first, second, strict=True):
        torch.testing.assert_close(mean, (one + two) / 2, rtol=1e-9, atol=1e-13)
        assert torch.equal(mean, same)


def test_the_rows_of_the_bbn_sampler_are_needed():
    with pytest.raises(ConfigError, match=r"h2t needs TRAIN.SAMPLER.TYPE 'bbn sampler', got 'default'"):
        load_config(DIGITS, ["TRAIN.COMBINER.TYPE", "h2t"])


def test_the_fragment_draws_a_natural_row_and_a_balanced_one():
    cfg = load_config([DIGITS, "configs/tricks/h2t.yaml"], ["TRAIN.BATCH_SIZE", "100"])
    train_set, _ = build.build_datasets(cfg)
    natural, balanced = build.build_draw(cfg, train_set)(1, torch.Generator().manual_seed(0))
    assert torch.equal(torch.bincount(train_set.labels[natural]), train_set.class_counts)
    counts = torch.bincount(train_set.labels[balanced])
    assert counts.sum() == len(train_set.labels)
    assert counts.min() > 0.6 * len(train_set.labels) / 10
