"""The tree has the published keys, and the files in configs/ the published values."""
import re
from functools import cache
from pathlib import Path, PurePath

import pytest
import torch

from lib.config import TREE, Config, load_config
from lib.core import build
from lib.device.runtime import Runtime
from tests.config.recipes import read, recipes
from tools.make_gallery import braces

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
PARTS = ("_base_", "tricks", "chains", "recipes")   # folders of files that are no runs of their own
RUNS = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yaml") if not {*PARTS} & {*path.parts})

REPLACED = {   # published defaults that could not run, and values that mean the same
    "DATASET.DATASET": "'IMBALANCEDCIFAR10' is no class", "LOSS.DiVEKLD.BASELOSS": "'BSCE' is no class",
}
FILES = ("NETWORK.PRETRAINED_MODEL", "TEST.MODEL_FILE", "DATASET.CAM_DATA_JSON_SAVE_PATH", "DATASET.CAM_DATA_SAVE_PATH",
         "DATASET.TRAIN_JSON", "DATASET.VALID_JSON", "DATASET.ROOT")   # places on the authors' disks


@cache
def published() -> dict[str, dict]:
    """Every published file with all its values, the defaults of its time included."""
    defaults = {key: value for key, value in read("config_keys.yaml").items() if key not in REPLACED}
    return {name: defaults | values for name, values in recipes().items()}


@cache
def load(name: str) -> Config:
    return load_config(CONFIGS / name)


def directory(values: dict) -> PurePath:
    return PurePath(values["OUTPUT_DIR"], values["NAME"])


@cache
def shared() -> set[str]:
    """Published recipes whose run directory is that of another one, or lies in it, or holds it."""
    places: dict[PurePath, list[str]] = {}
    for name, values in published().items():
        places.setdefault(directory(values), []).append(name)
    return {name for place, names in places.items() for name in names
            if len(names) > 1 or {*place.parents} & places.keys() or any(place in other.parents for other in places)}


def test_every_published_key_is_there_with_its_default():
    keys, ours = read("config_keys.yaml"), TREE.flat()
    assert keys.keys() <= ours.keys()
    assert {key for key in keys if ours[key] != keys[key]} == REPLACED.keys()


def test_every_key_has_a_comment_or_is_a_plain_sibling():
    lines = (CONFIGS.parent / "lib/config/default.py").read_text().splitlines()
    keys = [line for line in lines if line.startswith("TREE.") and "= Node()" not in line]
    bare = [line for line in keys if "#" not in line]
    assert len(keys) == len(TREE.flat())
    assert len(bare) < len(keys) / 10, bare


def test_all_published_recipes_are_there():
    assert len(published()) == 236
    assert published().keys() <= {*RUNS}


def test_few_published_recipes_share_a_directory():
    """What is excepted below: baselines of two data sets, validations of a baseline, and the examples."""
    assert {name.split("/")[0] + ("/tau_norm" if "tau_norm" in name else "") for name in shared()} == {
        "cui_cifar", "cui_cifar/tau_norm", "cao_cifar", "test"}
    assert len(shared()) == 14


@pytest.mark.parametrize("name", published())
def test_resolved_values_are_the_published_ones(name):
    """Of all published keys, given or default."""
    ours, excepted = load(name).flat(), {*FILES, *(("NAME", "OUTPUT_DIR") if name in shared() else ())}
    assert {key: (value, ours[key]) for key, value in published()[name].items()
            if ours[key] != value and key not in excepted} == {}


@pytest.mark.parametrize("name", [name for name in published() if published()[name]["NETWORK.PRETRAINED_MODEL"]
                                  or published()[name]["TEST.TAU_NORM.USE_TAU_NORM"]])
def test_later_stages_begin_where_the_published_ones_do(name):
    """With the same run's best or last checkpoint, wherever OUTPUT_DIR is; a published epoch_N.pth is that run's last one."""
    key = "NETWORK.PRETRAINED_MODEL" if published()[name]["NETWORK.PRETRAINED_MODEL"] else "TEST.MODEL_FILE"
    _, run, _, file = published()[name][key].removeprefix("./output/").split("/")
    moved = load_config(CONFIGS / name, ["OUTPUT_DIR", "/elsewhere", "NAME", "mine"]).flat()[key]
    assert moved == f"/elsewhere/{run}/models/{'best_model' if file == 'best_model.pth' else 'last'}.pth"
    if file != "best_model.pth":
        place = PurePath(published()[name]["OUTPUT_DIR"], run)
        epochs = {other["TRAIN.MAX_EPOCH"] for other in published().values() if directory(other) == place}
        assert epochs == {int(re.fullmatch(r"epoch_(\d+)[.]pth", file).group(1))}


