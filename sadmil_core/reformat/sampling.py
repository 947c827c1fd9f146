"""Values of a regular volume at the points of an oblique lattice."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.progress import Progress, no_progress
from sadmil_core.reformat.volume import AIR_HU

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.reformat.volume import RegularVolume

HAIR = 1e-4
"""The noise of computed voxel indices: nothing one could see."""
_BAND_POINTS = 1 << 15  # of one lattice layer, sampled in one go by one thread


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """Points in voxel indices (slice, row, column), each vector of shape (3,).

    Attributes:
        start: The first point of the layer at depth 0.
        down: From a row of points to the next.
        right: From a point of a row to the next.
        deep: From depth 0 to depth 1.
        depths: Of the layers.
        shape: Rows, columns of a layer.
    """

    start: NDArray[np.float64]
    down: NDArray[np.float64]
    right: NDArray[np.float64]
    deep: NDArray[np.float64]
    depths: NDArray[np.float64]
    shape: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The layers of a lattice made one.

    Attributes:
        hu: (rows, columns) float32, -1000 where ``outside``.
        outside: (rows, columns) bool, no layer has a value.
        in_gap: (rows, columns) bool, slices are missing in some layer.
    """

    hu: NDArray[np.float32]
    outside: NDArray[np.bool_]
    in_gap: NDArray[np.bool_]


class Sampler:
    """Linear interpolation that knows what was scanned.

    SimpleITK resamples a plane in less time, but after a copy of the whole volume, which takes
    many times as long, and it would mix scanned values with the air that stands for missing ones.
    """

    def __init__(self, volume: RegularVolume) -> None:
        self._hu = volume.hu
        self._flat = volume.hu.reshape(-1)
        self._in_gap = volume.in_gap
        self._beside_gap = volume.in_gap[:-1] | volume.in_gap[1:]
        self._boxes = _boxes(volume.scanned)

    def sample(
        self, lattice: Lattice, *, maximum: bool, progress: Progress = no_progress
    ) -> Samples:
        """Samples all layers, on all cores, and takes their mean or their maximum.

        Raises:
            Cancelled: From ``progress``, which is called after each band of rows.
        """
        rows, columns = lattice.shape
        samples = Samples(
            hu=np.empty(lattice.shape, np.float32),
            outside=np.empty(lattice.shape, np.bool_),
            in_gap=np.zeros(lattice.shape, np.bool_),
        )
        height = max(1, _BAND_POINTS // columns)
        bands = [slice(top, min(top + height, rows)) for top in range(0, rows, height)]
        stop = threading.Event()

        def work(band: slice) -> None:
            self._fill(samples, lattice, band, maximum, stop)

        with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool:
            try:
                for done, _ in enumerate(pool.map(work, bands), start=1):
                    progress(done, len(bands), "reformatting")
            finally:
                stop.set()  # a band of a thick slab has many layers yet to go
        return samples

    def _fill(
        self,
        samples: Samples,
        lattice: Lattice,
        band: slice,
        maximum: bool,
        stop: threading.Event,
    ) -> None:
        hu, in_gap = samples.hu[band], samples.in_gap[band]
        hu[:] = -np.inf if maximum else 0.0
        count = np.zeros(hu.shape, np.int32)
        down = np.arange(band.start, band.stop)[:, None]
        right = np.arange(hu.shape[1])[None, :]
        steps = [
            _spread(down * lattice.down[axis], right * lattice.right[axis]) for axis in range(3)
        ]
        for depth in lattice.depths:
            if stop.is_set():
                return
            first = lattice.start + depth * lattice.deep
            index = [first[axis] + steps[axis] for axis in range(3)]
            values, inside, gap = self._values(*index)
            if maximum:
                np.maximum(hu, values, out=hu, where=inside)
            else:
                np.add(hu, values, out=hu, where=inside)
            count += inside
            in_gap |= gap
        outside = samples.outside[band]
        np.equal(count, 0, out=outside)
        if not maximum:
            hu /= np.maximum(count, 1)
        hu[outside] = AIR_HU

    def _values(
        self, s: NDArray[np.float64], r: NDArray[np.float64], c: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        """Values at points, which of them are scanned, and which lie in a gap.

        The three indices need only broadcast against one another.
        """
        slices, rows, columns = self._hu.shape
        near = np.rint(s).clip(0, slices - 1).astype(np.intp)
        low = np.floor(s).clip(0, slices - 2).astype(np.intp)
        on_plane = (np.abs(s - near) <= HAIR) | self._beside_gap[low]
        top, bottom, left, right = self._boxes[:, np.where(on_plane, 2 * near, 2 * low + 1)]
        within = (s >= -HAIR) & (s <= slices - 1 + HAIR)
        inside = within & (r >= top) & (r <= bottom) & (c >= left) & (c <= right)
        gap = within & self._in_gap[near]
        gap = gap & (r >= 0) & (r <= rows - 1) & (c >= 0) & (c <= columns - 1)
        return self._interpolate(np.where(on_plane, near, s), r, c), inside, gap

    def _interpolate(
        self, s: NDArray[np.float64], r: NDArray[np.float64], c: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Linear between the eight voxels around each point; at the edge, the edge's values."""
        _, rows, columns = self._hu.shape
        slice_, up = _split(s, self._hu.shape[0])
        row, down = _split(r, rows)
        column, across = _split(c, columns)
        corner = (slice_ * rows + row) * columns + column

        def along_row(offset: int) -> NDArray[np.float32]:
            left: NDArray[np.float32] = self._flat.take(corner + offset).astype(np.float32)
            left += across * (self._flat.take(corner + (offset + 1)) - left)
            return left

        def in_slice(offset: int) -> NDArray[np.float32]:
            upper = along_row(offset)
            upper += down * (along_row(offset + columns) - upper)
            return upper

        values = in_slice(0)
        values += up * (in_slice(rows * columns) - values)
        return values


def _spread(down: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of both, kept a column or a row of numbers where the other does not matter.

    With a gantry tilted about the patient's left-right axis most indices are the same all along
    a row or a column of an image, and so is what follows from them.
    """
    if np.abs(right).max() < HAIR / 100:
        return down
    return right if np.abs(down).max() < HAIR / 100 else down + right


def _split(index: NDArray[np.float64], length: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The voxel before each index, with another one after it, and the way on to that, 0 to 1."""
    before = np.floor(index).clip(0, length - 2).astype(np.intp)
    return before, (index - before).clip(0, 1).astype(np.float32)


def _boxes(scanned: NDArray[np.int32]) -> NDArray[np.float64]:
    """Between which indices there are values: (4, 2 S - 1), first row to last column.

    At even places those of the planes, at odd ones those between two planes, where both have
    values.
    """
    inclusive = scanned - np.array([0, 1, 0, 1])
    boxes = np.empty((2 * len(scanned) - 1, 4))
    boxes[::2] = inclusive
    lower, upper = inclusive[:-1], inclusive[1:]
    boxes[1::2, ::2] = np.maximum(lower, upper)[:, ::2]
    boxes[1::2, 1::2] = np.minimum(lower, upper)[:, 1::2]
    boxes += np.array([-HAIR, HAIR, -HAIR, HAIR])
    return boxes.T
