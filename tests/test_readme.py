"""README's commands are those that CI runs, and what it names is there."""
import re
from pathlib import Path

from lib.config import TREE

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def first_block() -> list[str]:
    return re.search(r"```bash\n(.*?)```", README, re.DOTALL).group(1).strip().splitlines()


def test_it_opens_with_two_commands():
    assert README.index("```bash") < 100
    train, test = first_block()
    assert "pip install -r requirements.txt" in train
    assert "data_parallel_train.sh configs/test/digits_lt.yaml cpu" in train
    assert "pytest" in test


def test_ci_installs_and_runs_what_it_says():
    _, test = first_block()
    script = (ROOT / ".ci/run").read_text()
    for part in ("pip install -r requirements.txt -r tests/requirements.txt", test.split("&&")[-1].strip()):
        assert part in script.replace("pip install -q", "pip install")


def test_files_and_keys_that_it_names_are_there():
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README) + re.findall(r"configs/[\w/]+\.yaml", README):
        assert (ROOT / path).exists(), path
    for key in re.findall(r"\b(?:TRAIN|TEST|DATASET|LOSS|NETWORK|BACKBONE|CLASSIFIER)\.[A-Z_a-z.]+[A-Z_a-z]", README):
        known = TREE.flat()
        assert key in known or any(name.startswith(f"{key}.") for name in known) or "PolyLoss" in key, key


def test_every_promise_names_a_test_that_is_there():
    section = README.split("## What it promises")[1].split("\n## ")[0]
    rows = [row for row in section.splitlines() if row.startswith("| ") and not row.startswith(("| promise", "|---"))]
    assert len(rows) >= 10
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for path, test in named:
            assert re.search(rf"^def {test}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), (path, test)
