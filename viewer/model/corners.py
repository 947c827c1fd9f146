"""The texts in the corners of a slice, and the letters at its edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sadmil_core.dicom import side_letters
from sadmil_core.result import slice_number
from viewer.model.annotations import SliceKey

if TYPE_CHECKING:
    from sadmil_core.dicom import StackGeometry
    from viewer.model.annotations import Annotations
    from viewer.model.state import ViewOptions, ViewState


@dataclass(frozen=True, slots=True, kw_only=True)
class Corners:
    """Lines of text for each corner."""

    top_left: tuple[str, ...] = ()
    top_right: tuple[str, ...] = ()
    bottom_left: tuple[str, ...] = ()
    bottom_right: tuple[str, ...] = ()


def corner_texts(
    state: ViewState, *, zoom: float, pointer: str, annotations: Annotations | None = None
) -> Corners:
    """Who, where and when on top; how and what below.

    Args:
        state: What is shown.
        zoom: Magnification over the fitted size.
        pointer: What is under the pointer, or empty.
        annotations: Where key images are marked.

    Returns:
        The lines; none where texts are switched off, but for what changes the meaning of the
        picture: that it is turned round or inverted.
    """
    altered = _alterations(state.options)
    if not state.options.shows_texts:
        return Corners(bottom_left=altered)
    window = state.window
    preset = f"  {state.preset}" if state.preset else ""
    below = [pointer] if pointer else []
    below += [f"W {window.width_hu:.0f}  L {window.level_hu:.0f}{preset}", f"Zoom {zoom:.2f}"]
    if state.options.cine_hz:
        below.append(f"Cine {state.options.cine_hz:g}/s")
    who, where = _people(state)
    return Corners(
        top_left=who,
        top_right=where,
        bottom_left=(*altered, *below),
        bottom_right=_place(state, annotations),
    )


def _alterations(options: ViewOptions) -> tuple[str, ...]:
    texts = []
    if options.is_flipped_across:
        texts.append("Flipped left to right")
    if options.is_flipped_down:
        texts.append("Flipped top to bottom")
    if options.is_inverted:
        texts.append("Inverted")
    return tuple(texts)


def _people(state: ViewState) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Patient on the one side, institution and study on the other."""
    identity = state.identity
    if identity is None:
        return (), ()
    if state.options.hides_identifiers:
        # Free text of any kind can name somebody.
        return ("Identifiers hidden",), ()
    about = " ".join(filter(None, (identity.sex, identity.age)))
    name = identity.patient_name.replace("^", " ").strip()
    who = tuple(filter(None, (name, identity.patient_id, about)))
    date = identity.date_text
    return who, tuple(filter(None, (identity.institution, identity.study_description, date)))


def _place(state: ViewState, annotations: Annotations | None) -> tuple[str, ...]:
    entry, identity = state.entry, state.identity
    if entry is None or identity is None:
        if state.preview is not None:
            return "Preview: reading headers,", "its place is not known yet"
        return ()
    geometry, header = entry.geometry, entry.slices[state.slice_index]
    lines = []
    if annotations is not None and annotations.is_key_image(SliceKey.of(header)):
        lines.append("★ Key image")
    if identity.series_description and not state.options.hides_identifiers:
        lines.append(identity.series_description)
    lines.append(f"Slice {slice_number(state.slice_index)}/{state.slice_count}")
    if geometry.has_positions:
        lines.append(f"Position {geometry.position_at(state.slice_index):.1f} mm")
    if header.slice_thickness_mm:
        lines.append(f"Thickness {header.slice_thickness_mm:.1f} mm")
    return tuple(lines)


def edge_letters(geometry: StackGeometry, options: ViewOptions) -> tuple[str, str, str, str]:
    """The side of the patient at the left, right, top and bottom edge, the picture as shown."""
    return side_letters(
        geometry,
        flipped_across=options.is_flipped_across,
        flipped_down=options.is_flipped_down,
    )
