"""Slabs: how thick, mean or maximum, and the slab around the current slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from sadmil_core.errors import ReformatError
from sadmil_core.reformat import Projection, SlabImage, make_slab, slab_shares
from sadmil_core.reformat.grid import require_places
from sadmil_core.result import slice_number
from viewer.model.latest import Latest

if TYPE_CHECKING:
    from collections.abc import Hashable

    from sadmil_core.dicom import CTVolume
    from sadmil_core.errors import SadmilError
    from viewer.model.session import Session
    from viewer.model.state import ViewState

SLABS = "slabs"
"""The lane of slabs that take too long to be made between two frames."""
THINNEST_MM, THICKEST_MM = 1.0, 100.0
_AT_ONCE_VOXELS = 1 << 23
"""About 10 ms of work; what takes longer is made on a worker."""
_STRAIGHTENING = 8  # times the work where slices are to be moved by parts of a pixel


@dataclass(frozen=True, slots=True)
class Slab:
    """How thick, and how its depths become one image; None for single slices."""

    thickness_mm: float = 10.0
    projection: Projection | None = None

    @property
    def depth_mm(self) -> float:
        """The thickness of what is shown: 0 for single slices."""
        return self.thickness_mm if self.projection else 0.0

    def __str__(self) -> str:
        names = {Projection.MEAN: "Average", Projection.MAXIMUM: "MIP"}
        if self.projection is None:
            return "Single slice"
        return f"{names[self.projection]} {self.thickness_mm:g} mm"


class Slabs(QObject):
    """The setting, and the image of the slice it is applied to."""

    changed = Signal()
    """Another setting, or a slab that has been waited for."""
    failed = Signal(object)

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._latest = Latest(session.jobs, SLABS)
        self._made: tuple[Hashable, CTVolume, SlabImage] | None = None
        self.slab = Slab()

    def set_projection(self, projection: Projection | None) -> None:
        """Chooses mean, maximum or single slices."""
        self._set(Slab(self.slab.thickness_mm, projection))

    def set_thickness(self, thickness_mm: float) -> None:
        """Chooses the thickness, within sensible limits."""
        clamped = min(max(thickness_mm, THINNEST_MM), THICKEST_MM)
        self._set(Slab(clamped, self.slab.projection))

    def cycle(self) -> None:
        """Single slices, mean, maximum, and again from the start."""
        kinds = (None, Projection.MEAN, Projection.MAXIMUM)
        self.set_projection(kinds[(kinds.index(self.slab.projection) + 1) % len(kinds)])

    def cancel(self) -> None:
        """Back to single slices, where a slab is still being made."""
        if self._session.jobs.is_busy(SLABS):
            self.set_projection(None)

    def _set(self, slab: Slab) -> None:
        if slab == self.slab:
            return
        self.slab = slab
        self._latest.drop()
        self._made = None
        self.changed.emit()

    def image_of(self, state: ViewState) -> SlabImage | None:
        """The slab around the current slice of a state.

        Returns:
            None for single slices, where the files give no places, and as long as a slab that
            takes its time is not there: ``changed`` follows then.
        """
        slab, volume, index = self.slab, state.volume, state.slice_index
        projection = slab.projection
        if projection is None or volume is None:
            return None
        try:
            require_places(volume.entry)
        except ReformatError:
            return None
        key = (id(volume), index, slab)
        if self._made is not None and self._made[0] == key:
            return self._made[2]
        geometry = volume.entry.geometry
        count = len(slab_shares(geometry, index, slab.thickness_mm))
        effort = count * volume.hu[index].size * (_STRAIGHTENING if geometry.tilt_deg else 1)
        if effort <= _AT_ONCE_VOXELS:
            made = make_slab(volume, index, slab.thickness_mm, projection)
            self._made = (key, volume, made)
            return made
        self._latest.ask(
            key,
            lambda context: make_slab(volume, index, slab.thickness_mm, projection, context),
            on_done=lambda done: self._keep(key, volume, done),
            on_failed=self._give_up,
        )
        return None

    def caption_of(self, state: ViewState) -> str:
        """What stands beside an image that may be a slab; empty for single slices."""
        if self.slab.projection is None or state.volume is None:
            return ""
        image = self.image_of(state)
        if image is not None:
            first, last = slice_number(image.first), slice_number(image.last)
            return (
                f"{self.slab}: slices {first}-{last}" if last > first else f"{self.slab}: 1 slice"
            )
        if self._session.jobs.is_busy(SLABS):
            return f"Single slice: {self.slab} is on its way"
        return "Single slice: its place is not known"

    def _keep(self, key: Hashable, volume: CTVolume, image: SlabImage) -> None:
        self._made = (key, volume, image)
        self.changed.emit()

    def _give_up(self, error: SadmilError) -> None:
        self.set_projection(None)
        self.failed.emit(error)
