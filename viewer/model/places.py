"""Where a point of the patient is seen: on which slice, at which pixel, and lines through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.dicom import StackEntry, StackGeometry
    from sadmil_core.dicom.header import Triple
    from sadmil_core.reformat import PlaneImage

Segment = tuple[tuple[float, float], tuple[float, float]]
"""Two ends, each a column and a row; pixel centres are whole numbers."""
_PARALLEL = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFrame:
    """Where the pixels of one image lie in the patient.

    Attributes:
        origin_mm: Centre of pixel (0, 0), LPS.
        right: Unit vector towards higher columns.
        down: Unit vector towards higher rows.
        column_mm: Distance between columns.
        row_mm: Distance between rows.
        shape: Rows, columns.
    """

    origin_mm: Triple
    right: Triple
    down: Triple
    column_mm: float
    row_mm: float
    shape: tuple[int, int]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the image."""
        across = np.cross(self.right, self.down)
        return np.asarray(across / np.linalg.norm(across))

    def patient_mm(self, row: float, column: float) -> Triple:
        """Where a pixel lies."""
        return triple(
            np.array(self.origin_mm)
            + row * self.row_mm * np.array(self.down)
            + column * self.column_mm * np.array(self.right)
        )

    def pixel_of(self, patient_mm: Triple) -> tuple[float, float]:
        """The row and column that a point is seen at, straight across the image."""
        away = np.array(patient_mm) - self.origin_mm
        return float(away @ self.down / self.row_mm), float(away @ self.right / self.column_mm)

    def cut(self, normal: Triple, through_mm: Triple) -> Segment | None:
        """The line in which a plane cuts this image; None where it does not."""
        across = float(np.dot(normal, self.right)) * self.column_mm
        along = float(np.dot(normal, self.down)) * self.row_mm
        away = float(np.dot(normal, np.subtract(through_mm, self.origin_mm)))
        rows, columns = self.shape
        ends: list[tuple[float, float]] = []
        if abs(along) > _PARALLEL * self.row_mm:
            at = [(column, (away - across * column) / along) for column in (-0.5, columns - 0.5)]
            ends += [(c, r) for c, r in at if -0.5 <= r <= rows - 0.5]
        if abs(across) > _PARALLEL * self.column_mm:
            up = [((away - along * row) / across, row) for row in (-0.5, rows - 0.5)]
            ends += [(c, r) for c, r in up if -0.5 <= c <= columns - 0.5]
        if len(ends) < 2:
            return None
        first = ends[0]
        return first, max(ends, key=lambda end: (end[0] - first[0]) ** 2 + (end[1] - first[1]) ** 2)


def frame_of_slice(entry: StackEntry, index: int) -> ImageFrame:
    """Where the pixels of a native slice lie."""
    geometry = entry.geometry
    return ImageFrame(
        origin_mm=geometry.origins_mm[index],
        right=geometry.row_direction,
        down=geometry.column_direction,
        column_mm=geometry.column_spacing_mm,
        row_mm=geometry.row_spacing_mm,
        shape=entry.shape[1:],
    )


def frame_of_plane(image: PlaneImage) -> ImageFrame:
    """Where the pixels of a reformat lie."""
    return ImageFrame(
        origin_mm=image.origin_mm,
        right=image.row_direction,
        down=image.column_direction,
        column_mm=image.pixel_mm,
        row_mm=image.pixel_mm,
        shape=(image.hu.shape[0], image.hu.shape[1]),
    )


def nearest_slice(geometry: StackGeometry, patient_mm: Triple) -> int:
    """The slice whose plane is nearest to a point, along the normal; the end one beyond an end."""
    away = np.array(geometry.origins_mm) - patient_mm
    return int(np.abs(away @ np.array(geometry.normal)).argmin())


def on_slice(geometry: StackGeometry, index: int, patient_mm: Triple) -> Triple:
    """A point brought onto a slice: along the body in an axial stack, else along the normal.

    Along the body, since that leaves the coronal and the sagittal plane through it as they are.
    """
    normal = np.array(geometry.normal)
    way = np.array([0.0, 0.0, 1.0]) if geometry.is_axial else normal
    short = normal @ (np.array(geometry.origins_mm[index]) - patient_mm)
    return triple(patient_mm + short / (normal @ way) * way)


def middle_of_slice(entry: StackEntry, index: int) -> Triple:
    """The point in the middle of a slice."""
    rows, columns = entry.shape[1:]
    return frame_of_slice(entry, index).patient_mm((rows - 1) / 2, (columns - 1) / 2)


def triple(vector: NDArray[np.float64]) -> Triple:
    """An array of three numbers as a tuple of floats."""
    x, y, z = (float(value) for value in vector)
    return x, y, z
