"""The same facts on a GPU; collected only where CUDA is."""
import json

import pytest
import torch

from lib.data_transform import TRANSFORMS, normalize
from lib.data_transform.curriculum import Curriculum
from lib.dataset import SAMPLERS, ArraySet, EpochBatches, FileLoader, MemoryLoader
from lib.device.precision import TorchAmp
from lib.device.runtime import Runtime
from lib.engine import totals
from lib.loss import LOSSES, LongTailLoss
from lib.utils.output import Output
from lib.utils.schedule import Deferred
from main import train, valid

DIGITS = "configs/test/digits_lt.yaml"
CUDA = torch.device("cuda")


def run(tmp_path, name: str, words: list[str], gpus: str = "auto") -> int:
    return train.main(["--cfg", DIGITS, "--gpus", gpus, *words, "OUTPUT_DIR", str(tmp_path / name)])


def last(tmp_path, name: str) -> dict:
    return torch.load(tmp_path / name / "run/models/last.pth", map_location="cpu")


FAMILIES = {
    "plain": [],
    "bfloat16": ["TRAIN.AMP_DTYPE", "bfloat16"],
    "mix_up": ["TRAIN.COMBINER.TYPE", "mix_up"],
    "manifold_mix_up": ["TRAIN.COMBINER.TYPE", "manifold_mix_up", "TRAIN.COMBINER.MANIFOLD_MIX_UP.LOCATION", "layer2"],
    "remix": ["TRAIN.COMBINER.TYPE", "remix"],
    "DRW-LDAM": ["LOSS.LOSS_TYPE", "LDAMLoss", "CLASSIFIER.TYPE", "FCNorm", "TRAIN.TWO_STAGE.DRW", "True"],
    "GCL": ["LOSS.LOSS_TYPE", "GCL", "CLASSIFIER.TYPE", "FCNorm", "LOSS.GCL.FOCAL_GAMMA", "1", "TRAIN.COMBINER.TYPE", "mix_up"],
    "bbn_mix": ["TRAIN.SAMPLER.TYPE", "bbn sampler", "TRAIN.COMBINER.TYPE", "bbn_mix"],
    "SAM": ["TRAIN.UPDATE.TYPE", "sam", "TRAIN.UPDATE.CLIP_NORM", "1.0", "TRAIN.COMBINER.TYPE", "mix_up"],
    "experts": ["NETWORK.EXPERTS.NUM", "3", "CLASSIFIER.TYPE", "CosineFC", "LOSS.LOSS_TYPE", "BalPoE"],
    "views": ["TRAIN.COMBINER.TYPE", "bcl", "HEADS.TYPES", "[projection, prototypes]", "TRANSFORMS.VIEWS",
              "[[random_crop], [random_crop, color_jitter]]", "LOSS.LOSS_TYPE", "BalancedSoftmaxCE"],
    "curriculum": ["TRANSFORMS.TRAIN_TRANSFORMS", "[random_crop, curriculum]"],
    "MaxNorm": ["CLASSIFIER.TYPE", "MaxNorm", "LOSS.LOSS_TYPE", "ClassBalancedBCE", "NETWORK.PRETRAINED", "True",
                "NETWORK.PRETRAINED_MODEL", "{FIRST}/run/models/last.pth"],
    "pieces": ["TRAIN.UPDATE.ACCUMULATE", "4", "TRAIN.EMA_DECAY", "0.9"],
    "Focal-SAM and CMO": ["TRAIN.UPDATE.TYPE", "focal_sam", "TRAIN.COMBINER.TYPE", "cmo", "TRAIN.SAMPLER.TYPE", "bbn sampler",
                          "TRAIN.SAMPLER.BBN_SAMPLER.TYPE", "balance", "TRAIN.COMBINER.CMO.WARM_UP", "0"],
    "UniMix, VS and policies": ["TRAIN.COMBINER.TYPE", "uni_mix", "LOSS.LOSS_TYPE", "VSLoss", "TRANSFORMS.TRAIN_TRANSFORMS",
                                "[random_crop, random_rotation, auto_augment, rand_augment, cutout]"],
    "H2T": ["TRAIN.COMBINER.TYPE", "h2t", "TRAIN.SAMPLER.TYPE", "bbn sampler", "BACKBONE.FREEZE", "True",
            "NETWORK.PRETRAINED", "True", "NETWORK.PRETRAINED_MODEL", "{FIRST}/run/models/last.pth"],
    "LADE and ASAM": ["LOSS.LOSS_TYPE", "LADE", "TRAIN.UPDATE.TYPE", "asam"],
    "CutMix and ImbSAM": ["TRAIN.COMBINER.TYPE", "cut_mix", "TRAIN.UPDATE.TYPE", "imb_sam"],
}


