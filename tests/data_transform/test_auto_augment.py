"""Policies of augmentation, cutout and rotation. Facts of spec/methods.md, section 13."""
import pytest
import torch
from PIL import Image

from lib.data_transform import TRANSFORMS
from lib.data_transform import operations as ops
from lib.data_transform.auto_augment import NAMES, OPERATIONS, SUB_POLICIES, Policy

IMAGES = torch.randint(256, (64, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_policy_is_the_published_one():
    """torchvision has the same list."""
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy
    called = {"ShearX": "shear_x", "ShearY": "shear_y", "TranslateX": "translate_x", "TranslateY": "translate_y"}
    theirs = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
    assert len(SUB_POLICIES) == len(theirs) == 25
    for pair, other in zip(SUB_POLICIES, theirs):
        for (name, probability, level), (their_name, their_probability, their_level) in zip(pair, other):
            assert name == called.get(their_name, their_name.lower())
            assert probability == their_probability
            assert their_level is None or level == their_level


@pytest.mark.parametrize(("name", "share", "expected"), [
    ("shear_x", 1.0, 0.3), ("rotate", 1.0, 30), ("rotate", 3 / 9, 10), ("posterize", 7 / 9, 5), ("posterize", 0.0, 8),
    ("solarize", 5 / 9, 256 - 5 / 9 * 256), ("translate_x", 1.0, 150 / 331 * 32), ("color", 0.0, 1.0)])
def test_strengths(monkeypatch, name, share, expected):
    seen = {}

    def note(images, chosen, values, operations, fill):
        seen.update(value=abs(values[0].item()), fill=fill)
        return images

    monkeypatch.setattr(ops, "apply", note)
    Policy((32, 32)).apply(IMAGES[:1], torch.tensor([[NAMES.index(name)]]), torch.tensor([[share]]), generator())
    assert seen == {"value": pytest.approx(expected, rel=1e-6), "fill": 128}


def test_factors_are_one_plus_or_minus():
    chosen = torch.full((1, 64), NAMES.index("brightness"))
    made = Policy((32, 32)).apply(IMAGES, chosen, torch.full((1, 64), 5 / 9), generator())
    darker, lighter = (ops.brightness(IMAGES, torch.full((64,), factor)) for factor in (0.5, 1.5))
    which = (made == darker).flatten(1).all(1)
    assert ((made == lighter).flatten(1).all(1) | which).all()
    assert 15 < which.sum() < 49


@pytest.mark.parametrize("name", ["auto_augment", "rand_augment", "random_rotation", "cutout"])
def test_a_batch_repeats_and_keeps_its_form(name):
    transform = TRANSFORMS[name]((32, 32))
    first, again, other = (transform.batch(IMAGES, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first.dtype, first.shape) == (torch.uint8, IMAGES.shape)
    single = transform.image(IMAGES[0], generator(3))
    assert (single.dtype, single.shape) == (torch.uint8, IMAGES[0].shape)


def test_each_pair_and_each_operation_comes_as_often_as_it_should(monkeypatch):
    counts, images = torch.zeros(2, len(NAMES)), torch.zeros(20_000, 3, 1, 1, dtype=torch.uint8)

    def note(self, images, chosen, shares, host):
        for turn in (0, 1):
            counts[turn] += torch.bincount(chosen[turn][chosen[turn] >= 0], minlength=len(NAMES))
        return images

    monkeypatch.setattr(Policy, "apply", note)
    TRANSFORMS["auto_augment"]((1, 1)).batch(images, generator())
    expected = torch.zeros(2, len(NAMES))
    for pair in SUB_POLICIES:
        for turn, (name, probability, _) in enumerate(pair):
            expected[turn, NAMES.index(name)] += probability / 25
    assert (counts / 20_000 - expected).abs().max() < 0.01


def test_rand_augment_without_probability_or_strength():
    assert torch.equal(TRANSFORMS["rand_augment"]((32, 32), probability=0.0).batch(IMAGES, generator()), IMAGES)
    assert set(OPERATIONS) == set(NAMES)
    weak = TRANSFORMS["rand_augment"]((32, 32), num=1, magnitude=0.0, deviation=0.0, probability=1.0).batch(IMAGES, generator())
    same = (weak == IMAGES).flatten(1).all(1).float().mean()
    assert same > 0.6   # all but invert, equalize and autocontrast have no effect then


def test_cutout_is_a_square_of_at_most_a_quarter():
    white = torch.full((20_000, 3, 32, 32), 255, dtype=torch.uint8)
    black = TRANSFORMS["cutout"]((32, 32)).batch(white, generator())[:, 0] == 0
    sizes = black.flatten(1).sum(1)
    assert sizes.max() == 256
    assert sizes.min() == 64   # a centre in the corner
    rows, columns = black.any(2).sum(1), black.any(1).sum(1)
    assert torch.equal(rows * columns, sizes)
    centre = black.float().mean(0)
    assert centre[16, 16] == pytest.approx(0.25, abs=0.01)
    assert centre[0, 0] == pytest.approx((9 / 32) ** 2, abs=0.01)   # centres 0 to 8


def test_rotation_is_by_an_angle_of_the_range():
    line = torch.zeros(500, 3, 33, 33, dtype=torch.uint8)
    line[:, :, 16, 16:] = 255
    turned = TRANSFORMS["random_rotation"]((33, 33), degrees=15.0).batch(line, generator())[:, 0].float()
    tip = turned[:, :, 30].argmax(dim=1) - 16   # rows up or down at 14 pixels from the middle
    assert tip.abs().max() <= 4                 # 14 · tan 15° = 3.75
    assert tip.min() < -2
    assert tip.max() > 2
    none = TRANSFORMS["random_rotation"]((32, 32), degrees=0.0).batch(IMAGES, generator())
    assert torch.equal(none, IMAGES)
    assert torch.equal(ops.rotate(IMAGES[:1], torch.tensor([90.0])),
                       torch.from_numpy(__import__("numpy").array(
                           Image.fromarray(IMAGES[0].permute(1, 2, 0).numpy()).rotate(90))).permute(2, 0, 1)[None])


@pytest.mark.parametrize("name", ["auto_augment", "rand_augment", "curriculum"])
def test_what_is_drawn_does_not_depend_on_the_crop_and_flip_before(monkeypatch, name):
    """With one seed for both, RandAugment's first operation was applied to exactly the images that were flipped."""
    applied = []

    def note(images, chosen, *rest):
        applied.append((chosen >= 0).float())
        return images

    monkeypatch.setattr(ops, "apply", note)
    size, draws = 4000, generator(5)
    columns = torch.arange(8, dtype=torch.uint8).expand(size, 3, 8, 8)
    cropped = TRANSFORMS["random_crop"]((8, 8)).batch(columns, draws)
    flipped = TRANSFORMS["random_horizontal_flip"]((8, 8)).batch(cropped, draws)
    transform = TRANSFORMS[name]((8, 8))
    transform.forced = 3   # curriculum: the level of all images
    transform.labelled(flipped, torch.zeros(size, dtype=torch.long), draws)
    facts = torch.stack([(flipped != cropped).flatten(1).any(1).float(), cropped[:, 0, 4, 4].float()])
    for own in torch.cat([one.view(-1, size) for one in applied]):
        if own.std() > 0:
            assert torch.corrcoef(torch.cat([facts, own[None]]))[2, :2].abs().max() < 0.08   # five standard errors
    assert applied
