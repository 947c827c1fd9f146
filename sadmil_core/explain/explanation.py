"""What an explanation of one slice says, and how it is laid over that slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.pixelgrid import Grid
    from sadmil_core.result import ModelIdentity

HINT = "a hint of what moved the score, not a segmentation"
"""What must stand beside every explanation that is shown."""

Method = Literal["occlusion", "grad-cam"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """Which places of one slice moved the scan logit, all other slices unchanged.

    Attributes:
        method: ``occlusion``: by how much the scan logit falls when a place is covered.
            ``grad-cam``: activation times gradient of the scan logit, by cell of the
            encoder's last feature map.
        slice_index: The slice, 0 at the foot end.
        model: Which weights.
        moved_RC: (rows, columns) float32 of the stack's matrix, in units of the scan logit;
            above 0 where a place raises the scan logit, below 0 where it lowers it, 0 beyond
            what the network was shown.
    """

    method: Method
    slice_index: int
    model: ModelIdentity
    moved_RC: NDArray[np.float32]

    @property
    def strongest(self) -> float:
        """The largest absolute value of the map."""
        return float(np.abs(self.moved_RC).max(initial=0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """Where the values of a coarse map lie along one side of the network's input.

    Attributes:
        first: Centre of the first value, in pixels of the input; 0 is the middle of its first.
        step: From one value to the next, in pixels of the input.
    """

    first: float
    step: float


def spread(
    values: NDArray[np.float32],
    lattices: tuple[Lattice, Lattice],
    grid: Grid,
    shape: tuple[int, int],
) -> NDArray[np.float32]:
    """Brings a coarse map from the network's input back to the stack's matrix, bilinearly.

    It runs out to 0 within one step beyond its outermost values, and ends with the input.

    Args:
        values: (h, w).
        lattices: Of its rows, of its columns.
        grid: Where the input lies on the matrix; with a size.
        shape: Rows and columns of the matrix.

    Returns:
        (rows, columns) float32.
    """
    if grid.size is None:
        raise ValueError("the size of the network's input is needed")
    sides = zip(values.shape, lattices, (grid.top, grid.left), grid.step, shape, strict=True)
    hats = [_hats(*side, inputs=count) for side, count in zip(sides, grid.size, strict=True)]
    spread_RC: NDArray[np.float32] = (hats[0] @ values @ hats[1].T).astype(np.float32)
    return spread_RC


def _hats(
    count: int, lattice: Lattice, start: float, step: float, length: int, *, inputs: int
) -> NDArray[np.float64]:
    """(length, count): the share of each value in each pixel of one side of the matrix."""
    # Both count from the edge here: the middle of a first pixel lies at one half.
    at_input = (np.arange(length) + 0.5 - start) / step - 0.5
    place = (at_input - lattice.first) / lattice.step
    hats = np.clip(1 - np.abs(place[:, None] - np.arange(count)), 0, None)
    inside = (at_input > -0.5) & (at_input < inputs - 0.5)
    shares: NDArray[np.float64] = hats * inside[:, None]
    return shares