def words_of(family: str, tmp_path, tiny: list[str]) -> list[str]:
    """Trains the first stage where the family is a second one."""
    words = [word.replace("{FIRST}", str(tmp_path / "stage_1")) for word in FAMILIES[family]]
    if words != FAMILIES[family]:
        assert run(tmp_path, "stage_1", tiny) == 0
    return [*tiny, *words]


@pytest.mark.parametrize("mixed", ["True", "False"])
@pytest.mark.parametrize("family", FAMILIES)
def test_trains_validates_and_repeats(tmp_path, tiny, family, mixed):
    words = [*words_of(family, tmp_path, tiny), "TRAIN.APEX", mixed]
    assert run(tmp_path, "first", words) == run(tmp_path, "second", words) == 0
    first, second = last(tmp_path, "first")["state_dict"], last(tmp_path, "second")["state_dict"]
    assert all(torch.equal(first[name], second[name]) for name in first), "deterministic kernels repeat"
    assert all(tensor.isfinite().all() for tensor in first.values())
    assert valid.main(["--cfg", DIGITS, "--gpus", "auto", *words, "OUTPUT_DIR", str(tmp_path / "first")]) == 0
    metrics = json.loads((tmp_path / "first/run/metrics.json").read_text())
    history = [json.loads(line) for line in (tmp_path / "first/run/history.jsonl").read_text().splitlines()]
    assert metrics["top1"] == history[-1]["valid_accuracy"]


def test_resumes_bit_for_bit(tmp_path, tiny):
    words = [*tiny, "TRAIN.LR_SCHEDULER.TYPE", "multistep"]
    assert run(tmp_path, "whole", [*words, "TRAIN.MAX_EPOCH", "4"]) == 0
    assert run(tmp_path, "parts", [*words, "TRAIN.MAX_EPOCH", "2"]) == 0
    assert run(tmp_path, "parts", [*words, "TRAIN.MAX_EPOCH", "4", "--ar", "True"]) == 0
    whole, parts = last(tmp_path, "whole")["state_dict"], last(tmp_path, "parts")["state_dict"]
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_float32_on_the_gpu_is_near_the_cpu(tmp_path, tiny):
    """One epoch without augmentation, BatchNorm in eval mode: the same draws, so the same losses up to rounding."""
    words = [*tiny, "TRAIN.APEX", "False", "TRANSFORMS.TRAIN_TRANSFORMS", "[]", "TRAIN.MAX_EPOCH", "1", "EVAL_MODE", "True"]
    for name, gpus in (("cpu", "cpu"), ("gpu", "auto")):
        assert run(tmp_path, name, words, gpus) == 0
    losses = [json.loads((tmp_path / name / "run/history.jsonl").read_text())["train_loss"] for name in ("cpu", "gpu")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)   # TF32 convolutions


def sets() -> ArraySet:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (64, 3, 12, 12), dtype=torch.uint8, generator=generator)
    return ArraySet("noise", pixels, torch.arange(64) % 4, list("abcd"), [0.5] * 3, [0.2] * 3)


def test_memory_and_files_agree_on_the_gpu():
    images = sets()
    mean, std = images.mean.to(CUDA), images.std.to(CUDA)
    chain = [TRANSFORMS["random_crop"]((12, 12), padding=2), TRANSFORMS["random_horizontal_flip"]((12, 12))]

    def batches():
        return EpochBatches(SAMPLERS["default"](images.labels, images.class_counts, 1), 16, seed=1)

    def to_float(batch):
        return normalize(batch, mean, std)

    memory = MemoryLoader(images, batches(), chain, to_float, CUDA)
    files = FileLoader(images, batches(), chain, to_float, CUDA, num_workers=0)
    for one, other in zip(memory, files):
        assert one.images.device.type == "cuda"
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)


def call(loss: LongTailLoss, inputs: list[torch.Tensor]) -> torch.Tensor:
    logits, features, teacher, labels, weights = inputs
    heads = {"teacher": teacher, "experts": torch.stack([logits, features, teacher], dim=1)}
    return loss(Output(logits, features, heads), labels, weights)


