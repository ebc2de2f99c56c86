"""Processing of a long list by several threads, for functions that release the GIL: reading files, decoding images."""
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def map_ranges(function: Callable[[range], Result], count: int, size: int, num_threads: int) -> Iterator[Result]:
    """``function(range(0, size))``, ``function(range(size, 2 * size))``, …, up to ``count``, in this order.

    If the consumer of the results stops (by an error or Ctrl-C), ranges that have not started are cancelled.
    """
    threads = ThreadPoolExecutor(num_threads)
    try:
        yield from threads.map(function, (range(start, min(start + size, count)) for start in range(0, count, size)))
    finally:
        threads.shutdown(cancel_futures=True)
