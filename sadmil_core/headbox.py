"""Where the head lies within the field of view: a box around it, over the whole stack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.fitness.anatomy import ASSUMED_FIELD_MM, BODY_ABOVE_HU, GRID_MM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.dicom import CTVolume

_THIN_MM = 16.0
"""What is thinner is no head, and joins nothing to it: table, head-rest, tubes, straps."""
_LEAST_MM = 60.0
"""A head is larger than this both ways, a newborn's too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadBox:
    """The smallest box, aligned with rows and columns, around the head in all slices.

    Attributes:
        top: Its first row, in pixels of the stack's matrix, counted from the matrix's edge.
        bottom: Where its last row ends.
        left: Its first column.
        right: Where its last column ends.
    """

    top: float
    bottom: float
    left: float
    right: float


def pixel_spacing_of(volume: CTVolume) -> tuple[float, float]:
    """Distance between rows and between columns in mm.

    Where the files give none, that of an ordinary field of view; the stack's own warnings say
    that it is unknown.
    """
    if volume.entry.slices[0].pixel_spacing_mm is None:
        return (ASSUMED_FIELD_MM / max(volume.entry.shape[1:]),) * 2
    geometry = volume.entry.geometry
    return geometry.row_spacing_mm, geometry.column_spacing_mm


def find_head(volume: CTVolume) -> HeadBox | None:
    """Finds the head: the largest connected body above -300 HU, on a grid of about 3 mm.

    What is thin is worn away first, so that a head-rest that touches the skin stays behind.

    Args:
        volume: Hounsfield units.

    Returns:
        The box, exact to that grid; None where nothing in the stack is as large as a head.
    """
    spacing = pixel_spacing_of(volume)
    step = tuple(max(1, round(GRID_MM / each)) for each in spacing)
    pitch = spacing[0] * step[0], spacing[1] * step[1]
    body: NDArray[np.bool_] = volume.hu[:, :: step[0], :: step[1]] > BODY_ABOVE_HU
    head = _largest(body, max(1, round(_THIN_MM / 2 / max(pitch))))
    rows, columns = np.flatnonzero(head.any(axis=(0, 2))), np.flatnonzero(head.any(axis=(0, 1)))
    if not rows.size or min(np.ptp(rows) * pitch[0], np.ptp(columns) * pitch[1]) < _LEAST_MM:
        return None
    # A coarse pixel stands for the fine one at its own place.
    return HeadBox(
        top=float(rows[0] * step[0]),
        bottom=float(rows[-1] * step[0] + 1),
        left=float(columns[0] * step[1]),
        right=float(columns[-1] * step[1] + 1),
    )


def _largest(body: NDArray[np.bool_], margin: int) -> NDArray[np.bool_]:
    """The largest part that is connected through the slices, without what is thin."""
    block = np.ones((1, 3, 3), dtype=np.bool_)
    # Outside the field the body goes on: it must not be worn away at the edge.
    from scipy import ndimage  # here: the window must not wait for it to open

    core = ndimage.binary_erosion(body, block, iterations=margin, border_value=1)
    labels, count = ndimage.label(core)
    if not count:
        return np.zeros_like(body)
    largest = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    grown: NDArray[np.bool_] = ndimage.binary_dilation(largest, block, iterations=margin) & body
    return grown
