"""The grid of pixels that slices are brought to before windowing, one for a whole stack."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from sadmil_core.configs import canonical_json, to_mapping
from sadmil_core.dicom.codes import CodedWarning, WarningCode
from sadmil_core.headbox import find_head, pixel_spacing_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.dicom import CTVolume
    from sadmil_core.headbox import HeadBox

OUTSIDE_HU = -1024
"""The value of pixels outside the scanned field."""
_INT16 = (-32768, 32767)
Crop = Literal["none", "head"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GridConfig:
    """Which pixels a slice is kept as; with the volume it decides every one of them.

    Attributes:
        size: Rows and columns; None for the scanner's own matrix, whatever that is.
        pixel_spacing_mm: Of rows and columns alike; None for the whole matrix scaled to
            ``size``.
        crop: What the grid is centred on: the middle of the matrix, or the head.
    """

    size: tuple[int, int] | None = None
    pixel_spacing_mm: float | None = None
    crop: Crop = "none"

    def __post_init__(self) -> None:
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"the size must be positive, not {self.size}")
        if self.pixel_spacing_mm is not None and not self.pixel_spacing_mm > 0:
            raise ValueError(f"pixel_spacing_mm must be positive, not {self.pixel_spacing_mm}")
        if self.pixel_spacing_mm is not None and self.size is None:
            raise ValueError("pixel_spacing_mm needs a size")
        if self.crop == "head" and self.pixel_spacing_mm is None:
            raise ValueError("crop = 'head' needs pixel_spacing_mm")

    @property
    def grid_sha256(self) -> str:
        """What tells two grids apart."""
        return hashlib.sha256(canonical_json(to_mapping(self)).encode()).hexdigest()

    def __str__(self) -> str:
        if self.size is None:
            return "the scanner's own matrix"
        text = f"{self.size[0]} x {self.size[1]} pixels"
        if self.pixel_spacing_mm is None:
            return f"{text} of the whole matrix"
        return f"{text} of {self.pixel_spacing_mm:g} mm, " + (
            "centred on the head" if self.crop == "head" else "centred on the matrix"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A grid laid over the slices of one stack.

    Attributes:
        size: Rows and columns; None where slices stay as they are.
        top: Where the grid's first row begins, in pixels of the stack's matrix, counted from
            the matrix's edge; may lie outside.
        left: Where its first column begins.
        step: Height and width of the grid's pixels, in pixels of the matrix.
        warnings: What the user must know of it.
    """

    size: tuple[int, int] | None
    top: float = 0.0
    left: float = 0.0
    step: tuple[float, float] = (1.0, 1.0)
    warnings: tuple[CodedWarning, ...] = ()

    def resample(
        self, plane: NDArray[np.int16] | NDArray[np.float32], outside: float = OUTSIDE_HU
    ) -> NDArray[np.float32]:
        """One slice on the grid; bilinear, with the support widened when shrinking.

        Args:
            plane: (rows, columns) of the stack's matrix.
            outside: Value beyond the matrix.

        Returns:
            (rows, columns) of the grid.
        """
        if self.size is None:
            raise ValueError("this grid is the matrix itself")
        bounds = [
            (start, start + count * step, length)
            for start, count, step, length in zip(
                (self.top, self.left), self.size, self.step, plane.shape, strict=True
            )
        ]
        # Wide enough that what lies beyond counts where the support of a pixel reaches it.
        reach = [int(np.ceil(max(step, 1.0))) + 1 for step in self.step]
        pads = [
            (max(0, int(np.ceil(r - start))), max(0, int(np.ceil(stop + r - length))))
            for (start, stop, length), r in zip(bounds, reach, strict=True)
        ]
        if self._is_whole(plane.shape):
            pads = [(0, 0), (0, 0)]
        padded = np.pad(plane.astype(np.float32), pads, constant_values=outside)
        (top, bottom, _), (left, right, _) = bounds
        (above, _), (before, _) = pads
        box = (left + before, top + above, right + before, bottom + above)
        image = Image.fromarray(padded).resize(
            (self.size[1], self.size[0]), Image.Resampling.BILINEAR, box=box
        )
        return np.asarray(image, dtype=np.float32)

    def slice_hu(
        self, plane: NDArray[np.int16] | NDArray[np.float32]
    ) -> NDArray[np.int16] | NDArray[np.float32]:
        """One slice in Hounsfield units on the grid, int16; as it is where there is no grid."""
        if self.size is None:
            return plane
        return np.clip(np.rint(self.resample(plane)), *_INT16).astype(np.int16)

    def _is_whole(self, shape: tuple[int, ...]) -> bool:
        """Whether the grid covers the matrix exactly: beyond its edge nothing is known."""
        assert self.size is not None
        ends = [s * n for s, n in zip(self.step, self.size, strict=True)]
        return (self.top, self.left) == (0, 0) and bool(np.allclose(ends, shape, atol=1e-6))


def lay_grid(volume: CTVolume, config: GridConfig) -> Grid:
    """Lays a grid over a volume: one place for all of its slices.

    Args:
        volume: Hounsfield units; looked at for the head only where the config asks for it.
        config: Which grid.

    Returns:
        The grid. Where no head is found it lies on the middle of the matrix; that, and a head
        that it cuts, are in its warnings.
    """
    size, matrix = config.size, volume.entry.shape[1:]
    if size is None:
        return Grid(size=None)
    if config.pixel_spacing_mm is None:
        return Grid(size=size, step=(matrix[0] / size[0], matrix[1] / size[1]))
    spacing = pixel_spacing_of(volume)
    step = config.pixel_spacing_mm / spacing[0], config.pixel_spacing_mm / spacing[1]
    centre, warnings = (matrix[0] / 2, matrix[1] / 2), []
    if config.crop == "head":
        box = find_head(volume)
        if box is None:
            warnings.append(
                CodedWarning(
                    WarningCode.NO_HEAD_FOUND,
                    "nothing as large as a head was found: the middle of the matrix was cut out",
                )
            )
        else:
            centre = (box.top + box.bottom) / 2, (box.left + box.right) / 2
            warnings += _cut(box, spacing, config)
    return Grid(
        size=size,
        top=centre[0] - size[0] * step[0] / 2,
        left=centre[1] - size[1] * step[1] / 2,
        step=step,
        warnings=tuple(warnings),
    )


def _cut(box: HeadBox, spacing: tuple[float, float], config: GridConfig) -> list[CodedWarning]:
    """A warning where the head is larger than the grid."""
    head = (box.bottom - box.top) * spacing[0], (box.right - box.left) * spacing[1]
    field = [count * (config.pixel_spacing_mm or 0) for count in config.size or ()]
    if head[0] <= field[0] and head[1] <= field[1]:
        return []
    return [
        CodedWarning(
            WarningCode.HEAD_CUT,
            f"what was taken for the head measures {head[0]:.0f} x {head[1]:.0f} mm, and is cut "
            f"to {field[0]:.0f} x {field[1]:.0f} mm",
        )
    ]
