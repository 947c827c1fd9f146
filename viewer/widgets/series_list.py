"""The list of series: thumbnails, facts, and a sign on those that need a look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, Qt, Signal
from PySide6.QtWidgets import QLabel, QListView, QVBoxLayout, QWidget

from viewer.widgets.series_delegate import SeriesDelegate
from viewer.widgets.series_rows import ROW, SeriesRow, SeriesRows

if TYPE_CHECKING:
    from viewer.model.state import ViewState


class SeriesList(QWidget):
    """Series of what is open, by study; the sign of each says the worst there is to be said."""

    picked = Signal(int)
    """Index of the series to open."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._heading = QLabel("Series")
        self._heading.setProperty("role", "heading")
        self._rows = SeriesRows()
        self._view = QListView()
        self._view.setAccessibleName("Series")
        self._view.setModel(self._rows)
        self._view.setItemDelegate(SeriesDelegate(self._view))
        self._view.setMouseTracking(True)
        self._view.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self._view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._view.selectionModel().currentChanged.connect(self._on_current)
        # The current row again: loads a series whose loading was stopped.
        self._view.clicked.connect(self._on_current)
        self._view.activated.connect(self._on_current)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._heading)
        layout.addWidget(self._view)
        self.setMinimumWidth(200)
        self._state: ViewState | None = None

    def render_state(self, state: ViewState) -> None:
        """Draws what differs from the last state."""
        old, self._state = self._state, state
        same = (
            old is not None
            and old.options.hides_identifiers == state.options.hides_identifiers
            and all(
                getattr(old, name) is getattr(state, name)
                for name in ("root", "entries", "verdicts", "thumbnails", "skipped")
            )
        )
        if not same:
            self._quietly(lambda: self._rows.show(state))
            self._heading.setText(_heading(state))
        if state.selected is not None:
            row = self._rows.row_of(state.selected)
            if row != self._view.currentIndex().row():
                self._quietly(lambda: self._view.setCurrentIndex(self._rows.index(row)))
                # With its study's name, where that stands right above it.
                self._view.scrollTo(self._rows.index(max(row - 1, 0)))
                self._view.scrollTo(self._rows.index(row))

    def _quietly(self, change: object) -> None:
        """Changes rows or the current one without taking that for a wish of the user."""
        selection = self._view.selectionModel()
        selection.currentChanged.disconnect(self._on_current)
        change()  # type: ignore[operator]
        selection.currentChanged.connect(self._on_current)

    def _on_current(self, index: QModelIndex, _previous: QModelIndex | None = None) -> None:
        row = index.data(ROW) if index.isValid() else None
        if isinstance(row, SeriesRow):
            self.picked.emit(row.index)


def _heading(state: ViewState) -> str:
    count = len(state.entries)
    if not count:
        return "Series"
    lost = sum(file.reason.is_failure for file in state.skipped)
    text = f"{count} series"
    return f"{text}, {lost} file{'s' if lost != 1 else ''} could not be used" if lost else text
