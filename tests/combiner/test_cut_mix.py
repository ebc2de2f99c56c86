"""Boxes of one image in another, and partners of rarer classes. Facts of spec/methods.md, section 8."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib.combiner import COMBINERS
from lib.combiner.cut_mix import draw_box
from lib.dataset import Batch
from lib.loss import LOSSES
from lib.net import Output
from lib.utils.seed import Stream

COUNTS = torch.tensor([400, 40, 4])
LABELS = torch.arange(12) % 3


class Seen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3 * 8 * 10, 3)

    def forward(self, images):
        self.images = images
        return Output(self.linear(images.flatten(1)), images.flatten(1))


class Fixed:
    """A host's random numbers, given."""

    def __init__(self, share: float, centre: tuple[int, int] = (4, 5), uniform: float = 0.0) -> None:
        self.share, self.centres, self.uniform = share, iter(centre), uniform

    def beta(self, *_) -> float:
        return self.share

    def integers(self, _) -> int:
        return next(self.centres)

    def random(self) -> float:
        return self.uniform


def batch(seed: int = 3, host: Fixed | None = None) -> Batch:
    images = torch.randn(12, 3, 8, 10, generator=torch.Generator().manual_seed(1))
    stream = Stream(seed)
    if host:
        stream.host = host
    return Batch(images, LABELS, torch.arange(12), stream)


def step(combiner, given: Batch):
    network = Seen()
    return combiner(network, LOSSES["CrossEntropy"](COUNTS), given), network


@pytest.mark.parametrize(("share", "kept"), [(1.0, 1.0), (0.0, 0.0)])
def test_shares_of_one_and_zero_paste_nothing_and_everything(share, kept):
    result, network = step(COMBINERS["cut_mix"](COUNTS), given := batch(host=Fixed(share)))
    partner = COMBINERS["cut_mix"](COUNTS).draw(batch(host=Fixed(share)), 1)[2]
    assert torch.equal(network.images, given.images if kept else given.images[partner])
    assert torch.equal(result.targets, F.one_hot(LABELS if kept else LABELS[partner], 3).float())


@pytest.mark.parametrize("name", ["cut_mix", "cmo"])
def test_labels_are_mixed_by_the_pixels_that_are_left(name):
    for seed in range(60):
        given = batch(seed)
        share, mask, *_ = COMBINERS[name](COUNTS).draw(given, 1)
        assert mask.shape == (8, 10)
        assert share.item() == pytest.approx(1 - mask.double().mean().item())
        result, network = step(COMBINERS[name](COUNTS), batch(seed))
        first = given.images.chunk(2)[0] if name == "cmo" else given.images
        assert ((network.images == first).all(dim=1) | mask).all()
        torch.testing.assert_close(result.loss, F.cross_entropy(result.logits, result.targets))


def test_a_box_loses_a_pixel_of_an_odd_side_and_what_lies_outside():
    assert draw_box(Fixed(0.5, (4, 5)), 1.0, 8, 10) == (2, 6, 2, 8)   # sides 5 and 7, halves 2 and 3
    assert draw_box(Fixed(0.5, (0, 9)), 1.0, 8, 10) == (0, 2, 6, 10)


def test_sides_of_boxes_are_as_published():
    """Without cutting, the box has 4 · ⌊H √(1 − λ) / 2⌋ ⌊W √(1 − λ) / 2⌋ pixels."""
    host = np.random.default_rng(0)
    boxes = [draw_box(host, 1.0, 64, 64) for _ in range(4000)]
    whole = [(bottom - top) * (right - left) / 4096 for top, bottom, left, right in boxes if 0 < top < bottom < 64 and left > 0]
    assert 0.02 < np.mean(whole) < 0.3
    centres = [(top + bottom) / 2 for top, bottom, _, _ in boxes if top > 0 and bottom < 64]
    assert np.mean(centres) == pytest.approx(32, abs=1.0)


