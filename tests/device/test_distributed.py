"""Several gloo ranks against one process, in processes of their own."""
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import nn

from lib.config import load_config
from lib.core import build
from lib.dataset import Batch, EvalBatches
from lib.device.precision import Precision
from lib.device.runtime import Runtime
from lib.engine.epoch import train_one_epoch
from lib.engine.evaluation import evaluate
from lib.engine.step import EagerStep, set_rate
from lib.loss.base import LongTailLoss, weighted_mean
from lib.net import Output
from lib.update import UPDATES
from lib.utils.errors import InputError
from lib.utils.seed import Stream, seed_globals
from lib.utils.workers import worker_context

DIGITS = "configs/test/digits_lt.yaml"
CPU = torch.device("cpu")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def on_ranks(world_size: int, function, *args) -> list:
    """Calls ``function(runtime, *args)`` in each of several gloo ranks; returns their results."""
    context = worker_context()   # whose server has imported torch already
    with context.Manager() as manager:
        results = manager.dict()
        mp.start_processes(rank_main, (world_size, free_port(), results, function, args), world_size,
                           start_method=context.get_start_method())
        return [results[rank] for rank in range(world_size)]


def rank_main(rank, world_size, port, results, function, args):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world_size)
    results[rank] = function(Runtime(CPU, rank, world_size), *args)
    dist.destroy_process_group()


class Rows(nn.Module):
    """A network whose logits depend on its images, and on a buffer that differs by rank until it is synchronised."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(12, 5)
        self.register_buffer("offset", torch.full((5,), float(rank)))

    def forward(self, images):
        return Output(self.linear(images.flatten(1)) + self.offset * torch.arange(5), images)


class Batches(list):
    """Batches that lie ready."""

    @property
    def num_images(self) -> int:
        return sum(len(batch.labels) for batch in self)


def evaluated(runtime: Runtime, sizes: tuple[int, ...]):
    """Predictions for sets of these sizes."""
    return [evaluated_set(runtime, num_images) for num_images in sizes]


def evaluated_set(runtime: Runtime, num_images: int):
    images = torch.randn(num_images, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    labels = torch.randint(5, (num_images,), generator=torch.Generator().manual_seed(2))
    batches = EvalBatches(num_images, 8, runtime.rank, runtime.world_size).batches()
    loader = Batches(Batch(images[rows], labels[rows], rows, Stream(0)) for rows in batches)
    return evaluate(Rows(runtime.rank), loader, Precision(), runtime)


@pytest.mark.slow
@pytest.mark.parametrize(("world_size", "sizes"), [(2, (37, 5)), (3, (41,))])
def test_evaluation_over_ranks_is_that_of_one_process(world_size, sizes):
    """Exactly equal on every rank: no image missing, doubled or out of order; 5 leave one of two ranks without a batch."""
    alone = evaluated(Runtime(CPU), sizes)
    assert [len(predictions.labels) for predictions in alone] == list(sizes)
    for rank in on_ranks(world_size, evaluated, sizes):
        for one, several in zip(alone, rank):
            assert all(map(torch.equal, one, several))


def communicated(runtime: Runtime):
    rows = torch.arange(runtime.rank, dtype=torch.float).repeat_interleave(2).view(-1, 2)   # rank r has r rows
    gathered = runtime.gather_rows(rows)
    total = runtime.all_reduce(torch.tensor([runtime.rank + 1.0]))
    return gathered, total.item(), runtime.broadcast_object(f"rank {runtime.rank}"), runtime.gather_objects(runtime.rank)


def disagreeing(runtime: Runtime):
    try:
        with runtime.agree():
            if runtime.rank == 1:
                raise InputError("no data here")
    except InputError as error:
        return str(error)


@pytest.mark.slow
def test_what_ranks_tell_each_other():
    for gathered, total, heard, ranks in on_ranks(3, communicated):
        assert gathered.tolist() == [[0, 0], [0, 0], [1, 1]]   # none of rank 0, one of rank 1, two of rank 2
        assert (total, heard, ranks) == (6.0, "rank 0", [0, 1, 2])


@pytest.mark.slow
def test_a_mistake_on_one_rank_is_raised_on_all():
    assert on_ranks(2, disagreeing) == ["rank 1: no data here"] * 2


class Shifted(LongTailLoss):
    """Cross-entropy of logits with a learned shift per class."""

    def __init__(self, class_counts) -> None:
        super().__init__(class_counts)
        self.shift = nn.Parameter(torch.zeros(len(class_counts), dtype=torch.double))

    def forward(self, output, targets, sample_weight=None):
        losses = F.cross_entropy(Output.of(output).logits + self.shift, targets, reduction="none")
        return weighted_mean(losses, None, sample_weight)


METHODS = {   # rule, pieces of a batch, a loss that learns
    "plain": ("plain", 1, False), "SAM": ("sam", 1, False), "pieces": ("plain", 2, False), "SAM of pieces": ("sam", 2, True),
    "Focal-SAM of pieces": ("focal_sam", 2, False), "ImbSAM": ("imb_sam", 1, True),
}


def trained(runtime: Runtime, batch_size: int, method: str = "plain"):
    """Three epochs of the digits in float64, without augmentation and with BatchNorm in eval mode; the parameters."""
    rule, pieces, learns = METHODS[method]
    cfg = load_config(DIGITS, ["TRAIN.BATCH_SIZE", str(batch_size), "EVAL_MODE", "True", "TRANSFORMS.TRAIN_TRANSFORMS", "[]",
                               "INPUT_SIZE", "[8, 8]", "BACKBONE.TYPE", "res20_cifar"])
    train_set, valid_set = build.build_datasets(cfg)
    loader, _ = build.build_loaders(cfg, train_set, valid_set, runtime)
    seed_globals(cfg.SEED)
    network = build.build_network(cfg, train_set.num_classes).double()
    criterion = Shifted(train_set.class_counts) if learns else build.build_criterion(cfg, train_set.class_counts)
    optimizer, schedule = build.build_optimizer(cfg, network, criterion)
    normalize = loader.normalize
    loader.normalize = lambda images: normalize(images).double()
    wrapped = runtime.wrap(network)
    for epoch in (1, 2, 3):
        set_rate(optimizer, cfg.TRAIN.OPTIMIZER.BASE_LR * schedule(epoch))
        loader.on_epoch(epoch)
        combiner = build.build_combiner(cfg, train_set.class_counts)
        update = UPDATES[rule]()
        update.class_counts = train_set.class_counts
        train_one_epoch(EagerStep(wrapped, criterion, combiner, optimizer, Precision(), update, pieces), loader)
    both = [*network.named_parameters(), *criterion.named_parameters()]
    return {name: parameter.detach() for name, parameter in both}


@pytest.mark.slow
@pytest.mark.parametrize("method", [pytest.param(name, marks=[pytest.mark.long] * (name not in ("plain", "SAM")))
                                    for name in METHODS])
def test_two_ranks_train_what_one_process_trains_with_the_doubled_batch(method):
    """Equal to rounding in float64.

    In float32, rounding moves some of an epoch's ten million activations across ReLU's kink, and each of them changes the
    gradient by a step: up to a per cent after one epoch, which would hide a mistake.
    """
    alone = trained(Runtime(CPU), 64, method)
    first, second = on_ranks(2, trained, 32, method)
    assert ("shift" in alone) == METHODS[method][2]
    for name, parameter in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], parameter, rtol=1e-10, atol=1e-13, msg=name)
