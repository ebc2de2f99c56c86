"""The teacher: which one, and that it stays as it is."""
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib.config import load_config
from lib.config.preparation import preprocessing
from lib.core import build
from lib.core.assemble import assemble
from lib.dataset import ArraySet, Batch
from lib.device.runtime import Runtime
from lib.run import checkpoint
from lib.run.identity import Identity
from lib.utils.errors import InputError, MissingPathError
from lib.utils.seed import Stream

COUNTS = torch.tensor([9, 5, 2])
KEY = "TRAIN.COMBINER.DIVE.TEACHER_MODEL"
IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
BATCH = Batch(IMAGES, torch.arange(6) % 3, torch.arange(6), Stream(1))


class Match(nn.Module):
    """Squared distance to the teacher's logits; keeps what it got."""

    def forward(self, output, targets, sample_weight=None):
        self.got = output.heads["teacher"]
        return F.mse_loss(output.logits, self.got)


def config(tmp_path, **changes):
    cfg = load_config("configs/test/digits_lt.yaml").clone()
    cfg.defrost()
    values = {"OUTPUT_DIR": str(tmp_path), "NAME": "run", "INPUT_SIZE": [8, 8], "BACKBONE.TYPE": "res20_cifar"}
    for key, value in {**values, "TRAIN.COMBINER.TYPE": "dive", KEY: str(tmp_path / "teacher.pth"), **changes}.items():
        cfg.put(key, value)
    return cfg


def save_teacher(cfg, path, with_config: bool = True):
    torch.manual_seed(3)
    teacher = build.build_network(cfg, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save({"state_dict": teacher.state_dict(), **({"config": cfg.flat()} if with_config else {})}, [path])
    return teacher.eval()


@pytest.fixture
def teacher(tmp_path):
    return save_teacher(config(tmp_path), tmp_path / "teacher.pth")


def test_the_criterion_gets_what_the_teacher_says(tmp_path, teacher):
    combiner, criterion = build.build_combiner(config(tmp_path), COUNTS), Match()
    student = build.build_network(config(tmp_path), 3)
    step = combiner(student, criterion, BATCH)
    torch.testing.assert_close(criterion.got, teacher(IMAGES).logits)
    torch.testing.assert_close(step.logits, student(IMAGES).logits)
    assert torch.equal(step.targets, BATCH.labels)
    assert not criterion.got.requires_grad


def test_a_student_that_is_the_teacher_has_nothing_to_learn(tmp_path, teacher):
    assert build.build_combiner(config(tmp_path), COUNTS)(teacher, Match(), BATCH).loss < 1e-9


def test_the_teacher_never_changes(tmp_path, teacher):
    """Neither weights nor BatchNorm statistics, whatever mode its owner is in."""
    combiner = build.build_combiner(config(tmp_path), COUNTS).train()
    student = build.build_network(config(tmp_path), 3).train()
    optimizer = torch.optim.SGD([*student.parameters(), *combiner.parameters()], 0.003)
    before = {name: value.clone() for name, value in combiner.teacher.state_dict().items()}
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        step = combiner(student, Match(), BATCH)
        step.loss.backward()
        optimizer.step()
        losses.append(step.loss.item())
    assert losses[-1] < losses[0]
    assert before
    assert all(torch.equal(value, before[name]) for name, value in combiner.teacher.state_dict().items())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in combiner.parameters())


def test_the_student_does_not_carry_its_teacher(tmp_path, teacher):
    cfg = config(tmp_path)
    pixels, labels = torch.zeros(16, 3, 8, 8, dtype=torch.uint8), torch.arange(16) % 3
    images = ArraySet("black", pixels, labels, list("abc"), [0.5] * 3, [0.5] * 3)
    identity = Identity.of(images, images, preprocessing(cfg, images))
    runtime = Runtime(torch.device("cpu"))
    loader, _ = build.build_loaders(cfg, images, None, runtime)
    parts, _ = assemble(cfg, identity, runtime, loader)
    alone = build.build_network(cfg, 3)
    assert parts.network.state_dict().keys() == alone.state_dict().keys()
    optimised = sum(len(group["params"]) for group in parts.optimizer.param_groups)
    assert optimised == len(list(alone.parameters()))


