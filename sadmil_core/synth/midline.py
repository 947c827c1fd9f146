"""The plane that halves a head, and the head's own coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import ndimage, optimize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_GRID_MM = 3.5
_TURNS_DEG = np.arange(-24.0, 25.0, 4.0)


class _Frame(Protocol):
    @property
    def position_mm(self) -> NDArray[np.float64]: ...
    @property
    def pixel_mm(self) -> tuple[float, float]: ...
    @property
    def drift_mm(self) -> NDArray[np.float64]: ...
    @property
    def left(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Midplane:
    """Head coordinates as linear functions of where a voxel lies.

    Attributes:
        normal: (3,) unit vector across the midplane, to the columns' end; slice, row, column.
        ahead: (3,) unit vector within the slices and the midplane, to the face.
        offset_mm: Of the midplane along its normal.
        half_width_mm: Half the width inside the skull of the widest slice.
        ahead_mm: Where the posterior and the anterior inner table lie along ``ahead``.
        up_mm: Positions of the lowest slice inside the skull and of the vertex.
    """

    normal: NDArray[np.float64]
    ahead: NDArray[np.float64]
    offset_mm: float
    half_width_mm: float
    ahead_mm: tuple[float, float]
    up_mm: tuple[float, float]

    def on(self, shape: tuple[int, ...], frame: _Frame) -> Floats:
        """(3, S, R, C) x, y, z of every voxel of a grid over the same head."""
        p, q, r = _points(shape, frame)
        x = self.normal[0] * p + self.normal[1] * q + self.normal[2] * r - self.offset_mm
        y = self.ahead[1] * q + self.ahead[2] * r
        low, high = self.ahead_mm
        out = np.empty((3, *shape), np.float32)
        out[0] = frame.left * x / self.half_width_mm
        out[1] = 2 * (y - low) / (high - low) - 1
        out[2] = (p - self.up_mm[0]) / max(self.up_mm[1] - self.up_mm[0], 1e-3)
        return out


def find_midplane(
    hu: Floats,
    inside: NDArray[np.bool_],
    *,
    position_mm: NDArray[np.float64],
    pixel_mm: tuple[float, float],
    drift_mm: NDArray[np.float64],
    left: float,
) -> Midplane:
    """Finds the plane about which a head is most nearly its own mirror image.

    Args:
        hu: (S, R, C) Hounsfield units, smoothed.
        inside: What lies inside the inner table.
        position_mm: (S,) along the normal.
        pixel_mm: Between rows, between columns.
        drift_mm: (S, 2) the shear of the stack.
        left: +1 where columns run to the patient's left.
    """
    frame = _Grid(position_mm=position_mm, pixel_mm=pixel_mm, drift_mm=drift_mm, left=left)
    normal, offset = _most_symmetric(hu, inside, frame)
    p, q, r = _points(inside.shape, frame)
    ahead = np.array([0.0, -normal[2], normal[1]])
    ahead /= np.linalg.norm(ahead)
    across = (normal[0] * p + normal[1] * q + normal[2] * r - offset)[inside]
    along = (ahead[1] * q + ahead[2] * r + 0 * p)[inside]
    slices = np.flatnonzero(inside.any(axis=(1, 2)))
    return Midplane(
        normal=normal,
        ahead=ahead,
        offset_mm=offset,
        half_width_mm=float(np.percentile(np.abs(across), 99.7)),
        ahead_mm=(float(np.percentile(along, 0.1)), float(np.percentile(along, 99.9))),
        up_mm=(float(position_mm[slices[0]]), float(position_mm[slices[-1]])),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    position_mm: NDArray[np.float64]
    pixel_mm: tuple[float, float]
    drift_mm: NDArray[np.float64]
    left: float


def _points(shape: tuple[int, ...], frame: _Frame) -> tuple[Floats, Floats, Floats]:
    p = frame.position_mm[:, None, None]
    # Pixels of blocks lie at the blocks' middles, so that grids of one head agree.
    q = (np.arange(shape[1]) + 0.5)[None, :, None] * frame.pixel_mm[0]
    r = (np.arange(shape[2]) + 0.5)[None, None, :] * frame.pixel_mm[1]
    q = q - frame.drift_mm[:, 0, None, None]
    r = r - frame.drift_mm[:, 1, None, None]
    return p.astype(np.float32), q.astype(np.float32), r.astype(np.float32)


def _most_symmetric(
    hu: Floats, inside: NDArray[np.bool_], frame: _Grid
) -> tuple[NDArray[np.float64], float]:
    """The plane's unit normal and offset, by matching the head with its mirror image."""
    steps = [max(1, round(_GRID_MM / each)) for each in frame.pixel_mm]
    every = max(1, round(_GRID_MM / float(np.median(np.diff(frame.position_mm)))))
    cut = np.s_[::every, :: steps[0], :: steps[1]]
    filled = np.stack([ndimage.binary_fill_holes(each) for each in inside[cut]])
    image = np.where(hu[cut] > 100, 100.0, np.clip(hu[cut], -50, 100)).astype(np.float32)
    image = ndimage.gaussian_filter(image, (0, 1, 1))
    near = np.stack([ndimage.binary_dilation(plane, iterations=3) for plane in filled])
    near[~filled.any(axis=(1, 2))] = False
    p, q, r = (np.broadcast_to(each, inside.shape)[cut] for each in _points(inside.shape, frame))
    mask = near.ravel()
    points = np.stack([p.ravel()[mask], q.ravel()[mask], r.ravel()[mask]]).astype(np.float64)
    values = image.ravel()[mask].astype(np.float64)
    weight = np.where(filled.ravel()[mask], 1.0, 0.5)
    centre = points[:, filled.ravel()[mask]].mean(axis=1)

    def cost(guess: NDArray[np.float64]) -> float:
        normal, offset = _plane(guess, centre)
        mirrored = points - 2 * (normal @ points - offset) * normal[:, None]
        index = np.interp(mirrored[0], frame.position_mm, np.arange(len(frame.position_mm)))
        drift = frame.drift_mm[np.rint(index).astype(int)]
        at = [
            index / every,
            ((mirrored[1] + drift[:, 0]) / frame.pixel_mm[0] - 0.5) / steps[0],
            ((mirrored[2] + drift[:, 1]) / frame.pixel_mm[1] - 0.5) / steps[1],
        ]
        other = ndimage.map_coordinates(image, at, order=1, mode="nearest", prefilter=False)
        return float(np.average(np.minimum(np.abs(other - values), 40.0), weights=weight))

    turn = min(_TURNS_DEG, key=lambda each: cost(np.array([each, 0.0, 0.0])))
    shift = min(np.arange(-8.0, 9.0, 2.0), key=lambda each: cost(np.array([turn, 0.0, each])))
    simplex = np.array([[0, 0, 0], [4, 0, 0], [0, 4, 0], [0, 0, 3]]) + np.array([turn, 0, shift])
    found = optimize.minimize(
        cost,
        simplex[0],
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "maxfev": 70, "xatol": 0.2, "fatol": 0.01},
    )
    return _plane(found.x, centre)


def _plane(
    guess: NDArray[np.float64], centre: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    turn, lean = np.deg2rad(guess[:2])
    normal = np.array([np.sin(lean), np.cos(lean) * np.sin(turn), np.cos(lean) * np.cos(turn)])
    return normal, float(normal @ centre + guess[2])
