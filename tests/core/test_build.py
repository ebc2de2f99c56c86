"""What the configuration becomes."""
import pytest
import torch

from lib.config import TREE, load_config
from lib.core import build
from lib.dataset import ArraySet
from lib.device.runtime import Runtime
from lib.engine.step import set_rate
from lib.loss import LOSSES
from lib.net import Output
from lib.run import checkpoint
from lib.run.run import Run
from lib.utils.schedule import Deferred

DIGITS = "configs/test/digits_lt.yaml"
CPU = torch.device("cpu")


def config(*words):
    return load_config(DIGITS, [str(word) for word in words])


def small_set() -> ArraySet:
    pixels = torch.randint(256, (40, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ArraySet("noise", pixels, torch.arange(40) % 4, list("abcd"), [0.1, 0.2, 0.3], [0.4, 0.5, 0.6])


def test_bgr_turns_channels_and_their_mean_alike():
    images = small_set()
    rgb, bgr = (build.build_normalize(config("COLOR_SPACE", space), images, CPU)(images.pixels()) for space in ("RGB", "BGR"))
    assert torch.equal(bgr, rgb.flip(1))


def test_mean_and_deviation_can_be_given():
    images = small_set()
    words = ["DATASET.MEAN", "[0.5, 0.5, 0.5]", "DATASET.STD", "[0.25, 0.25, 0.25]"]
    result = build.build_normalize(config(*words), images, CPU)(images.pixels())
    torch.testing.assert_close(result, images.pixels().float() / 255 * 4 - 2, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("device", "size", "words", "images"), [
    ("cuda", [32, 32], [], 1024), ("cuda", [64, 64], [], 256), ("cuda", [224, 224], [], 64),   # 20 of 224×224 are as many pixels
    ("cuda", [32, 32], ["TEST.LARGE_BATCHES", "False"], 64), ("cpu", [32, 32], [], 64),
])
def test_small_images_are_validated_in_large_batches_on_a_gpu(device, size, words, images):
    cfg = config("INPUT_SIZE", size, "TEST.BATCH_SIZE", 64, *words)
    assert build.valid_batch_size(cfg, torch.device(device)) == images


def test_sgd_is_nesterov_and_decays_everything():
    cfg = config()
    network = build.build_network(cfg, 10)
    optimizer, _ = build.build_optimizer(cfg, network)
    group, = optimizer.param_groups
    assert len(group["params"]) == len(list(network.parameters()))
    assert (group["nesterov"], group["momentum"], group["weight_decay"]) == (True, 0.9, 2e-4)


def test_sgd_without_momentum_is_plain():
    cfg = config("TRAIN.OPTIMIZER.MOMENTUM", 0)
    optimizer, _ = build.build_optimizer(cfg, build.build_network(cfg, 10))
    assert not optimizer.param_groups[0]["nesterov"]


def test_adam_is_not_adamw():
    cfg = config("TRAIN.OPTIMIZER.TYPE", "ADAM")
    optimizer, _ = build.build_optimizer(cfg, build.build_network(cfg, 10))
    assert isinstance(optimizer, torch.optim.Adam)
    assert not isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)
    assert not optimizer.param_groups[0].get("decoupled_weight_decay", False)


def test_a_frozen_backbone_is_not_optimised():
    cfg = config("BACKBONE.FREEZE", True)
    optimizer, _ = build.build_optimizer(cfg, build.build_network(cfg, 10))
    assert [tuple(p.shape) for p in optimizer.param_groups[0]["params"]] == [(10, 64), (10,)]


FIRST = ["NETWORK.PRETRAINED", True, "NETWORK.PRETRAINED_MODEL"]


@pytest.mark.parametrize(("name", "shapes"), [("cRT", [(10, 64), (10,)]), ("LWS", [(10,)])])
@pytest.mark.parametrize("stop", [False, True])
def test_a_second_stage_implies_a_frozen_backbone(name, shapes, stop):
    cfg = config("CLASSIFIER.TYPE", name, *FIRST, "./first.pth", "BACKBONE.FREEZE_BN", stop)
    network = build.build_network(cfg, 10)
    optimizer, _ = build.build_optimizer(cfg, network)
    group, = optimizer.param_groups
    assert [tuple(p.shape) for p in group["params"]] == shapes
    assert (group["weight_decay"], group["momentum"]) == (2e-4, 0.9)
    assert network.train().backbone.bn1.training != stop


@pytest.mark.parametrize(("factor", "groups"), [
    ("0.2", [([(10,)], 1.0), ([(10, 64), (10,)], 0.2)]), ("0", [([(10,)], 1.0)])])
def test_lws_trains_its_linear_layer_at_a_rate_of_its_own(factor, groups):
    cfg = config("CLASSIFIER.TYPE", "LWS", *FIRST, "./first.pth", "CLASSIFIER.LWS.TRAIN_FC", True,
                 "TRAIN.OPTIMIZER.LR_FACTORS", f"['classifier.fc={factor}']")
    optimizer, _ = build.build_optimizer(cfg, build.build_network(cfg, 10))
    set_rate(optimizer, 0.5)
    assert [([tuple(p.shape) for p in group["params"]], group["lr"] / 0.5) for group in optimizer.param_groups] == groups


def test_heads_are_the_classifier_or_its_normalized_forms():
    network = build.build_network(config(), 10)
    output = Output(torch.full((2, 10), 7.0), torch.randn(2, 64))
    (tau, own), = build.build_heads(config(), network).items()
    assert tau is None
    assert own(output) is output.logits
    words = ["TEST.TAU_NORM.USE_TAU_NORM", True, "TEST.TAU_NORM.TAU", 0.5, "TEST.TAU_NORM.SWEEP", "[1, 0, 0.5]"]
    heads = build.build_heads(config(*words), network)
    assert list(heads) == [0.5, 1.0, 0.0]   # the headline's first
    assert torch.equal(heads[0.0](output), network.classifier(output.features))
    assert not torch.equal(heads[1.0](output), heads[0.0](output))


@pytest.mark.parametrize(("words", "first", "last"), [
    (["TRAIN.LR_SCHEDULER.TYPE", "multistep"], 1.0, 1e-4), (["TRAIN.LR_SCHEDULER.TYPE", "warmup"], (1 + 2 / 5) / 3, 1e-4),
    (["TRAIN.LR_SCHEDULER.TYPE", "cosine"], None, 1e-4 / 0.05),
    (["TRAIN.LR_SCHEDULER.TYPE", "cosine", "TRAIN.LR_SCHEDULER.COSINE_DECAY_END", "50"], None, 1e-4 / 0.05)])
def test_schedules(words, first, last):
    schedule = build.build_schedule(config(*words))
    assert schedule(100) == pytest.approx(last)
    assert first is None or schedule(1) == pytest.approx(first)


def test_order_is_kept_without_shuffling():
    images = small_set()
    loader, _ = build.build_loaders(config("TRAIN.SHUFFLE", False, "INPUT_SIZE", "[8, 8]"), images, images, Runtime(CPU))
    for epoch in (1, 2):
        loader.on_epoch(epoch)
        assert torch.cat([batch.indices for batch in loader]).tolist() == list(range(32))


def test_drs_draws_a_permutation_until_its_epoch():
    images = small_set()
    cfg = config("TRAIN.TWO_STAGE.DRS", True, "TRAIN.TWO_STAGE.START_EPOCH", 3, "TRAIN.SAMPLER.TYPE", "weighted sampler",
                 "TRAIN.BATCH_SIZE", 40)
    batches = build.build_loaders(cfg, images, images, Runtime(CPU))[0].batches
    distinct = []
    for epoch in (3, 4):
        batches.on_epoch(epoch)
        distinct.append(len(batches.batches()[0].unique()))
    assert distinct[0] == 40
    assert distinct[1] < 40


def test_drw_reaches_the_loss():
    counts = torch.tensor([90, 10])
    criterion = build.build_criterion(config("TRAIN.TWO_STAGE.DRW", True, "TRAIN.TWO_STAGE.START_EPOCH", 70), counts)
    assert criterion.deferred.start_epoch == 70
    assert build.build_criterion(config(), counts).deferred is None


def test_the_base_loss_of_dive_takes_the_options_of_its_own_section():
    cfg = TREE.clone()
    for key, value in {"LOSS_TYPE": "DiVEKLD", "DiVEKLD.BASELOSS": "CDT", "DiVEKLD.ALPHA": 0.0, "CDT.GAMMA": 0.7}.items():
        cfg.put(f"LOSS.{key}", value)
    cfg.put("TRAIN.TWO_STAGE.DRW", True)
    cfg.put("TRAIN.TWO_STAGE.START_EPOCH", 3)
    counts, logits, labels = torch.tensor([90, 10]), torch.tensor([[1.0, 2.0]]), torch.tensor([0])
    criterion, base = build.build_criterion(cfg, counts), LOSSES["CDT"](counts, Deferred(3), gamma=0.7)
    for epoch in (3, 4):
        criterion.on_epoch(epoch)
        base.on_epoch(epoch)
        assert torch.equal(criterion(Output(logits, None, {"teacher": logits}), labels), base(logits, labels))


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "run")
    run.models.mkdir(parents=True)
    return run


