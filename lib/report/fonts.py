"""Fonts for names in any script. matplotlib's default font has Latin, Greek, Cyrillic and some others; further fonts are found
when needed.

Since version 3.6, matplotlib takes each character from the first font family of a text that has it.
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

REGULAR = ("Regular", "Book", "Normal", "Roman", "Medium")   # styles that are preferred to bold, slanted and thin ones
EMPTY = ("lastresort", "adobeblank")   # families that draw every character as a box, or not at all
DRAWN_BY_NOTHING = ("Cc", "Zl", "Zp")  # Unicode categories of invisible characters
NAMED = 5                              # number of characters in a warning, of different scripts
TOLD: set[str] = set()                 # characters for which this process has already warned


class Font(NamedTuple):
    """An installed font file, and which of the wanted characters it has."""

    characters: frozenset[str]
    family: str
    style: str
    path: str


def use_fonts(figure: Figure) -> None:
    """Adds fonts to the texts of a figure for characters that the default font lacks. Warns once if no font has a character."""
    texts = figure.findobj(Text)
    own = FontProperties().get_family()
    needed = lacking(frozenset("".join(text.get_text() for text in texts)), findfont(FontProperties()))
    families, missing = choose(needed) if needed else ((), frozenset())
    for text in texts:
        if not needed.isdisjoint(text.get_text()):
            text.set_fontfamily([*own, *families])
    warn(missing)


def lacking(characters: frozenset[str], path: str) -> frozenset[str]:
    """The characters for which a font file has no glyph."""
    font = FT2Font(path)
    return frozenset(character for character in characters if unicodedata.category(character) not in DRAWN_BY_NOTHING
                     and not font.get_char_index(ord(character)))


@cache
def choose(characters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """A small number of families that have these characters, those with most of them first; and the characters that no font
    has."""
    families, left, fonts = [], characters, list(having(characters))
    while left and fonts:
        best = min(fonts, key=lambda font: rank(font, left))
        fonts.remove(best)
        if best.characters & left and (found := left - lacking(left, resolve(best))):
            families.append(best.family)
            left -= found
    return tuple(families), left


def rank(font: Font, wanted: frozenset[str]) -> tuple:
    """The sort key of a font: most wanted characters first, then regular style, no serifs, not monospace, by name."""
    words = font.family.split()
    return (-len(font.characters & wanted), font.style not in REGULAR, "Serif" in words, "Mono" in words, font.family, font.path)


def having(characters: frozenset[str]) -> Iterator[Font]:
    """Installed fonts with some of these characters. (matplotlib's own list is not used: it is as old as its cache.)"""
    for path in sorted(findSystemFonts()):
        try:
            font = FT2Font(path)
            if font.scalable and font.family_name.replace(" ", "").lower() not in EMPTY:   # coloured bitmaps cannot be drawn
                found = characters - lacking(characters, path)
                if found:
                    yield Font(found, font.family_name, font.style_name, path)
        except (OSError, RuntimeError, ValueError) as error:
            log.info("%s: cannot be read as a font (%s)", path, error)


def resolve(font: Font) -> str:
    """The file that matplotlib uses for the font's family; the font is added to matplotlib's list if it is not in it."""
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
        log.warning("figures: %d characters are drawn as boxes, since no installed font has them, such as %s; on Debian, install "
                    "fonts-noto-cjk for Chinese, Japanese and Korean, fonts-noto-core for most other scripts, fonts-symbola for "
                    "emoji", len(new), shown)


@contextmanager
def silent_boxes() -> Iterator[None]:
    """Suppresses matplotlib's warnings about missing glyphs, scripts that it cannot shape, and fonts without bold letters."""
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
