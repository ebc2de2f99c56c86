"""Values that are left to the data: where that is allowed, what is checked meanwhile, and how they are filled in."""
import pytest

from lib.config import load_config, validate
from lib.config.auto import AUTO, FOLLOWING, as_its_run, complete, decide, undecided
from lib.config.default import TREE
from lib.utils.errors import InputError

JSON = {"AUTO": "True", "DATASET.DATASET": "iNaturalist", "DATASET.TRAIN_JSON": "a.json", "DATASET.VALID_JSON": "b.json"}
OPEN = {key: str(mark) for key, (mark, _) in AUTO.items()}
CHOSEN = {"BACKBONE.TYPE": "res10", "LOSS.LOSS_TYPE": "BalancedSoftmaxCE", "INPUT_SIZE": [64, 64],
          "TRANSFORMS.TRAIN_TRANSFORMS": ["random_resized_crop"], "TRANSFORMS.TEST_TRANSFORMS": ["center_crop"],
          "TRANSFORMS.PROCESS_DETAIL.RANDOM_RESIZED_CROP.SCALE": [0.3, 1.0], "TRAIN.BATCH_SIZE": 16, "TRAIN.MAX_EPOCH": 50,
          "TRAIN.OPTIMIZER.TYPE": "SGD", "TRAIN.OPTIMIZER.BASE_LR": 0.05, "TRAIN.LR_SCHEDULER.WARM_EPOCH": 2,
          "VALID_STEP": 2, "TEST.BATCH_SIZE": 64, "TRAIN.NUM_WORKERS": 2, "TEST.NUM_WORKERS": 3}


@pytest.fixture
def load(tmp_path):
    """A configuration of values alone."""
    def loaded(values: dict):
        file = tmp_path / "empty.yaml"
        file.write_text("{}")
        return load_config(file, [str(word) for pair in values.items() for word in pair])

    return loaded


def test_every_key_is_one_with_a_value_of_its_kind():
    tree = TREE.flat()
    for key, values in AUTO.items():
        assert all(type(value) is type(tree[key]) for value in values), key
    assert all(key in tree for key in FOLLOWING)
    assert CHOSEN.keys() == AUTO.keys()


@pytest.mark.parametrize("key", AUTO)
def test_without_auto_they_are_refused_as_ever(key, load):
    with pytest.raises(InputError, match=key):
        load({**JSON, "AUTO": "False", key: OPEN[key]})
    assert undecided(load({**JSON, key: OPEN[key]})) == [key]


def test_all_may_be_open_at_once_and_nothing_is_open_by_default(load):
    assert undecided(load({**JSON, **OPEN})) == list(AUTO)
    assert undecided(load(JSON)) == []


@pytest.mark.parametrize(("values", "message"), [
    ({"LOSS.LOSS_TYPE": "BSCE"}, "LOSS.LOSS_TYPE: unknown loss"),
    ({"TRAIN.OPTIMIZER.MOMENTUM": "2"}, "TRAIN.OPTIMIZER.MOMENTUM: must be below 1"),
    ({"TRAIN.BATCH_SIZE": "-1"}, "TRAIN.BATCH_SIZE: must be at least 1"),
    ({"TRAIN.SAMPLER.TYPE": "bbn sampler", "TRAIN.TWO_STAGE.DRS": "True"}, "TRAIN.TWO_STAGE.DRS: does not work with"),
    ({"TRAIN.MINUTES": "5", "TRAIN.MAX_EPOCH": "7"}, "TRAIN.MINUTES: chooses TRAIN.MAX_EPOCH, but TRAIN.MAX_EPOCH is set to 7"),
    ({"DATASET.DATASET": "IMBALANCEDIGITS", "DATASET.TRAIN_JSON": "''", "DATASET.VALID_JSON": "''"},
     "INPUT_SIZE: must be given for DATASET.DATASET IMBALANCEDIGITS, whose images are resized to it"),
])
def test_what_is_not_open_is_checked_before_the_data_is_looked_at(values, message, load):
    with pytest.raises(InputError) as caught:
        load({**JSON, **OPEN, **values})
    assert message in str(caught.value)


