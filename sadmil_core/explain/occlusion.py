"""Occlusion: a slice with one place after another covered (Zeiler and Fergus, ECCV 2014)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.explain.explanation import Lattice

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PATCHES = 8
"""Squares along a side, each overlapping half: of about 3 cm in a field of 25 cm. A maximum
does not fall before all of a bleed is covered."""


class CoveredSlice:
    """One slice as many instances, a different square covered in each.

    What is covered becomes the ordinary tissue of the slice, the median of each channel where
    its window is not at either end: black squares would look like air, and white ones like
    blood. Air stays as it is, and squares of air alone are left out.

    Args:
        x_CHW: The slice as the network sees it, in [0, 1].

    Attributes:
        shape: Rows and columns of squares, those of air included.
        lattices: Where their centres lie along the rows and columns of the input.
        places: (N, 2) row and column of the N squares that cover anything.
    """

    def __init__(self, x_CHW: NDArray[np.float32]) -> None:
        self._x_CHW = x_CHW
        self._something = x_CHW.max(axis=0) > 0
        self._fill_C = [_ordinary(plane) for plane in x_CHW]
        sides = x_CHW.shape[1:]
        self._patch = [max(1, round(side / _PATCHES)) for side in sides]
        self._stride = [max(1, patch // 2) for patch in self._patch]
        spans = zip(sides, self._patch, self._stride, strict=True)
        # The last square hangs over the edge rather than leave a margin uncovered.
        rows, columns = (1 + -(-(side - patch) // stride) for side, patch, stride in spans)
        self.shape = (rows, columns)
        row_lattice, column_lattice = (
            Lattice(first=(patch - 1) / 2, step=stride)
            for patch, stride in zip(self._patch, self._stride, strict=True)
        )
        self.lattices = (row_lattice, column_lattice)
        everywhere = np.indices(self.shape).reshape(2, -1).T
        covers = [bool(self._something[self._square(*place)].any()) for place in everywhere]
        self.places = everywhere[np.array(covers, dtype=bool)]

    def _square(self, row: int, column: int) -> tuple[slice, slice]:
        top, left = row * self._stride[0], column * self._stride[1]
        return slice(top, top + self._patch[0]), slice(left, left + self._patch[1])

    def __len__(self) -> int:
        return len(self.places)

    def instances(self, start: int, stop: int) -> NDArray[np.float32]:
        """Squares ``start`` to ``stop`` as (n, channels, rows, columns) float32 in [0, 1]."""
        places = self.places[start:stop]
        x_NCHW = np.repeat(self._x_CHW[None], len(places), axis=0)
        for x, place in zip(x_NCHW, places, strict=True):
            square = self._square(*place)
            for channel, fill in enumerate(self._fill_C):
                x[channel][square][self._something[square]] = fill
        return x_NCHW

    def as_map(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N,) values of the squares as (rows, columns), 0 for those of air."""
        filled = np.zeros(self.shape, dtype=np.float32)
        filled[self.places[:, 0], self.places[:, 1]] = values
        return filled


def _ordinary(plane: NDArray[np.float32]) -> float:
    inner = plane[(plane > 0) & (plane < 1)]
    return float(np.median(inner)) if inner.size else 0.0
