"""What the tests of recorded steps share, on a CPU and on CUDA: a small training in which everything changes that may."""
import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from lib.combiner import COMBINERS, Combiner
from lib.dataset import Batch
from lib.device.precision import Precision
from lib.device.runtime import Runtime
from lib.engine.epoch import train_one_epoch
from lib.engine.graphed import GraphedStep, Recorder
from lib.engine.optimizer import begin_moments
from lib.engine.step import EagerStep, set_rate
from lib.engine.totals import Sums
from lib.loss import LOSSES, DiVEKLD
from lib.modules import HEADS
from lib.net import Output
from lib.net.network import blend, grafted
from lib.utils.schedule import Deferred
from lib.utils.seed import Stream

CPU = torch.device("cpu")
COUNTS = torch.tensor([500, 60, 9, 1])
EPOCHS, BATCHES, SIZE = 3, 5, 8   # DRW begins in epoch 3; an epoch is longer than the warm-up


class Small(nn.Module):
    """Convolution, BatchNorm, dropout, two places to mix, and a classifier; three of them, and heads, for whoever needs them."""

    def __init__(self, experts: int = 1, heads: Sequence[str] = ()) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6)
        self.dropout, self.classifier = nn.Dropout(0.2), nn.Linear(6, 4)
        self.others = nn.ModuleList(nn.Linear(6, 4) for _ in range(experts - 1))
        self.heads = nn.ModuleDict({name: HEADS[name](6, dim=5) for name in heads})

    def forward(self, images, mix=None, graft=None):
        images = images if graft is None else torch.cat([images, graft.images])
        features = blend(grafted(F.relu(self.norm(self.conv(images))), graft).mean((2, 3)), mix, "pool")
        kept = self.dropout(features)
        logits = blend(self.classifier(kept), mix, "fc").float()
        heads = {name: head(features, self.classifier) for name, head in self.heads.items()}
        if len(self.others):
            heads["experts"] = torch.stack([logits, *(blend(other(kept), mix, "fc").float() for other in self.others)], dim=1)
            logits = heads["experts"].mean(dim=1)
        return Output(logits, features.float(), heads)


class Batches(list):
    """A loader whose batches lie ready."""

    device: torch.device


def epoch_of(number: int, combiner: Combiner, size: int, device: torch.device) -> Batches:
    generator = torch.Generator().manual_seed(number)
    shape = (BATCHES, (combiner.rows or 1) * size)
    images = torch.randn(*shape, 3, 5, 5, generator=generator)
    labels = torch.randint(4, shape, generator=generator)
    views = tuple(torch.randn(size, 3, 5, 5, generator=generator).to(device) for _ in range(combiner.views))
    indices = torch.arange(shape[1])
    batches = Batches(Batch(image.to(device), label.to(device), indices, Stream(100 * number + place, device), views)
                      for place, (image, label) in enumerate(zip(images, labels)))
    batches.device = device
    return batches


def parts(combiner: str, loss: str, precision: Precision | None = None, optimizer: str = "SGD", device: torch.device = CPU,
          **options: object) -> EagerStep:
    """A training of that kind from its beginning, DRW in its last epoch."""
    torch.manual_seed(0)
    experts = any(LOSSES[name].needs_experts for name in (loss, options.get("base", loss)))
    network = Small(3 if experts else 1, COMBINERS[combiner].needs_heads)
    network = network.to(device)
    teacher = {"teacher_model": Small()} if combiner == "dive" else {}
    deferred = Deferred(EPOCHS - 1)
    criterion = LOSSES[loss](COUNTS, deferred if LOSSES[loss].deferrable else None)
    if isinstance(criterion, DiVEKLD):
        base = LOSSES[options.pop("base", "CrossEntropy")]
        criterion.base = base(COUNTS, deferred if base.deferrable else None)
    common = {"lr": 0.1, "weight_decay": 1e-3, "fused": True}
    optimizer = (torch.optim.SGD(network.parameters(), momentum=0.9, nesterov=True, **common) if optimizer == "SGD"
                 else torch.optim.Adam(network.parameters(), **common))
    if isinstance(optimizer, torch.optim.SGD):
        begin_moments(optimizer)
    precision = precision or Precision()
    precision.prepare(network, optimizer)
    combiner = COMBINERS[combiner](COUNTS, **teacher, **options)
    combiner.expect({**dict.fromkeys(combiner.needs_heads, 5), "maps": 6, "experts": 1})
    return EagerStep(network, criterion.to(device), combiner.to(device), optimizer, precision)


def train(step: EagerStep, recorder: Recorder | None, epochs: range = range(1, EPOCHS + 1),
          size: Callable[[int], int] = lambda epoch: SIZE) -> list[torch.Tensor]:
    """The totals of each epoch; each has a rate of its own."""
    device = next(step.network.parameters()).device
    for group in step.optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=device)   # float32 in both
    taken, totals = GraphedStep(step, recorder) if recorder else step, []
    for epoch in epochs:
        set_rate(step.optimizer, 0.1 / epoch)
        step.criterion.on_epoch(epoch)
        batches = epoch_of(epoch, step.combiner, size(epoch), device)
        totals.append(train_one_epoch(taken, batches, sums=Sums(device)).gather(Runtime(device)))
        step.network.eval()   # as validation leaves it
    return totals


def state(step: EagerStep) -> list[torch.Tensor]:
    """All that a step changes."""
    moments = [value for entry in step.optimizer.state.values() for value in entry.values()]
    scaler = step.precision.state_dict().get("torch.amp", {})
    return [*step.network.state_dict().values(), *moments, *map(torch.tensor, scaler.values())]


def assert_same(first: EagerStep, second: EagerStep, tolerance: float = 0.0) -> None:
    for one, other in zip(state(first), state(second), strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def assert_parity(make: Callable[[], EagerStep], recorder: Recorder, tolerance: float = 0.0, **options: Callable) -> None:
    """A whole training by eager steps, and one by recorded ones."""
    eager, recorded = make(), make()
    begun = copy.deepcopy(eager.network.state_dict())
    totals = train(eager, None, **options), train(recorded, recorder, **options)
    for one, other in zip(*totals, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    assert_same(eager, recorded, tolerance)
    assert not torch.equal(begun["conv.weight"], eager.network.conv.weight)


LOSS_PAIRS = [(combiner, loss) for combiner in sorted(set(COMBINERS) - {"dive"}) for loss in sorted(set(LOSSES) - {"DiVEKLD"})]
BASES = sorted(set(LOSSES) - {"DiVEKLD"})
