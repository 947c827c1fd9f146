"""The list of series, and what the reader must know of the chosen one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QTextOption
from PySide6.QtWidgets import (
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from sadmil_core.dicom import Identity, StackEntry
    from viewer.model.state import ViewState


class SeriesList(QWidget):
    """Series of the opened folder; a warning sign on those that need a look."""

    picked = Signal(int)
    """Index of the series to open."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state: ViewState | None = None
        self._heading = QLabel("Series")
        self._heading.setProperty("role", "heading")
        self._list = QListWidget()
        self._list.setAccessibleName("Series")
        self._list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._list.currentRowChanged.connect(self._on_row)
        # The current row again: loads a series whose loading was stopped.
        self._list.itemClicked.connect(lambda item: self._on_row(self._list.row(item)))
        self._list.itemActivated.connect(lambda item: self._on_row(self._list.row(item)))
        self._notes_heading = QLabel("Notes on this series")
        self._notes_heading.setProperty("role", "heading")
        self._notes = QPlainTextEdit()
        self._notes.setReadOnly(True)
        self._notes.setAccessibleName("Notes on this series")
        self._notes.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self._notes.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._notes.setProperty("role", "notes")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._heading)
        layout.addWidget(self._list, 3)
        layout.addWidget(self._notes_heading)
        layout.addWidget(self._notes, 2)
        self.setMinimumWidth(190)

    def render_state(self, state: ViewState) -> None:
        """Draws what differs from the last state."""
        old, self._state = self._state, state
        if old is None or old.entries is not state.entries:
            self._fill(state)
        if state.selected is not None and state.selected != self._list.currentRow():
            self._list.blockSignals(True)
            self._list.setCurrentRow(state.selected)
            self._list.blockSignals(False)
        if old is None or old.record is not state.record or old.entry is not state.entry:
            self._write_notes(state)

    def _write_notes(self, state: ViewState) -> None:
        warnings = state.record.warnings if state.record else ()
        if not warnings and state.entry is not None:
            warnings = state.entry.warnings
        lines = [f"• {warning.message}" for warning in warnings]
        lost = [file for file in state.skipped if file.reason.is_failure]
        if lost:
            lines.append(
                f"• {len(lost)} file(s) of the folder could not be used, for example "
                f"{lost[0].path.name}: {lost[0].message}"
            )
        self._notes.setPlainText("\n".join(lines) or ("• none" if state.entry else ""))
        for part in (self._notes_heading, self._notes):
            part.setVisible(state.entry is not None)

    def _fill(self, state: ViewState) -> None:
        self._list.blockSignals(True)
        self._list.clear()
        for entry, identity in zip(state.entries, state.identities, strict=True):
            text = _describe(entry, identity)
            item = QListWidgetItem(text)
            item.setToolTip("\n".join([text, *(w.message for w in entry.warnings)]))
            self._list.addItem(item)
        if state.selected is not None:
            self._list.setCurrentRow(state.selected)
        self._list.blockSignals(False)
        count = len(state.entries)
        self._heading.setText(f"Series ({count})" if count else "Series")

    def _on_row(self, row: int) -> None:
        if row >= 0:
            self.picked.emit(row)


def _describe(entry: StackEntry, identity: Identity) -> str:
    """Two lines: what the series is called, and what it is made of."""
    # Where the files give no name, the folder's is what tells series apart.
    name = identity.series_description or entry.slices[0].path.parent.name or "CT series"
    if identity.series_number:
        name = f"{identity.series_number}  {name}"
    if entry.stack_index:
        name += f", stack {entry.stack_index + 1}"
    count = len(entry.slices)
    facts = f"{count} slice{'s' if count != 1 else ''}"
    if entry.geometry.has_positions and count > 1:
        facts += f", {entry.geometry.spacing_mm:.1f} mm apart"
    sign = "  ⚠" if any(warning.code.is_caution for warning in entry.warnings) else ""
    return f"{name}{sign}\n{facts}"
