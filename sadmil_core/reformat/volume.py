"""A stack made orthogonal and evenly spaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sadmil_core.errors import ReformatError
from sadmil_core.progress import Progress, no_progress
from sadmil_core.reformat.grid import Grid, Tap, plan_grid

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from sadmil_core.dicom import CTVolume
    from sadmil_core.dicom.header import Triple

AIR_HU = -1000
"""The value of what was not scanned."""
_BLOCK_ROWS = 64  # of float32 on the way: they stay in the cache, where threads gain nothing more


@dataclass(frozen=True, slots=True, kw_only=True)
class RegularVolume:
    """Hounsfield units on an orthogonal, evenly spaced grid in the patient (LPS mm).

    The three axes are, in this order, those of the array: slice (along the native normal,
    towards the head), row index (down a native slice, DICOM's column direction) and column
    index (across it, DICOM's row direction). The frame is left-handed where the files are.

    Attributes:
        hu: (S', rows', columns') int16, or float32 where the stack is. Read-only; -1000 where
            nothing was scanned. The native array itself where the stack is regular already.
        origin_mm: Centre of voxel (0, 0, 0).
        directions: Unit vectors of increasing slice, row and column index.
        spacing_mm: Between slices, rows and columns.
        scanned: (S', 4) int32: in each slice the first row, the row after the last, the first
            column and the column after the last that hold scanned values. Beyond is air.
        in_gap: (S',) bool, True for planes where native slices are missing. They are air and
            not interpolated: anatomy between slices that far apart would be invented, and
            whoever overlooks this mask still sees a gap.
    """

    hu: NDArray[np.int16] | NDArray[np.float32]
    origin_mm: Triple
    directions: tuple[Triple, Triple, Triple]
    spacing_mm: Triple
    scanned: NDArray[np.int32]
    in_gap: NDArray[np.bool_]

    @property
    def outside_fraction(self) -> float:
        """The share of the voxels, gaps included, that hold air because nothing was scanned."""
        top, bottom, left, right = self.scanned.T.astype(np.int64)
        return 1.0 - float(((bottom - top) * (right - left)).sum()) / self.hu.size

    def patient_mm(self, index: ArrayLike) -> NDArray[np.float64]:
        """Where voxels lie in the patient.

        Args:
            index: (..., 3) slice, row, column; fractions are between voxel centres.

        Returns:
            (..., 3) LPS mm.
        """
        steps = np.asarray(index, float) * self.spacing_mm
        return np.asarray(self.origin_mm + steps @ np.array(self.directions))

    def index_of(self, patient_mm: ArrayLike) -> NDArray[np.float64]:
        """The inverse of :meth:`patient_mm`; places outside the volume have indices, too."""
        away = np.asarray(patient_mm, float) - self.origin_mm
        return np.asarray(away @ np.array(self.directions).T / self.spacing_mm)

    def to_simpleitk(self) -> Any:
        """A SimpleITK image (of its own, a copy) with this origin, direction and spacing.

        ITK counts column, row, slice. Resample with -1000 as the default value, for any plane.
        """
        import SimpleITK as sitk  # noqa: N813 - its customary name; here, since it loads slowly

        image = sitk.GetImageFromArray(self.hu)
        image.SetOrigin(self.origin_mm)
        image.SetSpacing(self.spacing_mm[::-1])
        image.SetDirection(np.array(self.directions[::-1]).T.ravel().tolist())
        return image


def make_regular(volume: CTVolume, progress: Progress = no_progress) -> RegularVolume:
    """Makes a stack orthogonal and evenly spaced.

    A tilted series steps along the table while its slices lean, so that its origins drift
    within the plane from slice to slice. Each slice is moved in its plane (linearly, by
    fractions of a pixel) until all origins lie on one line along the normal; drifts under
    ``TOLERANCE_MM`` (0.05 mm) are left. The matrix grows, so that nothing is cut off but the
    part of a pixel at an edge that would have to be mixed with what was not scanned.

    Uneven spacing is resampled along the normal, linearly between true neighbours, to half the
    finest common spacing; ends lie on the first and the last slice. A stack even but for missing
    slices keeps its own grid, with air in the gaps (see :class:`RegularVolume`).

    A stack that is regular already costs nothing. Otherwise the memory taken is that of the
    result and less than 1 MB, for a block of rows of one plane at a time. Where the spacing is
    uneven, the result is at most 512 MiB or has as many planes as the stack has slices; a result
    over 4 GiB and four times the stack comes of impossible positions, and is refused.

    Args:
        volume: Hounsfield units, foot to head.
        progress: Called after each plane.

    Raises:
        ReformatError: Positions, orientation or pixel size are not known or impossible, there is
            only one slice, or memory does not suffice.
        Cancelled: From ``progress``.
    """
    native = volume.hu
    grid = plan_grid(volume.entry, native.itemsize)
    hu = native if grid.is_native else _fill(native, grid, progress)
    return RegularVolume(
        hu=hu,
        origin_mm=grid.origin_mm,
        directions=grid.directions,
        spacing_mm=grid.spacing_mm,
        scanned=grid.scanned,
        in_gap=np.array([not taps for taps in grid.taps]),
    )


def _fill(
    native: NDArray[np.int16] | NDArray[np.float32], grid: Grid, progress: Progress
) -> NDArray[np.int16] | NDArray[np.float32]:
    try:
        out = np.empty(grid.shape, native.dtype)
    except MemoryError as error:
        size = np.prod(grid.shape, dtype=float) * native.itemsize / 2**30
        raise ReformatError(
            f"The reformat needs {size:.1f} GiB of memory.", remedy="Close other programs."
        ) from error
    count = len(out)
    block = np.empty((2, _BLOCK_ROWS, grid.shape[2]), np.float32)
    progress(0, count, "straightening slices")
    for index, (taps, box) in enumerate(zip(grid.taps, grid.scanned.tolist(), strict=True)):
        _fill_plane(out[index], native, taps, box, block)
        progress(index + 1, count, "straightening slices")
    out.flags.writeable = False
    return out


def _fill_plane(
    plane: NDArray[Any],
    native: NDArray[Any],
    taps: tuple[Tap, ...],
    scanned: list[int],
    block: NDArray[np.float32],
) -> None:
    """Writes one plane: the weighted sum of its taps where all have values, air around."""
    top, bottom, left, right = scanned
    plane[:top] = plane[bottom:] = AIR_HU
    plane[top:bottom, :left] = plane[top:bottom, right:] = AIR_HU
    sources = [
        (
            native[k, top - row : bottom - row, left - column : right - column],
            np.float32(weight),
        )
        for k, row, column, weight in taps
    ]
    target = plane[top:bottom, left:right]
    if len(sources) == 1:
        target[:] = sources[0][0]
        return
    for start in range(0, len(target), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        total, part = block[:, : len(target[rows]), : right - left]
        np.multiply(sources[0][0][rows], sources[0][1], out=total)
        for source, weight in sources[1:]:
            np.multiply(source[rows], weight, out=part)
            total += part
        if plane.dtype != np.float32:
            np.rint(total, out=total)
        target[rows] = total
