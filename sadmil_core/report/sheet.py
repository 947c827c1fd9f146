"""A sheet of paper to draw on, in millimetres from its upper left corner, without pyplot."""

from __future__ import annotations

from bisect import bisect_right
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ft2font import FT2Font

WIDTH_MM, HEIGHT_MM = 210.0, 297.0
INK, MUTED, FAINT, GROUND = "#1a1a1a", "#595959", "#c8c8c8", "#f2f2f2"
_MM_PER_INCH, _POINTS_PER_INCH = 25.4, 72.0
_LINE = 1.32  # from line to line, in sizes of the font
_FAMILY = "DejaVu Sans"  # comes with matplotlib: the same everywhere
_STYLE: Any = {
    "font.family": _FAMILY,
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.labelsize": 7.5,
    # Letters stay letters, to be searched and copied.
    "pdf.fonttype": 42,
}
Align = Literal["left", "center", "right"]


@contextmanager
def house_style() -> Iterator[None]:
    """The style of sheets, whatever the user's own matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


class Sheet:
    """One page, A4 upright. Lengths are in mm, sizes of letters in points.

    Attributes:
        figure: What has been drawn.
    """

    def __init__(self) -> None:
        from matplotlib.figure import Figure as MatplotlibFigure

        size = (WIDTH_MM / _MM_PER_INCH, HEIGHT_MM / _MM_PER_INCH)
        self.figure: Figure = MatplotlibFigure(figsize=size)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = 8.0,
        bold: bool = False,
        colour: str = INK,
        align: Align = "left",
    ) -> None:
        """One line; ``y`` is the upper edge of the line."""
        self.figure.text(
            x / WIDTH_MM,
            1 - (y + _baseline_mm(size)) / HEIGHT_MM,
            drawable(words),
            fontsize=size,
            fontweight="bold" if bold else "normal",
            color=colour,
            ha=align,
            va="baseline",
            # A name with two dollar signs is a name, not a formula.
            parse_math=False,
        )

    def paragraph(
        self,
        x: float,
        y: float,
        words: str,
        width: float,
        *,
        lines: int,
        size: float = 8.0,
        colour: str = INK,
    ) -> float:
        """A text in at most so many lines, the last one cut where there is more.

        Returns:
            Where the next line would begin.
        """
        wrapped = wrap(words, width, size)
        if len(wrapped) > lines:
            rest = " ".join(wrapped[lines - 1 :])
            wrapped = [*wrapped[: lines - 1], elide(rest, width, size)]
        for line in wrapped:
            self.text(x, y, line, size=size, colour=colour)
            y += line_mm(size)
        return y

    def box(
        self, x: float, y: float, width: float, height: float, *, fill: str, edge: str = "none"
    ) -> None:
        """A filled rectangle."""
        from matplotlib.patches import Rectangle

        corner = (x / WIDTH_MM, 1 - (y + height) / HEIGHT_MM)
        self.figure.add_artist(
            Rectangle(
                corner,
                width / WIDTH_MM,
                height / HEIGHT_MM,
                facecolor=fill,
                edgecolor=edge,
                linewidth=0.8,
                zorder=-1,
            )
        )

    def rule(self, x: float, y: float, width: float, *, colour: str = FAINT) -> None:
        """A thin line across."""
        self.box(x, y, width, 0.2, fill=colour)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes at a place."""
        place = (
            x / WIDTH_MM,
            1 - (y + height) / HEIGHT_MM,
            width / WIDTH_MM,
            height / HEIGHT_MM,
        )
        return self.figure.add_axes(place)


def width_mm(words: str, size: float, *, bold: bool = False) -> float:
    """How wide a line of text is, at most: without kerning."""
    em = size / _POINTS_PER_INCH * _MM_PER_INCH
    return em * sum(_advance_em(letter, bold) for letter in drawable(words))


def wrap(words: str, width: float, size: float) -> list[str]:
    """A text in lines that fit; a word that is longer than a line is broken."""
    lines, line = [], ""
    for word in drawable(words).split(" "):
        longer = f"{line} {word}" if line else word
        if width_mm(longer, size) <= width:
            line = longer
            continue
        lines += [line] if line else []
        while width_mm(word, size) > width and len(word) > 1:
            fits = max(1, _count_fitting(word, width, size))
            lines.append(word[:fits])
            word = word[fits:]
        line = word
    return [*lines, line] if line else lines


def elide(words: str, width: float, size: float, *, bold: bool = False) -> str:
    """A line, cut with an ellipsis where it is wider than ``width``."""
    if width_mm(words, size, bold=bold) <= width:
        return words
    room = width - width_mm("…", size, bold=bold)
    return f"{words[: _count_fitting(words, room, size, bold=bold)].rstrip()}…"


def _count_fitting(words: str, width: float, size: float, *, bold: bool = False) -> int:
    """How many letters from the first on fit."""
    lengths = range(1, len(words) + 1)
    return bisect_right(lengths, width, key=lambda n: width_mm(words[:n], size, bold=bold))


def line_mm(size: float) -> float:
    """From line to line."""
    return _LINE * size / _POINTS_PER_INCH * _MM_PER_INCH


def _baseline_mm(size: float) -> float:
    return size / _POINTS_PER_INCH * _MM_PER_INCH


def drawable(words: str) -> str:
    """The text with a box for each letter the font lacks, and spaces for what is no letter."""
    known = _known_letters()
    spaced = " ".join(words.split())
    return "".join(c if ord(c) in known else "\u25a1" for c in spaced)


@lru_cache(maxsize=2)
def _font(bold: bool) -> FT2Font:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    weight = "bold" if bold else "normal"
    return get_font(findfont(FontProperties(family=_FAMILY, weight=weight)))


@lru_cache(maxsize=1)
def _known_letters() -> frozenset[int]:
    return frozenset(_font(False).get_charmap())


@lru_cache(maxsize=4096)
def _advance_em(letter: str, bold: bool) -> float:
    """How far a letter moves the pen, in sizes of the font."""
    font = _font(bold)
    font.set_size(_POINTS_PER_INCH, _POINTS_PER_INCH)  # matplotlib draws with the same font
    advance = font.load_char(ord(letter)).linearHoriAdvance
    return float(advance) / 65536 / _POINTS_PER_INCH  # which is in 16.16 pixels
