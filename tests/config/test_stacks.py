"""Stacked files name their run, find the run that they continue, and combine in any order."""
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from lib.config import TREE, ConfigError, load_config
from lib.config.node import BASE, read_flat

ROOT = Path(__file__).resolve().parents[2]
CONFIGS, TRICKS = ROOT / "configs", ROOT / "configs/tricks"
BASELINE = CONFIGS / "fashion_lt/baseline/fashion_im100.yaml"
FRAGMENTS = sorted(path.stem for path in TRICKS.glob("*.yaml"))
FAMILIES = {   # what one of each family may be stacked with one of any other
    "loss": ["csce", "csce_square", "focal", "cbce", "cbfocal", "cels", "celas", "ldam", "gcl", "seql", "cdt", "bsce",
             "influence_balanced", "logit_adjustment", "vs", "lade"],
    "update": ["sam", "asam", "imb_sam", "focalsam"],
    "mixup": ["input_mixup", "manifold_mixup", "remix", "remix_averaged", "cut_mix", "uni_mix"],
    "draw": ["balance_sampling", "square_sampling", "progressive_sampling", "bbn_sampling"],
    "deferral": ["drw", "drs"],
}
LATER_STAGES = ["crt", "lws", "tau_norm", "finetune", "cam_generation", "cam_stage", "dive", "max_norm", "disalign", "marc",
                "gcl_stage2", "mislas", "los", "ride_distilled", "h2t"]
PAIRS = [(a, b) for one, other in combinations(FAMILIES.values(), 2) for a in one for b in other]
NEEDS = {"drs": ["balance_sampling"], "ride_distilled": ["ride"]}   # nothing to defer, or to distil, without
REFUSED = {   # pairs that make no sense, by the key that says so
    ("lade", "drw"): "TRAIN.TWO_STAGE.DRW",
    **{("lade", mixup): "LOSS.LOSS_TYPE" for mixup in FAMILIES["mixup"]},   # it looks at which examples share a label
    ("seql", "drw"): "TRAIN.TWO_STAGE.DRW", ("bbn_sampling", "drs"): "TRAIN.TWO_STAGE.DRS",
}


def stack(*names: str) -> list[Path]:
    return [BASELINE, *(TRICKS / f"{name}.yaml" for name in names)]


@pytest.fixture
def write(tmp_path):
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    write("base.yaml", "NAME: base\nBACKBONE: {TYPE: res32_cifar}\nINPUT_SIZE: [32, 32]\n")
    write("a.yaml", "SEED: 1\n")
    write("b.yaml", "SHOW_STEP: 7\n")
    return write


def test_files_that_set_no_name_add_their_own(write, tmp_path):
    files = [tmp_path / name for name in ("base.yaml", "a.yaml", "b.yaml")]
    assert load_config(files).NAME == "base_a_b"
    assert load_config([files[0], files[2], files[1]]).NAME == "base_b_a"
    assert load_config(files[:1]).NAME == "base"
    assert load_config(files, ["NAME", "typed"]).NAME == "typed"


def test_a_list_of_bases_names_like_the_command_line(write):
    assert load_config(write("c.yaml", "_BASE_: [base.yaml, a.yaml, b.yaml]\n")).NAME == "base_a_b"
    assert load_config(write("d.yaml", "_BASE_: [base.yaml, a.yaml]\nNAME: d\n")).NAME == "d"


def test_a_fragment_on_fragments_adds_one_name(write, tmp_path):
    ab = write("ab.yaml", "_BASE_: [a.yaml, b.yaml]\nSAVE_STEP: 3\n")
    cfg = load_config([tmp_path / "base.yaml", ab])
    assert (cfg.NAME, cfg.SEED, cfg.SHOW_STEP, cfg.SAVE_STEP) == ("base_ab", 1, 7, 3)


def test_a_whole_recipe_further_up_names_the_run(write, tmp_path):
    recipe = write("recipe.yaml", "_BASE_: base.yaml\nNAME: recipe\n")
    assert load_config([tmp_path / "base.yaml", recipe, tmp_path / "a.yaml"]).NAME == "recipe_a"


def test_before_is_the_run_of_the_files_before(write, tmp_path):
    then = write("then.yaml", "NETWORK: {PRETRAINED: true, PRETRAINED_MODEL: '{OUTPUT_DIR}/{BEFORE}/models/last.pth'}\n")
    files = [tmp_path / "base.yaml", tmp_path / "a.yaml", then, tmp_path / "b.yaml"]
    cfg = load_config(files, ["OUTPUT_DIR", "/runs/", "NAME", "mine"])
    assert cfg.NETWORK.PRETRAINED_MODEL == "/runs/base_a/models/last.pth"
    assert load_config(files).NAME == "base_a_then_b"
    derived = write("derived.yaml", "_BASE_: base.yaml\nNAME: derived\nRESUME_MODEL: '{OUTPUT_DIR}/{BEFORE}/models/x.pth'\n")
    assert load_config(derived).RESUME_MODEL == "./output/base/models/x.pth"


def test_the_resolved_configuration_loads_back_to_itself(write):
    cfg = load_config(stack("input_mixup", "drw", "csce"))
    assert load_config(write("again.yaml", cfg.to_yaml())) == cfg


