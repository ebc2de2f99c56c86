"""What a finished training proposes to do next."""
from argparse import Namespace

import pytest
import torch

from lib.config import load_config
from lib.report.metrics import measure
from lib.report.predictions import predictions_of
from main.ending import is_balanced, next_commands

DIGITS = "configs/test/digits_lt.yaml"


@pytest.mark.parametrize(("counts", "balanced"), [([5, 5, 5], True), ([5, 0, 5], True), ([5, 4, 5], False)])
def test_a_trick_for_rare_classes_is_proposed_where_there_are_some(counts, balanced):
    metrics = measure(predictions_of(torch.eye(3), torch.arange(3)), torch.tensor(counts))
    assert is_balanced(metrics) == balanced
    commands = next_commands(load_config([DIGITS]), Namespace(cfg=[DIGITS], gpus="cpu", words=[]), balanced)
    assert ["BalancedSoftmaxCE" in command for command in commands] == [False] + [True] * (not balanced)
