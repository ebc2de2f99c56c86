"""Timings in turns and their evaluation. Ratios are taken turn by turn, so that a busy minute affects both sides."""
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

Turn = dict[str, float]   # part to images per second
REFERENCES = ("bare", "usual")


def take_turns(ways: Mapping[str, Callable[[], float]], repeats: int) -> list[Turn]:
    """Measures A B C A B C …: ``repeats`` turns with each function once, after one turn as warm-up."""
    turns = [{name: way() for name, way in ways.items()} for _ in range(repeats + 1)]
    return turns[1:]


def spread(values: Iterable[float]) -> dict[str, float]:
    values = list(values)
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summarise(turns: Sequence[Turn]) -> dict[str, dict[str, dict[str, float]]]:
    """Part to spreads: of its images per second, of its ratios to the bare step and to the usual loop where they are there."""
    return {name: {"images_per_second": spread(turn[name] for turn in turns),
                   **{f"ratio_to_{other}": spread(turn[name] / turn[other] for turn in turns)
                      for other in REFERENCES if other in turns[0] and other != name}}
            for name in turns[0]}
