"""Cross-sections of bodies, as coarse as they may be to be told apart: heads and other parts.

All are (slices, size, size) int16 Hounsfield units, foot to head, on square pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tests.synthetic import write_series

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

AIR, FAT, BRAIN, SKIN, LIVER, BONE = -1000, -100, 32, 40, 60, 900
SIZE, PIXEL_MM = 64, 3.6


def head(
    slices: int = 12,
    *,
    size: int = SIZE,
    pixel_mm: float = PIXEL_MM,
    scale: float = 1.0,
    noise_hu: float = 0.0,
    skull_mm: float = 8.0,
    whole: bool = True,
) -> NDArray[np.int16]:
    """A skull of 150 by 190 mm around brain; the ends show bone only, where it is whole.

    Args:
        scale: Of all lengths.
        noise_hu: Standard deviation of the noise.
        skull_mm: Thickness of the bone.
        whole: False for brain to both ends.
    """
    hu = np.full((slices, size, size), AIR, np.float64)
    hu[:, disc(size, pixel_mm, 75 * scale, 95 * scale)] = SKIN
    hu[:, disc(size, pixel_mm, 70 * scale, 90 * scale)] = BONE
    inside = disc(size, pixel_mm, 70 * scale - skull_mm, 90 * scale - skull_mm)
    hu[(slice(1, -1) if whole else slice(None)), inside] = BRAIN
    hu += np.random.default_rng(slices).normal(0, noise_hu, hu.shape) if noise_hu else 0
    return hu.round().astype(np.int16)


def write_head(folder: Path, slices: int = 10, **options: Any) -> list[Path]:
    """Writes a head that is fit to be scored, of noise that differs from slice to slice."""
    spacing = (PIXEL_MM, PIXEL_MM)
    return write_series(
        folder, hu=head(slices, noise_hu=5), **{"pixel_spacing_mm": spacing, **options}
    )


def belly(slices: int = 20, *, size: int = 100, pixel_mm: float = 4.0) -> NDArray[np.int16]:
    """350 by 240 mm of fat around organs, a spine, and the ends of some ribs."""
    hu = np.full((slices, size, size), AIR, np.int16)
    hu[:, disc(size, pixel_mm, 175, 120)] = FAT
    hu[:, disc(size, pixel_mm, 155, 100)] = LIVER
    hu[:, disc(size, pixel_mm, 22, 18, y_mm=70)] = BONE
    for z in range(slices):
        for turn in np.linspace(0.3, 2 * np.pi + 0.3, 8, endpoint=False) + 0.1 * z:
            x_mm, y_mm = 160 * np.cos(turn), 105 * np.sin(turn)
            hu[z, disc(size, pixel_mm, 10, 6, x_mm=x_mm, y_mm=y_mm)] = BONE
    return hu


def chest(slices: int = 20, *, size: int = 100, pixel_mm: float = 4.0) -> NDArray[np.int16]:
    """A ring of ribs, as closed as a slice can show it, around lungs and a heart."""
    hu = belly(slices, size=size, pixel_mm=pixel_mm)
    hu[:, disc(size, pixel_mm, 165, 110)] = BONE
    hu[:, disc(size, pixel_mm, 155, 100)] = SKIN
    for side in (-1, 1):
        hu[:, disc(size, pixel_mm, 62, 85, x_mm=80 * side)] = -850
    return hu


def knees(slices: int = 20, *, size: int = 100, pixel_mm: float = 4.0) -> NDArray[np.int16]:
    """Two legs of 120 mm with thick bones full of marrow."""
    hu = np.full((slices, size, size), AIR, np.int16)
    for side in (-1, 1):
        x_mm = 80 * side
        hu[:, disc(size, pixel_mm, 60, 65, x_mm=x_mm)] = SKIN
        hu[:, disc(size, pixel_mm, 40, 35, x_mm=x_mm)] = BONE
        hu[:, disc(size, pixel_mm, 34, 29, x_mm=x_mm)] = 250
    return hu


def water(slices: int = 20, *, size: int = 100, pixel_mm: float = 2.5) -> NDArray[np.int16]:
    """A cylinder of water, 200 mm wide."""
    hu = np.full((slices, size, size), AIR, np.int16)
    hu[:, disc(size, pixel_mm, 100, 100)] = 0
    return hu


def disc(
    size: int, pixel_mm: float, width: float, length: float, *, x_mm: float = 0, y_mm: float = 0
) -> NDArray[np.bool_]:
    """(size, size) bool: an ellipse of these half axes."""
    axis = (np.arange(size) - (size - 1) / 2) * pixel_mm
    inside: NDArray[np.bool_] = ((axis[None, :] - x_mm) / width) ** 2 + (
        (axis[:, None] - y_mm) / length
    ) ** 2 <= 1
    return inside