def test_minutes_alone_leave_nothing_open(load):
    with pytest.raises(InputError, match=r"TRAIN\.MINUTES: chooses TRAIN\.MAX_EPOCH"):
        load({"TRAIN.MINUTES": "5"})


def test_decided_values_make_a_complete_configuration(load):
    cfg = decide(load({**JSON, **OPEN}), CHOSEN)
    assert {key: cfg.flat()[key] for key in CHOSEN} == CHOSEN
    assert undecided(cfg) == validate(cfg) == []
    assert cfg.is_frozen()


def test_values_that_do_not_go_together_are_told(load):
    with pytest.raises(InputError, match=r"values chosen from the data[^#]*INPUT_SIZE: ResNetCifar needs sides divisible by 4"):
        decide(load({**JSON, **OPEN}), {**CHOSEN, "BACKBONE.TYPE": "res32_cifar", "INPUT_SIZE": [30, 30]})


@pytest.mark.parametrize(("epochs", "start"), [(50, 40), (7, 5), (2, 1)])
def test_the_second_stage_begins_after_four_fifths_of_a_cosine(epochs, start, load):
    stage = {"TRAIN.TWO_STAGE.DRW": "True", "TRAIN.TWO_STAGE.START_EPOCH": "-1", "TRAIN.LR_SCHEDULER.TYPE": "warmup_cosine",
             "LOSS.LOSS_TYPE": "CrossEntropy"}
    cfg = decide(load({**JSON, **OPEN, **stage}), {**CHOSEN, "TRAIN.MAX_EPOCH": epochs, "TRAIN.LR_SCHEDULER.WARM_EPOCH": 0})
    assert start == cfg.TRAIN.TWO_STAGE.START_EPOCH
    given = load({**JSON, **stage, "TRAIN.MAX_EPOCH": epochs, "TRAIN.LR_SCHEDULER.WARM_EPOCH": 0})
    assert start == given.TRAIN.TWO_STAGE.START_EPOCH


def test_a_run_s_own_choices_are_taken_over(tmp_path, load):
    """Also what came with its weights; what is given now stays as it is given."""
    own = decide(load({**JSON, **OPEN}), {**CHOSEN, "DATASET.MEAN": [0.5, 0.5, 0.5], "DATASET.STD": [0.2, 0.2, 0.2]})
    (tmp_path / "config.yaml").write_text(own.to_yaml())
    cfg = as_its_run(load({**JSON, **OPEN, "TRAIN.MAX_EPOCH": "90"}), tmp_path)
    expected = {**CHOSEN, "TRAIN.MAX_EPOCH": 90, "DATASET.MEAN": [0.5] * 3, "DATASET.STD": [0.2] * 3}
    assert {key: cfg.flat()[key] for key in expected} == expected
    assert complete(load({**JSON, **OPEN}), tmp_path) == own


def test_without_a_run_the_message_says_where_choices_are(tmp_path, load):
    open_cfg = load({**JSON, **OPEN})
    assert as_its_run(open_cfg, tmp_path / "none") is open_cfg
    with pytest.raises(InputError, match=r"INPUT_SIZE, .*are chosen when a run is trained, but there is no run in .*none; give"):
        complete(open_cfg, tmp_path / "none")


@pytest.mark.parametrize(("root", "name"), [("birds", "birds"), ("birds/", "birds"), ("./a/../birds", "birds"), ("v1.2", "v1.2"),
                                            ("table.csv", "table"), ("", "pictures")])
def test_a_run_may_be_called_like_its_folder(root, name, tmp_path, load, monkeypatch):
    here = tmp_path / "pictures"
    (here / "a").mkdir(parents=True)
    (here / "table.csv").touch()
    monkeypatch.chdir(here)
    values = {**JSON, "DATASET.ROOT": root, "NAME": "{ROOT}_bsce", "NETWORK.PRETRAINED": "True",
              "NETWORK.PRETRAINED_MODEL": "{OUTPUT_DIR}/{ROOT}/models/last.pth", "OUTPUT_DIR": "out"}
    cfg = load(values)
    assert (f"{name}_bsce", f"out/{name}/models/last.pth") == (cfg.NAME, cfg.NETWORK.PRETRAINED_MODEL)
