"""Round and lumpy bodies in a host, with the share of each voxel that they fill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from sadmil_core.synth.host import HostUnfit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.synth.host import Host

    Floats = NDArray[np.float32]
    Box = tuple[slice, slice, slice]

_WIDE_PX, _FINE_PX = 32.0, 8.0
_SAMPLE_MM = 1.6
"""Slices thicker than this are averaged from thin samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lump:
    """An uneven ellipsoid.

    Attributes:
        centre_mm: Along the normal, rows and columns (see ``Host.points_mm``).
        radii_mm: Half axes.
        turn: 3x3 rotation into its own axes.
        waves: (N, 4) amplitude in mm and wave vector per mm of its uneven surface.
        phases: (N,) of the waves.
    """

    centre_mm: NDArray[np.float64]
    radii_mm: NDArray[np.float64]
    turn: NDArray[np.float64]
    waves: NDArray[np.float64]
    phases: NDArray[np.float64]

    @property
    def reach_mm(self) -> float:
        """No point of it lies further from its centre."""
        return float(self.radii_mm.max() + np.abs(self.waves[:, 0]).sum())

    def distance_mm(self, z: Floats, y: Floats, x: Floats) -> Floats:
        """Signed distance from its surface, negative inside; near the surface about exact."""
        d = np.stack(np.broadcast_arrays(z, y, x)).astype(np.float32)
        d -= self.centre_mm.astype(np.float32)[:, None, None, None]
        own = np.tensordot(self.turn.astype(np.float32), d, 1)
        scaled = own / self.radii_mm.astype(np.float32)[:, None, None, None]
        length = np.sqrt((scaled**2).sum(axis=0))
        slope = np.sqrt(
            ((scaled / self.radii_mm.astype(np.float32)[:, None, None, None]) ** 2).sum(axis=0)
        )
        out: Floats = length * (length - 1) / np.maximum(slope, 1e-6)
        deep = -np.float32(self.radii_mm.min())
        out = np.maximum(out, deep)
        for (height, *wave), phase in zip(self.waves, self.phases, strict=True):
            argument = d[0] * np.float32(wave[0]) + d[1] * np.float32(wave[1])
            argument += d[2] * np.float32(wave[2]) + np.float32(phase)
            out += np.float32(height) * np.sin(argument)
        return out


def draw_lump(
    rng: np.random.Generator,
    centre_mm: NDArray[np.float64],
    *,
    volume_ml: float,
    longest: float = 2.0,
    rough: float = 0.16,
) -> Lump:
    """Draws an uneven ellipsoid of about a volume.

    Args:
        rng: Source of randomness.
        centre_mm: Where.
        volume_ml: How large.
        longest: The longest half axis is at most this multiple of the shortest.
        rough: How uneven, as a share of the mean radius.
    """
    radius = (volume_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    stretch = np.exp(rng.uniform(-0.5, 0.5, 3) * np.log(longest))
    radii = radius * stretch / stretch.prod() ** (1 / 3)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    count = 9
    # From lobes as large as the clot down to a ragged edge.
    scale = radius * np.geomspace(1.7, 0.33, count)
    direction = rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    height = rough * radius * rng.uniform(0.3, 1.0, count) * (scale / scale[0]) ** 0.75
    return Lump(
        centre_mm=np.asarray(centre_mm, np.float64),
        radii_mm=radii,
        turn=turn,
        waves=np.concatenate([height[:, None], direction * (np.pi / scale)[:, None]], axis=1),
        phases=rng.uniform(0, 2 * np.pi, count),
    )


def box_around(host: Host, centre_mm: NDArray[np.float64], reach_mm: float) -> Box:
    """The part of the volume within a distance of a point.

    Raises:
        HostUnfit: Nothing of the volume is.
    """
    position, (_, rows, columns) = host.position_mm, host.hu.shape
    half = 0.5 * host.thickness_mm + reach_mm
    slices = np.flatnonzero(np.abs(position - centre_mm[0]) <= half)
    if not slices.size:
        raise HostUnfit("there is no slice where the lesion would lie")
    drift = np.zeros((len(position), 2)) if host.drift_mm is None else host.drift_mm
    drift = drift[slices]
    bounds = []
    for axis, size in ((0, rows), (1, columns)):
        middle = centre_mm[axis + 1] + drift[:, axis]
        low = int(np.floor((middle.min() - reach_mm) / host.pixel_mm[axis]))
        high = int(np.ceil((middle.max() + reach_mm) / host.pixel_mm[axis])) + 1
        low, high = max(0, low), min(size, high)
        if low >= high:
            raise HostUnfit("the lesion would lie outside the field of view")
        bounds.append(slice(low, high))
    return slice(int(slices[0]), int(slices[-1]) + 1), bounds[0], bounds[1]


def thin_samples(host: Host) -> NDArray[np.float64]:
    """Where within a slice thin samples lie, mm from its middle."""
    count = max(1, round(host.thickness_mm / _SAMPLE_MM))
    samples: NDArray[np.float64] = ((np.arange(count) + 0.5) / count - 0.5) * host.thickness_mm
    return samples


def occupancy_of(host: Host, lump: Lump, box: Box, fray_mm: Floats | float = 0.0) -> Floats:
    """The share of every voxel of a box that a lump fills, averaged through the slice.

    Args:
        host: The head.
        lump: The body.
        box: Of the volume.
        fray_mm: By how much its surface lies further in, by voxel.
    """
    samples = thin_samples(host)
    edge = np.float32(max(host.pixel_mm))
    total = np.zeros(host.hu[box].shape, np.float32)
    for lift in samples:
        distance = lump.distance_mm(*host.points_mm(box, lift_mm=float(lift))) + fray_mm
        total += np.clip(np.float32(0.5) - distance / edge, 0.0, 1.0)
    return total / np.float32(len(samples))


def smooth_field(rng: np.random.Generator, host: Host, box: Box, scale_mm: float) -> Floats:
    """A random field of zero mean and unit variance that varies over a scale."""
    shape = host.hu[box].shape
    sigma = [scale_mm / step / 2 for step in host.spacing_mm]
    # A wide filter takes its time: what varies over many pixels is drawn on larger ones.
    step = [1 if axis == 0 or s <= _WIDE_PX else int(s // _FINE_PX) for axis, s in enumerate(sigma)]
    coarse = [-(-n // k) + (k > 1) for n, k in zip(shape, step, strict=True)]
    field = ndimage.gaussian_filter(
        rng.standard_normal(coarse, dtype=np.float32),
        [s / k for s, k in zip(sigma, step, strict=True)],
    )
    if max(step) > 1:
        field = _refined(field, shape, step)
    out: Floats = (field - field.mean()) / max(float(field.std()), 1e-6)
    return out


def _refined(field: Floats, shape: tuple[int, ...], step: list[int]) -> Floats:
    """A field between samples so many pixels apart within the slice, linearly."""
    for axis in (1, 2):
        at = np.arange(shape[axis]) / step[axis]
        low = at.astype(int)
        high = np.minimum(low + 1, field.shape[axis] - 1)
        weight = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        field = field.take(low, axis) * (1 - weight) + field.take(high, axis) * weight
    return field