@pytest.mark.parametrize(("name", "uniform", "mixed"), [("cut_mix", 0.69, True), ("cut_mix", 0.7, False), ("cmo", 0.69, True)])
def test_a_batch_is_mixed_with_a_probability(name, uniform, mixed):
    combiner = COMBINERS[name](COUNTS, probability=0.7)
    share, mask, *_ = combiner.draw(batch(host=Fixed(0.3, uniform=uniform)), 1)
    assert bool(mask.any()) == mixed
    assert (share.item() < 1) == mixed


def test_context_oversampling_leaves_the_first_and_last_epochs_alone():
    combiner = COMBINERS["cmo"](COUNTS)
    combiner.max_epoch = 200
    mixing = []
    for epoch in range(1, 201):
        combiner.on_epoch(epoch)
        mixing += [epoch] * bool(combiner.draw(batch(host=Fixed(0.3)), 1)[1].any())
    assert mixing == list(range(5, 198))   # 3 < e < E − 3, counted from 0


def test_foreground_is_the_second_row():
    given = batch(host=Fixed(0.5))
    result, network = step(COMBINERS["cmo"](COUNTS), given)
    own, foreground = given.images.chunk(2)
    box = torch.zeros(8, 10, dtype=torch.bool)
    box[2:6, 2:8] = True
    assert torch.equal(network.images, torch.where(box, foreground, own))
    expected = 0.7 * F.one_hot(LABELS[:6], 3) + 0.3 * F.one_hot(LABELS[6:], 3)   # 24 of 80 pixels
    torch.testing.assert_close(result.targets, expected)


def test_uni_mix_shares_of_equal_classes_turn_around_a_half():
    combiner, seen = COMBINERS["uni_mix"](torch.tensor([7, 7, 7])), []
    for seed in range(20):
        given = batch(seed)
        shares, _ = combiner.draw(batch(seed), 1)
        result, _ = step(combiner, given)
        own = (shares + 0.5) % 1
        assert ((own >= 0) & (own <= 1)).all()
        same = result.targets.gather(1, LABELS[:, None])[:, 0]
        mixed = same < 1   # the partner is of another class
        torch.testing.assert_close(same[mixed], own[mixed], rtol=1e-5, atol=1e-5)
        seen += own.tolist()
    assert np.mean(seen) == pytest.approx(0.5, abs=0.06)


def test_uni_mix_gives_the_rarer_partner_less_of_the_image_before_the_draw():
    """Of a frequent image i and a rare partner j: λ = n_j / (n_i + n_j) + b, b = 0."""
    combiner, network = COMBINERS["uni_mix"](COUNTS), Seen()
    images, partner = torch.randn(2, 3, 8, 10), torch.tensor([1, 0])
    result = combiner.combine(network, LOSSES["CrossEntropy"](COUNTS), images, torch.tensor([0, 2]), torch.zeros(2), partner)
    torch.testing.assert_close(network.images[0], (4 * images[0] + 400 * images[1]) / 404)
    torch.testing.assert_close(result.targets, torch.tensor([[4 / 404, 0, 400 / 404], [4 / 404, 0, 400 / 404]]))
    torch.testing.assert_close(result.loss, F.cross_entropy(result.logits, result.targets))


@pytest.mark.parametrize(("tau", "expected"), [(0.0, [1 / 3, 1 / 3, 1 / 3]), (-1.0, [1 / 111, 10 / 111, 100 / 111]),
                                               (1.0, [100 / 111, 10 / 111, 1 / 111])])
def test_partners_of_uni_mix_are_drawn_by_a_power_of_their_class(tau, expected):
    combiner = COMBINERS["uni_mix"](COUNTS, tau=tau)
    drawn = torch.cat([LABELS[combiner.draw(batch(seed), 1)[1]] for seed in range(600)])
    assert (torch.bincount(drawn, minlength=3) / len(drawn)).tolist() == pytest.approx(expected, abs=0.02)


def test_the_beta_distribution_of_uni_mix():
    shares = torch.cat([COMBINERS["uni_mix"](COUNTS).draw(batch(seed), 1)[0] for seed in range(400)])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
    assert shares.var().item() == pytest.approx(0.25 / (2 * 0.8 + 1), abs=0.006)
