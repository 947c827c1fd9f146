"""Hounsfield volumes to bags: what the network sees, in training and in prediction alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from sadmil_core.configs import OMIT_DEFAULT
from sadmil_core.pixelgrid import Crop, GridConfig, lay_grid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sadmil_core.dicom import CodedWarning, CTVolume


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A linear intensity window: [level - width/2, level + width/2] HU becomes [0, 1]."""

    level_hu: float
    width_hu: float

    def __post_init__(self) -> None:
        if not self.width_hu > 0:
            raise ValueError(f"a window's width must be positive, not {self.width_hu}")

    @property
    def lower_hu(self) -> float:
        """The value that becomes 0."""
        return self.level_hu - self.width_hu / 2


PUBLISHED_WINDOWS = (
    Window(level_hu=40.0, width_hu=80.0),
    Window(level_hu=80.0, width_hu=200.0),
    Window(level_hu=30.0, width_hu=30.0),
)
"""The three windows of the published network, in the order of its channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessConfig:
    """How a slice becomes the network's input.

    Attributes:
        windows: One per channel, in order; each clips and scales to [0, 1] without a step
            through 8 bits.
        size: Rows and columns of the input.
        resample: What is brought to that size. ``windowed`` (the published network): the
            windowed slice, bilinearly, with the support widened when shrinking so that no
            pixel is passed over. ``hu``: the Hounsfield units, likewise, which are rounded and
            then windowed.
        pixel_spacing_mm: Of the input, with ``hu`` only; None scales the whole matrix.
        crop: What the input is centred on: the matrix, or the ``head``; one place for all
            slices of a scan, -1024 HU beyond the matrix. Needs ``pixel_spacing_mm``.
    """

    windows: tuple[Window, ...] = PUBLISHED_WINDOWS
    size: tuple[int, int] = (512, 512)
    resample: Literal["windowed", "hu"] = field(default="windowed", metadata=OMIT_DEFAULT)
    pixel_spacing_mm: float | None = field(default=None, metadata=OMIT_DEFAULT)
    crop: Crop = field(default="none", metadata=OMIT_DEFAULT)

    def __post_init__(self) -> None:
        if not self.windows:
            raise ValueError("at least one window is needed")
        if min(self.size) < 1:
            raise ValueError(f"the input size must be positive, not {self.size}")
        placed = self.pixel_spacing_mm is not None or self.crop != "none"
        if placed and self.resample != "hu":
            raise ValueError("pixel_spacing_mm and crop need resample = 'hu'")
        _ = self.grid  # which checks the rest

    @property
    def grid(self) -> GridConfig:
        """What decides the Hounsfield units that are windowed: the scanner's own, or a grid."""
        if self.resample == "windowed":
            return GridConfig()
        return GridConfig(size=self.size, pixel_spacing_mm=self.pixel_spacing_mm, crop=self.crop)


class Bag:
    """A scan as a bag of instances, made slice by slice when asked for.

    Iterate over :meth:`chunks`: a whole bag of 512 x 512 slices would take 100 MB and more.

    Attributes:
        warnings: What preprocessing departed in.
    """

    def __init__(self, volume: CTVolume, config: PreprocessConfig) -> None:
        self._hu = volume.hu
        self._config = config
        self._grid = lay_grid(volume, config.grid)
        self.warnings: tuple[CodedWarning, ...] = self._grid.warnings

    def __len__(self) -> int:
        return int(self._hu.shape[0])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Slices, channels, rows, columns."""
        return (len(self), len(self._config.windows), *self._config.size)

    def instances(self, start: int, stop: int) -> NDArray[np.float32]:
        """Slices ``start`` to ``stop`` as (n, channels, rows, columns) float32 in [0, 1]."""
        stop = min(stop, len(self))
        _, channels, rows, columns = self.shape
        x = np.empty((stop - start, channels, rows, columns), dtype=np.float32)
        for k, index in enumerate(range(start, stop)):
            x[k] = preprocess_slice(self._grid.slice_hu(self._hu[index]), self._config)
        return x

    def chunks(self, size: int) -> Iterator[NDArray[np.float32]]:
        """The bag in order, ``size`` slices at a time (the last chunk may be smaller)."""
        for start in range(0, len(self), size):
            yield self.instances(start, start + size)


def make_bag(volume: CTVolume, config: PreprocessConfig) -> Bag:
    """Prepares a volume for a network with this preprocessing.

    Args:
        volume: Hounsfield units, foot to head.
        config: From the network's checkpoint.
    """
    return Bag(volume, config)


def grid_slices(
    volume: CTVolume, config: GridConfig
) -> tuple[NDArray[np.int16] | NDArray[np.float32], tuple[CodedWarning, ...]]:
    """A volume's Hounsfield units on a grid: what a store keeps, and a bag windows.

    Args:
        volume: Hounsfield units, foot to head.
        config: The grid, :attr:`PreprocessConfig.grid`.

    Returns:
        (S, rows, columns) int16, or float32 where the scanner's own matrix is kept and its
        values are fractional; and what had to be departed from.
    """
    grid = lay_grid(volume, config)
    hu: NDArray[np.int16] | NDArray[np.float32]
    hu = np.stack([grid.slice_hu(plane) for plane in volume.hu])  # type: ignore[assignment]
    return hu, grid.warnings


def preprocess_slice(
    hu: NDArray[np.int16] | NDArray[np.float32], config: PreprocessConfig
) -> NDArray[np.float32]:
    """Windows one slice, and resizes it where that comes after windowing.

    Args:
        hu: (rows, columns) Hounsfield units, on ``config.grid``.
        config: Windows and size.

    Returns:
        (channels, rows, columns) float32 in [0, 1].
    """
    planes = [apply_window(hu, window) for window in config.windows]
    if hu.shape != config.size:
        planes = [_resize(plane, config.size) for plane in planes]
    return np.stack(planes)


def apply_window(
    hu: NDArray[np.int16] | NDArray[np.float32], window: Window
) -> NDArray[np.float32]:
    """Clips and scales Hounsfield units to [0, 1], of the same shape."""
    x: NDArray[np.float32] = np.subtract(hu, np.float32(window.lower_hu), dtype=np.float32)
    np.divide(x, np.float32(window.width_hu), out=x)
    return np.clip(x, 0.0, 1.0, out=x)


def _resize(plane: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    image = Image.fromarray(plane).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float32)
