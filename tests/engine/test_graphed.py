"""A recorded step is the step: the same weights, moments, statistics and totals, whatever changes between batches and epochs."""
import copy
import logging
import math
import random
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from cpu_recorder import CpuRecorder, Notes
from graphed_cases import BASES, BATCHES, COUNTS, CPU, EPOCHS, LOSS_PAIRS, SIZE, assert_parity, assert_same, parts, train
from torch import nn

from lib.combiner import COMBINERS, Combiner
from lib.config import load_config
from lib.core import build
from lib.device.precision import ApexAmp, TorchAmp
from lib.device.runtime import Runtime
from lib.engine.graphed import WARM_UP, obstacle
from lib.engine.optimizer import begin_moments
from lib.engine.replay_check import difference
from lib.engine.step import EagerStep
from lib.loss import LOSSES, LongTailLoss
from lib.update import UPDATES
from lib.utils.errors import InputError

CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def one_hot_without_a_look(monkeypatch):
    """On a CPU ``one_hot`` looks at the labels' range, on CUDA it does not."""
    monkeypatch.setattr(F, "one_hot", lambda labels, classes: torch.zeros(*labels.shape, classes, dtype=torch.long).scatter_(
        -1, labels[..., None], 1))


def assert_recorded(make: Callable[[], EagerStep], recordings: int, **options: Callable) -> None:
    recorder = CpuRecorder()
    assert_parity(make, recorder, **options)
    assert (recorder.recordings, recorder.replays) == (recordings, EPOCHS * BATCHES - recordings * WARM_UP)


@pytest.mark.parametrize(("combiner", "loss"), LOSS_PAIRS)
def test_every_combiner_with_every_loss(combiner, loss):
    """Shares, partners, seeds and rates are new at each batch or epoch; DRW makes a second recording."""
    assert_recorded(lambda: parts(combiner, loss), recordings=1 + LOSSES[loss].deferrable)


@pytest.mark.parametrize("base", BASES)
def test_a_teacher_with_every_base_loss(base):
    assert_recorded(lambda: parts("dive", "DiVEKLD", base=base), recordings=2)


@pytest.mark.parametrize("options", [{"location": "fc"}, {"location": "pool"}])
def test_places_to_mix(options):
    assert_recorded(lambda: parts("manifold_mix_up", "CrossEntropy", **options), recordings=2)


@pytest.mark.parametrize(("rule", "options"), [("plain", {}), ("sam", {"rho": 0.3}), ("asam", {"rho": 0.3}),
                                               ("imb_sam", {"rho": 0.3}),
                                               ("focal_sam", {"bn": "first"}), ("sam", {"bn": "first"})])
def test_update_rules_with_a_shortened_gradient(rule, options):
    """All passes of a step are one graph. Without dropout, of which a graph would draw other numbers in the second pass."""
    def make():
        step = parts("mix_up", "CostSensitiveCE")
        step.network.dropout = nn.Identity()
        update = UPDATES[rule](**options)
        update.class_counts = COUNTS
        return step._replace(update=update, clip_norm=0.5)

    assert obstacle(make(), Runtime(CUDA)) == ""
    assert_recorded(make, recordings=2)


def test_both_passes_of_a_recorded_step_meet_the_same_noise():
    """At a radius of 0 the second gradient is the first one, so that the step is the plain one, recorded or not."""
    def make(rule: str, **options: float) -> EagerStep:
        step = parts("mix_up", "GCL")
        step.network.dropout = nn.Identity()
        return step._replace(update=UPDATES[rule](**options))

    plain, sam = make("plain"), make("sam", rho=0.0, bn="first")
    train(plain, CpuRecorder())
    train(sam, CpuRecorder())
    assert_same(plain, sam)


def test_averaged_shares_and_adam():
    assert_recorded(lambda: parts("remix", "CostSensitiveCE", optimizer="ADAM", per_sample=False), recordings=2)


def test_mixed_precision_with_its_scale_in_the_recording():
    """The scale that the steps begin with overflows float16, so that some are skipped and the scale comes down."""
    def make():
        precision = TorchAmp(CPU)
        precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14, growth_interval=4)
        return parts("mix_up", "LDAMLoss", precision)

    assert_recorded(make, recordings=2)
    step = make()
    skipped = sum(total[0, 3] for total in train(step, CpuRecorder()))
    assert 0 < skipped < EPOCHS * BATCHES
    assert step.precision.scaler.get_scale() != 2.0**14


