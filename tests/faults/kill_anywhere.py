"""Kills trainings anywhere, resumes them, and compares what they come to with a training that was never killed, bit for bit.

    python tests/faults/kill_anywhere.py --kills 100
    python tests/faults/kill_anywhere.py --kills 20 --families "plain,two ranks" --seed 7

Half of the kills come at a random time, the others inside the writing of checkpoints, JSON files and figures. With two ranks
one of them is killed, or both; the other must then end by itself within a minute.
"""
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

import argparse
import random
import re
import shutil
import signal
import tempfile
import time
from collections import Counter

import torch
from harness import (
    FAMILIES,
    GENERATION,
    PATIENCE,
    SPOTS,
    draw_nothing,
    kill,
    kill_at,
    leftovers,
    made,
    num_ranks,
    results,
    same,
    start,
    wait,
    words,
)

KILLS_OF_A_RUN = 5   # a run is killed at most so often before it may end


class Family:
    """A kind of training, how long it takes and what it comes to when nobody kills it.

    Args:
        first: OUTPUT_DIR of the plain training that some go on from.
    """

    def __init__(self, name: str, folder: Path, first: Path) -> None:
        self.name, self.folder, self.first, self.ranks = name, folder, first, num_ranks(name)
        begun = time.monotonic()
        statuses = wait(start(words(name, folder / "whole", first), self.ranks, folder / "whole.txt"), 600)
        self.seconds = time.monotonic() - begun
        if any(statuses):
            sys.exit(f"{name}: ended with {statuses} though nobody killed it\n{(folder / 'whole.txt').read_text()}")
        self.expected = self.outcome(folder / "whole")

    def outcome(self, place: Path) -> dict[str, object]:
        return made(place) if self.name == GENERATION else results(place / "run")

    def torment(self, number: int, kills: int, chance: random.Random) -> Counter:
        """Kills one run up to ``kills`` times, then lets it end; counts the kills by where they came."""
        place, output, done = self.folder / f"killed_{number}", self.folder / f"killed_{number}.txt", Counter()
        argv = [*words(self.name, place, self.first), "--ar", "True"]
        for _ in range(kills):
            spot = chance.choice(("time", chance.choice(SPOTS)))
            prepare = None if spot == "time" else kill_at(spot, chance.randint(1, chance.choice((2, 6, 12))))
            processes = start(argv, self.ranks, output, prepare)
            statuses = wait(processes, chance.uniform(0.2, self.seconds) if spot == "time" else 600)
            if None in statuses:
                statuses = self.kill_some(processes, statuses, chance)
            if not any(statuses):
                break   # it was faster
            done[spot] += -signal.SIGKILL in statuses
            odd = [status for status in statuses if status not in (-signal.SIGKILL, 1, 0)]
            if odd or None in statuses:
                self.fail(output, f"ranks ended with {statuses}")
            if (place / "cam.json").exists():
                self.compare(made(place), output)   # whoever finds annotations may use them
        statuses = wait(start(argv, self.ranks, output), 600)
        if any(statuses):
            self.fail(output, f"resumed, it ended with {statuses}")
        self.compare(self.outcome(place), output)
        if leftovers(place):
            self.fail(output, f"left behind: {leftovers(place)}")
        done["(resumed inside an epoch)"] = len(re.findall(r"resuming with epoch \d+, batch", output.read_text()))
        shutil.rmtree(place)
        return done

    def kill_some(self, processes: list[int], statuses: list[int | None], chance: random.Random) -> list[int | None]:
        """Kills one rank or all, and waits for the others."""
        running = [process for process, status in zip(processes, statuses) if status is None]
        chosen = running if chance.random() < 0.5 else [chance.choice(running)]
        ended = dict(zip(processes, statuses)) | dict(zip(chosen, kill(chosen)))
        others = [process for process in running if process not in chosen]
        ended |= dict(zip(others, wait(others, PATIENCE)))
        return [ended[process] for process in processes]

    def compare(self, found: dict[str, object], output: Path) -> None:
        for name, value in self.expected.items():
            if not same(value, found.get(name)):
                self.fail(output, f"{name} is not what it is without kills")

    def fail(self, output: Path, what: str) -> None:
        sys.exit(f"{self.name}: {what}; all output of the run:\n{output.read_text()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="at least so many, over all families in turn (default 100)")
    parser.add_argument("--families", default=",".join(FAMILIES), help=f"of {', '.join(FAMILIES)} (default: all)")
    parser.add_argument("--of-a-run", type=int, default=KILLS_OF_A_RUN, help="kills of a run before it may end (default 5)")
    parser.add_argument("--seed", type=int, default=0, help="which kills")
    args = parser.parse_args()
    torch.set_num_threads(1)
    draw_nothing()
    chance, counts, runs = random.Random(args.seed), {}, 0
    names = [name for name in FAMILIES if name in args.families.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        first, families = Path(folder) / "first", []
        first.mkdir()
        Family("plain", first, first)
        for number, name in enumerate(names):
            place = Path(folder) / str(number)
            place.mkdir()
            families.append(Family(name, place, first / "whole"))
            counts[name] = Counter()
        while sum(kills_of(count) for count in counts.values()) < args.kills:
            family = families[runs % len(families)]
            counts[family.name] += family.torment(runs, args.of_a_run, chance)
            runs += 1
            total = sum(kills_of(count) for count in counts.values())
            print(f"\r{total} of {args.kills} kills, {runs} runs, all equal to those never killed", end="", flush=True)
    print()
    for name, count in counts.items():
        places = ", ".join(f"{what} {number}" for what, number in sorted(count.items()))
        print(f"  {name:<22}{kills_of(count):>4} kills: {places}")


def kills_of(count: Counter) -> int:
    return sum(number for what, number in count.items() if not what.startswith("("))


if __name__ == "__main__":
    main()
