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
        drift_mm: (S, 2) how far the head lies from where it would be if each slice stood straight
            above the one below it, along rows and columns: a tilted gantry shears a stack. None
            where it is not.
        grain: (k, k) kernel, of unit energy, that turns white noise into noise as grainy as the
            host's; None where the noise is white.
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
    drift_mm: NDArray[np.float64] | None = None
    grain: NDArray[np.float32] | None = None

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

    def points_mm(
        self, box: tuple[slice, slice, slice], *, lift_mm: float = 0.0
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Where the voxels of a box lie: along the normal, along rows' order, along columns'.

        Args:
            box: Of the volume.
            lift_mm: Added along the normal: a thin sample within each slice.

        Returns:
            Arrays that broadcast to the box's shape, mm, the shear of a tilted stack undone.
        """
        drift = np.zeros((len(self.position_mm), 2)) if self.drift_mm is None else self.drift_mm
        _, rows, columns = self.hu.shape
        z = self.position_mm[box[0], None, None] + lift_mm
        y = np.arange(rows)[None, box[1], None] * self.pixel_mm[0] - drift[box[0], 0, None, None]
        x = np.arange(columns)[None, None, box[2]] * self.pixel_mm[1]
        x = x - drift[box[0], 1, None, None]
        return z.astype(np.float32), y.astype(np.float32), x.astype(np.float32)
