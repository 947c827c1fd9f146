"""The rows of the series list: a heading for each study, and its series below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QImage, QPixmap

from viewer.model.badges import Badge, badge_of

if TYPE_CHECKING:
    from sadmil_core.dicom import Identity, StackEntry
    from viewer.model.state import ViewState

ROW = Qt.ItemDataRole.UserRole
"""The role under which a row's :class:`SeriesRow` or :class:`StudyRow` is asked for."""
AnyIndex = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A heading: what the study below it is called."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRow:
    """A series as the list shows it.

    Attributes:
        index: Into the entries of the state.
        name: What the series is called.
        facts: What it is made of.
        badge: The sign of what is to be said of it.
        thumbnail: A small picture, or None while there is none.
    """

    index: int
    name: str
    facts: str
    badge: Badge
    thumbnail: QPixmap | None


class SeriesRows(QAbstractListModel):
    """The model of the series list; filled from a state, row by row where only little differs."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[StudyRow | SeriesRow] = []
        self._state: ViewState | None = None

    def rowCount(self, parent: AnyIndex | None = None) -> int:
        """Headings and series."""
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """The row itself, its text, and what a screen reader says of it."""
        row = self._rows[index.row()]
        if role == ROW:
            return row
        if isinstance(row, StudyRow):
            return row.name if role == Qt.ItemDataRole.DisplayRole else None
        if role == Qt.ItemDataRole.DisplayRole:
            return f"{row.name}\n{row.facts}"
        if role == Qt.ItemDataRole.ToolTipRole:
            return "\n".join([row.name, row.facts, *row.badge.sentences])
        if role == Qt.ItemDataRole.AccessibleTextRole:
            said = f", {row.badge.kind}: {row.badge.sentences[0]}" if row.badge.sentences else ""
            return f"{row.name}, {row.facts}{said}"
        return None

    def flags(self, index: AnyIndex) -> Qt.ItemFlag:
        """Headings cannot be chosen."""
        if isinstance(self._rows[index.row()], StudyRow):
            return Qt.ItemFlag.ItemIsEnabled
        return Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable

    def row_of(self, entry_index: int) -> int:
        """The row of an entry of the state; -1 where it has none."""
        for row, content in enumerate(self._rows):
            if isinstance(content, SeriesRow) and content.index == entry_index:
                return row
        return -1

    def show(self, state: ViewState) -> None:
        """Takes over a state."""
        old, self._state = self._state, state
        rows = _rows_of(state, old, self._rows)
        if old is not None and old.root is state.root and len(rows) == len(self._rows):
            for number, (before, now) in enumerate(zip(self._rows, rows, strict=True)):
                if before is not now and before != now:
                    self._rows[number] = now
                    place = self.index(number)
                    self.dataChanged.emit(place, place)
            return
        self.beginResetModel()
        self._rows = rows
        self.endResetModel()


def _rows_of(
    state: ViewState, old: ViewState | None, before: list[StudyRow | SeriesRow]
) -> list[StudyRow | SeriesRow]:
    known = {row.index: row for row in before if isinstance(row, SeriesRow)}
    several = len({entry.study_instance_uid for entry in state.entries}) > 1
    rows: list[StudyRow | SeriesRow] = []
    study, studies = None, 0
    for index, entry in enumerate(state.entries):
        if several and entry.study_instance_uid != study:
            study = entry.study_instance_uid
            studies += 1
            hidden = state.options.hides_identifiers
            name = f"Study {studies}" if hidden else _study_name(state.identities[index], entry)
            rows.append(StudyRow(name))
        row = known.get(index)
        if old is None or row is None or _differs(old, state, index):
            row = _series_row(state, index)
        rows.append(row)
    return rows


def _differs(old: ViewState, state: ViewState, index: int) -> bool:
    if old.root is not state.root or index >= len(old.entries):
        return True
    return (
        old.options.hides_identifiers != state.options.hides_identifiers
        or old.entries[index] is not state.entries[index]
        or old.verdicts[index] is not state.verdicts[index]
        or old.thumbnails.get(index) is not state.thumbnails.get(index)
    )


def _series_row(state: ViewState, index: int) -> SeriesRow:
    entry = state.entries[index]
    gray = state.thumbnails.get(index)
    thumbnail = None
    if gray is not None:
        rows, columns = gray.shape
        packed = np.ascontiguousarray(gray)
        image = QImage(packed.data, columns, rows, columns, QImage.Format.Format_Grayscale8)
        thumbnail = QPixmap.fromImage(image.copy())
    return SeriesRow(
        index=index,
        name=series_name(entry, state.identities[index], hides=state.options.hides_identifiers),
        facts=_facts(entry),
        badge=badge_of(entry, state.verdicts[index]),
        thumbnail=thumbnail,
    )


def series_name(entry: StackEntry, identity: Identity, *, hides: bool = False) -> str:
    """What a series is called; where its files give no name, the folder's tells series apart.

    Args:
        entry: The stack.
        identity: Its texts.
        hides: Identifiers are hidden: free text and folders can hold them, so neither is told.
    """
    name = identity.series_description or entry.slices[0].path.parent.name
    name = name if name and not hides else "CT series"
    if identity.series_number:
        name = f"{identity.series_number}  {name}"
    if entry.stack_index:
        name += f", stack {entry.stack_index + 1}"
    return name


def _study_name(identity: Identity, entry: StackEntry) -> str:
    told = "  ".join(filter(None, (identity.date_text, identity.study_description)))
    return told or f"Study {entry.study_instance_uid[-16:]}"


def _facts(entry: StackEntry) -> str:
    count, rows, columns = entry.shape
    facts = f"{count} slice{'s' if count != 1 else ''}"
    if entry.geometry.has_positions and count > 1:
        facts += f", {entry.geometry.spacing_mm:.1f} mm apart"
    if (rows, columns) != (512, 512):
        facts += f", {rows} x {columns}"
    return facts
