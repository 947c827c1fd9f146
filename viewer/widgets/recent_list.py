"""Recent studies: as a list to choose from, and in a dialog of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QModelIndex, Qt, Signal
from PySide6.QtGui import QImage, QPixmap, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QLabel, QListView, QVBoxLayout, QWidget

from viewer.model.attention_text import probability, time_text
from viewer.model.badges import Badge, BadgeKind
from viewer.widgets.series_delegate import SeriesDelegate
from viewer.widgets.series_rows import ROW, SeriesRow

if TYPE_CHECKING:
    from viewer.model.recent_store import RecentStudy
    from viewer.model.recents import Recents

_HIDDEN = "Recent studies are hidden while identifiers are hidden."
_NONE = "No studies yet. Those that are opened stand here."
_MISSING = "not there now"


class RecentList(QWidget):
    """The recent studies with pictures, dates, counts and last results; the last one first.

    Args:
        recents: The studies.
        parent: The owner.
    """

    opened = Signal(object)
    """The RecentStudy that is to be opened."""

    def __init__(self, recents: Recents, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._recents, self._hides = recents, False
        heading = QLabel("Recent studies")
        heading.setProperty("role", "heading")
        self.words = QLabel()
        self.words.setProperty("role", "muted")
        self.words.setWordWrap(True)
        self.words.setMargin(10)
        self.view = QListView()
        self.view.setAccessibleName("Recent studies")
        self.view.setEditTriggers(QListView.EditTrigger.NoEditTriggers)
        self.view.setMouseTracking(True)
        self.view.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._model = QStandardItemModel(self)
        self.view.setModel(self._model)
        self.view.setItemDelegate(SeriesDelegate(self.view))
        self.view.activated.connect(self._on_activated)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(heading)
        layout.addWidget(self.words)
        layout.addWidget(self.view, 1)
        recents.changed.connect(self.refresh)
        self.refresh()

    @property
    def chosen(self) -> RecentStudy | None:
        """The study the keyboard is at."""
        row = self.view.currentIndex().row()
        return self._recents.studies[row] if 0 <= row < self._model.rowCount() else None

    def set_hidden(self, hides: bool) -> None:
        """Shows nothing of the studies, or all again."""
        if hides != self._hides:
            self._hides = hides
            self.refresh()

    def refresh(self) -> None:
        """Draws the list anew; the same study stays chosen."""
        studies = () if self._hides else self._recents.studies
        at = self.view.currentIndex().row()
        before = self._model.item(at).data(_UID) if at >= 0 else None
        self._model.clear()
        for index, study in enumerate(studies):
            missing = study.paths in self._recents.missing
            shown = study
            if study.result is not None and self._recents.withholds(study):
                shown = replace(study, result=None)
            self._model.appendRow(_item(index, shown, missing=missing))
            if study.scan_id == before:
                self.view.setCurrentIndex(self._model.index(index, 0))
        self.words.setText(_HIDDEN if self._hides else _NONE)
        self.words.setVisible(not studies)
        self.view.setVisible(bool(studies))

    def _on_activated(self, index: QModelIndex) -> None:
        self.opened.emit(self._recents.studies[index.row()])


class RecentDialog(QDialog):
    """The recent studies in a dialog that does not block the window behind it.

    Args:
        recents: The studies.
        parent: The window.
        hides: Identifiers are hidden.
    """

    def __init__(
        self, recents: Recents, parent: QWidget | None = None, *, hides: bool = False
    ) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Recent studies")
        self.resize(560, 520)
        self._recents = recents
        self.list = RecentList(recents)
        self.list.set_hidden(hides)
        self.list.opened.connect(self._open)
        note = QLabel(
            "Folders, descriptions and pictures are kept for you alone, in your data folder."
        )
        note.setProperty("role", "muted")
        note.setWordWrap(True)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        self.open_button = buttons.addButton("Open", QDialogButtonBox.ButtonRole.AcceptRole)
        self.clear_button = buttons.addButton("Clear list", QDialogButtonBox.ButtonRole.ResetRole)
        self.open_button.clicked.connect(self._open_chosen)
        self.clear_button.clicked.connect(recents.clear)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 14, 16, 12)
        layout.setSpacing(10)
        layout.addWidget(self.list, 1)
        layout.addWidget(note)
        layout.addWidget(buttons)
        self.list.view.selectionModel().currentChanged.connect(self._enable)
        recents.changed.connect(self._enable)
        if not hides and recents.studies:
            self.list.view.setCurrentIndex(self.list.view.model().index(0, 0))
            self.list.view.setFocus()
        self._enable()

    def _enable(self) -> None:
        self.open_button.setEnabled(self.list.chosen is not None)
        self.clear_button.setEnabled(bool(self._recents.studies))

    def _open_chosen(self) -> None:
        if self.list.chosen is not None:
            self._open(self.list.chosen)

    def _open(self, study: RecentStudy) -> None:
        self._recents.open(study)
        self.accept()


_UID = ROW + 1


def _item(index: int, study: RecentStudy, *, missing: bool) -> QStandardItem:
    folder = ", ".join(map(str, study.paths))
    found = _result_text(study)
    count = f"{study.slices} slices" + (f", {study.series} series" if study.series > 1 else "")
    # Of what is not there the date alone: the rest is in the tip, and there is little room.
    facts = [_MISSING] if missing else [found, count]
    facts.append(time_text(study.opened_at))
    told = f"The folder is {_MISSING}" if missing else ""
    badge = Badge(BadgeKind.CAUTION, 1, (told,)) if missing else Badge(BadgeKind.NONE, 0, ())
    row = SeriesRow(
        index=index,
        name=study.name,
        facts=", ".join(filter(None, facts)),
        badge=badge,
        thumbnail=_pixmap(study),
    )
    item = QStandardItem(f"{row.name}\n{row.facts}")
    item.setData(row, ROW)
    item.setData(study.scan_id, _UID)
    model = f"by {study.result.model}" if study.result else ""
    why = study.result.failure if study.result else ""
    lines = (row.name, told, f"{found} {model}".strip(), why, count, folder)
    item.setToolTip("\n".join(filter(None, (*lines, f"last open {time_text(study.opened_at)}"))))
    item.setAccessibleText(", ".join(filter(None, (row.name, told, row.facts))))
    return item


def _result_text(study: RecentStudy) -> str:
    result = study.result
    if result is None:
        return ""
    if result.probability is None:
        return "not scored"
    return f"{'POSITIVE' if result.is_positive else 'negative'} {probability(result.probability)}"


def _pixmap(study: RecentStudy) -> QPixmap | None:
    if study.thumbnail is None:
        return None
    picture = np.ascontiguousarray(study.thumbnail)
    rows, columns = picture.shape
    gray = QImage.Format.Format_Grayscale8
    return QPixmap.fromImage(QImage(picture.tobytes(), columns, rows, columns, gray))
