"""A head that lesions are put into: its Hounsfield units, its tissues and its own coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.errors import SadmilError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class HostUnfit(SadmilError):  # noqa: N818 - a verdict on a host or a site, not a failure
    """A head that cannot be used, or that has no place for a certain lesion; says why."""


class Tissue(IntEnum):
    """What a voxel of a host is. A finder that cannot tell a kind leaves it out."""

    OUTSIDE = 0
    SCALP = 1
    SKULL = 2
    CSF = 3
    """In sulci and cisterns."""
    VENTRICLE = 4
    BRAIN = 5
    FALX = 6
    TENTORIUM = 7
    SINUS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A head: Hounsfield units and where things are.

    Axes are slice (0 at the foot end), row, column.

    Attributes:
        hu: (S, R, C) Hounsfield units.
        position_mm: (S,) along the stack's normal, ascending; the spacing may be uneven.
        pixel_mm: Between rows, between columns.
        thickness_mm: Of a slice.
        tissue: (S, R, C) of :class:`Tissue`.
        depth_mm: (S, R, C) distance from the inner table inside the intracranial space (3-D,
            anisotropic), 0 outside.
        place: (3, S, R, C) normalised head coordinates of every voxel: x (+1 at the left inner
            table of the widest slice, -1 right, 0 on the midplane), y (+1 anterior .. -1 posterior
            inner table), z (0 at the lowest intracranial slice, +1 at the vertex).
        noise_sd_hu: SD inside brain, high-pass.
        psf_fwhm_mm: Full width at half maximum of the in-plane point spread.
    """

    hu: NDArray[np.float32]
    position_mm: NDArray[np.float64]
    pixel_mm: tuple[float, float]
    thickness_mm: float
    tissue: NDArray[np.uint8]
    depth_mm: NDArray[np.float32]
    place: NDArray[np.float32]
    noise_sd_hu: float
    psf_fwhm_mm: float

    @property
    def intracranial(self) -> NDArray[np.bool_]:
        """(S, R, C): all that lies inside the inner table."""
        inside: NDArray[np.bool_] = self.tissue >= Tissue.CSF
        return inside

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Typical distance between slices (their median), between rows, between columns."""
        steps = np.diff(self.position_mm)
        between = float(np.median(steps)) if steps.size else self.thickness_mm
        return between, *self.pixel_mm

    @property
    def slice_extent_mm(self) -> NDArray[np.float64]:
        """(S,) how much of the stack's normal each slice stands for, between its neighbours."""
        if self.position_mm.size < 2:
            return np.array([self.thickness_mm])
        edges = 0.5 * (self.position_mm[1:] + self.position_mm[:-1])
        first = 2 * self.position_mm[0] - edges[0]
        last = 2 * self.position_mm[-1] - edges[-1]
        extent: NDArray[np.float64] = np.diff(np.concatenate([[first], edges, [last]]))
        return extent
