"""The pages: commands are those that CI runs, and what they name is there."""
import re
from pathlib import Path

import pytest

from lib.config import TREE

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_keys_that_it_names_are_there(page):
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for target in re.findall(r"\]\((?!http)([^)\s]+)\)", prose):
        path, _, anchor = target.partition("#")
        place = page.parent / path if path else page
        assert place.exists(), target
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place.read_text(encoding="utf-8")), target
    for path in re.findall(r"configs/[\w/]+\.yaml", text):
        assert (ROOT / path).exists(), path
    known = TREE.flat()
    for key in re.findall(r"\b(?:TRAIN|TEST|DATASET|LOSS|NETWORK|BACKBONE|CLASSIFIER)\.[A-Z_a-z.]+[A-Z_a-z]", text):
        assert key in known or any(name.startswith(f"{key}.") for name in known) or "PolyLoss" in key, key


def anchors(text: str) -> set[str]:
    """Of headings, as GitHub makes them."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in re.findall(r"(?m)^#+ (.+)$", text)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scripts_and_options_of_its_commands_are_there(page):
    """Of every command in a block of bash: the script, its options and the yaml files."""
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for command in re.split(r"\n|&&", block):
            script = re.search(r"\b((?:main|tools|tests)/[\w/]+\.py|[\w]+\.sh)\b", command)
            if script is None:
                continue
            assert (ROOT / script[1]).exists(), command
            source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "main").glob("*.py"))
            source += (ROOT / script[1]).read_text(encoding="utf-8")
            for option in re.findall(r"(?<= )--[a-z][\w-]*", command):
                assert f'"{option}"' in source, (command, option)


def test_it_is_short_and_names_every_page():
    assert len(README.splitlines()) <= 200
    for page in PAGES[1:]:
        assert f"docs/{page.name}" in README, page


BANNED = (r"\b(?:go|goes|going|gone|went) on\b", r"\banew\b")   # "resume", "continue", "again", "from scratch"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_it_is_written_in_plain_terms(page):
    for pattern in BANNED:
        found = re.search(pattern, page.read_text(encoding="utf-8"), re.IGNORECASE)
        assert found is None, found


def test_every_promise_names_a_test_that_is_there():
    section = (ROOT / "docs/promises.md").read_text(encoding="utf-8")
    rows = [row for row in section.splitlines() if row.startswith("| ") and not row.startswith(("| promise", "|---"))]
    assert len(rows) >= 10
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for path, test in named:
            assert re.search(rf"^def {test}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), (path, test)