def test_precedence_of_where_to_start(run, tmp_path):
    """This run's own checkpoint > RESUME_MODEL > NETWORK > BACKBONE > scratch."""
    state = {"state_dict": {}, "optimizer": {}, "epoch": 1}
    for name in ("resume", "network", "backbone"):
        checkpoint.save(state, [tmp_path / f"{name}.pth"])
    backbone = ["BACKBONE.PRETRAINED_MODEL", tmp_path / "backbone.pth"]
    network = [*backbone, "NETWORK.PRETRAINED", True, "NETWORK.PRETRAINED_MODEL", tmp_path / "network.pth"]
    resume = [*network, "RESUME_MODEL", tmp_path / "resume.pth"]

    def start(words, auto=False):
        found = build.find_start(config(*words), run, auto)
        return found.kind, found.source.rpartition("/")[2]

    assert start([]) == ("scratch", "")
    assert start([], auto=True) == ("scratch", "")
    assert start(backbone) == ("backbone", "backbone.pth")
    assert start(network) == ("weights", "network.pth")
    assert start(network[:2] + ["NETWORK.PRETRAINED_MODEL", tmp_path / "network.pth"]) == ("backbone", "backbone.pth")   # gated
    assert start(resume) == ("run", "resume.pth")
    assert start([*resume, "RESUME_MODE", "state_dict"]) == ("weights", "resume.pth")
    crt = ["CLASSIFIER.TYPE", "cRT"]
    assert start([*network, *crt]) == ("first stage", "network.pth")
    assert start([*resume, *crt, "RESUME_MODE", "state_dict"]) == ("weights", "resume.pth")   # its own, classifier and all
    checkpoint.save(state, [run.models / "last.pth"])
    assert start([*resume, *crt], auto=True) == ("run", "last.pth")
    assert start(resume, auto=True) == ("run", "last.pth")
    assert start(resume) == ("run", "resume.pth")


