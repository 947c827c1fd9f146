"""What a measurement says of the slice it is drawn on."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.dicom.decode import AIR_HU, read_padding
from sadmil_core.errors import DecodeError
from sadmil_core.measure import (
    angle_deg,
    distance_mm,
    ellipse_mask,
    measure_region,
    rectangle_mask,
)
from viewer.model.annotations import MeasureKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sadmil_core.dicom import SliceHeader
    from sadmil_core.measure import Point

_SLICES_KEPT = 4


def measure_texts(
    kind: MeasureKind,
    points: Sequence[Point],
    hu: NDArray[np.int16] | NDArray[np.float32],
    header: SliceHeader,
) -> tuple[str, ...]:
    """The value of a measurement, in lines for people.

    Where the file gives no PixelSpacing (0028,0030), lengths are in pixels, and say so.

    Args:
        kind: What was drawn.
        points: Its points.
        hu: (rows, columns) of the slice.
        header: Of the slice.
    """
    pixel_mm, unit = (
        header.pixel_spacing_mm or (1.0, 1.0),
        "mm" if header.pixel_spacing_mm else "px",
    )
    if kind is MeasureKind.DISTANCE:
        return (f"{distance_mm(points[0], points[1], pixel_mm):.1f} {unit}",)
    if kind is MeasureKind.ANGLE:
        angle = angle_deg(points[0], points[1], points[2], pixel_mm)
        return (f"{angle:.1f}°" if np.isfinite(angle) else "no angle",)
    draw = ellipse_mask if kind is MeasureKind.ELLIPSE else rectangle_mask
    rows, columns = hu.shape
    mask = draw((rows, columns), points[0], points[1])
    padding, is_known = _padding_in(mask, hu, header)
    found = measure_region(hu, mask, pixel_mm, padding)
    if found is None:
        return ("only padding" if mask.any() else "no pixel inside",)
    texts = [
        f"mean {found.mean_hu:.1f}  SD {found.sd_hu:.1f} HU",
        f"min {found.min_hu:.0f}  max {found.max_hu:.0f} HU",
        f"area {found.area_mm2:.1f} {unit}²",
    ]
    if found.padded:
        texts.append(f"{found.padded} px of padding left out")
    if not is_known:
        texts.append(f"{AIR_HU} HU left out as padding")
    return tuple(texts)


def _padding_in(
    mask: NDArray[np.bool_], hu: NDArray[np.int16] | NDArray[np.float32], header: SliceHeader
) -> tuple[NDArray[np.bool_] | None, bool]:
    """Where the slice is padding, and whether that is known or only taken to be so.

    The file is asked only where it can matter: where the region has values of air at all.
    """
    if header.padding is None or not (hu[mask] == AIR_HU).any():
        return None, True
    try:
        return _padding_of(header), True
    except DecodeError:
        # The file has gone since: what may be padding must not count as tissue.
        return hu == AIR_HU, False


@lru_cache(maxsize=_SLICES_KEPT)
def _padding_of(header: SliceHeader) -> NDArray[np.bool_]:
    return read_padding(header)
