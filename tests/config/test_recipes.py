"""The tree has the published keys, and the files in configs/ the published values."""
from pathlib import Path

import pytest
import torch
import yaml

from lib.config import TREE, load_config
from lib.core import build
from lib.core.runtime import Runtime

DATA = Path(__file__).resolve().parents[1] / "data"
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
RUNS = sorted(path for path in CONFIGS.rglob("*.yaml") if "_base_" not in path.parts)

REPLACED = {   # published defaults that could not run, and values that mean the same
    "DATASET.DATASET": "'IMBALANCEDCIFAR10' is no class", "LOSS.DiVEKLD.BASELOSS": "'BSCE' is no class",
}


def test_every_published_key_is_there_with_its_default():
    published = yaml.safe_load((DATA / "config_keys.yaml").read_text())
    ours = TREE.flat()
    assert published.keys() <= ours.keys()
    assert {key for key in published if ours[key] != published[key]} == REPLACED.keys()


def test_every_key_has_a_comment_or_is_a_plain_sibling():
    lines = (CONFIGS.parent / "lib/config/default.py").read_text().splitlines()
    keys = [line for line in lines if line.startswith("TREE.") and "= Node()" not in line]
    bare = [line for line in keys if "#" not in line]
    assert len(keys) == len(TREE.flat())
    assert len(bare) < len(keys) / 10, bare


def published_others() -> dict[str, dict]:
    return yaml.safe_load((DATA / "recipes.yaml").read_text())["others"]


@pytest.mark.parametrize("name", published_others())
def test_resolved_values_are_the_published_ones(name):
    cfg = load_config(CONFIGS / name).flat()
    excepted = {"NAME"} if name.startswith("test/") else set()   # published: one directory for these two and cifar10_im50
    for key, value in published_others()[name].items():
        value = value.removeprefix("{data}/") if isinstance(value, str) else value   # the data's root is DATASET.ROOT here
        assert cfg[key] == value or key in excepted, key


@pytest.mark.parametrize("path", RUNS, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_file_builds_everything(path):
    """Its own network, criterion, combiner and optimizer; its loaders on the digits at its own INPUT_SIZE, or 64×64."""
    size = [min(side, 64) for side in load_config(path).INPUT_SIZE]   # ResNet-50 at 224×224 would take seconds for each file
    cfg = load_config(path, ["DATASET.DATASET", "IMBALANCEDIGITS", "DATASET.IMBALANCECIFAR.RATIO", "0.1", "TRAIN.BATCH_SIZE", "8",
                             "INPUT_SIZE", str(size)])
    train_set, valid_set = build.build_datasets(cfg)
    network = build.build_network(cfg, train_set.num_classes)
    criterion, combiner = build.build_criterion(cfg, train_set.class_counts), build.build_combiner(cfg, train_set.class_counts)
    optimizer, schedule = build.build_optimizer(cfg, network)
    train_loader, valid_loader = build.build_loaders(cfg, train_set, valid_set, Runtime(torch.device("cpu")))
    batch = next(iter(train_loader))
    assert batch.images.shape[1:] == (3, *cfg.INPUT_SIZE)
    step = combiner(network, criterion, batch._replace(images=batch.images[:2], labels=batch.labels[:2]))
    step.loss.backward()
    assert step.loss.isfinite()
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(network.parameters()))
    assert 0 < schedule(1) <= 1
    assert valid_loader.num_images == 360


@pytest.mark.parametrize("path", RUNS, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_file_opens_with_its_command(path):
    first = path.read_text().splitlines()[0]
    assert first.startswith("# bash ")
    assert f"configs/{path.relative_to(CONFIGS)}" in first
    assert len(path.read_text().splitlines()) <= 25


def test_runs_have_directories_of_their_own():
    """In a shared one, the second run would be refused, or replace the first."""
    seen = {}
    for path in RUNS:
        cfg = load_config(path)
        seen.setdefault(Path(cfg.OUTPUT_DIR, cfg.NAME), []).append(path.name)
    assert [names for names in seen.values() if len(names) > 1] == []
