"""Fonts for names in any script: matplotlib's own has Latin, Greek, Cyrillic and some more, others are found when needed.

matplotlib takes each character from the first family of a text that has it (since 3.6).
"""
import logging
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

log = logging.getLogger(__name__)

REGULAR = ("Regular", "Book", "Normal", "Roman", "Medium")   # styles, before bold, slanted and thin ones
EMPTY = ("lastresort", "adobeblank")   # families that have every character, and a box or nothing for it
DRAWN_BY_NOTHING = ("Cc", "Zl", "Zp")  # categories of Unicode
NAMED = 5                              # characters of a warning, of different scripts
TOLD: set[str] = set()                 # characters that this process has warned of


class Font(NamedTuple):
    """An installed file, and those of the characters in question that it has."""

    characters: frozenset[str]
    family: str
    style: str
    path: str


def use_fonts(figure: Figure) -> None:
    """Lets every text of a figure take what the default font lacks from other fonts; warns once of what none has."""
    texts = figure.findobj(Text)
    own = FontProperties().get_family()
    needed = lacking(frozenset("".join(text.get_text() for text in texts)), findfont(FontProperties()))
    families, missing = choose(needed) if needed else ((), frozenset())
    for text in texts:
        if not needed.isdisjoint(text.get_text()):
            text.set_fontfamily([*own, *families])
    warn(missing)


def lacking(characters: frozenset[str], path: str) -> frozenset[str]:
    """Characters that a font file has no glyph for."""
    font = FT2Font(path)
    return frozenset(character for character in characters if unicodedata.category(character) not in DRAWN_BY_NOTHING
                     and not font.get_char_index(ord(character)))


@cache
def choose(characters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Few families that have these characters, those with most of them first; and the characters that no font has."""
    families, left, fonts = [], characters, list(having(characters))
    while left and fonts:
        best = min(fonts, key=lambda font: rank(font, left))
        fonts.remove(best)
        if best.characters & left and (found := left - lacking(left, resolve(best))):
            families.append(best.family)
            left -= found
    return tuple(families), left


def rank(font: Font, wanted: frozenset[str]) -> tuple:
    """Orders fonts: most of the characters, a plain style, no serifs, no monospace, by name."""
    words = font.family.split()
    return (-len(font.characters & wanted), font.style not in REGULAR, "Serif" in words, "Mono" in words, font.family, font.path)


def having(characters: frozenset[str]) -> Iterator[Font]:
    """Installed fonts with some of these characters. matplotlib's own list is of the day on which it was first used."""
    for path in sorted(findSystemFonts()):
        try:
            font = FT2Font(path)
            if font.scalable and font.family_name.replace(" ", "").lower() not in EMPTY:   # coloured bitmaps cannot be drawn
                found = characters - lacking(characters, path)
                if found:
                    yield Font(found, font.family_name, font.style_name, path)
        except (OSError, RuntimeError, ValueError) as error:
            log.info("%s: no font that can be read (%s)", path, error)


def resolve(font: Font) -> str:
    """The file that matplotlib takes for the font's family, which it is told of where it does not know it."""
    if not any(Path(entry.fname) == Path(font.path) for entry in fontManager.ttflist):
        fontManager.addfont(font.path)
    return findfont(FontProperties(family=font.family))


def warn(characters: frozenset[str]) -> None:
    new = sorted(characters - TOLD)
    if new:
        TOLD.update(new)
        names = {character: unicodedata.name(character, "without a name") for character in new}
        first_of = {name.split()[0]: f"{character} ({name})" for character, name in reversed(names.items())}   # of each script
        shown = ", ".join(list(first_of.values())[::-1][:NAMED])
        log.warning("figures: boxes stand for %d characters that no installed font has, such as %s; on Debian, fonts-noto-cjk "
                    "has Chinese, Japanese and Korean, fonts-noto-core most other scripts, fonts-symbola emoji", len(new), shown)


@contextmanager
def silent_boxes() -> Iterator[None]:
    """Keeps matplotlib from a warning for each box, each script that it cannot shape, and each font without bold letters."""
    fonts = logging.getLogger("matplotlib.font_manager")
    level = fonts.level
    fonts.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message in ("Glyph .* missing from", "Matplotlib currently does not support"):
                warnings.filterwarnings("ignore", message, UserWarning)
            yield
    finally:
        fonts.setLevel(level)
