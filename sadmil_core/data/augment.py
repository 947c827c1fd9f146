"""Augmentation that is right for CT: alike for all slices of a scan, before any window.

Of a scan one place is drawn, not one a slice: the anatomy stays continuous from slice to slice.
Slices keep their order, and values stay Hounsfield units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage

from sadmil_core.pixelgrid import OUTSIDE_HU
from sadmil_core.preprocess import Window
from sadmil_core.result import MIN_SLICES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.preprocess import PreprocessConfig

_LEAST_WIDTH_HU = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """How far scans are changed; by default not at all. Ranges are drawn from uniformly.

    Attributes:
        flip: Probability of left and right changing places.
        rotation_degrees: Turned in the plane by up to this much either way.
        scale: Made larger or smaller by up to this share.
        shift: Moved along rows and columns by up to this share of the matrix.
        noise_sd_hu: Gaussian noise of a standard deviation up to this, another in each pixel.
        sharpness: Sharpened or blurred by up to this: what a pixel differs from the mean of the
            3 x 3 about it, times -1 to 1 times this, is added. 1 blurs to that mean.
        level_jitter_hu: The levels of all windows together, up or down by up to this.
        width_jitter_hu: The widths of all windows together, likewise; at least 1 HU is left.
        slice_drop: Probability that a slice is left out. Two slices always stay, and of the
            slices known to be positive one; of lesions that nobody has marked, none need to.
    """

    flip: float = 0.0
    rotation_degrees: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    noise_sd_hu: float = 0.0
    sharpness: float = 0.0
    level_jitter_hu: float = 0.0
    width_jitter_hu: float = 0.0
    slice_drop: float = 0.0

    def __post_init__(self) -> None:
        limits = {"flip": 1.0, "rotation_degrees": 180.0, "scale": 0.5, "shift": 0.5}
        limits |= {"sharpness": 1.0, "slice_drop": 0.9}
        for field in fields(self):
            value, limit = getattr(self, field.name), limits.get(field.name, math.inf)
            if not (0 <= value <= limit and math.isfinite(value)):
                upper = "" if limit == math.inf else f" to {limit:g}"
                raise ValueError(f"{field.name} is {value}; it must be from 0{upper}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What was drawn for one scan.

    Attributes:
        kept: The slices that stay, ascending.
        flip: Left and right change places.
        rotation_degrees: From the columns' axis towards the rows'.
        scale: The factor by which things grow.
        shift: Down and to the right, in shares of the matrix.
        noise_sd_hu: Of the noise.
        sharpness: From -1, all blurred, to 1.
        level_hu: What is added to each window's level.
        width_hu: What is added to each window's width.
    """

    kept: NDArray[np.intp]
    flip: bool = False
    rotation_degrees: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    noise_sd_hu: float = 0.0
    sharpness: float = 0.0
    level_hu: float = 0.0
    width_hu: float = 0.0

    def move(
        self, plane: NDArray[np.int16] | NDArray[np.float32], outside: float = OUTSIDE_HU
    ) -> NDArray[np.int16] | NDArray[np.float32]:
        """One slice flipped, turned, scaled and shifted; bilinear, pixels taken as square.

        Args:
            plane: (rows, columns).
            outside: Value of what comes in from beyond the matrix.

        Returns:
            The same shape; float32 where anything had to be interpolated.
        """
        plane = plane[:, ::-1] if self.flip else plane
        if not self.rotation_degrees and self.scale == 1 and not any(self.shift):
            return plane
        image = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
        moved = image.transform(
            image.size,
            Image.Transform.AFFINE,
            self._matrix(plane.shape),
            Image.Resampling.BILINEAR,
            fillcolor=outside,
        )
        return np.asarray(moved, dtype=np.float32)

    def sharpen(
        self, plane: NDArray[np.int16] | NDArray[np.float32]
    ) -> NDArray[np.int16] | NDArray[np.float32]:
        """One slice, (rows, columns), sharper or softer, as another kernel makes it."""
        if not self.sharpness:
            return plane
        values = plane.astype(np.float32)
        mean: NDArray[np.float32] = ndimage.uniform_filter(values, 3, mode="nearest")
        return values + np.float32(self.sharpness) * (values - mean)

    def windows(self, config: PreprocessConfig) -> PreprocessConfig:
        """The same preprocessing with windows moved and widened."""
        if not self.level_hu and not self.width_hu:
            return config
        windows = tuple(
            Window(
                level_hu=window.level_hu + self.level_hu,
                width_hu=max(window.width_hu + self.width_hu, _LEAST_WIDTH_HU),
            )
            for window in config.windows
        )
        return replace(config, windows=windows)

    def _matrix(self, shape: tuple[int, ...]) -> tuple[float, ...]:
        """From places in the result to places in the slice, both from the matrix's corner."""
        angle = math.radians(self.rotation_degrees)
        cosine, sine = math.cos(angle) / self.scale, math.sin(angle) / self.scale
        y, x = shape[0] / 2, shape[1] / 2
        to_y, to_x = y + self.shift[0] * shape[0], x + self.shift[1] * shape[1]
        return (
            cosine,
            sine,
            x - cosine * to_x - sine * to_y,
            -sine,
            cosine,
            y + sine * to_x - cosine * to_y,
        )


def draw_augmentation(
    config: AugmentConfig, rng: np.random.Generator, positive: NDArray[np.bool_]
) -> Augmentation:
    """Draws what is done to one scan.

    Args:
        config: How far to go. What one field draws does not depend on the others.
        rng: The scan's own.
        positive: (S,) bool: the slices known to be positive.
    """
    flip, *unit = rng.random(8)
    turn, scale, down, right, level, width = (2 * u - 1 for u in unit[:6])
    kept = _kept(rng.random(len(positive)) >= config.slice_drop, positive)
    return Augmentation(
        kept=kept,
        flip=bool(flip < config.flip),
        rotation_degrees=turn * config.rotation_degrees,
        scale=1 + scale * config.scale,
        shift=(down * config.shift, right * config.shift),
        noise_sd_hu=unit[6] * config.noise_sd_hu,
        sharpness=rng.uniform(-1, 1) * config.sharpness,
        level_hu=level * config.level_jitter_hu,
        width_hu=width * config.width_jitter_hu,
    )


def _kept(stays: NDArray[np.bool_], positive: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The slices that stay; all positive ones where none of them would."""
    if not (stays & positive).any():
        stays = stays | positive
    if stays.sum() < MIN_SLICES:
        stays = np.ones_like(stays)
    return np.flatnonzero(stays)
