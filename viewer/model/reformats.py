"""Coronal and sagittal reformats through the crosshair, made on workers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from sadmil_core.reformat import (
    Plane,
    PlaneImage,
    Projection,
    RegularVolume,
    make_regular,
    reformat_plane,
)
from viewer.model.latest import Latest

if TYPE_CHECKING:
    from sadmil_core.dicom.header import Triple
    from sadmil_core.errors import SadmilError
    from viewer.model.cursor import Cursor
    from viewer.model.jobs import JobContext, JobProgress
    from viewer.model.session import Session
    from viewer.model.slabs import Slab, Slabs
    from viewer.model.state import ViewState

REFORMATTING = "reformatting"
"""The lane on which the series is made an even, straight volume."""
PLANES = (Plane.CORONAL, Plane.SAGITTAL)
"""Those shown beside the native slice, which is the axial view."""
_Key = tuple[int, Plane, float, "Slab"]
_DECIMALS = 3  # a micrometre


class Reformats(QObject):
    """While active, keeps the straight volume of the shown series and two planes of it.

    A tilted or uneven series takes the memory of one more volume meanwhile; others take none.

    Attributes:
        images: The newest image of each plane; as many as there are yet.
        progress: Of the straightening; None while it does not run.
        problem: Why there are no reformats; empty where there are or will be.
    """

    changed = Signal()

    def __init__(
        self, session: Session, cursor: Cursor, slabs: Slabs, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._session, self._cursor, self._slabs = session, cursor, slabs
        self._latest = {plane: Latest(session.jobs, plane.value) for plane in PLANES}
        self._active = False
        self._state: ViewState | None = None
        self._volume: RegularVolume | None = None
        self._keys: dict[Plane, _Key] = {}
        self.images: dict[Plane, PlaneImage] = {}
        self.progress: JobProgress | None = None
        self.problem = ""
        session.changed.connect(self._follow)
        session.jobs.progressed.connect(self._on_progress)
        cursor.moved.connect(self._ask_planes)
        slabs.changed.connect(self._ask_planes)

    @property
    def is_active(self) -> bool:
        """Whether reformats are wanted."""
        return self._active

    @property
    def is_busy(self) -> bool:
        """Whether the series is being straightened, or a plane takes its time."""
        return any(map(self._session.jobs.is_busy, (REFORMATTING, *PLANES)))

    def set_active(self, active: bool) -> None:
        """Starts, or stops and gives the memory back."""
        if active == self._active:
            return
        self._active = active
        self._forget()
        if active:
            self._follow(self._session.state)

    def restart(self) -> None:
        """Makes what was cancelled or has failed anew."""
        if self._active and self._volume is None:
            self._forget()
            self._follow(self._session.state)

    def cancel(self) -> None:
        """Stops the straightening; a slab that takes its time gives way to single planes."""
        self._session.jobs.cancel(REFORMATTING)
        for plane in PLANES:
            self._session.jobs.cancel(plane)

    def _forget(self) -> None:
        self._state = self._volume = None
        self._keys, self.images = {}, {}
        self.progress, self.problem = None, ""
        for latest in self._latest.values():
            latest.drop()
        self._session.jobs.discard(REFORMATTING)
        self.changed.emit()

    def _follow(self, state: ViewState) -> None:
        """Takes over a state; only another volume matters."""
        if not self._active or (self._state is not None and self._state.volume is state.volume):
            return
        self._forget()
        self._state = state
        volume = state.volume
        if volume is None:
            return
        self._session.jobs.submit(
            REFORMATTING,
            lambda context: make_regular(volume, context),
            on_done=self._straightened,
            on_failed=self._fail,
            on_cancelled=lambda: self._end("The reformat was cancelled. Click to start again."),
        )

    def _straightened(self, volume: RegularVolume) -> None:
        self._volume, self.progress = volume, None
        self._ask_planes()
        self.changed.emit()

    def _fail(self, error: SadmilError) -> None:
        self._end(str(error))

    def _end(self, problem: str) -> None:
        self.progress, self.problem = None, problem
        self.changed.emit()

    def _on_progress(self, lane: str, progress: JobProgress) -> None:
        if lane == REFORMATTING:
            self.progress = progress
            self.changed.emit()

    def _ask_planes(self) -> None:
        volume, through = self._volume, self._cursor.mm
        if volume is None or through is None:
            return
        slab = self._slabs.slab
        for plane in PLANES:
            place = round(through[_axis(plane)], _DECIMALS)
            key = (id(volume), plane, place, slab)
            if self._keys.get(plane) == key:
                continue
            self._keys[plane] = key
            self._latest[plane].ask(
                key,
                partial(_make_plane, volume, plane, through, slab),
                on_done=partial(self._keep, volume, plane),
                on_failed=self._fail,
                on_cancelled=lambda: self._slabs.set_projection(None),
            )

    def _keep(self, volume: RegularVolume, plane: Plane, image: PlaneImage) -> None:
        if volume is self._volume:
            self.images[plane] = image
            self.changed.emit()


def _axis(plane: Plane) -> int:
    """The body axis that planes follow one another along."""
    return plane.normal.index(1.0)


def _make_plane(
    volume: RegularVolume, plane: Plane, through_mm: Triple, slab: Slab, context: JobContext
) -> PlaneImage:
    return reformat_plane(
        volume,
        plane,
        through_mm,
        thickness_mm=slab.depth_mm,
        projection=slab.projection or Projection.MEAN,
        progress=context,
    )
