"""The crosshair: one point of the patient that the slice and all reformats go through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from viewer.model.places import middle_of_slice, nearest_slice, on_slice

if TYPE_CHECKING:
    from sadmil_core.dicom.header import Triple
    from viewer.model.session import Session
    from viewer.model.state import ViewState


class Cursor(QObject):
    """Moves with the slice, and the slice with it; the session's slice stays the master."""

    moved = Signal()

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._state: ViewState | None = None
        self.mm: Triple | None = None
        """The point, LPS; None where the files do not say where their slices lie."""
        session.changed.connect(self._follow)
        self._follow(session.state)

    def place(self, patient_mm: Triple) -> None:
        """Moves the crosshair, and shows the slice that is nearest to it."""
        entry = self._session.state.entry
        if entry is None or self.mm is None or patient_mm == self.mm:
            return
        self.mm = patient_mm
        before = self._session.state.slice_index
        self._session.set_slice(nearest_slice(entry.geometry, patient_mm))
        if self._session.state.slice_index == before:
            self.moved.emit()

    def _follow(self, state: ViewState) -> None:
        """Takes over a state: a new series' middle, or the slice the reader went to.

        Between two slices the crosshair stays where it was put, as long as its slice is shown.
        """
        old, self._state = self._state, state
        entry = state.entry
        if entry is None or not entry.geometry.has_positions:
            self.mm = None
            return
        if (
            self.mm is None
            or old is None
            or old.selected != state.selected
            or old.root != state.root
        ):
            self.mm = middle_of_slice(entry, state.slice_index)
        elif old.slice_index == state.slice_index and old.entry is entry:
            return
        elif nearest_slice(entry.geometry, self.mm) != state.slice_index:
            self.mm = on_slice(entry.geometry, state.slice_index, self.mm)
        self.moved.emit()
