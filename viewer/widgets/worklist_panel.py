"""The worklist as a table: what has been read by probability, what could not be read last."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QColor, QFont, QKeyEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QProgressBar,
    QPushButton,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from viewer import theme
from viewer.model.attention_text import probability, time_text
from viewer.model.worklist import WorkItem, WorkStatus
from viewer.privacy import scrub

if TYPE_CHECKING:
    from viewer.model.jobs import JobProgress
    from viewer.model.worklist import Worklist

AnyIndex = QModelIndex | QPersistentModelIndex
COLUMNS = ("Probability", "Result", "Study", "Slices", "Marked slices", "Remark")
_WIDTHS = (92, 96, 260, 60, 140)
_WORDS = {
    WorkStatus.READING: "being read",
    WorkStatus.QUEUED: "queued",
    WorkStatus.UNSCORED: "not scored",
    WorkStatus.FAILED: "failed",
}
_HIDDEN = "read first: shown once you have marked it"
_EMPTY = (
    "Queue a folder: its studies are read one after another in the background, and the most "
    "suspicious stand first."
)


def _alignment(column: str) -> Qt.AlignmentFlag:
    """Numbers stand below each other by their last digit."""
    side = Qt.AlignmentFlag.AlignLeft
    if column in ("Probability", "Slices"):
        side = Qt.AlignmentFlag.AlignRight
    return side | Qt.AlignmentFlag.AlignVCenter


class WorkRows(QAbstractTableModel):
    """The items of the worklist as rows.

    Attributes:
        hides: Identifiers are hidden: studies have numbers instead of names.
    """

    def __init__(self, worklist: Worklist) -> None:
        super().__init__()
        self._worklist = worklist
        self.items: tuple[WorkItem, ...] = ()
        self.hides = False

    def rowCount(self, parent: AnyIndex | None = None) -> int:
        """Studies."""
        return 0 if parent is not None and parent.isValid() else len(self.items)

    def columnCount(self, parent: AnyIndex | None = None) -> int:
        """See :data:`COLUMNS`."""
        return 0 if parent is not None and parent.isValid() else len(COLUMNS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """The names of the columns, and the places in the list."""
        across = orientation == Qt.Orientation.Horizontal
        if role == Qt.ItemDataRole.DisplayRole:
            return COLUMNS[section] if across else section + 1
        if role == Qt.ItemDataRole.TextAlignmentRole and across:
            return _alignment(COLUMNS[section])
        return None

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Texts, and what is told apart by more than its text."""
        item, column = self.items[index.row()], COLUMNS[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return self._texts(item)[index.column()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._texts(item)[index.column()] or None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(column)
        if role == Qt.ItemDataRole.ForegroundRole:
            if item.status is not WorkStatus.SCORED:
                return QColor(theme.MUTED)
            if self._is_positive(item) and column in ("Probability", "Result"):
                return QColor(theme.SIGNAL)
        if role == Qt.ItemDataRole.FontRole:
            font = QFont(theme.tabular(QFont()))
            font.setBold(item.scan_id == self._worklist.current or self._is_positive(item))
            return font
        return None

    def _is_positive(self, item: WorkItem) -> bool:
        return item.is_positive and not self._worklist.withholds(item)

    def _texts(self, item: WorkItem) -> tuple[str, ...]:
        name = f"Study {item.number}" if self.hides or not item.name else item.name
        if item.scan_id == self._worklist.current:
            name = f"▸ {name}"
        scored = item.probability is not None
        if scored and self._worklist.withholds(item):
            return "", "hidden", name, str(item.slices), "", _HIDDEN
        word = "POSITIVE" if item.is_positive else "negative"
        remark = scrub(item.reason) if self.hides else item.reason
        if item.read_at is not None:
            remark = "; ".join(filter(None, (remark, f"read {time_text(item.read_at)}")))
        return (
            probability(item.probability) if item.probability is not None else "",
            word if scored else _WORDS[item.status],
            name,
            str(item.slices),
            item.marked,
            remark,
        )

    def show(self) -> None:
        """Takes over the items; what is selected stays selected, wherever it moves."""
        items = self._worklist.items
        if len(items) != len(self.items):
            self.beginResetModel()
            self.items = items
            self.endResetModel()
            return
        self.layoutAboutToBeChanged.emit()
        places = {item.scan_id: row for row, item in enumerate(items)}
        before = self.persistentIndexList()
        moved = [
            self.index(places.get(self.items[each.row()].scan_id, -1), each.column())
            for each in before
        ]
        self.items = items
        self.changePersistentIndexList(before, moved)
        self.layoutChanged.emit()


class WorkTable(QTableView):
    """The table; Enter opens the study the keyboard is at, on every platform."""

    entered_row = Signal(int)
    """The row that is to be opened."""

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter opens."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if self.currentIndex().isValid():
                self.entered_row.emit(self.currentIndex().row())
            return
        super().keyPressEvent(event)


class WorklistPanel(QWidget):
    """The table, what is being done, and buttons to queue, stop and go on.

    Args:
        worklist: What is shown.
        parent: The owner.
    """

    queue_wanted = Signal()
    """The user wants to choose a folder."""

    def __init__(self, worklist: Worklist, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._worklist = worklist
        self._progress: JobProgress | None = None
        self.rows = WorkRows(worklist)
        self.table = WorkTable()
        self.words = QLabel(_EMPTY)
        self.status = QLabel()
        self.bar = QProgressBar()
        self.queue_button = QPushButton("Queue a folder…")
        self.stop_button = QPushButton("Stop")
        self.resume_button = QPushButton("Go on")
        self.next_button = QPushButton("Next study")
        self._set_up_table()
        self._lay_out()
        self.queue_button.clicked.connect(self.queue_wanted)
        self.stop_button.clicked.connect(worklist.cancel)
        self.resume_button.clicked.connect(worklist.resume)
        self.next_button.clicked.connect(partial(worklist.step, 1))
        worklist.changed.connect(self.refresh)
        worklist.progressed.connect(self._show_progress)
        self.refresh()

    def _set_up_table(self) -> None:
        table = self.table
        table.setModel(self.rows)
        table.setAccessibleName("Worklist, by probability")
        table.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QTableView.SelectionMode.SingleSelection)
        table.setWordWrap(False)
        table.setShowGrid(False)
        table.setTabKeyNavigation(False)
        table.verticalHeader().setDefaultSectionSize(26)
        table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header = table.horizontalHeader()
        header.setHighlightSections(False)
        header.setStretchLastSection(True)
        for column, width in enumerate(_WIDTHS):
            table.setColumnWidth(column, width)
        table.doubleClicked.connect(lambda index: self._open_row(index.row()))
        table.entered_row.connect(self._open_row)

    def _lay_out(self) -> None:
        self.status.setProperty("role", "muted")
        self.words.setProperty("role", "muted")
        self.words.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.words.setWordWrap(True)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.bar.setMaximumWidth(180)
        self.bar.setAccessibleName("Progress of the worklist")
        line = QHBoxLayout()
        line.setContentsMargins(8, 4, 8, 4)
        line.setSpacing(8)
        for button in (self.queue_button, self.stop_button, self.resume_button, self.next_button):
            line.addWidget(button)
        line.addWidget(self.status, 1)
        line.addWidget(self.bar)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(line)
        column.addWidget(self.table, 1)
        column.addWidget(self.words, 1)

    def set_hidden(self, hides: bool) -> None:
        """Shows numbers instead of names, or names again."""
        if hides != self.rows.hides:
            self.rows.hides = hides
            self.refresh()

    def refresh(self) -> None:
        """Draws the list anew."""
        worklist = self._worklist
        self.rows.show()
        self.table.setVisible(bool(worklist.items))
        self.words.setVisible(not worklist.items)
        self._show_progress(self._progress if worklist.is_running else None)

    def _show_progress(self, progress: JobProgress | None) -> None:
        worklist, self._progress = self._worklist, progress
        running = worklist.is_running
        self.stop_button.setVisible(running)
        self.resume_button.setVisible(worklist.can_resume)
        self.next_button.setEnabled(bool(worklist.items))
        self.bar.setVisible(running)
        if progress is not None:
            self.bar.setRange(0, progress.total)
            self.bar.setValue(progress.done)
        self.status.setText(self._status_text(progress if running else None))

    def _status_text(self, progress: JobProgress | None) -> str:
        worklist = self._worklist
        parts = []
        if worklist.model is not None and (worklist.items or worklist.is_running):
            parts.append(f"model {worklist.model.header.name}")
        if progress is not None:
            done = f", {progress.done} of {progress.total}" if progress.total else ""
            parts.append(f"{progress.phase}{done}")
            if progress.left_s is not None:
                parts.append(f"{_duration_text(progress.left_s)} left")
        message = worklist.message
        parts.append(scrub(message) if self.rows.hides else message)
        return "; ".join(filter(None, parts))

    def _open_row(self, row: int) -> None:
        self._worklist.open(self.rows.items[row].scan_id)


def _duration_text(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
