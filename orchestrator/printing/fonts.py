"""Which fonts a text needs: one for most of it, others for the scripts that this one lacks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from fontTools.ttLib import TTFont

MAIN = "NotoSans[wght].ttf"
UNKNOWN = "\ufffd"  # printed for a character that no font has
# Latin, Greek, Cyrillic and Armenian with their signs: letters that neither join nor move, so that
# one stands after the other; combining marks are not among them
_PLAIN = re.compile(
    "[\u0000-\u02ff\u0370-\u0482\u048a-\u0590\u1e00-\u200a\u2010-\u2027\u20a0-\u20cf\ufffd]*"
)
_HAN = "NotoSansCJKjp-Regular.otf"
_LAST = ("NotoSansSymbols[wght].ttf", "NotoEmoji[wght].ttf")  # they also hold plain letters


@dataclass(frozen=True, slots=True, kw_only=True)
class Fonts:
    """Files in the order in which they are asked for a character, and the characters none has."""

    files: tuple[Path, ...]
    missing: frozenset[str]


def fonts_for(texts: Iterable[str]) -> Fonts:
    """Return the fonts that the texts need, the same ones for the same texts."""
    left = {char for text in texts for char in text}
    files = _files()
    chosen = [files[0]]
    left -= _characters(files[0])
    for file in files[1:]:
        if not left:
            break
        more = left & _characters(file)
        if more:
            chosen.append(file)
            left -= more
    return Fonts(files=tuple(chosen), missing=frozenset(left))


def is_plain(text: str) -> bool:
    """Whether a text is only set letter by letter; any other has to be shaped, which is dear."""
    return _PLAIN.fullmatch(text) is not None


@cache
def _files() -> tuple[Path, ...]:
    """Return the main font, one for each script by name, symbols, and the large one for Han."""
    folder = Path(str(resources.files("manimgx_fonts")))
    han = Path(str(resources.files("noto_cjk_sans_jp_regular"))) / _HAN
    scripts = sorted(folder.glob("NotoSans*.ttf"))
    last = [folder / name for name in _LAST]
    middle = [p for p in scripts if p.name != MAIN and "Italic" not in p.name and p not in last]
    return (folder / MAIN, *middle, han, *last)


@cache
def _characters(file: Path) -> frozenset[str]:
    with TTFont(file, lazy=True) as font:
        return frozenset(map(chr, font.getBestCmap()))
