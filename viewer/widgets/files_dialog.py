"""The files that are no part of any series, by reason."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QLabel, QTreeView, QVBoxLayout

from viewer.privacy import scrub

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PySide6.QtWidgets import QWidget

    from sadmil_core.dicom import SkippedFile, SkipReason


class FilesDialog(QDialog):
    """Lists files by the reason why they were passed over; does not block the window behind it.

    Args:
        skipped: The files.
        root: What is open: paths are shown below it, and it is kept out of what is copied.
        parent: The window.
        hides: Names of files and folders are hidden: they can hold a patient's.
    """

    def __init__(
        self,
        skipped: Sequence[SkippedFile],
        root: Path | None,
        parent: QWidget | None = None,
        *,
        hides: bool = False,
    ) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Files passed over")
        self.resize(760, 480)
        self._root, self._hides = root, hides
        self._by_reason = _grouped(skipped)
        lost = sum(file.reason.is_failure for file in skipped)
        summary = QLabel(
            f"{lost} of {len(skipped)} files may have held CT data; the others are of another kind."
        )
        self.tree = QTreeView()
        self.tree.setAccessibleName("Files passed over, by reason")
        self.tree.setUniformRowHeights(True)
        self.tree.setEditTriggers(QTreeView.EditTrigger.NoEditTriggers)
        self.tree.setModel(self._model())
        self.tree.header().resizeSection(0, 380)
        for row, reason in enumerate(self._by_reason):
            if reason.is_failure:
                self.tree.setExpanded(self.tree.model().index(row, 0), True)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        copy = buttons.addButton("Copy", QDialogButtonBox.ButtonRole.ActionRole)
        copy.setToolTip("Copy reasons and counts, without names")
        copy.clicked.connect(self.copy)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 14, 16, 12)
        layout.setSpacing(10)
        for part in (summary, self.tree, buttons):
            layout.addWidget(part)

    def _model(self) -> QStandardItemModel:
        model = QStandardItemModel(self)
        model.setHorizontalHeaderLabels(["File", "Why"])
        for reason, files in self._by_reason.items():
            group = QStandardItem(f"{reason} ({len(files)})")
            kind = "may have held CT data" if reason.is_failure else "no loss"
            for file in files:
                group.appendRow(
                    [QStandardItem(self._shown(file.path)), QStandardItem(self._told(file))]
                )
            model.appendRow([group, QStandardItem(kind)])
        return model

    def _told(self, file: SkippedFile) -> str:
        return scrub(file.message, self._root) if self._hides else file.message

    def _shown(self, path: Path) -> str:
        if self._hides:
            return "name hidden"
        if self._root is not None and path != self._root and path.is_relative_to(self._root):
            return str(path.relative_to(self._root))
        return path.name

    def copy(self) -> None:
        """Puts reasons, counts and messages on the clipboard, with names taken out."""
        lines = []
        for reason, files in self._by_reason.items():
            lines.append(f"{reason}: {len(files)}")
            lines += sorted({f"  {file.message}" for file in files})
        QGuiApplication.clipboard().setText(scrub("\n".join(lines), self._root))


def _grouped(skipped: Sequence[SkippedFile]) -> dict[SkipReason, list[SkippedFile]]:
    """By reason: what may be lost first, then the most common."""
    groups: dict[SkipReason, list[SkippedFile]] = defaultdict(list)
    for file in skipped:
        groups[file.reason].append(file)
    order = sorted(groups, key=lambda reason: (not reason.is_failure, -len(groups[reason])))
    return {reason: groups[reason] for reason in order}
