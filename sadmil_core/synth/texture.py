"""Noise, sharpness and texture of a host, measured from it and drawn alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_T = TypeVar("_T", bound=np.generic)
_GRAIN = 9  # pixels; noise further apart is independent but for streaks
_LEAST_PATCHES = 12
_WHITE_SD = 4.0


def smooth_keeping_edges(hu: Floats, noise_sd_hu: float, *, radius: int = 2) -> Floats:
    """A guided filter, slice by slice: noise goes, edges well above it stay.

    Args:
        hu: (S, R, C) Hounsfield units.
        noise_sd_hu: What counts as noise.
        radius: Of the window, pixels.
    """
    size = (1, 2 * radius + 1, 2 * radius + 1)
    # Bone would spoil the sums' precision, and is kept as it is.
    clipped = np.clip(hu, -200.0, 300.0)
    mean = ndimage.uniform_filter(clipped, size)
    variance = np.maximum(ndimage.uniform_filter(clipped * clipped, size) - mean * mean, 0.0)
    floor = np.float32(noise_sd_hu**2)
    # Below the noise's own variance nothing is kept, well above it everything.
    keep = np.maximum(variance - 1.3 * floor, 0.0) / (variance + 1e-3)
    keep_mean = ndimage.uniform_filter(keep, size)
    offset = ndimage.uniform_filter((1 - keep) * mean, size)
    smooth = keep_mean * clipped + offset
    out: Floats = np.where((hu > 300.0) | (hu < -200.0), hu, smooth).astype(np.float32)
    return out


def draw_noise(
    rng: np.random.Generator, shape: tuple[int, int, int], sd_hu: float, grain: Floats | None
) -> Floats:
    """Noise of a host's strength and graininess, independent from slice to slice.

    Args:
        rng: Source of randomness.
        shape: Slices, rows, columns.
        sd_hu: Its standard deviation.
        grain: See :class:`~sadmil_core.synth.host.Host`.
    """
    white = rng.standard_normal(shape, dtype=np.float32) * np.float32(sd_hu)
    if grain is None:
        return white
    # Wrapped at the edges, so that the variance is the same everywhere.
    spectrum = np.fft.rfft2(white) * np.fft.rfft2(grain, shape[1:])
    out: Floats = np.fft.irfft2(spectrum, shape[1:]).astype(np.float32)
    return out


def measure_noise(hu: Floats, brain: NDArray[np.bool_]) -> tuple[float, Floats | None]:
    """The noise in even patches of brain: its SD and its grain.

    Args:
        hu: (S, R, C) Hounsfield units.
        brain: Where there is brain.

    Returns:
        The SD in HU, high-pass (what varies over more than about ten pixels is anatomy), and the
        kernel of :class:`~sadmil_core.synth.host.Host`, None where too little brain is even.
    """
    power, sd = measure_power(hu, brain)
    if power is None:
        found = hu[brain] - ndimage.uniform_filter(hu, (1, 5, 5))[brain]
        sd = float(1.4826 * np.median(np.abs(found))) / 0.96 if found.size else _WHITE_SD
        return sd, None
    size = len(power)
    kernel = np.fft.fftshift(np.real(np.fft.ifft2(np.sqrt(power))))
    kernel *= np.hanning(size + 2)[1:-1, None] * np.hanning(size + 2)[None, 1:-1]
    kernel /= np.sqrt((kernel**2).sum())
    return sd, kernel.astype(np.float32)


def measure_power(hu: Floats, brain: NDArray[np.bool_]) -> tuple[NDArray[np.float64] | None, float]:
    """The power of the noise in even patches of brain, over frequencies as of ``np.fft.fft2``.

    Args:
        hu: (S, R, C) Hounsfield units.
        brain: Where there is brain.

    Returns:
        (k, k) mean squared magnitudes, None where too little brain is even; and the SD in HU.
    """
    size = 2 * _GRAIN - 1
    patches = _even_patches(hu, brain, size)
    if len(patches) < _LEAST_PATCHES:
        return None, 0.0
    rows = np.linspace(-1, 1, size)
    y, x = (each.ravel() for each in np.meshgrid(rows, rows, indexing="ij"))
    basis = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=1)
    basis, _ = np.linalg.qr(basis)
    flat = patches.reshape(len(patches), -1)
    rest = (flat - (flat @ basis) @ basis.T).reshape(-1, size, size)
    power = (np.abs(np.fft.fft2(rest)) ** 2).mean(axis=0)
    power[0, 0] = 0.5 * (power[0, 1] + power[1, 0])
    power = 0.25 * (power + power[::-1, ::-1] + np.roll(power[::-1], 1, 0) + np.roll(power, 1, 1))
    return power, float(np.sqrt((rest**2).mean() * size**2 / (size**2 - 6)))


def _even_patches(hu: Floats, brain: NDArray[np.bool_], size: int) -> Floats:
    """Square patches of brain without edges: of all, the quarter that varies least."""
    count, rows, columns = hu.shape
    rows, columns = rows // size, columns // size

    def tiles(field: NDArray[_T]) -> NDArray[_T]:
        cut = field[:, : rows * size, : columns * size]
        parts = cut.reshape(count, rows, size, columns, size).swapaxes(2, 3)
        out: NDArray[_T] = parts.reshape(-1, size, size)
        return out

    whole = tiles(brain).mean(axis=(1, 2)) > 0.97
    found = tiles(hu)[whole]
    if len(found) < 4 * _LEAST_PATCHES:
        few: Floats = found
        return few
    spread = found.std(axis=(1, 2))
    # Not the least of all, whose noise is low by chance.
    low, high = np.quantile(spread, [0.05, 0.4])
    out: Floats = found[(spread >= low) & (spread <= high)]
    return out


def measure_psf_mm(hu: Floats, pixel_mm: tuple[float, float]) -> float:
    """The in-plane sharpness at the skin's edge, as the FWHM of a Gaussian.

    Air and skin are the one sharp edge of known shape that every head CT has.
    """
    middle = hu[len(hu) // 3 : 2 * len(hu) // 3 + 1]
    slope = np.maximum(
        np.abs(np.gradient(middle, pixel_mm[0], axis=1)),
        np.abs(np.gradient(middle, pixel_mm[1], axis=2)),
    )
    # Along a column the first rise from air; its steepest slope over its height gives the width.
    widths = []
    for plane, steep in zip(middle, slope, strict=True):
        for column in range(plane.shape[1] // 3, 2 * plane.shape[1] // 3, 4):
            above = np.flatnonzero(plane[:, column] > -500)
            if above.size and 3 <= above[0] < plane.shape[0] - 8:
                place = above[0]
                height = plane[place : place + 6, column].max() + 1000.0
                peak = steep[place - 2 : place + 3, column].max()
                if 800 < height < 1200 and peak > 0:
                    widths.append(height / peak)
    if len(widths) < 8:
        return 1.0
    # A Gaussian edge: height / steepest slope = sqrt(2 pi) sigma.
    # What the central difference itself adds to its variance is a third of a pixel squared.
    sigma = float(np.percentile(widths, 10)) / np.sqrt(2 * np.pi)
    sigma = float(np.sqrt(max(sigma**2 - max(pixel_mm) ** 2 / 3, 0.0)))
    return float(np.clip(2.355 * sigma, 0.6, 1.6))
