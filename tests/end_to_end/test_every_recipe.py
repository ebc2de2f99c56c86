"""Every published recipe trains one epoch on a few digits, with all stages of its chain."""
from itertools import chain as flatten
from pathlib import Path

import pytest
import yaml

import main.train
import main.valid
from lib.config import load_config
from tools import make_gallery as gallery
from tools import run_chain

ROOT = Path(__file__).resolve().parents[2]
ROWS = {row: recipe for families in gallery.read("tricks.yaml").values() for _, trick in gallery.tricks(families)
        for row, recipe in trick["rows"].items() if "literature" not in row and row != "baselines/cui_cifar"}
FIRST = {row.split("/")[0]: row for row in reversed(ROWS)}.values()   # of each family
WITHOUT_EFFECT = ("NAME", "OUTPUT_DIR", "DATASET.TRAIN_JSON", "DATASET.VALID_JSON", "TRAIN.APEX")   # on this data, and on a CPU
SCRIPTS = {"train.py": main.train.main, "valid.py": main.valid.main}


def in_process(words: list[str]) -> int:
    """Stands in for a process of its own, which would spend most of its time on importing torch."""
    return SCRIPTS[Path(words[1]).name](words[2:])


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("every_recipe")


@pytest.fixture
def overrides(tiny) -> list[str]:
    pairs = {key: value for key, value in zip(tiny[::2], tiny[1::2]) if key not in ("NAME", "OUTPUT_DIR")}
    pairs |= {"TRAIN.MAX_EPOCH": "1", "TRAIN.TWO_STAGE.START_EPOCH": "0", "TRAIN.LR_SCHEDULER.TYPE": "multistep",
              "SAVE_STEP": "5"}
    return [word for pair in pairs.items() for word in pair]


def effect(chain: list[list[str]], overrides: list[str]) -> str:
    """What the stages come to; columns that agree in it need not all be trained."""
    values = [load_config([ROOT / file for file in stack], [*overrides, "OUTPUT_DIR", "x"]).flat() for stack in chain]
    return str([value for stage in values for key, value in stage.items() if key not in WITHOUT_EFFECT])


def test_the_rows_hold_every_published_recipe():
    files = {file for recipe in ROWS.values() for dataset in gallery.columns_of(recipe)
             for file in flatten.from_iterable(gallery.stages(recipe, dataset)) if not file.startswith("configs/tricks/")}
    recipes = yaml.safe_load((ROOT / "tests/data/recipes.yaml").read_text(encoding="utf-8"))
    published = {f"{entry['dir']}/{entry['files'].format(dataset=dataset)}" for entry in recipes["cui_cifar"]
                 for dataset in gallery.COLUMNS}
    published |= {name for name in recipes["others"] if not name.startswith("test/")}   # these two are other recipes' examples
    assert files == {f"configs/{name}" for name in published}
    assert len(files) == 234


@pytest.mark.parametrize("row", [pytest.param(row, marks=pytest.mark.slow if row in FIRST else pytest.mark.long) for row in ROWS])
def test_it_trains(row, home, overrides, capsys, monkeypatch, no_figures):
    monkeypatch.chdir(ROOT)
    done = set()
    for dataset in gallery.columns_of(ROWS[row]):
        chain = gallery.stages(ROWS[row], dataset)
        result = effect(chain, overrides)
        if result not in done:
            done.add(result)
            folder = home / row.split("/")[0] / (dataset or Path(chain[0][0]).stem)   # rows of a section share first stages
            words = ["--chain", *(",".join(stack) for stack in chain), "--gpus", "cpu", "OUTPUT_DIR", str(folder), *overrides]
            assert run_chain.main(words, in_process) == 0, capsys.readouterr()
            last = load_config(chain[-1], [*overrides, "OUTPUT_DIR", str(folder)])
            assert any(Path(folder, last.NAME).rglob("metrics.json"))
