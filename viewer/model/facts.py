"""What a series is, line by line: for the details panel, and as text to copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sadmil_core.dicom import direction_letters
from sadmil_core.dicom.geometry import spacing_is_even
from sadmil_core.dicom.syntaxes import syntax_name

if TYPE_CHECKING:
    from sadmil_core.dicom import StackEntry


def facts_of(entry: StackEntry) -> tuple[tuple[str, str], ...]:
    """Names and values of what the files say and what follows from it; nobody is named.

    Args:
        entry: The stack.
    """
    geometry, first = entry.geometry, entry.slices[0]
    count, rows, columns = entry.shape
    facts = [("Slices", str(count)), ("Matrix", f"{rows} x {columns}")]
    if first.pixel_spacing_mm:
        between_rows, between_columns = first.pixel_spacing_mm
        field = f"{rows * between_rows:.0f} x {columns * between_columns:.0f} mm"
        facts.append(("Pixel", f"{between_rows:.3f} x {between_columns:.3f} mm"))
        facts.append(("Field", field))
    if geometry.has_positions and count > 1:
        steps, median = geometry.spacings_mm, geometry.spacing_mm
        spread = "" if spacing_is_even(steps) else f" ({min(steps):.2f} to {max(steps):.2f})"
        facts.append(("Spacing", f"{median:.2f} mm{spread}"))
        facts.append(("Coverage", f"{geometry.position_mm[-1] - geometry.position_mm[0]:.0f} mm"))
    if first.slice_thickness_mm:
        facts.append(("Thickness", f"{first.slice_thickness_mm:g} mm"))
    if geometry.has_orientation:
        facts.append(("Tilt", f"{geometry.tilt_deg:+.1f} degrees"))
        row, column = geometry.row_direction, geometry.column_direction
        facts.append(("Rows to", direction_letters(row)))
        facts.append(("Columns to", direction_letters(column)))
    encodings = sorted({syntax_name(h.transfer_syntax) for h in entry.slices})
    facts.append(("Encoding", ", ".join(encodings)))
    facts.append(("Stored bits", f"{first.bits_stored} {'signed' if first.signed else 'unsigned'}"))
    facts.append(("Rescale", f"{first.slope:g} x {first.intercept:+g} HU"))
    if first.kernel:
        facts.append(("Kernel", first.kernel))
    return tuple(facts)
