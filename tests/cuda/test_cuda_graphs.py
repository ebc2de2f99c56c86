"""Steps recorded as CUDA graphs beside eager ones; collected only where CUDA is."""
import json

import pytest
import torch
from torch import nn

from lib.device.precision import TorchAmp
from lib.engine.graphed import WARM_UP, CudaRecorder
from lib.update import UPDATES
from tests.engine.graphed_cases import BASES, BATCHES, COUNTS, EPOCHS, LOSS_PAIRS, assert_parity, parts

DIGITS = "configs/test/digits_lt.yaml"
CUDA = torch.device("cuda")
TOLERANCE = 1e-4   # kernels may be chosen anew, and BatchNorm's sums rounded otherwise
FAMILIES = {
    "plain": [],
    "adam": ["TRAIN.OPTIMIZER.TYPE", "ADAM", "TRAIN.OPTIMIZER.BASE_LR", "1e-3"],
    "files": ["DATASET.IN_MEMORY", "never", "TRAIN.NUM_WORKERS", "2"],
    "manifold_mix_up": ["TRAIN.COMBINER.TYPE", "manifold_mix_up", "TRAIN.COMBINER.MANIFOLD_MIX_UP.LOCATION", "layer2"],
    "DRW-LDAM": ["LOSS.LOSS_TYPE", "LDAMLoss", "CLASSIFIER.TYPE", "FCNorm", "TRAIN.TWO_STAGE.DRW", "True",
                 "TRAIN.TWO_STAGE.START_EPOCH", "1"],
    "compiled": ["TRAIN.COMPILE", "True"],
    "SAM": ["TRAIN.UPDATE.TYPE", "sam", "TRAIN.UPDATE.CLIP_NORM", "1.0"],
    "experts": ["NETWORK.EXPERTS.NUM", "3", "CLASSIFIER.TYPE", "CosineFC", "LOSS.LOSS_TYPE", "BalPoE"],
    "views": ["TRAIN.COMBINER.TYPE", "bcl", "HEADS.TYPES", "[projection, prototypes]", "TRANSFORMS.VIEWS",
              "[[random_crop], [random_crop, color_jitter]]", "LOSS.LOSS_TYPE", "BalancedSoftmaxCE"],
    "an average": ["TRAIN.EMA_DECAY", "0.9"],
}


class Counting(CudaRecorder):
    """Counts its recordings and their replays."""

    def __init__(self) -> None:
        super().__init__(CUDA)
        self.recordings = self.replays = 0

    def record(self, compute):
        replay, self.recordings = super().record(compute), self.recordings + 1

        def counted():
            self.replays += 1
            return replay()

        return counted


def assert_recorded(make) -> None:
    recorder = Counting()
    assert_parity(make, recorder, TOLERANCE)
    assert recorder.recordings >= 1
    assert recorder.replays == EPOCHS * BATCHES - recorder.recordings * WARM_UP


@pytest.mark.parametrize(("combiner", "loss"), LOSS_PAIRS)
def test_every_combiner_with_every_loss(combiner, loss):
    assert_recorded(lambda: parts(combiner, loss, device=CUDA))


@pytest.mark.parametrize("base", BASES)
def test_a_teacher_with_every_base_loss(base):
    assert_recorded(lambda: parts("dive", "DiVEKLD", base=base, device=CUDA))


@pytest.mark.parametrize(("rule", "options"), [("plain", {}), ("sam", {"rho": 0.3}), ("asam", {"rho": 0.3}),
                                               ("imb_sam", {"rho": 0.3}),
                                               ("focal_sam", {"bn": "first"}), ("sam", {"bn": "first"})])
def test_update_rules_with_a_shortened_gradient(rule, options):
    """Without dropout, of which a graph draws other numbers in the second pass."""
    def make():
        step = parts("mix_up", "CostSensitiveCE", device=CUDA)
        step.network.dropout = nn.Identity()
        update = UPDATES[rule](**options)
        update.class_counts = COUNTS.to(CUDA)
        return step._replace(update=update, clip_norm=0.5)

    assert_recorded(make)


@pytest.mark.parametrize("optimizer", ["SGD", "ADAM"])
def test_mixed_precision_with_its_scale_in_the_recording(optimizer):
    def make():
        precision = TorchAmp(CUDA)
        precision.scaler = torch.amp.GradScaler("cuda", init_scale=2.0**14, growth_interval=4)
        return parts("mix_up", "LDAMLoss", precision, optimizer, CUDA)

    recorder = Counting()
    assert_parity(make, recorder, tolerance=2e-2)   # float16
    assert recorder.replays > 0


@pytest.mark.parametrize("mixed", ["True", "False"])
@pytest.mark.parametrize("family", FAMILIES)
def test_whole_runs_with_and_without(tmp_path, tiny, command, family, mixed):
    """The last loss is near, the resumed run near the whole one, and the log says what was done."""
    words = ["--cfg", DIGITS, "--gpus", "0", *tiny, *FAMILIES[family], "TRAIN.APEX", mixed, "TRAIN.AMP_BACKEND", "torch"]
    runs = {"eager": [("False", 4)], "graphed": [("True", 4)], "resumed": [("True", 2), ("True", 4)]}
    losses = {}
    for name, sessions in runs.items():
        for number, (graphs, epochs) in enumerate(sessions):
            more = ["TRAIN.CUDA_GRAPHS", graphs, "OUTPUT_DIR", tmp_path / name, "TRAIN.MAX_EPOCH", epochs]
            result = command("python", "main/train.py", *words, *more, *["--ar", "True"] * number)
            assert result.returncode == 0, result.stdout + result.stderr
            assert ("captured as a CUDA graph" in result.stdout) == (graphs == "True")
        lines = (tmp_path / name / "run/history.jsonl").read_text().splitlines()
        losses[name] = json.loads(lines[-1])["train_loss"]
    assert losses["graphed"] == pytest.approx(losses["eager"], rel=0.05)
    assert losses["resumed"] == pytest.approx(losses["graphed"], rel=0.05)
