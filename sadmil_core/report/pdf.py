"""The report of a stack as one printed page: pictures, curve, runs, doubts, the model's card.

Drawn by matplotlib's objects, without pyplot, hence without a display; loaded when it is needed.
The same page gives the same bytes.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from sadmil_core import RESEARCH_USE_NOTICE, __version__
from sadmil_core.atomic import replacing
from sadmil_core.fitness import FitnessLevel
from sadmil_core.report.model_card import card_lines
from sadmil_core.report.sheet import (
    FAINT,
    GROUND,
    HEIGHT_MM,
    INK,
    MUTED,
    WIDTH_MM,
    Sheet,
    elide,
    house_style,
    line_mm,
    width_mm,
)
from sadmil_core.result import describe_runs, positive_runs, slice_number

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from matplotlib.axes import Axes

    from sadmil_core.report.page import KeyPicture, Page
    from sadmil_core.result import ScanResult

_MARGIN = 14.0
_WIDE = WIDTH_MM - 2 * _MARGIN
_FOOT = HEIGHT_MM - 13.0
_GAP = 4.0
_CARD_HEIGHT = 28.0
_CURVE_HEIGHT, _TALL_CURVE = 27.0, 48.0
_WORDS_HEIGHT = 46.0  # what runs and doubts are left before the curve grows
_CAPTION = 5.2
_SIGNAL, _SIGNAL_GROUND = "#a34700", "#fdeeda"
_CURVE = "#0072B2"
_SIGNS = {FitnessLevel.OK: "", FitnessLevel.CAUTION: "△ ", FitnessLevel.UNFIT: "✕ "}
_CARD = ("Model", "SHA-256", "Decision", "Trained on", "Licence", "Limits")
_SCALE_MM = 50.0


def write_pdf(pages: Iterable[Page], path: Path) -> None:
    """Writes a page for each stack, whole or not at all.

    Args:
        pages: At least one, in the order they are to stand in.
        path: The file; an older one is replaced.

    Raises:
        WriteError: The system refused; nothing is left behind.
    """
    content = pdf_bytes(pages)
    with replacing(path) as stream:
        stream.write(content)


def pdf_bytes(pages: Iterable[Page]) -> bytes:
    """The pages as a PDF file."""
    from matplotlib.backends.backend_pdf import PdfPages

    pages = list(pages)
    if not pages:
        raise ValueError("a report has at least one page")
    stream = io.BytesIO()
    about = {
        "Title": "SA-DMIL slice report",
        "Subject": RESEARCH_USE_NOTICE,
        "Creator": f"sadmil {__version__}",
        "CreationDate": pages[0].made_at,
    }
    with house_style(), PdfPages(stream, metadata=about) as book:
        for number, page in enumerate(pages, start=1):
            sheet = Sheet()
            _draw(sheet, page, f"page {number} of {len(pages)}")
            book.savefig(sheet.figure)
    return stream.getvalue()


def _draw(sheet: Sheet, page: Page, number: str) -> None:
    y = _draw_head(sheet, page)
    y = _draw_verdicts(sheet, page, y + 3.0)
    y = _draw_pictures(sheet, page, y + 5.0)
    y = _draw_curve(sheet, page, y + 4.0)
    room = _FOOT - _CARD_HEIGHT - 2 * _GAP - y
    half = (_WIDE - 2 * _GAP) / 2
    _draw_runs(sheet, page.record.result, y + _GAP, half, room)
    _draw_doubts(sheet, page, _MARGIN + half + 2 * _GAP, y + _GAP, half, room)
    _draw_card(sheet, page, _FOOT - _CARD_HEIGHT)
    _draw_foot(sheet, page, number)


def _draw_head(sheet: Sheet, page: Page) -> float:
    sheet.text(_MARGIN, 11.0, "SA-DMIL slice report", size=15, bold=True)
    notice = RESEARCH_USE_NOTICE.upper()
    wide = width_mm(notice, 8.5, bold=True) + 6.0
    left = WIDTH_MM - _MARGIN - wide
    sheet.box(left, 11.0, wide, 6.6, fill=INK)
    sheet.text(left + wide / 2, 12.6, notice, size=8.5, bold=True, colour="white", align="center")
    y = 20.5
    if page.hides_identifiers:
        sheet.text(_MARGIN, y, "Identifiers are replaced by hashes.", colour=MUTED)
    else:
        sheet.text(_MARGIN, y, "This page names a patient or a study.", colour=_SIGNAL, bold=True)
    geometry = page.record.entry.geometry
    count = len(page.record.entry.slices)
    step = f", {geometry.spacing_mm:.2f} mm apart" if geometry.has_positions and count > 1 else ""
    sheet.text(WIDTH_MM - _MARGIN, y, f"{count} slices{step}", colour=MUTED, align="right")
    y += line_mm(8.0) + 0.6
    for label, words in page.subject:
        sheet.text(_MARGIN, y, label, colour=MUTED, size=7.5)
        sheet.text(_MARGIN + 22.0, y, elide(words, _WIDE - 22.0, 7.5), size=7.5)
        y += line_mm(7.5)
    return y


# -- verdicts -------------------------------------------------------------------------------------


def _draw_verdicts(sheet: Sheet, page: Page, y: float) -> float:
    """Fitness first: it says what the numbers beside it are worth."""
    record, result = page.record, page.record.result
    level = record.fitness.level
    reasons = len(record.fitness.reasons)
    speaks = "nothing speaks against it"
    if reasons:
        speaks = f"{reasons} reason{'s' if reasons > 1 else ''} against it, below"
    tiles = [("Fitness for the model", f"{_SIGNS[level]}{level}", speaks, bool(reasons))]
    if result is None:
        tiles.append(("Scan", "not scored", "the reason stands below", False))
        tiles.append(("Marked slices", "none", "the stack was not scored", False))
    else:
        positive = result.scan_positive
        rule = result.rule
        chance = f"probability {_probability(result.scan_probability)}"
        limit = f"threshold {rule.scan_threshold:g}"
        word = "POSITIVE" if positive else "negative"
        tiles.append(("Scan, as the model has it", word, f"{chance}, {limit}", positive))
        marked = int(result.slice_positive.sum())
        runs = describe_runs(result.slice_positive)
        peak = f"highest {rule.slice_score} in slice {slice_number(result.peak)}"
        tiles.append((f"Marked slices: {marked}", runs or "none", peak, marked > 0))
    wide = (_WIDE - 2 * _GAP) / 3
    for at, (label, word, below, loud) in enumerate(tiles):
        x = _MARGIN + at * (wide + _GAP)
        edge, fill = (_SIGNAL, _SIGNAL_GROUND) if loud else (FAINT, GROUND)
        sheet.box(x, y, wide, 17.5, fill=fill, edge=edge)
        inner = wide - 6.0
        sheet.text(x + 3.0, y + 1.7, label, size=7.5, colour=MUTED)
        sheet.text(x + 3.0, y + 5.7, elide(word, inner, 13, bold=True), size=13, bold=True)
        sheet.text(x + 3.0, y + 12.7, elide(below, inner, 7.5), size=7.5)
    return y + 17.5


def _probability(value: float) -> str:
    """Three decimals that never claim certainty."""
    if value > 0.999:
        return "> 0.999"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


# -- pictures -------------------------------------------------------------------------------------


def _draw_pictures(sheet: Sheet, page: Page, y: float) -> float:
    window = page.window
    if not page.pictures:
        sheet.text(_MARGIN, y, "No pictures: the pixels could not be read.", colour=MUTED)
        return y + line_mm(8.0)
    sheet.text(_MARGIN, y, page.pictures_title, size=9.5, bold=True)
    name = f" ({page.preset})" if page.preset else ""
    shown = f"W {window.width_hu:.0f}  L {window.level_hu:.0f}{name}; letters: side of the patient"
    result = page.record.result
    if result is not None:
        shown += f"; right: {result.rule.slice_score}, ● marked"
    sheet.text(WIDTH_MM - _MARGIN, y + 0.4, shown, size=7.5, colour=MUTED, align="right")
    y += line_mm(9.5) + 0.8
    across = min(max(len(page.pictures), 3), 5)
    gap = 2.0
    wide = (_WIDE - (across - 1) * gap) / across
    rows = -(-len(page.pictures) // across)
    for at, picture in enumerate(page.pictures):
        row, column = divmod(at, across)
        _draw_picture(
            sheet,
            page,
            picture,
            _MARGIN + column * (wide + gap),
            y + row * (wide + _CAPTION),
            wide,
        )
    return y + rows * (wide + _CAPTION)


def _draw_picture(
    sheet: Sheet, page: Page, picture: KeyPicture, x: float, y: float, wide: float
) -> None:
    axes = sheet.axes(x, y, wide, wide)
    axes.set_facecolor("black")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    rows, columns = picture.gray.shape
    down, across = picture.pixel_mm or (1.0, 1.0)
    tall, broad = rows * down, columns * across
    side = max(tall, broad)
    # In the middle of a black square, as on a screen.
    left, top = (side - broad) / 2, (side - tall) / 2
    axes.imshow(
        picture.gray,
        cmap="gray",
        vmin=0,
        vmax=255,
        extent=(left, left + broad, top + tall, top),
        interpolation="none",
        aspect="auto",
    )
    axes.set(xlim=(0, side), ylim=(side, 0))
    if picture.letters is not None:
        _draw_letters(axes, picture.letters)
    if picture.pixel_mm is not None and side > 2 * _SCALE_MM:
        _draw_scale(axes, side)
    result, at = page.record.result, picture.index
    words = f"Slice {slice_number(at)}"
    geometry = page.record.entry.geometry
    if geometry.has_positions:
        words += f",  {geometry.position_at(at):.1f} mm"
    is_marked = result is not None and bool(result.slice_positive[at])
    sheet.text(x, y + wide + 0.5, elide(words, wide - 12.5, 7.5), size=7.5)
    if result is not None:
        score = f"{'● ' if is_marked else ''}{float(result.slice_score[at]):.3f}"
        colour = _SIGNAL if is_marked else MUTED
        sheet.text(
            x + wide, y + wide + 0.5, score, size=7.5, bold=is_marked, colour=colour, align="right"
        )


def _draw_letters(axes: Axes, letters: tuple[str, str, str, str]) -> None:
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.98), (0.5, 0.02))
    sides = (("left", "center"), ("right", "center"), ("center", "top"), ("center", "bottom"))
    for (x, y), (across, down), letter in zip(places, sides, letters, strict=True):
        style: Any = {"ha": across, "va": down, "transform": axes.transAxes}
        ground = {"facecolor": "black", "edgecolor": "none", "pad": 0.8, "alpha": 0.6}
        axes.text(x, y, letter, color="white", fontsize=8, fontweight="bold", bbox=ground, **style)


def _draw_scale(axes: Axes, side: float) -> None:
    right, low = 0.97 * side, 0.97 * side
    axes.plot([right - _SCALE_MM, right], [low, low], color="white", linewidth=1.2)
    axes.text(right, low - 0.015 * side, "5 cm", color="white", fontsize=6, ha="right", va="bottom")


# -- the curve ------------------------------------------------------------------------------------


def _meaning(page: Page, result: ScanResult) -> tuple[str, str]:
    """What the values are called at the axis and in the heading."""
    score = result.rule.slice_score
    pooling = page.header.model.pooling if page.header is not None else "attention"
    if score != "attention":
        return score, f"{score.capitalize()} by slice"
    if pooling != "attention":
        return "share", "Share of the answer by slice (the model has no attention)"
    return "attention", "Attention by slice: a weight, not a probability of hemorrhage"


def _draw_curve(sheet: Sheet, page: Page, y: float) -> float:
    result = page.record.result
    if result is None:
        return y
    from matplotlib.ticker import MaxNLocator

    name, heading = _meaning(page, result)
    sheet.text(_MARGIN, y, heading, size=9.5, bold=True)
    y += line_mm(9.5) + 5.0
    free = _FOOT - _CARD_HEIGHT - _WORDS_HEIGHT - 2 * _GAP - y
    height = min(max(free, _CURVE_HEIGHT), _TALL_CURVE)
    axes = sheet.axes(_MARGIN + 11.0, y, _WIDE - 11.0, height)
    score, threshold = result.slice_score, result.slice_threshold
    numbers = np.arange(1, len(score) + 1)
    for first, last in positive_runs(result.slice_positive):
        axes.axvspan(first + 0.5, last + 1.5, color=_SIGNAL_GROUND, linewidth=0)
        _label_run(axes, first, last, len(score))
    if result.attention_sd is not None and result.rule.slice_score == "attention":
        low, high = score - result.attention_sd, score + result.attention_sd
        axes.fill_between(numbers, low, high, color=_CURVE, alpha=0.18, linewidth=0)
    small = 2.6 if len(score) <= 80 else 0.0
    axes.plot(numbers, score, color=_CURVE, linewidth=1.2, marker="o", markersize=small)
    axes.axhline(threshold, color=INK, linewidth=0.9, linestyle=(0, (5, 3)))
    floor = min(0.0, float(score.min()))
    top = max(float(score.max()), threshold)
    axes.set(xlim=(0.5, len(score) + 0.5), ylim=(floor, floor + (top - floor) * 1.1 or 1.0))
    axes.text(
        0.997,
        threshold,
        f"threshold {threshold:.3g}",
        transform=axes.get_yaxis_transform(),
        ha="right",
        va="bottom",
        fontsize=7,
        color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
    )
    shown = [slice_number(picture.index) for picture in page.pictures]
    axes.plot(
        shown,
        [0.0] * len(shown),
        "^",
        color=INK,
        markersize=4,
        transform=axes.get_xaxis_transform(),
        clip_on=False,
        zorder=5,
    )
    way = "foot to head" if page.record.entry.geometry.runs_foot_to_head else "in order"
    axes.set_xlabel(f"slice, {way}   (▲ printed above)", labelpad=2)
    axes.set_ylabel(name)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
    return y + height + 8.5


def _label_run(axes: Axes, first: int, last: int, count: int) -> None:
    """The run's slices over its band, where the band is not so narrow that labels would meet."""
    label = f"{slice_number(first)}" if first == last else f"{first + 1}-{last + 1}"
    if (last - first + 1) / count * _WIDE < 1.4 * len(label):
        return
    middle = (first + last) / 2 + 1
    axes.text(
        middle,
        1.02,
        label,
        transform=axes.get_xaxis_transform(),
        ha="center",
        va="bottom",
        fontsize=7,
        fontweight="bold",
        color=_SIGNAL,
    )


