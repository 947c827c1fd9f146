"""What the model saw: a slice after windowing and resizing, channel by channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QObject, Signal

from sadmil_core.pixelgrid import lay_grid
from sadmil_core.preprocess import preprocess_slice
from viewer.model.latest import Latest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.dicom import CTVolume
    from sadmil_core.pixelgrid import Grid
    from sadmil_core.preprocess import PreprocessConfig
    from viewer.model.session import Session
    from viewer.model.state import ViewState

SIGHT = "what the model saw"
"""The lane on which the model's grid is laid: finding a head takes longer than a frame."""
_COLOURS = 3


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SeenSlice:
    """A slice as the network gets it, as a picture.

    Attributes:
        rgb: (rows, columns, 3) uint8: three channels as red, green and blue, or one as gray.
        box: Top, left, height and width of the picture, in pixels of the native slice from its
            edge.
        caption: What is shown.
    """

    rgb: NDArray[np.uint8]
    box: tuple[float, float, float, float]
    caption: str


class ModelSight(QObject):
    """Makes the pictures; of the network, nothing but its checkpoint's header is needed."""

    changed = Signal()
    """Another channel, or the grid is there that a picture waited for."""

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._latest = Latest(session.jobs, SIGHT)
        self._grid: tuple[CTVolume, PreprocessConfig, Grid] | None = None
        self._channel = -1

    def cycle(self, state: ViewState) -> None:
        """All channels as colours, then one by one."""
        if state.model is not None and sees_slices(state):
            count = len(state.model.header.preprocess.windows)
            self._channel = (self._channel + 2) % (count + 1) - 1
            self.changed.emit()

    def picture_of(self, state: ViewState) -> SeenSlice | None:
        """The current slice as the chosen model gets it.

        Returns:
            None without a complete series or a model, and until its grid is laid: ``changed``
            follows then.
        """
        volume, model = state.volume, state.model
        if volume is None or model is None or not sees_slices(state):
            self._grid = None
            return None
        config = model.header.preprocess
        if self._grid is None or self._grid[0] is not volume or self._grid[1] != config:
            self._lay(volume, config)
            return None
        grid = self._grid[2]
        x = preprocess_slice(grid.slice_hu(volume.hu[state.slice_index]), config)
        channel = _one_channel(self._channel, len(x))
        chosen = x if channel is None else x[[channel] * _COLOURS]
        rgb = np.rint(chosen * 255).astype(np.uint8).transpose(1, 2, 0)
        return SeenSlice(
            rgb=np.ascontiguousarray(rgb),
            box=_box(grid, volume.entry.shape[1:]),
            caption=_caption(config, channel),
        )

    def _lay(self, volume: CTVolume, config: PreprocessConfig) -> None:
        def keep(grid: Grid) -> None:
            self._grid = (volume, config, grid)
            self.changed.emit()

        self._latest.ask(
            (id(volume), config),
            lambda _context: lay_grid(volume, config.grid),
            on_done=keep,
            on_failed=self._session.failed.emit,
        )


def sees_slices(state: ViewState) -> bool:
    """Whether there is a model that looks at slices, and not at features others made of them."""
    return state.model is not None and state.model.header.model.reads_images


def _one_channel(wanted: int, count: int) -> int | None:
    """The one channel to show, or None for three at once."""
    if wanted < 0 and count == _COLOURS:
        return None
    return min(max(wanted, 0), count - 1)


def _box(grid: Grid, matrix: tuple[int, int]) -> tuple[float, float, float, float]:
    if grid.size is None:
        return 0.0, 0.0, float(matrix[0]), float(matrix[1])
    return grid.top, grid.left, grid.size[0] * grid.step[0], grid.size[1] * grid.step[1]


def _caption(config: PreprocessConfig, channel: int | None) -> str:
    names = [f"W {w.width_hu:g} L {w.level_hu:g}" for w in config.windows]
    rows, columns = config.size
    if channel is None:
        told = ", ".join(f"{c} {name}" for c, name in zip("RGB", names, strict=True))
    else:
        told = f"channel {channel + 1} of {len(names)}, {names[channel]}"
    return f"What the model saw, {columns} x {rows}\n{told}"