def test_a_bare_name_is_in_the_models_of_the_run(tmp_path):
    cfg = config(tmp_path, **{KEY: "teacher.pth"})
    teacher = save_teacher(cfg, tmp_path / "run/models/teacher.pth")
    combiner = build.build_combiner(cfg, COUNTS)
    torch.testing.assert_close(combiner.teacher(IMAGES).logits, teacher(IMAGES).logits)


@pytest.mark.parametrize("own", [{"CLASSIFIER.TYPE": "FCNorm"}, {"CLASSIFIER.BIAS": False}, {"BACKBONE.TYPE": "res32_cifar"},
                                 {"MODULE.TYPE": "Identity"}, {"CLASSIFIER.TYPE": "LWS"}, {"CLASSIFIER.TYPE": "cRT"}])
def test_the_teacher_is_of_its_own_kind(tmp_path, own):
    teacher = save_teacher(config(tmp_path, **own), tmp_path / "teacher.pth")
    combiner = build.build_combiner(config(tmp_path), COUNTS)
    torch.testing.assert_close(combiner.teacher(IMAGES).logits, teacher(IMAGES).logits)


def test_a_teacher_without_a_configuration_is_of_the_students_kind(tmp_path):
    """Published checkpoints have none, and names with the module. of a wrapper."""
    cfg = config(tmp_path)
    teacher = save_teacher(cfg, tmp_path / "teacher.pth", with_config=False)
    checkpoint.save({"state_dict": {f"module.{k}": v for k, v in teacher.state_dict().items()}}, [tmp_path / "teacher.pth"])
    torch.testing.assert_close(build.build_combiner(cfg, COUNTS).teacher(IMAGES).logits, teacher(IMAGES).logits)
    with pytest.raises(InputError, match=f"{KEY}.*does not fit.*classifier.bias"):
        build.build_combiner(config(tmp_path, **{"CLASSIFIER.TYPE": "FCNorm"}), COUNTS)


def test_a_teacher_of_other_classes_does_not_fit(tmp_path, teacher):
    with pytest.raises(InputError, match=rf"{KEY}.*does not fit.*classifier.weight \(3, 64\) for \(4, 64\)"):
        build.build_combiner(config(tmp_path), torch.tensor([9, 5, 2, 1]))


def test_a_teacher_that_numbers_the_classes_otherwise_follows_the_data(tmp_path, teacher):
    """Output c of the teacher is of the class that the data call c."""
    path, cfg = tmp_path / "teacher.pth", config(tmp_path)
    checkpoint.save(checkpoint.load(path) | {"class_names": ["c", "a", "b"]}, [path])
    identity = Identity(["a", "b", "c"], COUNTS, {}, {})
    combiner = build.build_combiner(cfg, COUNTS, identity)
    torch.testing.assert_close(combiner.teacher(IMAGES).logits, teacher(IMAGES).logits[:, [1, 2, 0]])
    told = rf"{KEY}.* was trained for other classes: the checkpoint has 'c'; the data have 'd'\. Name a checkpoint"
    with pytest.raises(InputError, match=told):
        build.build_combiner(cfg, COUNTS, identity._replace(class_names=["a", "b", "d"]))


def test_its_origin_is_its_weights(tmp_path, teacher):
    def origin() -> str:
        return build.build_combiner(config(tmp_path), COUNTS).origin()

    first = origin()
    assert origin() == first != ""
    path = tmp_path / "teacher.pth"
    state = checkpoint.load(path)
    state["state_dict"]["classifier.bias"][0] += 1e-6
    checkpoint.save(state, [path])
    assert origin() != first
    assert build.build_combiner(config(tmp_path, **{"TRAIN.COMBINER.TYPE": "default"}), COUNTS).origin() == ""


def test_a_missing_teacher_is_named_with_its_key(tmp_path, teacher):
    with pytest.raises(MissingPathError, match=rf"{KEY}: no file .*else.pth; .* has teacher.pth"):
        build.build_combiner(config(tmp_path, **{KEY: str(tmp_path / "else.pth")}), COUNTS)
