"""What the scanner adds: the head rest, blur, cupping, streaks and noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from sadmil_core.synth.fields import Floats, occupancy

if TYPE_CHECKING:
    from numpy.typing import NDArray


_NOISE_HU, _NOISE_SPREAD, _NOISE_PIXEL_MM = 2.9, 0.3, 0.95
"""The median noise of routine head CTs at pixels of this size, and its spread between scans."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannerTraits:
    """What differs from scan to scan.

    Attributes:
        noise_hu: Standard deviation of the noise inside the head, HU.
        grain_mm: Standard deviation of the filter that correlates the noise, mm.
        cupping_hu: How much brighter the rim of the cavity is than its centre, HU.
        streak_hu: Strength of the streaks between the petrous bones, HU.
        rest_radius_mm: Radius of the curved head rest, mm.
        rest_gap_mm: Distance between the back of the head and the head rest, mm.
        rest_end_mm: Scanner z above which the head rest has ended, mm.
        rest_hu: Density of the shell of the head rest, HU.
        blur_mm: Standard deviation of the point spread, beyond that of the samples, mm.
    """

    noise_hu: float
    grain_mm: float
    cupping_hu: float
    streak_hu: float
    rest_radius_mm: float
    rest_gap_mm: float
    rest_end_mm: float
    rest_hu: float
    blur_mm: float = 0.0


def draw_scanner(rng: np.random.Generator) -> ScannerTraits:
    """Draws the traits of a scan."""
    return ScannerTraits(
        noise_hu=float(rng.uniform(3.4, 5.4)),
        grain_mm=float(rng.uniform(0.42, 0.6)),
        cupping_hu=float(rng.uniform(1.5, 5.0)),
        streak_hu=float(rng.uniform(3.0, 7.0)),
        rest_radius_mm=float(rng.uniform(115.0, 145.0)),
        rest_gap_mm=float(rng.uniform(6.0, 14.0)),
        rest_end_mm=float(rng.uniform(60.0, 110.0)),
        rest_hu=float(rng.uniform(60.0, 220.0)),
    )


def draw_clinical_scanner(rng: np.random.Generator, pixel_mm: float) -> ScannerTraits:
    """Draws the traits of a scan with the noise and the sharpness of clinical head CTs.

    Those of :func:`draw_scanner` are sharper, and noisier where pixels are large.

    Args:
        rng: Source of randomness.
        pixel_mm: Side of a pixel, mm.
    """
    noise = _NOISE_HU * float(np.exp(_NOISE_SPREAD * rng.standard_normal()))
    return replace(
        draw_scanner(rng),
        noise_hu=float(np.clip(noise * _NOISE_PIXEL_MM / pixel_mm, 1.5, 9.0)),
        blur_mm=float(rng.uniform(0.5, 0.9)),
    )


def head_rest(
    scan: ScannerTraits, axis_mm: NDArray[np.float64], back_mm: float, pixel_mm: float
) -> Floats:
    """Share of head-rest shell in every pixel of an image, 0 to 1.

    Args:
        scan: Traits of the scan.
        axis_mm: Scanner position of the columns (and of the rows), mm.
        back_mm: Scanner y of the back of the head, mm.
        pixel_mm: Side of a pixel, mm.
    """
    x, y = axis_mm[None, :], axis_mm[:, None]
    bottom = back_mm + scan.rest_gap_mm
    ring = np.hypot(x, y - (bottom - scan.rest_radius_mm)) - scan.rest_radius_mm
    shell = np.abs(ring - 2.2) - 2.2
    cut = (bottom - 0.58 * scan.rest_radius_mm) - y
    return occupancy(np.maximum(shell, cut).astype(np.float32), pixel_mm)


def add_physics(
    rng: np.random.Generator, scan: ScannerTraits, image: Floats, radius: Floats, base: float
) -> None:
    """Adds cupping and streaks to one slice on the anatomy grid, in place.

    Args:
        rng: Source of randomness.
        scan: Traits of the scan.
        image: (rows, columns) HU.
        radius: Normalised radius in the cranial cavity, same shape; 1 at the inner table.
        base: How strongly the base of the skull streaks at this level, 0 to 1.
    """
    body = image > -300.0
    image += scan.cupping_hu * (np.clip(radius, 0.0, 1.0) ** 2 - 0.5) * body
    if base <= 0.0:
        return
    dense = np.clip(image - 300.0, 0.0, 1500.0)
    path = ndimage.gaussian_filter1d(dense.sum(axis=1), 1.0)
    path = path / max(float(path.max()), 1.0)
    jagged = ndimage.gaussian_filter1d(rng.standard_normal(path.size), 1.6)
    jagged /= max(float(jagged.std()), 1e-6)
    # Rays that cross both petrous bones are starved: a dark band with bright and dark lines.
    rows = path**2 * (0.8 * jagged - 1.0)
    columns = np.linspace(-1.0, 1.0, image.shape[1])
    middle = np.clip(1.0 - columns**2 / 0.4, 0.0, 1.0)
    image += base * scan.streak_hu * rows[:, None] * middle[None, :] * body


def noise_slice(
    rng: np.random.Generator, scan: ScannerTraits, size: int, pixel_mm: float
) -> Floats:
    """Spatially correlated noise for one image, HU, (size, size)."""
    noise = rng.standard_normal((size, size), dtype=np.float32)
    sigma = scan.grain_mm / pixel_mm
    for axis in (0, 1):
        noise = ndimage.gaussian_filter1d(noise, sigma, axis=axis, mode="wrap", truncate=2.5)
    # The variance left by the filter, from its own taps: the same for every slice.
    impulse = np.zeros(33)
    impulse[16] = 1.0
    taps = ndimage.gaussian_filter1d(impulse, sigma, truncate=2.5)
    noise *= np.float32(scan.noise_hu / float((taps**2).sum()))
    return noise
