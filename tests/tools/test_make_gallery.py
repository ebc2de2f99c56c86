"""The two documents are what their data files say, and every reported row has a command."""
import re
import shutil
from pathlib import Path

import pytest

from lib.config import TREE
from tools import make_gallery as gallery

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = gallery.read("tricks.yaml")
TRICKS = [trick for families in DOCUMENTS.values() for _, trick in gallery.tricks(families)]
ROWS = {row: recipe for trick in TRICKS for row, recipe in trick["rows"].items()}


def test_the_documents_are_up_to_date(capsys):
    assert gallery.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_document_is_told_and_rewritten(tmp_path, monkeypatch, capsys):
    for name in DOCUMENTS:
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8").replace("18.65", "12.34"), encoding="utf-8")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.setattr(gallery, "ROOT", tmp_path)
    assert gallery.main(["--check"]) == 2
    assert "trick_combination.md" in capsys.readouterr().err
    assert gallery.main([]) == 0
    assert gallery.main(["--check"]) == 0


def test_every_reported_row_has_one_command():
    assert ROWS.keys() == gallery.reported_rows().keys()
    assert sum(len(trick["rows"]) for trick in TRICKS) == len(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_names_files_that_are_there_with_its_numbers(row):
    """One number per column; the file that a command ends with tells the same number."""
    numbers, columns = gallery.reported_rows()[row], gallery.columns_of(ROWS[row])
    for value, dataset in zip(numbers if isinstance(numbers, list) else [numbers], columns, strict=True):
        chain = gallery.stages(ROWS[row], dataset)
        for stack in chain:
            for file in stack:
                assert (ROOT / file).is_file(), file
        if len(chain[-1]) == 1 and "literature" not in row:
            second = (ROOT / chain[-1][0]).read_text(encoding="utf-8").splitlines()[1]
            assert second.startswith(f"# Reported top-1 error: {f'{value:.2f} %' if value else 'none'}"), second


def test_each_command_is_in_the_documents():
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS)
    for recipe in ROWS.values():
        assert gallery.train_command(recipe, gallery.EXAMPLE) in text


def test_files_and_links_of_the_documents_are_there():
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        for path in re.findall(r"\]\(([^)#]+)\)", text) + re.findall(r"configs/[\w/\-]+\.yaml", text):
            assert (ROOT / path).is_file(), path
        anchors = {gallery.anchor(title) for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
        assert {*re.findall(r"\]\(#([^)]+)\)", text)} <= anchors


def test_entries_follow_the_template():
    parts = {"title", "what", "formula", "paper", "options", "rows"}
    for trick in TRICKS:
        assert trick.keys() - {"note", "elsewhere"} in (parts | {"stack"}, parts | {"chain"})
        assert 2 <= len(re.findall(r"[.](?:\s|$)", trick["what"])) <= 4, trick["title"]
        for key in trick["options"]:
            assert any(known == key or known.startswith(f"{key}.") for known in TREE.flat()), key


def test_titles_are_unique():
    """Numbers of ours find their entry by it."""
    titles = [trick["title"] for trick in TRICKS]
    assert len({*titles}) == len(titles)


def test_every_fragment_and_chain_has_an_entry():
    used = {f"tricks/{name}.yaml" for trick in TRICKS for name in trick.get("stack", ())}
    used |= {f"chains/{trick['chain']}.yaml" for trick in TRICKS if "chain" in trick}
    chains = "".join(file.read_text() for file in (ROOT / "configs/chains").glob("*.yaml"))
    there = {f"{folder}/{path.name}" for folder in ("tricks", "chains") for path in (ROOT / "configs" / folder).glob("*.yaml")}
    variants = {"tricks/csce_square.yaml", "tricks/remix_averaged.yaml", "tricks/epochs12.yaml", "tricks/epochs100.yaml",
                "tricks/epochs_auto.yaml", "chains/cam_square.yaml", "chains/cam_progressive.yaml"}
    assert {name for name in there - used - variants if f"../{name}" not in chains} == set()


def test_measured_numbers_name_all_that_they_depend_on():
    titles = {trick["title"] for trick in TRICKS}
    for result in gallery.read("measured.yaml"):
        assert sorted(result) == ["command", "commit", "data", "epochs", "error", "hardware", "input_size", "seeds", "trick"]
        assert result["trick"] in titles
        assert len(result["error"]) == len(result["seeds"])
        assert all(0 <= error <= 100 for error in result["error"])


def test_ours_show_mean_and_deviation():
    result = {"trick": "x", "data": "d", "command": "c", "error": [20.0, 22.0], "seeds": [1, 2], "epochs": 3,
              "input_size": [8, 8], "hardware": "h", "commit": "0"}
    assert "| 21.00 ± 1.41 (2 seeds) | d | 3 | 8×8 | 1, 2 | h | 0 | `c` |" in list(gallery.measured_table([result]))
    assert gallery.spread([20.0]) == "20.00 (one seed)"


@pytest.mark.parametrize(("paths", "text"), [
    (["a/b/e.yaml", "a/c/d/e.yaml"], "a/{b,c/d}/e.yaml"), (["a/b.yaml", "a/c.yaml"], "a/{b.yaml,c.yaml}"),
    (["a/x/x.yaml", "a/y/x.yaml", "a/z/x.yaml"], "a/{x,y,z}/x.yaml"), (["a/x/x/e.yaml", "a/x/e.yaml"], "a/x/{x/e.yaml,e.yaml}"),
])
def test_braces(paths, text):
    assert gallery.braces(paths) == text


@pytest.mark.parametrize(("text", "message"), [
    ("{", "cannot be read"), ("a: 1", "is not a list of measurements"),
    ("- {trick: a, data: b}", "entry 1 has no command and no err"),
    ("- {trick: a, data: b, command: c, error: 5, seeds: [1], epochs: 1, input_size: [8], hardware: h, commit: x}",
     "not a list")])
def test_a_damaged_file_of_measurements_is_named(text, message, tmp_path, monkeypatch, capsys):
    shutil.copytree(gallery.GALLERY, tmp_path / "gallery")
    (tmp_path / "gallery/measured.yaml").write_text(text)
    monkeypatch.setattr(gallery, "GALLERY", tmp_path / "gallery")
    assert gallery.main(["--check"]) == 2
    error = capsys.readouterr().err
    assert f"error: {tmp_path}/gallery/measured.yaml" in error
    assert message in error
