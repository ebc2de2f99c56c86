"""Names in any script are drawn by an installed font that has it; what none has is told once. The fonts here are made here."""
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from PIL import Image

from lib.report import fonts
from lib.report.figures import class_counts_figure
from lib.report.fonts import choose, use_fonts
from lib.report.style import save_figure

CJK, ARABIC, THAI = "京都鳥한글", "عصفور", "นก"


def make_font(path: Path, family: str, characters: str, style: str = "Regular", collection: bool = False) -> None:
    """A font whose characters are black squares of the full height, which no box for a missing one is."""
    builder = FontBuilder(1000, isTTF=True)
    names = [".notdef", *(f"u{ord(character):X}" for character in characters)]
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(character): name for character, name in zip(characters, names[1:])})
    builder.setupGlyf({name: square(empty=name == ".notdef") for name in names})
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": family, "styleName": style})
    builder.setupOS2()
    builder.setupPost()
    if collection:
        whole = TTCollection()
        whole.fonts = [builder.font, builder.font]
        whole.save(path)
    else:
        builder.save(path)


def square(empty: bool):
    pen = TTGlyphPen(None)
    if not empty:
        pen.moveTo((0, 0))
        for corner in ((0, 800), (1000, 800), (1000, 0)):
            pen.lineTo(corner)
        pen.closePath()
    return pen.glyph()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Fonts of a system that has those that are installed here, and no others."""
    paths: list[str] = []
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: paths)
    monkeypatch.setattr(fonts, "TOLD", set())
    monkeypatch.setattr(fontManager, "ttflist", list(fontManager.ttflist))
    choose.cache_clear()

    def add(family: str, characters: str, style: str = "Regular", collection: bool = False) -> None:
        path = tmp_path / f"{len(paths)}.{'ttc' if collection else 'ttf'}"
        make_font(path, f"{family} of {tmp_path.name}", characters, style, collection)
        paths.append(str(path))

    yield add
    fontManager._findfont_cached.cache_clear()
    choose.cache_clear()


def chosen(characters: str) -> tuple[list[str], str]:
    """Families without the part of their names that tells tests apart, and the characters that none has."""
    families, left = choose(frozenset(characters))
    return [family.split(" of ")[0] for family in families], "".join(sorted(left))


def blackness(figure: Figure, path: Path) -> float:
    save_figure(figure, path)
    return float((np.asarray(Image.open(path).convert("L")) < 64).mean())


def written(text: str) -> Figure:
    figure = Figure(figsize=(4, 1))
    figure.text(0.1, 0.3, text, fontsize=30)
    return figure


@pytest.mark.parametrize("collection", [False, True])
def test_a_name_is_drawn_by_the_font_that_has_it(install, tmp_path, collection):
    before = blackness(written("京都"), tmp_path / "before.png")
    install("Hanzi", CJK, collection=collection)
    choose.cache_clear()
    assert blackness(written("京都"), tmp_path / "after.png") > 2 * before
    figure = written("a京都b")
    use_fonts(figure)
    with warnings.catch_warnings():
        warnings.simplefilter("error")   # as matplotlib would warn of a missing glyph
        figure.canvas.draw()


def test_every_figure_of_class_names_goes_through_it(install, tmp_path):
    install("Hanzi", CJK)
    figure = class_counts_figure(torch.tensor([5, 3]), ["京都", "plain"])
    save_figure(figure, tmp_path / "x.png")
    first, second = figure.axes[0].get_xticklabels()
    assert first.get_fontfamily()[-1].startswith("Hanzi")
    assert len(second.get_fontfamily()) == 1


def test_what_no_font_has_is_told_once(install, tmp_path, caplog, recwarn):
    with caplog.at_level("WARNING", logger="lib.report.fonts"):
        for _ in range(2):
            save_figure(written("京都 นก 🫨"), tmp_path / "x.png")
        save_figure(written("都"), tmp_path / "x.png")
        record, = caplog.records
        assert record.getMessage().startswith(
            "figures: 5 characters are drawn as boxes, since no installed font has them, such as")
        for part in ("ก (THAI CHARACTER KO KAI)", "京 (CJK UNIFIED IDEOGRAPH-4EAC)", "fonts-noto-cjk"):
            assert part in record.getMessage()
        assert "都" not in record.getMessage()   # one of each script
        save_figure(written("鳥"), tmp_path / "x.png")   # a new one
        assert len(caplog.records) == 2
    assert not recwarn.list


def test_few_families_with_most_of_the_characters_first(install):
    install("One", "京")
    install("Most", CJK)
    install("Other", ARABIC)
    assert chosen(CJK + ARABIC + THAI) == (["Most", "Other"], "".join(sorted(THAI)))
    assert chosen("京") == (["Most"], "")   # of equal ones, by name


def test_plain_fonts_go_before_bold_ones_and_those_with_serifs(install):
    install("A Bold", CJK, style="Bold")
    install("A Serif", CJK)
    install("B Mono", CJK)
    install("C Sans", CJK)
    assert chosen(CJK) == (["C Sans"], "")


def test_what_has_every_character_and_no_picture_of_it_is_left_out(install, tmp_path):
    install("First", CJK)
    install("Second", CJK)
    assert chosen("京") == (["First"], "")
    choose.cache_clear()
    make_font(tmp_path / "0.ttf", "Last Resort", CJK)
    make_font(tmp_path / "1.ttf", "Adobe Blank", CJK)
    assert chosen("京") == ([], "京")


def test_a_file_that_is_no_font_is_named_and_the_next_taken(install, tmp_path, caplog):
    install("Broken", CJK)
    (tmp_path / "0.ttf").write_bytes(b"no font")
    install("Whole", CJK)
    with caplog.at_level("INFO", logger="lib.report.fonts"):
        assert chosen("京") == (["Whole"], "")
    assert f"{tmp_path}/0.ttf: cannot be read as a font" in caplog.text


def test_nothing_is_looked_for_where_nothing_is_missing(monkeypatch, tmp_path):
    def look() -> None:
        raise AssertionError("fonts were looked for")

    monkeypatch.setattr(fonts, "findSystemFonts", look)
    save_figure(written("Ωμέγα, мир, ñ – × ² $10^3$\nnext line"), tmp_path / "x.png")