# -- words ----------------------------------------------------------------------------------------


def _draw_runs(
    sheet: Sheet, result: ScanResult | None, y: float, width: float, room: float
) -> None:
    sheet.text(_MARGIN, y, "Runs of marked slices", size=9.5, bold=True)
    y += line_mm(9.5) + 0.8
    if result is None:
        sheet.text(_MARGIN, y, "The stack was not scored.", colour=MUTED)
        return
    runs = positive_runs(result.slice_positive)
    if not runs:
        gated = result.rule.gated and not result.scan_positive
        why = ": the scan is below its threshold" if gated else ""
        sheet.text(_MARGIN, y, f"No slice is marked{why}.", colour=MUTED)
        return
    score, geometry = result.slice_score, result.entry.geometry
    columns = (0.0, 0.34 * width, 0.52 * width, 0.7 * width, width)
    heads = ("Slices", "Count", "Peak", result.rule.slice_score.capitalize(), "Position, mm")
    _draw_row(sheet, y, columns, heads, MUTED)
    y += line_mm(7.5)
    sheet.rule(_MARGIN, y, width)
    y += 0.8
    fits = max(1, int((room - 12.0) / line_mm(7.5)))
    shown = runs if len(runs) <= fits else runs[: fits - 1]
    for first, last in shown:
        peak = first + int(np.argmax(score[first : last + 1]))
        single = first == last
        cells = (
            f"{slice_number(first)}" if single else f"{slice_number(first)}-{slice_number(last)}",
            str(last - first + 1),
            str(slice_number(peak)),
            f"{float(score[peak]):.3f}",
            _extent(geometry.position_mm, first, last) if geometry.has_positions else "unknown",
        )
        _draw_row(sheet, y, columns, cells, INK)
        y += line_mm(7.5)
    if len(shown) < len(runs):
        left = len(runs) - len(shown)
        sheet.text(_MARGIN, y, f"and {left} more: see the table (CSV)", size=7.5, colour=MUTED)


