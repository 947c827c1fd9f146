"""What stands on the one-page report of a stack: gathered while its pixels are at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.dicom import side_letters
from sadmil_core.display import PRESETS, DisplayWindow, to_gray
from sadmil_core.result import positive_runs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from sadmil_core.checkpoint import CheckpointHeader
    from sadmil_core.dicom import CTVolume, Identity, StackEntry
    from sadmil_core.report.pseudonyms import Pseudonyms
    from sadmil_core.report.record import ScanRecord
    from sadmil_core.result import ScanResult

MOST_KEY_IMAGES = 10
_STRONGEST = 4
_APART = 2
"""Slices of the strongest that are no peaks lie at least so far from another, or they would all
show the same."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeyPicture:
    """One slice as it is printed.

    Attributes:
        index: The slice, from 0 at the foot end.
        gray: (rows, columns) uint8.
        pixel_mm: Height and width of a pixel; None where the file does not tell.
        letters: Side of the patient at the left, right, top and bottom edge; None where the
            orientation is not known, for guessed letters would be worse than none.
    """

    index: int
    gray: NDArray[np.uint8]
    pixel_mm: tuple[float, float] | None
    letters: tuple[str, str, str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Page:
    """Everything the page says.

    Attributes:
        record: The stack and what became of it; without identifiers, where these are hidden.
        header: The model's own header; None where it cannot be had.
        subject: Label and text of what the stack is called.
        hides_identifiers: The subject's texts are hashes.
        pictures: Slices, foot to head.
        pictures_title: Why these.
        window: What they are shown by.
        preset: Its name, or empty.
        made_at: When.
    """

    record: ScanRecord
    header: CheckpointHeader | None
    subject: tuple[tuple[str, str], ...]
    hides_identifiers: bool
    pictures: tuple[KeyPicture, ...]
    pictures_title: str
    window: DisplayWindow
    preset: str
    made_at: datetime


def make_page(
    record: ScanRecord,
    volume: CTVolume | None,
    header: CheckpointHeader | None,
    *,
    made_at: datetime,
    pseudonyms: Pseudonyms | None,
    identity: Identity | None = None,
    marked: Sequence[int] = (),
    window: DisplayWindow = PRESETS["Brain"],
    preset: str = "Brain",
) -> Page:
    """Gathers the page of one stack; of the pixels only the slices that are printed are kept.

    Args:
        record: The stack and what became of it.
        volume: Its pixels; None where they could not be read.
        header: Of the model.
        made_at: What the page says it was made at.
        pseudonyms: Hides who it is; None names the patient, as far as ``identity`` does.
        identity: Texts of the series; not looked at where identifiers are hidden.
        marked: Slices the reader has marked as key images, from 0.
        window: What the slices are shown by.
        preset: The window's name.
    """
    result = record.result
    title, indices = choose_slices(result, len(record.entry.slices), marked)
    pictures = () if volume is None else tuple(_picture(volume, i, window) for i in indices)
    if pseudonyms is None:
        subject = _named(record.entry, identity)
    else:
        record = pseudonyms.hide_record(record)
        subject = _uids(record.entry, "hash")
    return Page(
        record=record,
        header=header,
        subject=subject,
        hides_identifiers=pseudonyms is not None,
        pictures=pictures,
        pictures_title=title,
        window=window,
        preset=preset,
        made_at=made_at,
    )


def choose_slices(
    result: ScanResult | None, count: int, marked: Sequence[int] = ()
) -> tuple[str, tuple[int, ...]]:
    """Which slices are printed, foot to head, and why these.

    Marked ones, else the peaks of the strongest runs of positive slices and then the strongest
    slices besides; without a result the middle of the stack.

    Args:
        result: Of the model, or None.
        count: Slices of the stack.
        marked: Key images, from 0.
    """
    wanted = sorted(set(marked))
    if wanted:
        shown = _spread(wanted, MOST_KEY_IMAGES)
        some = "" if len(shown) == len(wanted) else f" ({len(shown)} of {len(wanted)})"
        return f"Key images marked by the reader{some}", tuple(shown)
    if result is None:
        return "Slices across the stack", tuple(_spread(range(count), _STRONGEST + 2)[1:-1])
    score = result.slice_score
    runs = positive_runs(result.slice_positive)
    peaks = [a + int(np.argmax(score[a : b + 1])) for a, b in runs]
    chosen = sorted(peaks, key=lambda i: -score[i])[:_STRONGEST]
    for index in np.argsort(-score, kind="stable").tolist():
        if len(chosen) >= min(_STRONGEST, count):
            break
        if all(abs(index - other) >= _APART for other in chosen):
            chosen.append(index)
    return f"Slices of the highest {result.rule.slice_score}", tuple(sorted(chosen))


def _spread(items: Sequence[int], most: int) -> list[int]:
    """At most so many, evenly taken, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(at)] for at in np.linspace(0, len(items) - 1, most)]


def _picture(volume: CTVolume, index: int, window: DisplayWindow) -> KeyPicture:
    entry = volume.entry
    header, geometry = entry.slices[index], entry.geometry
    known = header.pixel_spacing_mm is not None
    spacing = (geometry.row_spacing_mm, geometry.column_spacing_mm)
    return KeyPicture(
        index=index,
        gray=to_gray(volume.hu[index], window, inverted=header.inverted),
        pixel_mm=spacing if known else None,
        letters=side_letters(geometry) if geometry.has_orientation else None,
    )


def _named(entry: StackEntry, identity: Identity | None) -> tuple[tuple[str, str], ...]:
    if identity is None:
        return _uids(entry)
    name = identity.patient_name.split("=")[0].replace("^", " ").strip()
    about = ", ".join(filter(None, (name, identity.sex, identity.age)))
    found = (
        ("Patient", about),
        ("Patient ID", identity.patient_id),
        ("Study date", identity.date_text),
        ("Study", identity.study_description),
        ("Series", identity.series_description),
    )
    return (*((label, text) for label, text in found if text), *_uids(entry))


def _uids(entry: StackEntry, what: str = "UID") -> tuple[tuple[str, str], ...]:
    return (
        (f"Study {what}", entry.study_instance_uid),
        (f"Series {what}", f"{entry.series_instance_uid}, stack {entry.stack_index}"),
    )
