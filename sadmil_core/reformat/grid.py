"""Where the planes of a regular volume lie, and which native pixels each is mixed from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sadmil_core.errors import ReformatError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sadmil_core.dicom import StackEntry, StackGeometry
    from sadmil_core.dicom.header import Triple

TOLERANCE_MM = 0.05
"""A pixel this near to its place stays as it is: a tenth of a pixel, which a CT does not resolve,
is less harm than the blur of interpolating."""
FINE_BYTES = 1 << 29
"""An uneven stack is not resampled more finely than to this size."""
MOST_BYTES = 1 << 32
"""A volume above this size, and four times the native one, comes of wrong positions."""
LONGEST_MM = 3000.0
"""No scan is longer than this, which is more than a table travels."""


class Tap(NamedTuple):
    """A native slice laid on the output matrix, and its share in a plane.

    Attributes:
        slice_index: Which native slice.
        row: The output row its first row comes to lie on.
        column: The output column its first column comes to lie on.
        weight: Its share; those of one plane add up to 1.
    """

    slice_index: int
    row: int
    column: int
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The plan of a regular volume.

    Attributes:
        shape: Planes, rows, columns.
        origin_mm: Centre of the first voxel, LPS.
        directions: Unit vectors (LPS) along increasing slice, row and column index.
        spacing_mm: Along slices, rows and columns.
        taps: What each plane is mixed from; nothing for a plane in a gap.
        scanned: (planes, 4) int32: first row, row after the last, first column, column after
            the last of what was scanned in each plane.
    """

    shape: tuple[int, int, int]
    origin_mm: Triple
    directions: tuple[Triple, Triple, Triple]
    spacing_mm: Triple
    taps: tuple[tuple[Tap, ...], ...]
    scanned: NDArray[np.int32]

    @property
    def is_native(self) -> bool:
        """Whether every plane is the native slice of the same index, unmoved."""
        return all(taps == (Tap(index, 0, 0, 1.0),) for index, taps in enumerate(self.taps))


def plan_grid(entry: StackEntry, item_bytes: int = 2) -> Grid:
    """Plans the regular volume of a stack.

    Args:
        entry: The stack.
        item_bytes: Size of a voxel, which bounds how finely an uneven stack is resampled.

    Raises:
        ReformatError: The files do not say where the pixels lie, or say it impossibly.
    """
    require_places(entry)
    geometry = entry.geometry
    axes = _axes(geometry)
    pixel_mm = np.array([geometry.row_spacing_mm, geometry.column_spacing_mm])
    places = np.array(geometry.origins_mm) @ axes.T
    _require_sane(entry, places)
    shifts, anchor = _shifts(places[:, 1:] / pixel_mm, TOLERANCE_MM / pixel_mm)
    native_rows, native_columns = entry.shape[1:]
    rows = native_rows + int(np.ceil(shifts[:, 0].max()))
    columns = native_columns + int(np.ceil(shifts[:, 1].max()))
    plane_bytes = rows * columns * item_bytes
    at_mm = _even_positions(places[:, 0], geometry.missing_after, plane_bytes)
    native_bytes = item_bytes * int(np.prod(entry.shape, dtype=np.int64))
    if len(at_mm) * plane_bytes > max(MOST_BYTES, 4 * native_bytes):
        raise _spread_too_far(entry, places)
    laid = [_lay(index, shift) for index, shift in enumerate(shifts)]
    taps = _mix(laid, places[:, 0], geometry.missing_after, at_mm)
    origin = np.array([at_mm[0], *(anchor * pixel_mm)]) @ axes
    return Grid(
        shape=(len(at_mm), rows, columns),
        origin_mm=_triple(origin),
        directions=(_triple(axes[0]), _triple(axes[1]), _triple(axes[2])),
        spacing_mm=_triple(np.array([at_mm[1] - at_mm[0], *pixel_mm])),
        taps=taps,
        scanned=_scanned(taps, native_rows, native_columns),
    )


def require_places(entry: StackEntry) -> None:
    """Refuses a stack whose pixels lie nobody knows where.

    Raises:
        ReformatError: Positions, orientation or pixel size are not known, or it is flat.
    """
    geometry = entry.geometry
    lacks = [
        what
        for what, there in (
            ("the positions of its slices", geometry.has_positions),
            ("their orientation", geometry.has_orientation),
            ("the size of its pixels", entry.slices[0].pixel_spacing_mm is not None),
        )
        if not there
    ]
    if lacks:
        raise ReformatError(
            f"Series {entry.series_instance_uid} cannot be reformatted: its files do not say "
            f"{' nor '.join(lacks)}.",
            remedy="Read it slice by slice.",
        )
    if min(entry.shape) < 2:
        raise ReformatError(
            f"Series {entry.series_instance_uid} cannot be reformatted: its {entry.shape[0]} "
            f"slice(s) of {entry.shape[1]} x {entry.shape[2]} pixels span no volume."
        )


def _require_sane(entry: StackEntry, places: NDArray[np.float64]) -> None:
    if np.ptp(places, axis=0).max() > LONGEST_MM:
        raise _spread_too_far(entry, places)


