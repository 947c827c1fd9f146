"""Axial, coronal and sagittal planes of the patient, out of a regular volume."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.progress import Progress, no_progress
from sadmil_core.reformat.sampling import HAIR, Lattice, Sampler

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from sadmil_core.dicom.header import Triple
    from sadmil_core.reformat.volume import RegularVolume


class Plane(StrEnum):
    """A plane of the body, whatever the tilt of the gantry."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"

    @property
    def row_direction(self) -> Triple:
        """Unit vector (LPS) to the right of the image: the patient's left, or the back."""
        return (0.0, 1.0, 0.0) if self is Plane.SAGITTAL else (1.0, 0.0, 0.0)

    @property
    def column_direction(self) -> Triple:
        """Unit vector (LPS) down the image: the back, or the feet."""
        return (0.0, 1.0, 0.0) if self is Plane.AXIAL else (0.0, 0.0, -1.0)

    @property
    def normal(self) -> Triple:
        """Unit vector (LPS) along which the planes follow one another: head, back or left."""
        return {
            Plane.AXIAL: (0.0, 0.0, 1.0),
            Plane.CORONAL: (0.0, 1.0, 0.0),
            Plane.SAGITTAL: (1.0, 0.0, 0.0),
        }[self]


class Projection(StrEnum):
    """How a slab becomes one image."""

    MEAN = "mean"
    MAXIMUM = "maximum"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneImage:
    """One reformatted image, as a radiologist holds it.

    Patient right is on the left of axial and coronal images, the face on the left of sagittal
    ones; up is the front of an axial image and the head end of the others.

    Attributes:
        hu: (rows, columns) float32; -1000 where ``outside``.
        outside: (rows, columns) bool, True where nothing was scanned or slices are missing.
        in_gap: (rows, columns) bool, True where slices are missing: at a place in a plane, at
            some depth of a slab.
        origin_mm: Centre of pixel (0, 0), LPS; of a slab, in the middle of its thickness.
        row_direction: Unit vector along a row, towards higher columns.
        column_direction: Unit vector along a column, towards higher rows.
        pixel_mm: Distance of pixel centres, the same both ways.
    """

    hu: NDArray[np.float32]
    outside: NDArray[np.bool_]
    in_gap: NDArray[np.bool_]
    origin_mm: Triple
    row_direction: Triple
    column_direction: Triple
    pixel_mm: float

    def patient_mm(self, pixel: ArrayLike) -> NDArray[np.float64]:
        """Where pixels, (..., 2) row and column, lie in the patient: (..., 3) LPS mm."""
        steps = np.asarray(pixel, float) * self.pixel_mm
        frame = np.array([self.column_direction, self.row_direction])
        return np.asarray(self.origin_mm + steps @ frame)

    def pixel_of(self, patient_mm: ArrayLike) -> NDArray[np.float64]:
        """The row and column (..., 2) that places of the patient, (..., 3), are seen at."""
        away = np.asarray(patient_mm, float) - self.origin_mm
        frame = np.array([self.column_direction, self.row_direction])
        return np.asarray(away @ frame.T / self.pixel_mm)


def reformat_plane(
    volume: RegularVolume,
    plane: Plane,
    through_mm: Triple,
    *,
    pixel_mm: float | None = None,
    thickness_mm: float = 0.0,
    projection: Projection = Projection.MEAN,
    progress: Progress = no_progress,
) -> PlaneImage:
    """Samples one plane, linearly.

    All planes of one kind have the same frame: the box around all that was scanned. A value
    comes from scanned voxels alone: where one of its neighbours is missing the pixel is air,
    ``outside``; within half a slice of a gap it is the slice's own.

    Args:
        volume: From :func:`make_regular`.
        plane: Which plane of the body.
        through_mm: A point (LPS) the plane goes through.
        pixel_mm: Of the image; the finer of the volume's two in-plane spacings where None.
        thickness_mm: Of a slab around the plane; 0 for the plane alone.
        projection: How a slab becomes one image, from those depths that were scanned.
        progress: Called after each band of rows; a thick slab of a large volume takes seconds.

    Raises:
        ValueError: ``pixel_mm`` is not positive or ``thickness_mm`` is negative.
        Cancelled: From ``progress``.
    """
    pixel = min(volume.spacing_mm[1:]) if pixel_mm is None else pixel_mm
    if not (pixel > 0 and thickness_mm >= 0):
        raise ValueError(f"no image of {pixel} mm pixels and {thickness_mm} mm thickness")
    down, right, normal = map(np.array, (plane.column_direction, plane.row_direction, plane.normal))
    corners = _scanned_corners(volume)
    origin = (np.array(through_mm) @ normal) * normal
    size = []
    for direction in (down, right):
        along = corners @ direction
        size.append(math.ceil(np.ptp(along) / pixel - HAIR) + 1)
        origin = origin + along.min() * direction
    to_voxels = np.array(volume.directions) / np.array(volume.spacing_mm)[:, None]
    deep = to_voxels @ normal
    lattice = Lattice(
        start=volume.index_of(origin),
        down=to_voxels @ down * pixel,
        right=to_voxels @ right * pixel,
        deep=deep,
        depths=_depths(thickness_mm, 1.0 / np.abs(deep).max()),
        shape=(size[0], size[1]),
    )
    samples = Sampler(volume).sample(
        lattice, maximum=projection is Projection.MAXIMUM, progress=progress
    )
    x, y, z = origin.tolist()
    return PlaneImage(
        hu=samples.hu,
        outside=samples.outside,
        in_gap=samples.in_gap,
        origin_mm=(x, y, z),
        row_direction=plane.row_direction,
        column_direction=plane.column_direction,
        pixel_mm=pixel,
    )


def _scanned_corners(volume: RegularVolume) -> NDArray[np.float64]:
    """The corners of what was scanned in each slice, (n, 3) LPS mm."""
    corners = [
        (index, row, column)
        for index, (top, bottom, left, right) in enumerate(volume.scanned.tolist())
        if bottom > top and right > left
        for row in (top, bottom - 1)
        for column in (left, right - 1)
    ]
    return volume.patient_mm(corners)


def _depths(thickness_mm: float, step_mm: float) -> NDArray[np.float64]:
    """Depths in mm, from one face of a slab to the other, no farther apart than a voxel."""
    count = math.ceil(thickness_mm / step_mm - HAIR) + 1 if thickness_mm else 1
    return np.linspace(-thickness_mm / 2, thickness_mm / 2, count) if count > 1 else np.zeros(1)