def test_another_size_of_batch_is_another_recording():
    assert_recorded(lambda: parts("mix_up", "SEQL"), recordings=2, size=lambda epoch: SIZE if epoch < 3 else SIZE // 2)


def test_an_epoch_of_one_batch_warms_up_over_the_epochs(monkeypatch):
    monkeypatch.setattr("graphed_cases.BATCHES", 1)
    recorder = CpuRecorder()
    eager, recorded = parts("mix_up", "SEQL"), parts("mix_up", "SEQL")
    train(eager, None, range(1, 7))
    train(recorded, recorder, range(1, 7))
    assert_same(eager, recorded)
    assert (recorder.recordings, recorder.replays) == (1, 6 - WARM_UP)


def test_states_are_exchanged_with_eager_training():
    """One epoch by either step, the rest by the other: a checkpoint of one is one of the other."""
    whole, saved = parts("mix_up", "CrossEntropy"), {}
    train(whole, None)
    for first, second in ((None, CpuRecorder()), (CpuRecorder(), None)):
        begun, resumed = parts("mix_up", "CrossEntropy"), parts("mix_up", "CrossEntropy")
        train(begun, first, range(1, 2))
        saved = copy.deepcopy((begun.network.state_dict(), begun.optimizer.state_dict()["state"]))
        resumed.network.load_state_dict(saved[0])
        resumed.optimizer.load_state_dict({"state": saved[1], "param_groups": resumed.optimizer.state_dict()["param_groups"]})
        train(resumed, second, range(2, EPOCHS + 1))
        assert_same(whole, resumed)


class Drifting(LongTailLoss):
    """Keeps in Python what changes: with the epoch, or with the batch."""

    factor = 1.0

    def __init__(self, class_counts, every: str) -> None:
        super().__init__(class_counts)
        self.every = every

    def on_epoch(self, epoch):
        super().on_epoch(epoch)
        self.factor = epoch / 2 if getattr(self, "every", "") == "epoch" else self.factor

    def on_batch(self, seed):
        self.factor = (seed % 7) / 3 if self.every == "batch" else self.factor

    def forward(self, output, targets, sample_weight=None):
        return self.factor * F.cross_entropy(output.logits, targets)


def drifting(every: str) -> EagerStep:
    return parts("default", "CrossEntropy")._replace(criterion=Drifting(COUNTS, every))


def test_a_loss_that_changes_with_the_epoch_is_recorded_in_each():
    assert_recorded(lambda: drifting("epoch"), recordings=EPOCHS)


def test_a_loss_that_changes_with_the_batch_is_left_as_it_is(caplog):
    eager, left, recorder = drifting("batch"), drifting("batch"), CpuRecorder()
    train(eager, None)
    train(left, recorder)
    assert_same(eager, left)
    assert (recorder.recordings, recorder.replays) == (0, 0)
    assert caplog.text.count("Python attributes of Drifting change with every batch") == 1


def test_a_step_that_waits_for_the_device_is_refused():
    class Curious(Combiner):
        def combine(self, network, criterion, images, labels):
            step = COMBINERS["default"](COUNTS).combine(network, criterion, images, labels)
            return step._replace(loss=step.loss * float(step.loss.detach() > 0))

    step = parts("default", "CrossEntropy")._replace(combiner=Curious(COUNTS))
    with pytest.raises(InputError, match=r"^TRAIN\.CUDA_GRAPHS: this training step cannot be captured \(.*waits for the device"):
        train(step, CpuRecorder())


class Wavering(Combiner):
    """Weights each batch with a number of the host's, which a graph keeps as it was."""

    def combine(self, network, criterion, images, labels):
        step = COMBINERS["default"](COUNTS).combine(network, criterion, images, labels)
        return step._replace(loss=step.loss * (1 + random.random()))   # seeded with the batch


class Forgetting(Notes):
    """Leaves out the operations of a name."""

    def __init__(self, forgotten: str) -> None:
        super().__init__()
        self.forgotten = forgotten

    def replay(self) -> None:
        self.calls = [call for call in self.calls if self.forgotten not in str(call[0])]
        super().replay()


def test_a_number_of_the_host_in_a_recording_is_found():
    step = parts("default", "CrossEntropy")._replace(combiner=Wavering(COUNTS))
    with pytest.raises(InputError, match=r"^TRAIN\.CUDA_GRAPHS: the captured step has another .* of the \w+ is \S+, and"):
        train(step, CpuRecorder())


@pytest.mark.parametrize("forgotten", ["_fused_sgd_", "native_batch_norm", "nll_loss_backward"])
def test_a_recording_that_lacks_something_is_found(forgotten):
    with pytest.raises(InputError, match="the captured step has another result than the eager step"):
        train(parts("default", "CrossEntropy"), CpuRecorder(lambda: Forgetting(forgotten)))


def test_what_was_recorded_is_compared_once_and_the_log_says_so(caplog):
    with caplog.at_level(logging.INFO, logger="lib.engine.graphed"):
        train(parts("mix_up", "LDAMLoss"), CpuRecorder())
    assert caplog.text.count("its result differs from the eager step by a relative 0") == 2   # DRW begins


def vectors(*rows: list[float]) -> list[list[torch.Tensor]]:
    return [[torch.tensor(row)] for row in rows]


@pytest.mark.parametrize(("expected", "found", "start", "share"), [
    ([3.0, 4.0], [3.0, 4.0], [0.0, 0.0], 0.0),
    ([3.0, 4.0], [3.0, 9.0], [0.0, 0.0], 1.0),            # off by 5, of a change by 5
    ([13.0, 14.0], [10.0, 10.0], [10.0, 10.0], 1.0),      # nothing done
    ([1.0, 1.0], [1.0 + 1e-7, 1.0], [1.0, 1.0], 0.0),     # no change, and rounding
    ([math.inf, 1.0], [math.inf, 1.0], [0.0, 0.0], 0.0),
    ([math.inf, 1.0], [2.0, 1.0], [0.0, 0.0], 2.0),
    ([2**62, 3], [2**62, 3], [0, 3], 0.0),
    ([2**62, 3], [2**62 + 1, 3], [0, 3], math.inf),       # which float64 cannot tell
])
def test_difference_is_a_share_of_the_change(expected, found, start, share):
    assert difference(*vectors(expected, found, start)).item() == pytest.approx(share, rel=1e-5)   # rounding is taken off


def test_what_is_in_the_way_of_a_recording():
    step = parts("default", "CrossEntropy")
    assert obstacle(step, Runtime(CUDA)) == ""
    assert "a CPU" in obstacle(step, Runtime(CPU))
    assert "several devices" in obstacle(step, Runtime(CUDA, world_size=2))
    assert "several devices" in obstacle(step, Runtime(CUDA, replicas=2))
    assert "AMP_BACKEND" in obstacle(step._replace(precision=ApexAmp(None)), Runtime(CUDA))
    assert "ACCUMULATE" in obstacle(step._replace(pieces=2), Runtime(CUDA))
    assert "dropout" in obstacle(step._replace(update=UPDATES["sam"]()), Runtime(CUDA))
    with pytest.raises(TypeError, match="Old overrides forward"):
        type("Old", (Combiner,), {"forward": lambda self, network, criterion, batch: None})


def test_on_a_cpu_the_key_changes_nothing_and_says_so(tiny, caplog):
    cfg = load_config("configs/test/digits_lt.yaml", [*tiny, "TRAIN.CUDA_GRAPHS", "True"])
    step = parts("default", "CrossEntropy")
    with caplog.at_level(logging.INFO, logger="lib.engine.graphed"):
        assert build.build_step(cfg, step, Runtime(CPU)) is step
    assert "TRAIN.CUDA_GRAPHS: the step is not captured, since the device is a CPU" in caplog.text


def test_a_skipped_first_step_leaves_moments_that_are_numbers():
    """Gradients of the first step overflow; the second goes as if it were the first."""
    def trained(factors: list[float]) -> nn.Parameter:
        parameter = nn.Parameter(torch.ones(100))
        optimizer = torch.optim.SGD([parameter], 0.1, momentum=0.9, nesterov=True, fused=True)
        begin_moments(optimizer)
        precision = TorchAmp(CPU)
        precision.prepare(nn.Identity(), optimizer)
        for factor in factors:
            optimizer.zero_grad()
            precision.step((parameter * factor).sum(), optimizer)
        return parameter

    assert torch.equal(trained([torch.inf, 1.0, 1.0]), trained([1.0, 1.0]))
