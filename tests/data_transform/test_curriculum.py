"""The curriculum of augmentation: the rule of its levels, what a level does, and who learns it."""
import pytest
import torch

from lib.data_transform import TRANSFORMS
from lib.data_transform import operations as ops
from lib.data_transform.curriculum import HIGHEST, OPERATIONS, next_levels
from lib.data_transform.operations import Operation
from lib.dataset import SAMPLERS, ArraySet, EpochBatches, MemoryLoader
from lib.dataset.requests import worker_part
from lib.device.precision import Precision
from lib.device.runtime import Runtime
from lib.engine.training import EpochContext
from lib.net import Output
from lib.utils.errors import InputError
from lib.utils.seed import shared_generator

LABELS = torch.tensor([0] * 20 + [1] * 10 + [2] * 5)
PIXELS = torch.randint(256, (35, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("level", "shares", "expected"), [
    (0, [0.61], 1), (0, [0.6], 0), (3, [0.9, 0.8, 0.7, 0.61], 4), (3, [0.9, 0.8, 0.7, 0.6], 2), (3, [0.5, 1.0, 1.0, 1.0], 2),
    (10, [1.0] * 11, 10), (1, [0.0, 0.0], 0), (0, [0.7, 0.0, 0.0], 1)])
def test_levels_rise_and_fall(level, shares, expected):
    hits = torch.zeros(HIGHEST + 1, 1)
    hits[:len(shares), 0] = torch.tensor(shares)
    assert next_levels(torch.tensor([level]), hits, 0.6).tolist() == [expected]


def curriculum(levels, **options):
    transform = TRANSFORMS["curriculum"]((6, 6), **options)
    transform.load_state_dict({"levels": torch.tensor(levels)})
    return transform


def test_level_0_changes_nothing():
    assert torch.equal(curriculum([0, 0, 0]).labelled(PIXELS, LABELS, torch.Generator()), PIXELS)
    assert torch.equal(curriculum([9, 9, 9], probability=0.0).labelled(PIXELS, LABELS, torch.Generator()), PIXELS)


def test_a_level_is_a_number_of_operations(monkeypatch):
    """Each image of class c meets l_c of them, of magnitude l_c / 30, drawn uniformly."""
    calls, magnitudes = torch.zeros(3), set()

    def counted(number):
        def operation(images, values):
            calls[number] += len(images)
            magnitudes.update((values * 30).round().tolist())
            return images + 1
        return Operation(operation, 0, 1)

    monkeypatch.setattr("lib.data_transform.curriculum.OPERATIONS", [counted(number) for number in range(3)])
    black, labels = torch.zeros(3000, 3, 1, 1, dtype=torch.uint8), torch.arange(3).repeat(1000)
    result = curriculum([2, 0, 7], probability=1.0).labelled(black, labels, torch.Generator().manual_seed(0))
    for label, level in enumerate([2, 0, 7]):
        assert (result[labels == label] == level).all()
    assert magnitudes == {2.0, 7.0}
    assert calls.sum() == 9000
    assert (calls - 3000).abs().max() < 200


def test_a_share_of_the_images_is_changed():
    black, labels = torch.zeros(4000, 3, 1, 1, dtype=torch.uint8), torch.zeros(4000, dtype=torch.long)
    changed = curriculum([1], probability=0.25).labelled(black, labels, torch.Generator().manual_seed(0)).flatten(1).any(1)
    expected = 0.25 * 2 / len(OPERATIONS)   # black is changed by invert, and by solarize-add
    assert changed.float().mean().item() == pytest.approx(expected, abs=0.01)


def test_a_batch_repeats():
    generators = (torch.Generator().manual_seed(seed) for seed in (1, 1, 2))
    first, again, other = (curriculum([5, 5, 5]).labelled(PIXELS, LABELS, generator) for generator in generators)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


class Knows(torch.nn.Module):
    """Classifies images of some classes correctly, whatever is done to them."""

    def __init__(self, known: list[int]) -> None:
        super().__init__()
        self.known, self.looked = known, 0

    def forward(self, images):
        self.looked += len(images)
        labels = images[:, 0, 0, 0].long()   # the first pixel is the class
        wrong = torch.tensor([label not in self.known for label in labels.tolist()])
        return Output(torch.nn.functional.one_hot(torch.where(wrong, (labels + 1) % 3, labels), 3).float())


def test_a_class_that_is_known_becomes_harder(monkeypatch):
    """The epoch before which levels change, how many images are looked at, and that the state resumes."""
    monkeypatch.setattr("lib.data_transform.curriculum.OPERATIONS", [Operation(lambda images, values: images)])
    pixels = PIXELS.clone()
    pixels[:, :, 0, 0] = LABELS[:, None].byte()
    images = ArraySet("set", pixels, LABELS, list("abc"), [0.0] * 3, [1.0] * 3)
    transform, network = TRANSFORMS["curriculum"]((6, 6), samples=4), Knows([0, 2])
    batches = EpochBatches(draw_of(images), 8)
    loader = MemoryLoader(images, batches, [transform], torch.Tensor.float, torch.device("cpu"))
    seen = []
    for epoch in (1, 2, 3):
        context = EpochContext(network, loader, Precision(), Runtime(torch.device("cpu")), shared_generator(0, epoch))
        network.looked = 0
        transform.before_epoch(context)
        seen.append((transform.levels.tolist(), network.looked))
    assert seen == [([1, 0, 1], 4 * 3), ([2, 0, 2], 4 * 3 + 8 * 2), ([3, 0, 3], 4 * 3 + 8 * 2 + 12 * 2)]
    resumed = TRANSFORMS["curriculum"]((6, 6))
    resumed.load_state_dict(transform.state_dict())
    assert resumed.levels.tolist() == [3, 0, 3]
    assert dict(loader.stateful()) == {"transform 0.0": transform}


def draw_of(images):
    return SAMPLERS["default"](images.labels, images.class_counts, 3)


def test_a_worker_does_not_know_classes():
    images = ArraySet("set", PIXELS, LABELS, list("abc"), [0.0] * 3, [1.0] * 3)
    images.image_size = None
    chain = [TRANSFORMS["curriculum"]((6, 6)), TRANSFORMS["center_crop"]((6, 6))]
    with pytest.raises(InputError, match="Curriculum must come after number 2"):
        worker_part(images, chain)
    assert worker_part(images, chain[::-1]) == 1


def test_operations_are_the_22_of_the_authors():
    """Strengths at level 10 are a third of the way; a few of them against their definition."""
    assert len(OPERATIONS) == 22
    image = torch.tensor([0, 100, 255], dtype=torch.uint8).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    for number, value, expected in ((7, 0.0, [255, 155, 0]), (12, 128.0, [0, 100, 0]), (16, 0.5, [0, 50, 127])):
        assert OPERATIONS[number].function(image, torch.tensor([value]))[0, 0, 0].tolist() == expected
    third = ops.strengths(OPERATIONS, torch.arange(22), torch.full((22,), 10 / 30), None).abs()
    assert third[[8, 9, 10, 11, 12, 13, 14, 20]].tolist() == pytest.approx(
        [2 / 3, 1 + 0.5 / 3, 10, 4 / 3, 256 / 3, 110 / 3, 0.7, 100 / 3])
