"""What a start does not wait for."""
import sys

PROGRAM = """
import sys
from main import train
assert train.main(sys.argv[1:]) == 0
print(sorted({"torch._dynamo", "torchvision", "sklearn", "scipy", "timm"} & set(sys.modules)))
"""


def test_a_training_imports_nothing_that_takes_seconds_and_is_not_needed(command, tiny):
    """torch's compiler, which torchvision and torch's optimizers would load, is half of a start."""
    result = command(sys.executable, "-c", PROGRAM, "--cfg", "configs/test/digits_lt.yaml", "--gpus", "cpu", *tiny,
                     "TRAIN.MAX_EPOCH", 1, "TRAIN.COMBINER.TYPE", "mix_up", "TRAIN.UPDATE.TYPE", "sam")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[]"