def _spread_too_far(entry: StackEntry, places: NDArray[np.float64]) -> ReformatError:
    along, down, across = np.ptp(places, axis=0)
    return ReformatError(
        f"Series {entry.series_instance_uid} cannot be reformatted: its slices are said to spread "
        f"over {along:.0f} mm, and {max(down, across):.0f} mm sideways.",
        remedy="Check the positions (ImagePositionPatient) in its files, or read it slice by "
        "slice.",
    )


def _axes(geometry: StackGeometry) -> NDArray[np.float64]:
    """The directions of increasing slice, row and column as the rows of an orthonormal matrix.

    The slice direction is the normal, which points to the head, so that the frame may be left-
    handed. Directions in files are orthogonal to within their decimals only.
    """
    normal = np.array(geometry.normal)
    across = np.array(geometry.row_direction)
    across = across / np.linalg.norm(across)
    down = np.cross(normal, across)
    down *= np.sign(down @ np.array(geometry.column_direction))
    return np.array([normal, down / np.linalg.norm(down), across])


def _shifts(
    drift: NDArray[np.float64], tolerance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many rows and columns each slice is to be moved by, none of it negative.

    The matrix is anchored on the median of the drifts, so that where a few slices are displaced
    it is they that are interpolated.

    Args:
        drift: (S, 2) place of each slice's first pixel in rows and columns.
        tolerance: (2,) what may be rounded away of it.

    Returns:
        (S, 2) shifts, and the place of the output matrix's first pixel.
    """
    anchor = np.sort(drift, axis=0)[len(drift) // 2]
    shifts = drift - anchor
    whole = np.rint(shifts)
    shifts = np.where(np.abs(shifts - whole) <= tolerance, whole, shifts)
    first = np.floor(shifts.min(axis=0))
    return shifts - first, anchor + first


def _even_positions(
    native_mm: NDArray[np.float64], missing: Sequence[int], plane_bytes: int
) -> NDArray[np.float64]:
    """The planes of the volume along the normal, from the first native slice to the last.

    Where the native slices lie on an even grid, with or without gaps, that grid. Else half of
    the finest common spacing (the tenth percentile, so that one odd overlap does not decide):
    halved, since planes are interpolated again to show them, and the two must not add up.
    """
    first, last = native_mm[0], native_mm[-1]
    intervals = len(native_mm) - 1 + sum(missing)
    grid = np.linspace(first, last, intervals + 1)
    index = np.concatenate([[0], np.cumsum(np.array(missing) + 1)])
    if np.abs(grid[index] - native_mm).max() <= TOLERANCE_MM:
        return grid
    steps = np.sort(np.diff(native_mm))
    finest = steps[len(steps) // 10] / 2
    most = max(len(native_mm), FINE_BYTES // plane_bytes) - 1
    return np.linspace(first, last, min(int(np.ceil((last - first) / finest)), most) + 1)


def _lay(index: int, shift: NDArray[np.float64]) -> list[Tap]:
    """One slice moved by a fraction of a pixel: itself at two places along each such axis."""
    ways: list[list[tuple[int, float]]] = []
    for value in shift:
        whole = int(np.floor(value))
        part = float(value - whole)
        ways.append([(whole, 1.0 - part), (whole + 1, part)] if part else [(whole, 1.0)])
    return [
        Tap(index, row, column, row_share * column_share)
        for (row, row_share), (column, column_share) in product(*ways)
    ]


def _mix(
    laid: list[list[Tap]],
    native_mm: NDArray[np.float64],
    missing: Sequence[int],
    at_mm: NDArray[np.float64],
) -> tuple[tuple[Tap, ...], ...]:
    """The taps of each plane: those of one slice, of two neighbours, or none in a gap.

    A plane beside a gap shows the slice that it lies within half a plane of, so that no slice
    is lost where the grid does not hit it.
    """
    half = (at_mm[1] - at_mm[0]) / 2
    lower = np.clip(np.searchsorted(native_mm, at_mm, side="right") - 1, 0, len(native_mm) - 2)
    planes: list[tuple[Tap, ...]] = []
    for position, low in zip(at_mm, lower.tolist(), strict=True):
        below, above = position - native_mm[low], native_mm[low + 1] - position
        share = float(below / (below + above))
        if min(below, above) <= (half if missing[low] else TOLERANCE_MM):
            planes.append(tuple(laid[low if below <= above else low + 1]))
        elif missing[low]:
            planes.append(())
        else:
            planes.append(
                (
                    *(tap._replace(weight=tap.weight * (1 - share)) for tap in laid[low]),
                    *(tap._replace(weight=tap.weight * share) for tap in laid[low + 1]),
                )
            )
    return tuple(planes)


def _scanned(taps: Sequence[Sequence[Tap]], rows: int, columns: int) -> NDArray[np.int32]:
    """Where all the taps of each plane overlap: elsewhere a value would be half made up."""
    boxes = np.zeros((len(taps), 4), np.int32)
    for box, plane in zip(boxes, taps, strict=True):
        if plane:
            tops, lefts = [tap.row for tap in plane], [tap.column for tap in plane]
            box[:] = max(tops), min(tops) + rows, max(lefts), min(lefts) + columns
            box[1::2] = np.maximum(box[1::2], box[::2])
    return boxes


def _triple(vector: NDArray[np.float64]) -> Triple:
    x, y, z = (float(value) + 0.0 for value in vector)
    return x, y, z