@pytest.mark.parametrize(("words", "message"), [
    (["TEST.MODEL_FILE", "{BEFORE}/x"], "TEST.MODEL_FILE: {BEFORE} stands for the NAME of earlier yaml files"),
    (["OUTPUT_DIR", "{OUTPUT_DIR}/x"], "OUTPUT_DIR: cannot refer to itself"),
    (["TRAIN.TWO_STAGE.START_EPOCH", "-1", "TRAIN.LR_SCHEDULER.LR_STEP", "[]"], "which TYPE multistep with LR_STEP [] does not"),
    (["TRAIN.TWO_STAGE.START_EPOCH", "-1", "TRAIN.LR_SCHEDULER.TYPE", "cosine"], "TRAIN.TWO_STAGE.START_EPOCH: -1 is the first"),
    (["TRAIN.TWO_STAGE.START_EPOCH", "-2"], "TRAIN.TWO_STAGE.START_EPOCH: must not be negative, got -2"),
])
def test_references_that_lead_nowhere(write, tmp_path, words, message):
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "base.yaml", words)
    assert message in str(caught.value)
    assert len(str(caught.value).split("\n")) == 2   # said once


@pytest.mark.parametrize(("names", "epoch"), [
    (("csce", "drw"), 160), (("drw", "csce", "input_mixup"), 320), (("input_mixup", "csce", "drw"), 320),
    (("csce", "drw", "epochs12"), 8)])
def test_the_second_stage_begins_at_the_first_milestone_of_any_schedule(names, epoch):
    cfg = load_config(stack(*names))
    assert cfg.TRAIN.TWO_STAGE.START_EPOCH == epoch == cfg.TRAIN.LR_SCHEDULER.LR_STEP[0]


def test_every_fragment_is_of_a_family_a_schedule_or_a_later_stage():
    schedules = [name for name in FRAGMENTS if name.startswith("epochs")]
    methods = ["balpoe", "bcl", "cmo", "curriculum", "proco", "ride", "ride_teacher", "sade", "weight_decay"]
    known = [*(name for family in FAMILIES.values() for name in family), *LATER_STAGES, *schedules, "bbn_mixup", *methods]
    assert sorted(known) == FRAGMENTS


def test_no_two_stacks_of_two_fragments_share_a_directory():
    """Names that end alike, such as a_b of a and b beside a_b.yaml, would."""
    names = ["_".join(names) for size in (1, 2, 3) for names in combinations(FRAGMENTS, size)]
    assert len(set(names)) == len(names)


def test_fragments_name_no_run_and_only_later_stages_continue_one():
    for name in FRAGMENTS:
        text = (TRICKS / f"{name}.yaml").read_text()
        assert "NAME" not in yaml.safe_load(text)
        cfg = load_config(stack(*NEEDS.get(name, []), name))
        assert cfg.NAME.endswith(f"_{name}")
        continues = any("/baseline" in value for value in cfg.flat().values() if isinstance(value, str))
        assert continues == (name in LATER_STAGES), name


@cache
def own_values(name: str) -> dict:
    """What a fragment sets, the files that it is based on included."""
    content = read_flat(TRICKS / f"{name}.yaml", TREE.flat())
    bases = content.pop(BASE, [])
    below = [own_values(Path(base).stem) for base in ([bases] if isinstance(bases, str) else bases)]
    return {key: value for values in [*below, content] for key, value in values.items()}


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_tricks_of_different_families_combine_in_either_order(one, other):
    """They set different keys, or the same values, so that order does not matter; what makes no sense is refused."""
    first, second = own_values(one), own_values(other)
    assert {key for key in first.keys() & second.keys() if first[key] != second[key]} == set()
    needs = [] if {one, other} & {*FAMILIES["draw"]} else [extra for name in (one, other) for extra in NEEDS.get(name, [])]
    if (one, other) in REFUSED:
        with pytest.raises(ConfigError, match=REFUSED[one, other]):
            load_config(stack(*needs, one, other))
        return
    both = load_config(stack(*needs, one, other)).flat()
    assert {key for key, value in {**first, **second}.items() if both[key] != value} <= {"TRAIN.TWO_STAGE.START_EPOCH"}


def test_the_published_combinations_are_stacks_of_a_baseline():
    """What the gallery promises: the stack has the values of the published file."""
    for names, recipe in ((("input_mixup", "bsce"), "mixup_with_reweighting/bsce/input_mixup/cifar100_im50_im_alpha10.yaml"),
                          (("bbn_mixup",), "mixup_with_resampling/bbn-style/input_mixup/cifar100_im50.yaml")):
        base = CONFIGS / "_base_/cui_cifar100_im50.yaml"
        stacked = load_config([base, *stack(*names)[1:]]).flat()
        published = load_config(CONFIGS / "cui_cifar/combinations/mixup_with_rebalancing" / recipe).flat()
        assert {key for key in stacked if stacked[key] != published[key]} == {"NAME"}


@pytest.mark.parametrize("recipe", sorted((TRICKS.parent / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_says_everything_that_numbers_of_it_depend_on(recipe):
    cfg = load_config([BASELINE, recipe, TRICKS / "bsce.yaml"])
    own = read_flat(recipe, TREE.flat())
    bases = [recipe.parent / base for base in [own.get(BASE, [])] if isinstance(base, str)]
    said = own.keys() | {key for base in bases for key in own_recipe(base)}
    wanted = {"TRANSFORMS.TRAIN_TRANSFORMS", "TRAIN.BATCH_SIZE", "TRAIN.MAX_EPOCH", "TRAIN.OPTIMIZER.BASE_LR",
              "TRAIN.OPTIMIZER.WEIGHT_DECAY", "TRAIN.OPTIMIZER.NESTEROV", "TRAIN.LR_SCHEDULER.TYPE"}
    assert wanted <= said
    assert cfg.LOSS.LOSS_TYPE == "BalancedSoftmaxCE"
    assert cfg.NAME.endswith(f"_{recipe.stem}_bsce")


def own_recipe(path: Path) -> dict:
    """What a recipe sets, the one that it is based on included."""
    content = read_flat(path, TREE.flat())
    base = content.pop(BASE, None)
    return content | (own_recipe(path.parent / base) if base else {})
