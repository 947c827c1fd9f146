"""A second series beside the first, scrolled along with it by position in the patient."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from PySide6.QtCore import QObject, Signal

from sadmil_core.dicom import CTVolume, open_volume
from sadmil_core.errors import DecodeError
from viewer.model.places import middle_of_slice, nearest_slice, triple

if TYPE_CHECKING:
    from sadmil_core.dicom import StackEntry, VolumeLoad
    from sadmil_core.dicom.header import Triple
    from sadmil_core.errors import SadmilError
    from viewer.model.jobs import JobContext, JobProgress
    from viewer.model.session import Session
    from viewer.model.state import ViewState

COMPANION = "second series"
"""The lane on which the second series is loaded."""


class Companion(QObject):
    """While active, holds a second series of what is open, with a state of its own.

    Attributes:
        state: As the session's, of the second series; None while there is none.
        progress: Of its loading.
        problem: Why there is none.
    """

    changed = Signal()

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._active, self._linked = False, True
        self._base = session.state
        self._index: int | None = None
        self._load: VolumeLoad | None = None
        self._volume: CTVolume | None = None
        self._slice = 0
        self._at: Triple | None = None  # the shared place, in the first series' frame
        self._offset = np.zeros(3)  # from the first series' frame to the second's
        self._same_frame = False
        self.progress: JobProgress | None = None
        self.problem = ""
        session.changed.connect(self._follow)
        session.jobs.progressed.connect(self._on_progress)

    @property
    def is_linked(self) -> bool:
        """Whether the two are scrolled together."""
        return self._linked

    @property
    def can_link(self) -> bool:
        """Whether both series say where their slices lie."""
        first, second = self._base.entry, self._entry
        return all(e is not None and e.geometry.has_positions for e in (first, second))

    @property
    def index(self) -> int | None:
        """The second series, as an index into the entries."""
        return self._index

    @property
    def link_text(self) -> str:
        """How the two are scrolled together."""
        if not self.can_link:
            return "Cannot be linked: positions are not known"
        if not self._linked:
            return "Not linked"
        offset = float(self._offset[2])
        if self._same_frame and abs(offset) < 0.05:
            return "Linked by position"
        if self._same_frame:
            return f"Linked by position, {offset:+.1f} mm apart"
        return f"Linked from the head end or by hand, {offset:+.1f} mm apart"

    @property
    def state(self) -> ViewState | None:
        """What the second view shows: the session's state, but for the series."""
        entry = self._entry
        if entry is None or self._index is None:
            return None
        entries = list(self._base.entries)
        entries[self._index] = entry
        return replace(
            self._base,
            entries=tuple(entries),
            selected=self._index,
            load=self._load,
            volume=self._volume,
            preview=None,
            slice_index=self._slice,
            opening=self.progress,
        )

    @property
    def _entry(self) -> StackEntry | None:
        if self._volume is not None:
            return self._volume.entry
        return None if self._index is None else self._base.entries[self._index]

    # -- commands -----------------------------------------------------------------------------

    def set_active(self, active: bool) -> None:
        """Shows a second series, or gives its memory back."""
        if active == self._active:
            return
        self._active = active
        self._drop()
        if active:
            self._follow(self._session.state)
        self.changed.emit()

    def show(self, index: int) -> None:
        """Loads a series of what is open as the second one."""
        if not self._active or not 0 <= index < len(self._base.entries):
            return
        self._drop()
        self._index = index
        entry = self._base.entries[index]
        self._slice = (len(entry.slices) - 1) // 2
        try:
            load = self._load = open_volume(entry)
        except DecodeError as error:
            self._fail(error)
            return
        first = self._base.entry

        def work(context: JobContext) -> tuple[CTVolume, bool]:
            same = first is not None and share_frame(first, entry)
            return load.run(context), same

        self._session.jobs.submit(
            COMPANION,
            work,
            on_done=self._loaded,
            on_failed=self._fail,
            on_cancelled=lambda: self._end("Loading was cancelled: choose a series."),
        )
        self._link_anew()
        self.changed.emit()

    def step(self, steps: int) -> None:
        """Moves by slices of the second series, and the first one along with it if linked."""
        entry, first = self._entry, self._base.entry
        if entry is None:
            return
        self._slice = max(0, min(self._slice + steps, len(entry.slices) - 1))
        if self._linked and self.can_link and first is not None:
            self._at = triple(np.array(middle_of_slice(entry, self._slice)) - self._offset)
            before = self._base.slice_index
            self._session.set_slice(nearest_slice(first.geometry, self._at))
            if self._base.slice_index != before:
                return
        self.changed.emit()

    def set_linked(self, linked: bool) -> None:
        """Lets go, or takes the slices that are shown now as those that belong together."""
        first, second = self._base.entry, self._entry
        if linked == self._linked or first is None or second is None:
            return
        self._linked = linked
        if linked and self.can_link:
            here = middle_of_slice(first, self._base.slice_index)
            self._at = here
            self._offset = np.array(middle_of_slice(second, self._slice)) - here
        self.changed.emit()

    def cancel(self) -> None:
        """Stops loading."""
        self._session.jobs.cancel(COMPANION)

    # -- inside -------------------------------------------------------------------------------

    def _follow(self, state: ViewState) -> None:
        old, self._base = self._base, state
        if not self._active:
            return
        if old.root is not state.root or self._index is None or self._index == state.selected:
            was = old.selected if old.root is state.root and self._index is not None else None
            self._choose(state, was)
            return
        if old.selected != state.selected:
            self._link_anew()
        self._align()
        self.changed.emit()

    def _choose(self, state: ViewState, was: int | None) -> None:
        """Another series than the first: the one that was the first until now, or the next."""
        count = len(state.entries)
        if state.selected is None or count < 2:
            self._drop()
            if state.entries:
                self.problem = "Only one series is open. Open a folder with several to compare."
            self.changed.emit()
            return
        other = (state.selected + 1) % count
        self.show(other if was is None or was == state.selected else was)

    def _drop(self) -> None:
        self._session.jobs.discard(COMPANION)
        self._index = self._load = self._volume = None
        self.progress, self.problem = None, ""

    def _link_anew(self) -> None:
        """Positions as they are where both are of one frame, else the head ends together."""
        first, second = self._base.entry, self._entry
        self._offset, self._at = np.zeros(3), None
        if first is None or second is None or not self.can_link:
            return
        if not self._same_frame:
            top = np.array(middle_of_slice(second, len(second.slices) - 1))
            self._offset = top - middle_of_slice(first, len(first.slices) - 1)
        self._align()

    def _align(self) -> None:
        """Moves the second series to the place of the first one's slice.

        A place between two slices of the first series stays, as long as that slice is shown.
        """
        first, second = self._base.entry, self._entry
        if not self._linked or first is None or second is None or not self.can_link:
            return
        index = self._base.slice_index
        if self._at is None or nearest_slice(first.geometry, self._at) != index:
            self._at = middle_of_slice(first, index)
        self._slice = nearest_slice(second.geometry, triple(self._offset + self._at))

    def _loaded(self, loaded: tuple[CTVolume, bool]) -> None:
        self._volume, self._same_frame = loaded
        self._load = self.progress = None
        self._slice = min(self._slice, len(self._volume.entry.slices) - 1)
        self._link_anew()
        self.changed.emit()

    def _fail(self, error: SadmilError) -> None:
        self._end(str(error))

    def _end(self, problem: str) -> None:
        self._load = self.progress = None
        self.problem = problem
        self.changed.emit()

    def _on_progress(self, lane: str, progress: JobProgress) -> None:
        if lane == COMPANION:
            self.progress = progress
            self.changed.emit()


def share_frame(first: StackEntry, second: StackEntry) -> bool:
    """Whether positions of two series can be compared (FrameOfReferenceUID, PS3.3 C.7.4.1).

    Where neither file names its frame, series of one study are taken to share it.
    """
    frames = [_frame_uid(entry) for entry in (first, second)]
    if not any(frames):
        return first.study_instance_uid == second.study_instance_uid
    return frames[0] == frames[1]


def _frame_uid(entry: StackEntry) -> str:
    if entry.slices[0].is_volume:
        return ""
    header = pydicom.dcmread(
        entry.slices[0].path,
        stop_before_pixels=True,
        force=True,
        specific_tags=["FrameOfReferenceUID"],
    )
    return str(header.get("FrameOfReferenceUID", "") or "")
