"""Hounsfield volumes to bags: what the network sees, in training and in prediction alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sadmil_core.dicom import CTVolume


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
        size: Rows and columns of the input. Another matrix is resized bilinearly after
            windowing, with the support widened when shrinking so that no pixel is passed over.
    """

    windows: tuple[Window, ...] = PUBLISHED_WINDOWS
    size: tuple[int, int] = (512, 512)

    def __post_init__(self) -> None:
        if not self.windows:
            raise ValueError("at least one window is needed")
        if min(self.size) < 1:
            raise ValueError(f"the input size must be positive, not {self.size}")


class Bag:
    """A scan as a bag of instances, made slice by slice when asked for.

    Iterate over :meth:`chunks`: a whole bag of 512 x 512 slices would take 100 MB and more.
    """

    def __init__(self, volume: CTVolume, config: PreprocessConfig) -> None:
        self._hu = volume.hu
        self._config = config

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
            x[k] = preprocess_slice(self._hu[index], self._config)
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


def preprocess_slice(
    hu: NDArray[np.int16] | NDArray[np.float32], config: PreprocessConfig
) -> NDArray[np.float32]:
    """Windows and resizes one slice.

    Args:
        hu: (rows, columns) Hounsfield units.
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