def _extent(position_mm: tuple[float, ...], first: int, last: int) -> str:
    if first == last:
        return f"{position_mm[first]:.1f}"
    return f"{position_mm[first]:.1f} to {position_mm[last]:.1f}"


def _draw_row(
    sheet: Sheet, y: float, columns: tuple[float, ...], cells: tuple[str, ...], colour: str
) -> None:
    """The first cell to the left, the others, which are numbers, to the right."""
    for at, (right, cell) in enumerate(zip(columns, cells, strict=True)):
        align = "left" if at == 0 else "right"
        sheet.text(_MARGIN + right, y, cell, size=7.5, colour=colour, align=align)  # type: ignore[arg-type]


def _draw_doubts(sheet: Sheet, page: Page, x: float, y: float, width: float, room: float) -> None:
    """Reasons of fitness and warnings, in full as far as there is room."""
    record, end = page.record, y + room
    sheet.text(x, y, "Fitness and warnings", size=9.5, bold=True)
    y += line_mm(9.5) + 0.8
    # Why there is no number comes first: the tiles above point here.
    said = [f"{record.failure.code}: {record.failure.message}"] if record.failure else []
    said += [
        f"{_SIGNS[reason.level]}{reason.level}: {reason.message}"
        for reason in record.fitness.reasons
    ]
    said += [f"{w.code}: {w.message}" for w in record.warnings if w is not record.failure]
    if not said:
        sheet.text(x, y, "Nothing speaks against the series; no warnings.", size=7.5, colour=MUTED)
        return
    step = line_mm(7.5)
    for at, words in enumerate(said):
        free = int((end - y) / step)
        left = len(said) - at
        if free < 2 and left > 1:
            sheet.text(x, y, f"and {left} more: see the JSON report", size=7.5, colour=MUTED)
            return
        y = sheet.paragraph(x, y, words, width, lines=max(1, min(3, free)), size=7.5) + 0.5


