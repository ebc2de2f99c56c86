"""Timings in turns and their evaluation. Ratios are taken within each turn, so that a busy minute affects both sides."""
import logging
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from lib.utils.progress import Throttle, clock

log = logging.getLogger(__name__)

Turn = dict[str, float]   # part to images per second
Ways = Mapping[str, Callable[[], float]]
REFERENCES = ("bare", "usual")

WARM_UP = 6         # batches: CUDA graphs are captured after three, and checked on the next
FEWEST = 3          # batches of a timing
PROBE = 3.0         # seconds of a turn, from which the length of the others is estimated
EVERY = 5.0         # seconds from one line of progress to the next


def take_turns(ways: Ways, repeats: int, turns: list[Turn], seconds: float | None = None) -> None:
    """Measures A B C A B C …: ``repeats`` turns with each function once. Each timing is added to ``turns`` at once, so that an
    interruption leaves what was measured.

    Args:
        seconds: of a turn, if an estimate is known, for the first line of progress.
    """
    started, throttle, total = time.monotonic(), Throttle(EVERY), repeats * len(ways)
    if seconds is not None:
        log.info("measuring %s: %d turns, ETA %s", ", ".join(ways), repeats, clock(repeats * seconds))
    for number in range(repeats):
        turns.append({})
        for place, (name, way) in enumerate(ways.items(), start=1):
            turns[-1][name] = way()
            done = number * len(ways) + place
            if throttle.due() or done == total:
                each = (time.monotonic() - started) / done
                log.info("%s  turn %d/%d  %.1f images/s  ETA %s", name, number + 1, repeats, turns[-1][name],
                         clock((total - done) * each))


def warm_up(ways: Ways) -> None:
    """Calls each function once; what it measures does not count."""
    for name, way in ways.items():
        log.info("warming up: %s", name)
        way()


def fit(ways: Ways, cover: Callable[[int], None], most: int, seconds: float, repeats: int) -> float:
    """Finds the number of batches with which ``repeats`` turns take about ``seconds``.

    Args:
        cover: sets the number of batches of a timing.
        most: batches that are enough.

    Returns:
        The estimated seconds of a turn.
    """
    started = time.monotonic()
    cover(WARM_UP)
    warm_up(ways)
    batches = FEWEST
    while True:
        cover(batches)
        before = time.monotonic()
        for way in ways.values():
            way()
        turn = time.monotonic() - before
        if turn >= PROBE or batches >= most:
            break
        batches = min(4 * batches, most)
    each, left = turn / batches, seconds - (time.monotonic() - started)
    chosen = max(min(int(left / repeats / each), most), FEWEST)
    cover(chosen)
    return each * chosen


def spread(values: Iterable[float]) -> dict[str, float]:
    values = list(values)
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summarise(turns: Sequence[Turn]) -> dict[str, dict[str, dict[str, float]]]:
    """Part to spreads: of its images per second, of its ratios to the bare step and to the usual loop where they are there. The
    last turn may be incomplete."""
    summary: dict[str, dict[str, dict[str, float]]] = {}
    for name in turns[0] if turns else ():
        own = [turn for turn in turns if name in turn]
        summary[name] = {"images_per_second": spread(turn[name] for turn in own)}
        for other in REFERENCES:
            ratios = list(ratios_to(other, name, own))
            if other != name and ratios:
                summary[name][f"ratio_to_{other}"] = spread(ratios)
    return summary


def ratios_to(other: str, name: str, turns: Iterable[Turn]) -> Iterator[float]:
    return (turn[name] / turn[other] for turn in turns if other in turn)