def loss_and_inputs(name: str) -> tuple[LongTailLoss, list[torch.Tensor]]:
    inputs = [*torch.randn(3, 16, 4, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 4, torch.linspace(0, 1, 16)]
    return LOSSES[name](torch.tensor([50, 9, 3, 1]), Deferred(0) if LOSSES[name].deferrable else None), inputs


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses_agree_with_the_cpu(name):
    loss, inputs = loss_and_inputs(name)
    loss.on_batch(2**62 + 1)
    expected = call(loss, inputs)
    torch.testing.assert_close(call(loss.to(CUDA), [tensor.to(CUDA) for tensor in inputs]).cpu(), expected)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_no_loss_waits_for_the_device(name):
    loss, inputs = loss_and_inputs(name)
    loss, inputs = loss.to(CUDA), [tensor.to(CUDA) for tensor in inputs]
    inputs[0].requires_grad_()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss.on_batch(3)
        call(loss, inputs).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_no_transform_waits_for_the_device(name):
    images, generator = sets().pixels().to(CUDA), torch.Generator(CUDA).manual_seed(3)
    transform = TRANSFORMS[name]((12, 12))
    if isinstance(transform, Curriculum):
        transform.levels = torch.arange(4)
    torch.cuda.set_sync_debug_mode("error")
    try:
        transform.labelled(images, torch.arange(64) % 4, generator)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(("name", "options"), [("SEQL", {"gamma": 0.5, "lambda_": 0.2}), ("GCL", {})])
def test_a_captured_graph_draws_anew_when_the_seed_changes(name, options):
    logits, labels = torch.randn(16, 4, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 4
    expected, loss = (LOSSES[name](torch.tensor([50, 9, 3, 1]), **options) for _ in range(2))
    loss, on_device = loss.to(CUDA), (logits.to(CUDA), labels.to(CUDA))
    loss(*on_device)   # so that nothing is loaded while the graph is captured
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = loss(*on_device)
    for seed in (3, 4):
        for criterion in (expected, loss):
            criterion.on_batch(seed)
        graph.replay()
        torch.testing.assert_close(value.cpu(), expected(logits, labels))


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_in_a_step_waits_for_the_device(tmp_path, tiny, monkeypatch, family):
    """CUDA's own detector of synchronising calls, on for every batch but the first."""
    words = words_of(family, tmp_path, tiny)
    original = totals.Sums.add

    def add(self, row):
        torch.cuda.set_sync_debug_mode("error")
        original(self, row)

    def means(self, runtime, original=totals.Sums.means):
        torch.cuda.set_sync_debug_mode("default")
        return original(self, runtime)

    monkeypatch.setattr(totals.Sums, "add", add)
    monkeypatch.setattr(totals.Sums, "means", means)
    assert run(tmp_path, "x", [*words, "SHOW_STEP", "1"]) == 0


def test_an_overflown_step_is_skipped_and_the_scale_halved():
    precision = TorchAmp(CUDA)
    parameter = torch.nn.Parameter(torch.ones(1, device=CUDA))
    optimizer = torch.optim.SGD([parameter], 0.1, fused=True)
    scale = precision.scaler.get_scale()
    precision.step(parameter.sum() * float("inf"), optimizer)
    assert parameter.item() == 1
    assert precision.scaler.get_scale() == scale / 2
    state = precision.state_dict()
    restored = TorchAmp(CUDA)
    restored.load_state_dict(state)
    optimizer.zero_grad()
    restored.step(parameter.sum(), optimizer)
    assert restored.scaler.get_scale() == scale / 2


def test_the_runtime_names_the_gpu():
    runtime = Runtime.start("auto")
    assert runtime.device.type == "cuda"
    assert torch.cuda.get_device_name(0) in runtime.describe()


if torch.cuda.device_count() >= 2:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_dataparallel_trains(tmp_path, tiny, family):
        assert run(tmp_path, "x", words_of(family, tmp_path, tiny), "0,1") == 0

    def test_two_ranks_with_syncbn_train_what_one_process_trains_with_the_doubled_batch(tmp_path, tiny, command):
        """In train mode: the statistics of SyncBN are those of the doubled batch."""
        common = [*tiny, "TRAIN.APEX", "False", "TRANSFORMS.TRAIN_TRANSFORMS", "[]", "TRAIN.SYNCBN", "True"]
        one = [*common, "OUTPUT_DIR", str(tmp_path / "one"), "TRAIN.BATCH_SIZE", "64"]
        two = [*common, "OUTPUT_DIR", str(tmp_path / "two"), "TRAIN.BATCH_SIZE", "32"]
        for script, *words in (("data_parallel_train.sh", DIGITS, "0", *one),
                               ("distributed_data_parallel_train.sh", DIGITS, "2", "0,1", *two)):
            result = command("bash", script, *words)
            assert result.returncode == 0, result.stdout + result.stderr
        first, second = (last(tmp_path, name)["state_dict"] for name in ("one", "two"))
        for name, tensor in first.items():
            torch.testing.assert_close(second[name], tensor, rtol=1e-2, atol=1e-3, msg=name)
