"""What the benchmark of CAM-based sampling compares is the same work."""
import numpy as np
import torch
from PIL import Image

from lib.config import load_config
from lib.core import build
from tools.measure.cam_rate import folder_of, in_batches, one_at_a_time


def test_both_loops_make_the_same_images():
    cfg = load_config("configs/test/digits_lt.yaml", ["INPUT_SIZE", "[8, 8]", "TEST.BATCH_SIZE", "50"])
    train_set = build.build_dataset(cfg, train=True)
    torch.manual_seed(0)
    generation = build.build_generation(cfg, train_set, build.build_network(cfg, 10), torch.device("cpu"))
    plan = build.build_plan(cfg, train_set)
    numbers = list(range(0, len(plan.labels), 20))
    with folder_of(plan) as loop, folder_of(plan) as batched:
        one_at_a_time(generation, plan, numbers, loop)
        in_batches(generation, plan, batched)
        names = [path.relative_to(loop) for path in loop.rglob("*.png")]
        assert len(names) == len(numbers)
        assert len(list(batched.rglob("*.png"))) == len(plan.labels)
        assert all(np.array_equal(Image.open(loop / name), Image.open(batched / name)) for name in names)
