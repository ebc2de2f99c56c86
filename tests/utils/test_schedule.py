"""Learning rates of all epochs, and the switch of the second stage."""
import math

import pytest

from lib.utils.schedule import Deferred, cosine, multistep, warmup_cosine


def published_warmup(epoch: int, base: float, milestones, factor: float, warm: int) -> float:
    """The published scheduler as it was written: a factor per milestone reached, and a climb from a third."""
    rate = base
    for milestone in milestones:
        if epoch >= milestone:
            rate *= factor
    alpha = min(epoch / warm, 1)
    return rate * (1 / 3 * (1 - alpha) + alpha)


def test_warmup_at_every_epoch_of_the_published_recipe():
    schedule = multistep([160, 180], 0.01, warm_epochs=5)
    for epoch in range(1, 201):
        assert 0.1 * schedule(epoch) == pytest.approx(published_warmup(epoch, 0.1, [160, 180], 0.01, 5), rel=1e-12), epoch


@pytest.mark.parametrize(("epoch", "rate"), [
    (1, 0.046667), (2, 0.06), (3, 0.073333), (4, 0.086667), (5, 0.1), (6, 0.1), (159, 0.1), (160, 0.001), (179, 0.001),
    (180, 1e-5), (200, 1e-5)])
def test_published_values(epoch, rate):
    assert 0.1 * multistep([160, 180], 0.01, 5)(epoch) == pytest.approx(rate, rel=1e-5)


def test_multistep_at_every_epoch():
    schedule = multistep([40, 50], 0.1)
    for epoch in range(1, 61):
        expected = 1 if epoch < 40 else 0.1 if epoch < 50 else 0.01
        assert schedule(epoch) == pytest.approx(expected, rel=1e-12), epoch


def test_no_warm_epochs_is_no_climb():
    assert multistep([], 0.1, warm_epochs=0)(1) == 1


def test_cosine_at_every_epoch():
    schedule = cosine(60, base_rate=0.1)
    for epoch in range(1, 61):
        expected = 1e-4 + (0.1 - 1e-4) * (1 + math.cos(math.pi * epoch / 60)) / 2
        assert 0.1 * schedule(epoch) == pytest.approx(expected, rel=1e-12), epoch
    assert all(a > b for a, b in zip(map(schedule, range(1, 60)), map(schedule, range(2, 61))))


def test_cosine_stays_at_its_end():
    schedule = cosine(20, base_rate=0.1)
    assert [0.1 * schedule(epoch) for epoch in (20, 21, 39, 40, 1000)] == pytest.approx([1e-4] * 5, rel=1e-9)


def test_climb_and_cosine():
    schedule = warmup_cosine(10, warm_epochs=4)
    assert [schedule(epoch) for epoch in range(1, 6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    for epoch in range(5, 11):
        assert schedule(epoch) == pytest.approx((1 + math.cos(math.pi * (epoch - 5) / 6)) / 2)
    assert schedule(10) > 0
    assert [schedule(epoch) for epoch in (11, 12, 100)] == pytest.approx([0, 0, 0])


def test_without_a_climb_the_cosine_begins_at_the_full_rate():
    assert [warmup_cosine(2, 0)(epoch) for epoch in (1, 2)] == pytest.approx([1, 0.5])


@pytest.mark.parametrize(("epoch", "active"), [(1, False), (160, False), (161, True), (200, True)])
def test_second_stage_begins_one_epoch_after_the_lower_rate(epoch, active):
    assert Deferred(160).active(epoch) == active
    assert multistep([160], 0.01)(160) < 1
