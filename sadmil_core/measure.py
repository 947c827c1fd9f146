"""Lengths, angles and regions on one slice, in millimetres and Hounsfield units.

Points are (row, column) in pixels; the centre of the first pixel is (0, 0), so that whole numbers
are pixel centres. Pixels need not be square: all lengths and angles are those in the patient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionStatistics:
    """What a region of a slice holds.

    Attributes:
        pixels: How many pixels have been measured.
        padded: How many more lie in the region but are padding, and are left out of all else.
        mean_hu: Their mean.
        sd_hu: Their standard deviation, of this very set of pixels (divided by ``pixels``).
        min_hu: The smallest.
        max_hu: The largest.
        area_mm2: Of the pixels measured.
    """

    pixels: int
    padded: int
    mean_hu: float
    sd_hu: float
    min_hu: float
    max_hu: float
    area_mm2: float


def _vector_mm(a: Point, b: Point, pixel_mm: tuple[float, float]) -> tuple[float, float]:
    return (b[0] - a[0]) * pixel_mm[0], (b[1] - a[1]) * pixel_mm[1]


def distance_mm(a: Point, b: Point, pixel_mm: tuple[float, float]) -> float:
    """The length of the line from ``a`` to ``b``.

    Args:
        a: One end.
        b: The other.
        pixel_mm: Distance between rows, then between columns (PixelSpacing, 0028,0030).
    """
    return math.hypot(*_vector_mm(a, b, pixel_mm))


def angle_deg(a: Point, vertex: Point, b: Point, pixel_mm: tuple[float, float]) -> float:
    """The angle at ``vertex`` between the lines to ``a`` and ``b``, 0 to 180 degrees.

    Args:
        a: On the first leg.
        vertex: Where the legs meet.
        b: On the second leg.
        pixel_mm: As for :func:`distance_mm`.

    Returns:
        The angle; nan where a leg has no length.
    """
    first, second = _vector_mm(vertex, a, pixel_mm), _vector_mm(vertex, b, pixel_mm)
    if not any(first) or not any(second):
        return math.nan
    cross = first[0] * second[1] - first[1] * second[0]
    dot = first[0] * second[0] + first[1] * second[1]
    return math.degrees(math.atan2(abs(cross), dot))


def rectangle_mask(shape: tuple[int, int], a: Point, b: Point) -> NDArray[np.bool_]:
    """The pixels whose centres lie in an upright rectangle, its edge included.

    Args:
        shape: Rows and columns of the slice.
        a: A corner.
        b: The opposite corner.

    Returns:
        bool of ``shape``.
    """
    rows, columns = (
        (np.arange(shape[axis]) >= min(a[axis], b[axis]))
        & (np.arange(shape[axis]) <= max(a[axis], b[axis]))
        for axis in (0, 1)
    )
    mask: NDArray[np.bool_] = rows[:, None] & columns[None, :]
    return mask


def ellipse_mask(shape: tuple[int, int], a: Point, b: Point) -> NDArray[np.bool_]:
    """The pixels whose centres lie in the ellipse that fills an upright rectangle, edge included.

    Args:
        shape: Rows and columns of the slice.
        a: A corner of the rectangle.
        b: The opposite corner.

    Returns:
        bool of ``shape``; all False where the rectangle has no width or no height.
    """
    terms = []
    for axis in (0, 1):
        radius = abs(b[axis] - a[axis]) / 2
        if radius == 0:
            return np.zeros(shape, np.bool_)
        terms.append(((np.arange(shape[axis]) - (a[axis] + b[axis]) / 2) / radius) ** 2)
    # A hair more than 1: a pixel right on the edge must not depend on rounding.
    mask: NDArray[np.bool_] = terms[0][:, None] + terms[1][None, :] <= 1 + 1e-9
    return mask


def measure_region(
    hu: NDArray[np.int16] | NDArray[np.float32],
    mask: NDArray[np.bool_],
    pixel_mm: tuple[float, float],
    padding: NDArray[np.bool_] | None = None,
) -> RegionStatistics | None:
    """Statistics of the pixels in a region.

    Args:
        hu: (rows, columns) Hounsfield units.
        mask: Same shape; True in the region.
        pixel_mm: As for :func:`distance_mm`.
        padding: Same shape; True where the pixel is padding, which is no part of the image
            (PS3.3 C.7.5.1.1.2). None where there is none.

    Returns:
        The statistics, or None where no pixel is left to measure.
    """
    measured = mask if padding is None else mask & ~padding
    values = hu[measured].astype(np.float64)
    if not values.size:
        return None
    return RegionStatistics(
        pixels=values.size,
        padded=int(np.count_nonzero(mask)) - values.size,
        mean_hu=float(values.mean()),
        sd_hu=float(values.std()),
        min_hu=float(values.min()),
        max_hu=float(values.max()),
        area_mm2=values.size * pixel_mm[0] * pixel_mm[1],
    )
