"""Header values where they can be meant; None where they are absurd or incomplete."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sadmil_core.dicom.header import Triple

_MAX_MM = 1e5
"""No scanner's table reaches that far."""
_MAX_HU, _MAX_SLOPE = 1e6, 1e3


def is_hounsfield(rescale_type: str) -> bool:
    """Whether a RescaleType says Hounsfield units, or nothing (PS3.3 C.8.2.1: HU is meant)."""
    return rescale_type.upper() in ("", "HU")


def directions(cosines: tuple[float, ...] | None) -> tuple[Triple, Triple] | None:
    """The row and column directions, or None where they are not two orthogonal unit vectors."""
    if cosines is None:
        return None
    row = (cosines[0], cosines[1], cosines[2])
    column = (cosines[3], cosines[4], cosines[5])
    lengths = (math.hypot(*row), math.hypot(*column))
    dot = sum(a * b for a, b in zip(row, column, strict=True))
    if any(abs(length - 1) > 0.01 for length in lengths) or abs(dot) > 0.01:
        return None
    return row, column


def pixel_spacing(values: tuple[float, ...] | None) -> tuple[float, float] | None:
    """PixelSpacing (mm) where both of its values are usable."""
    return (values[0], values[1]) if values and all(1e-3 < v < 1e3 for v in values) else None


def place(values: tuple[float, ...] | None) -> Triple | None:
    """ImagePositionPatient (mm) where it is within reach."""
    if values is None or max(map(abs, values)) > _MAX_MM:
        return None
    return values[0], values[1], values[2]


def rescale(slope: float | None, intercept: float | None) -> tuple[float, float] | None:
    """RescaleSlope and RescaleIntercept where both can be meant: neither stands alone."""
    if slope is None or intercept is None or abs(intercept) > _MAX_HU:
        return None
    return (slope, intercept) if 1 / _MAX_SLOPE**2 <= abs(slope) <= _MAX_SLOPE else None


def window(level: float | None, width: float | None) -> tuple[float, float] | None:
    """A display window (level, width) in HU where it is a usable one."""
    if level is None or width is None or abs(level) > _MAX_HU:
        return None
    return (level, width) if 1 <= width <= _MAX_HU else None