@pytest.mark.parametrize("name", [name for name in RUNS if "/second_stage/" in name or "/third_stage/" in name])
def test_images_of_cam_based_sampling_are_those_of_the_run_that_is_continued(name):
    """Each first stage has images of its own; published, the two chains overwrote each other's."""
    used = load(name).DATASET.CAM_DATA_JSON_SAVE_PATH
    if load(name).DATASET.USE_CAM_BASED_DATASET:
        made = load(re.sub(r"(second_stage(/\w+)?|third_stage)/", "cam_generation/", name)).DATASET
        assert used == made.CAM_DATA_JSON_SAVE_PATH
        assert used.removesuffix("_CAM.json").endswith("first" + ("-" if "bag_of" in name else "_") + "stage")
        assert used == f"{made.CAM_DATA_SAVE_PATH}.json"
    else:
        assert not used


@pytest.mark.long
def test_every_kind_of_network_and_input_is_built():
    """One file of each: its network, criterion, combiner and optimizer; its loaders on the digits at its own INPUT_SIZE."""
    kinds = {}
    for name in RUNS:
        if load(name).AUTO:   # what they leave open is chosen from images: tests/end_to_end/test_own.py
            continue
        sections = ("INPUT_SIZE", "BACKBONE.TYPE", "MODULE", "CLASSIFIER", "TRANSFORMS")
        kinds.setdefault(str([value for key, value in load(name).flat().items() if key.startswith(sections)]), name)
    assert len(kinds) >= 7
    for name in kinds.values():
        cfg = load_config(CONFIGS / name, [
            "DATASET.DATASET", "IMBALANCEDIGITS", "DATASET.TRAIN_JSON", "", "DATASET.VALID_JSON", "",
            "DATASET.IMBALANCECIFAR.RATIO", "0.02", "DATASET.USE_CAM_BASED_DATASET", "False"])
        train_set, valid_set = build.build_datasets(cfg)
        network = build.build_network(cfg, train_set.num_classes)
        criterion = build.build_criterion(cfg, train_set.class_counts)
        combiner = build.build_combiner(cfg, train_set.class_counts)
        optimizer, schedule = build.build_optimizer(cfg, network)
        train_loader, valid_loader = build.build_loaders(cfg, train_set, valid_set, Runtime(torch.device("cpu")))
        batch = next(iter(train_loader))
        assert batch.images.shape[1:] == (3, *cfg.INPUT_SIZE), name
        step = combiner(network, criterion, batch._replace(images=batch.images[:2], labels=batch.labels[:2]))
        step.loss.backward()
        assert step.loss.isfinite(), name
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        assert sum(len(group["params"]) for group in optimizer.param_groups) == len(trained) > 0, name
        assert 0 < schedule(1) <= 1, name
        assert valid_loader.num_images == 360, name


@pytest.mark.parametrize("name", RUNS)
def test_every_file_opens_with_its_command(name):
    lines = (CONFIGS / name).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith(("# bash ", "# python tools/run_chain.py --chain "))
    assert f"configs/{name}" in expanded(lines[0])
    assert len(lines) <= 25


def expanded(line: str) -> str:
    """The line with a/{b,c}/d written out, as the shell does."""
    match = re.search(r"(\S*)\{([^}]*)\}(\S*)", line)
    if match is None:
        return line
    head, middle, tail = match.groups()
    paths = [f"{head}{part}{tail}" for part in middle.split(",")]
    assert braces(paths) == match.group()
    return line.replace(match.group(), " ".join(paths))


def test_runs_have_directories_of_their_own():
    """In a shared one, the second run would be refused, or replace the first."""
    seen: dict[PurePath, list[str]] = {}
    for name in RUNS:
        seen.setdefault(directory(load(name)), []).append(name)
    assert [names for names in seen.values() if len(names) > 1] == []
    assert [place for place in seen if {*place.parents} & seen.keys()] == []
