"""A document as a PDF in A4: its own fonts in it, the same bytes for the same document."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from fpdf import FPDF
from fpdf.enums import Align, MethodReturnValue, TextMode, XPos, YPos

from .fonts import UNKNOWN, fonts_for, is_plain
from .sheet import Row, Sheet, sheet

_LEFT, _TOP, _BOTTOM = 46, 46, 62  # margins in points
_RIGHT = 595.28 - _LEFT
_WIDTH = _RIGHT - _LEFT
_GAP, _PAD = 12, 5
_TEXT, _SMALL, _BIG, _TITLE = 9.5, 8, 11.5, 20
_LEADING = 1.4
_INK, _GREY, _LINE = (26, 26, 26), (95, 95, 95), (190, 190, 190)
_BOLD_PT = 0.35  # a stroke around the letters: one font file serves both weights
_HEADS = ("No.", "What", "Part", "Full price")


def pdf_bytes(document: Mapping[str, Any]) -> bytes:
    """Return the PDF of a document."""
    issued = dt.datetime.combine(dt.date.fromisoformat(document["issued_on"]), dt.time())
    page = _Page(sheet(document))
    page.set_creation_date(issued.replace(tzinfo=dt.UTC))
    return page.print()


class _Page(FPDF):
    """Pages of one sheet, drawn from the top down."""

    def __init__(self, printed: Sheet) -> None:
        super().__init__(unit="pt", format="A4")
        self.sheet = printed
        self.alias_nb_pages(None)  # type: ignore[arg-type]  # no text may turn into a number
        self.set_auto_page_break(auto=False)
        self.set_margins(_LEFT, _TOP, _LEFT)
        self.c_margin = 0  # columns keep their own distance
        self.set_title(f"{printed.title} {printed.number}".strip())
        self.set_lang("en")
        self.set_producer("bandmaster")
        found = fonts_for(_texts(printed))
        self._lost = {ord(char): UNKNOWN for char in found.missing}
        names = [f"f{place}" for place, _ in enumerate(found.files)]
        for name, file in zip(names, found.files, strict=True):
            self.add_font(name, "", file)
        self.set_fallback_fonts(names[1:], exact_match=False)
        self._widths = self._columns()

    def print(self) -> bytes:
        """Draw everything; return the file."""
        self.add_page()
        self._opening()
        self._heads()
        for row in self.sheet.rows:
            self._row(row)
        self._totals()
        self._number_pages()
        return bytes(self.output())

    def _columns(self) -> tuple[float, ...]:
        """Return the widths of the columns: figures take what they need, words have the rest."""
        rows = self.sheet.rows
        figures = (
            [row.no for row in rows],
            [row.part for row in rows],
            [row.price for row in rows],
            [row.amount for row in rows],
        )
        heads = (_HEADS[0], _HEADS[2], _HEADS[3], self.sheet.money)
        no, part, price, amount = (
            max(
                self._wide(head, _SMALL),
                max((self._wide(text, _TEXT) for text in texts), default=0),
            )
            for head, texts in zip(heads, figures, strict=True)
        )
        words = _WIDTH - no - part - price - amount - 4 * _GAP
        return no, words, part, price, amount

    def _wide(self, text: str, size: float) -> float:
        self._font(size)
        return float(self.get_string_width(text)) + 1

    def _font(self, size: float, ink: tuple[int, int, int] = _INK) -> None:
        self.set_font("f0", "", size)
        self.set_text_color(*ink)

    @contextmanager
    def _bold(self) -> Iterator[None]:
        with self.local_context(
            text_mode=TextMode.FILL_STROKE, line_width=_BOLD_PT, draw_color=_INK
        ):
            yield

    def _write(
        self,
        x: float,
        width: float,
        text: str,
        size: float,
        *,
        ink: tuple[int, int, int] = _INK,
        bold: bool = False,
        right: bool = False,
    ) -> None:
        """Write a text from the present height down, in as many lines as it needs."""
        shown = self._shown(text)
        self._font(size, ink)
        self.set_x(x)
        align = Align.R if right else Align.L
        high, here, below = size * _LEADING, XPos.LEFT, YPos.NEXT
        with self._bold() if bold else self.local_context():
            if self._fits(width, shown):
                self.cell(width, high, shown, align=align, new_x=here, new_y=below)
            else:
                self.multi_cell(width, high, shown, align=align, new_x=here, new_y=below)

    def _fits(self, width: float, shown: str) -> bool:
        """Whether a text is one line: to fold is dear, and most need not be."""
        return self.get_string_width(shown) <= width

    def _shown(self, text: str) -> str:
        """Return a text as the fonts can show it, and make ready for its script."""
        self.set_text_shaping(use_shaping_engine=not is_plain(text))
        return text.translate(self._lost)

    def _tall(self, width: float, text: str, size: float) -> float:
        """Return how high `_write` makes a text."""
        shown = self._shown(text)
        self._font(size)
        if self._fits(width, shown):
            return size * _LEADING
        height = self.multi_cell(
            width,
            size * _LEADING,
            shown,
            align=Align.L,
            dry_run=True,
            output=MethodReturnValue.HEIGHT,
        )
        return float(height)  # type: ignore[arg-type]  # one value was asked for

    def _opening(self) -> None:
        """Write the first page's head: who sells, who pays, and the numbers that name it."""
        half = _WIDTH / 2 - _GAP
        self._write(_LEFT, half, self.sheet.title, _TITLE, bold=True)
        self.ln(10)
        top = self.get_y()
        self._block(self.sheet.seller, half)
        below = self.get_y()
        self.set_y(top)
        names = max(self._wide(name, _TEXT) for name, _ in self.sheet.facts)
        left = _LEFT + _WIDTH / 2 + _GAP
        for name, text in self.sheet.facts:
            y = self.get_y()
            self._write(left, names, name, _TEXT, ink=_GREY)
            self.set_y(y)
            start = left + names + _GAP
            self._write(start, _RIGHT - start, text, _TEXT, right=True)
        self.set_y(max(below, self.get_y()) + 22)
        self._write(_LEFT, half, "Billed to", _SMALL, ink=_GREY)
        self._block(self.sheet.buyer, half)
        self.ln(24)

    def _block(self, lines: Sequence[str], width: float) -> None:
        for place, text in enumerate(lines):
            self._write(_LEFT, width, text, _TEXT, bold=place == 0)

    def _heads(self) -> None:
        y = self.get_y()
        heads = (*_HEADS, self.sheet.money)
        for place, (x, width) in enumerate(self._places()):
            self.set_y(y)
            self._write(x, width, heads[place], _SMALL, ink=_GREY, right=place != 1)
        self._rule(self.get_y() + 2, _INK, 0.8)

    def _places(self) -> Iterator[tuple[float, float]]:
        x = float(_LEFT)
        for width in self._widths:
            yield x, width
            x += width + _GAP

    def _rule(
        self, y: float, ink: tuple[int, int, int], width: float, start: float = _LEFT
    ) -> None:
        self.set_draw_color(*ink)
        self.set_line_width(width)
        self.line(start, y, _RIGHT, y)
        self.set_y(y)

    def _row(self, row: Row) -> None:
        words = self._widths[1]
        height = self._tall(words, row.title, _TEXT) + 2 * _PAD
        height += sum(self._tall(words, text, _SMALL) for text in row.details)
        if self._room() < height:
            self._next_page()
            self._heads()
        y = self.get_y() + _PAD
        for place, (x, width) in enumerate(self._places()):
            self.set_y(y)
            if place == 1:
                self._write(x, width, row.title, _TEXT)
                for text in row.details:
                    self._write(x, width, text, _SMALL, ink=_GREY)
            else:
                text = (row.no, "", row.part, row.price, row.amount)[place]
                self._write(x, width, text, _TEXT, right=True)
        self._rule(y - _PAD + height, _LINE, 0.3)

    def _room(self) -> float:
        return float(self.h - _BOTTOM - self.get_y())

    def _next_page(self) -> None:
        self.add_page()
        name = f"{self.sheet.title} {self.sheet.number}".strip()
        self._write(_LEFT, _WIDTH, f"{name}, continued", _SMALL, ink=_GREY)
        self.ln(10)

    def _totals(self) -> None:
        """Write the sums on one page, beside nothing else."""
        label, total = self.sheet.total
        figures = [self._wide(text, _TEXT) for _, text in self.sheet.sums]
        figure = max(*figures, self._wide(total, _BIG) * 1.05)
        labels = [self._wide(name, _TEXT) for name, _ in self.sheet.sums]
        words = min(max(*labels, self._wide(label, _BIG) * 1.05), _WIDTH - figure - 2 * _GAP)
        start = _RIGHT - figure - 2 * _GAP - words
        height = sum(self._tall(words, name, _TEXT) + 3 for name, _ in self.sheet.sums)
        if self._room() < height + 80:
            self._next_page()
        self.ln(10)
        for name, text in self.sheet.sums:
            y = self.get_y()
            self._write(_RIGHT - figure, figure, text, _TEXT, right=True)
            self.set_y(y)
            self._write(start, words, name, _TEXT)
            self.ln(3)
        self._rule(self.get_y() + 2, _INK, 0.8, start)
        self.ln(5)
        y = self.get_y()
        self._write(_RIGHT - figure, figure, total, _BIG, bold=True, right=True)
        self.set_y(y)
        self._write(start, words, label, _BIG, bold=True)
        self.ln(24)
        for text in self.sheet.notes:
            self._write(_LEFT, _WIDTH, text, _SMALL, ink=_GREY)

    def _number_pages(self) -> None:
        """Write each page's foot: only now is it known how many there are."""
        last = self.page_no()
        who = f"{self.sheet.seller[0]}, {self.sheet.title} {self.sheet.number}".strip()
        for number in range(1, last + 1):
            self.page = number
            self.set_y(self.h - 40)
            self._write(_LEFT, _WIDTH - 60, who[:100], _SMALL, ink=_GREY)
            self.set_y(self.h - 40)
            self._write(_RIGHT - 60, 60, f"{number} / {last}", _SMALL, ink=_GREY, right=True)


def _texts(printed: Sheet) -> Iterator[str]:
    yield from (*printed.seller, *printed.buyer, *printed.notes, *_HEADS, printed.title)
    yield from (printed.number, printed.money, *printed.total)
    for pair in (*printed.facts, *printed.sums):
        yield from pair
    for row in printed.rows:
        yield from (row.title, *row.details)
