"""Slabs of native slices: several of them, one upon the other, as one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.progress import Progress, no_progress
from sadmil_core.reformat.grid import TOLERANCE_MM, require_places
from sadmil_core.reformat.plane import Projection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.dicom import CTVolume, StackGeometry

_LEAST_SHARE = 0.01  # of a slice's own thickness: what the rounding of positions makes is no part


@dataclass(frozen=True, slots=True, kw_only=True)
class SlabImage:
    """A slab as one image, on the matrix of the slice in its middle.

    Attributes:
        hu: (rows, columns): float32 of a mean, the type of the stack of a maximum.
        first: The slice nearest to the feet that has a part in it.
        last: The one nearest to the head.
    """

    hu: NDArray[np.int16] | NDArray[np.float32]
    first: int
    last: int


def slab_shares(
    geometry: StackGeometry, index: int, thickness_mm: float
) -> tuple[tuple[int, float], ...]:
    """Which slices a slab around a slice takes in, and how many mm of each.

    A slice stands for what is nearer to it than to its neighbours; where slices are missing, for
    half of the usual spacing, so that nothing is made up.

    Args:
        geometry: Of the stack, with positions.
        index: The slice in the middle.
        thickness_mm: Along the normal, half of it on either side.

    Returns:
        Slices and their shares in mm, foot to head; the middle slice is always one of them.
    """
    position = np.array(geometry.position_mm)
    half = np.diff(position) / (np.array(geometry.missing_after) + 1) / 2
    below, above = np.append(half[:1], half), np.append(half, half[-1:])
    low = np.maximum(position - below, position[index] - thickness_mm / 2)
    high = np.minimum(position + above, position[index] + thickness_mm / 2)
    share = high - low
    share[share <= _LEAST_SHARE * (below + above)] = 0.0
    share[index] = max(share[index], _LEAST_SHARE)
    return tuple((int(i), float(share[i])) for i in np.flatnonzero(share))


def slab_shifts(geometry: StackGeometry, index: int) -> NDArray[np.float64]:
    """How far each slice is to be moved to lie straight upon another one, along the normal.

    A table that moves under a tilted gantry lets slices drift within their plane.

    Returns:
        (S, 2) rows and columns; whole numbers where less than ``TOLERANCE_MM`` is rounded away.
    """
    pixel_mm = np.array([geometry.row_spacing_mm, geometry.column_spacing_mm])
    frame = np.array([geometry.column_direction, geometry.row_direction])
    origins = np.array(geometry.origins_mm)
    shifts = (origins - origins[index]) @ frame.T / pixel_mm
    whole = np.rint(shifts)
    near = np.abs(shifts - whole) <= TOLERANCE_MM / pixel_mm
    rounded: NDArray[np.float64] = np.where(near, whole, shifts)
    return rounded


def make_slab(
    volume: CTVolume,
    index: int,
    thickness_mm: float,
    projection: Projection,
    progress: Progress = no_progress,
) -> SlabImage:
    """Makes one image of the slices around one.

    Args:
        volume: Hounsfield units, foot to head.
        index: The slice in the middle, whose matrix the image has.
        thickness_mm: Along the normal; slices at its faces count with the part that lies inside.
        projection: The mean, weighted by those parts, or the maximum.
        progress: Called after each slice.

    Raises:
        ReformatError: The files do not say where the slices lie.
        Cancelled: From ``progress``.
    """
    require_places(volume.entry)
    geometry = volume.entry.geometry
    shares = slab_shares(geometry, index, thickness_mm)
    shifts = slab_shifts(geometry, index)
    is_mean = projection is Projection.MEAN
    own = volume.hu[index]
    hu = np.zeros(own.shape, np.float32) if is_mean else own.copy()
    weight = np.zeros(own.shape, np.float32)
    for done, (number, share) in enumerate(shares, start=1):
        rows, columns, plane = _move(volume.hu[number], *shifts[number])
        target = hu[rows, columns]
        if is_mean:
            target += np.float32(share) * plane
            weight[rows, columns] += np.float32(share)
        elif plane.dtype == target.dtype:
            np.maximum(target, plane, out=target)
        else:
            np.maximum(target, np.rint(plane), out=target, casting="unsafe")
        progress(done, len(shares), "making the slab")
    if is_mean:
        hu /= weight  # the middle slice is everywhere
    return SlabImage(hu=hu, first=shares[0][0], last=shares[-1][0])


def _move(
    plane: NDArray[np.int16] | NDArray[np.float32], down: float, across: float
) -> tuple[slice, slice, NDArray[np.int16] | NDArray[np.float32]]:
    """A slice moved within its plane: where it then lies on the matrix, and its values there."""
    rows, plane = _move_rows(plane, down)
    columns, turned = _move_rows(plane.T, across)
    return rows, columns, turned.T


def _move_rows(
    plane: NDArray[np.int16] | NDArray[np.float32], shift: float
) -> tuple[slice, NDArray[np.int16] | NDArray[np.float32]]:
    count, whole = len(plane), int(np.floor(shift))
    part = np.float32(shift - whole)
    if part:  # between two rows, where there are two
        plane = plane[1:] * (1 - part) + plane[:-1] * part
        whole += 1
    start, stop = max(0, whole), max(0, min(count, whole + len(plane)))
    return slice(start, max(start, stop)), plane[start - whole : max(start, stop) - whole]
