"""Threads over ranges: order, whole cover, and an end as soon as nobody wants more."""
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.utils.threads import map_ranges


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 3))
def test_ranges_cover_everything_in_order(count, size, num_threads):
    parts = list(map_ranges(list, count, size, num_threads))
    assert [number for part in parts for number in part] == list(range(count))
    assert all(len(part) == size for part in parts[:-1])


def test_an_error_reaches_the_caller_and_what_has_not_begun_is_dropped():
    begun, go_on = [], threading.Event()

    def work(part: range) -> int:
        begun.append(part.start)
        if part.start == 1:
            raise ValueError("part 1")
        if part.start > 1:
            go_on.wait(5)
        return part.start

    results = map_ranges(work, 100, 1, 2)
    assert next(results) == 0
    threading.Timer(0.1, go_on.set).start()
    with pytest.raises(ValueError, match="part 1"):
        next(results)
    assert len(begun) < 10