def _draw_card(sheet: Sheet, page: Page, y: float) -> None:
    sheet.rule(_MARGIN, y - 1.5, _WIDE)
    sheet.text(_MARGIN, y, "About the model", size=9.5, bold=True)
    y += line_mm(9.5) + 0.6
    header = page.header
    if header is None:
        model = page.record.model
        card: tuple[tuple[str, str], ...] = (("Model", model.model_id), ("SHA-256", model.sha256))
    else:
        card = tuple(line for line in card_lines(header) if line[0] in _CARD)
    for label, words in card:
        sheet.text(_MARGIN, y, label, size=7, colour=MUTED)
        lines = 2 if label in ("Trained on", "Limits") else 1
        y = sheet.paragraph(_MARGIN + 22.0, y, words, _WIDE - 22.0, lines=lines, size=7)


def _draw_foot(sheet: Sheet, page: Page, number: str) -> None:
    y = HEIGHT_MM - 11.0
    sheet.rule(_MARGIN, y - 1.0, _WIDE)
    when = page.made_at.strftime("%Y-%m-%d %H:%M %Z").strip()
    ran = page.record.result.execution if page.record.result is not None else None
    how = f", {ran.device} {ran.precision}" if ran is not None else ""
    sheet.text(_MARGIN, y, f"{RESEARCH_USE_NOTICE}.", size=7.5, bold=True)
    made = f"sadmil {__version__}{how}; made {when}; {number}"
    sheet.text(WIDTH_MM - _MARGIN, y, made, size=7.5, colour=MUTED, align="right")