@pytest.mark.parametrize(("words", "told"), [
    (["NETWORK.PRETRAINED_MODEL", "x.pth"], ["NETWORK.PRETRAINED_MODEL: x.pth is not loaded, since NETWORK.PRETRAINED is False"]),
    (["NETWORK.PRETRAINED", "True", "NETWORK.PRETRAINED_MODEL", "a.pth", "BACKBONE.PRETRAINED_MODEL", "b.pth"],
     ["BACKBONE.PRETRAINED_MODEL: b.pth is not loaded, since NETWORK.PRETRAINED_MODEL {models}/a.pth is loaded instead"]),
    (["RESUME_MODEL", "a.pth", "BACKBONE.PRETRAINED_MODEL", "b.pth"],
     ["BACKBONE.PRETRAINED_MODEL: b.pth is not loaded, since RESUME_MODEL {models}/a.pth is loaded instead"]),
    (["BACKBONE.PRETRAINED_MODEL", "a.pth"], [])])
def test_weights_that_are_named_and_not_loaded_are_told(tmp_path, caplog, words, told):
    run = Run(tmp_path)
    run.models.mkdir()
    checkpoint.save({"state_dict": {}, "optimizer": {}, "epoch": 1}, [run.models / "a.pth"])
    with caplog.at_level("INFO", logger="lib.run.checkpoint"):
        build.find_start(config(*words), run, auto_resume=False)
    assert [record.getMessage() for record in caplog.records] == [line.format(models=run.models) for line in told]
