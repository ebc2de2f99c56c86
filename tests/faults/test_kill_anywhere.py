"""The short form of ``kill_anywhere.py``; the long one is ``python tests/faults/kill_anywhere.py --kills 100``."""
import re
import sys

import pytest


@pytest.mark.long
def test_killed_anywhere_it_comes_to_the_same_bits(command):
    """In a process of its own, since it forks."""
    words = ["--kills", 6, "--of-a-run", 1, "--families", "CAM generation,SAM,experts,MaxNorm,views,curriculum",
             "--seed", 1]
    result = command(sys.executable, "tests/faults/kill_anywhere.py", *words, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    last = re.findall(r"(\d+) of 6 kills, (\d+) runs, all equal to those never killed", result.stdout)[-1]
    assert int(last[0]) >= 6
