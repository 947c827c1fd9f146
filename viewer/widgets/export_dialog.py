"""One dialog for everything that leaves the program: what, with or without identifiers, where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
)

from viewer.model.exporting import Export, ExportKind
from viewer.widgets.file_dialogs import ask_save

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PySide6.QtWidgets import QWidget

    from viewer.model.exporting import Exporter

_TITLES = {
    ExportKind.PDF: "&Report, one page (PDF)",
    ExportKind.CSV: "Slice &table (CSV)",
    ExportKind.JSON: "&Everything in numbers (JSON)",
    ExportKind.PNG: "&Picture of the view (PNG)",
}
_FILTERS = {kind: f"{kind.name} (*{kind})" for kind in ExportKind}
_INDENT = 26


class ExportDialog(QDialog):
    """Asks what to export; says at once what speaks against it.

    Args:
        exporter: Knows what there is, and which files must not be replaced.
        notes: What each kind holds, in a sentence.
        names: A file name for each kind, with its suffix; it holds no identifier.
        folder: Where the files go, unless the user says otherwise.
        parent: The window.
    """

    wanted = Signal(object, int)
    """An Export without its picture, and the scale of the picture."""

    def __init__(
        self,
        exporter: Exporter,
        notes: Mapping[ExportKind, str],
        names: Mapping[ExportKind, str],
        folder: Path,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Export")
        self._exporter, self._names, self._folder = exporter, names, folder
        self._own_name = True  # until the user has chosen one
        self.kinds: dict[ExportKind, QRadioButton] = {}
        self._group = QButtonGroup(self)
        self.scale = QComboBox()
        self.scale.addItems(["As large as on screen (1x)", "Twice as large (2x)"])
        self.scale.setAccessibleName("Size of the picture")
        self.identifiers = QCheckBox("&Include identifiers")
        self._told = QLabel()
        self.path = QLineEdit()
        self.path.setAccessibleName("File")
        self.path.setMinimumWidth(360)
        self.browse = QPushButton("&Browse…")
        self.browse.setAutoDefault(False)
        self._problem = QLabel()
        self._problem.setAccessibleName("What speaks against it")
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.export = self.buttons.addButton("Export", QDialogButtonBox.ButtonRole.AcceptRole)
        self.export.setDefault(True)
        self._lay_out(notes)
        self._group.idToggled.connect(self._choose)
        self.identifiers.toggled.connect(self._look)
        self.path.textEdited.connect(self._take_path)
        self.browse.clicked.connect(self._browse)
        self.buttons.accepted.connect(self._finish)
        self.buttons.rejected.connect(self.reject)
        first = next((kind for kind in ExportKind if exporter.can(kind)), ExportKind.PNG)
        self.kinds[first].setChecked(True)
        self.kinds[first].setFocus()

    def _lay_out(self, notes: Mapping[ExportKind, str]) -> None:
        what = QGridLayout()
        what.setVerticalSpacing(2)
        for row, kind in enumerate(ExportKind):
            button = self.kinds[kind] = QRadioButton(_TITLES[kind])
            button.setEnabled(self._exporter.can(kind))
            button.setAccessibleDescription(notes[kind])
            self._group.addButton(button)
            note = QLabel(notes[kind])
            note.setProperty("role", "muted")
            note.setContentsMargins(_INDENT, 0, 0, 8)
            note.setWordWrap(True)
            note.setEnabled(button.isEnabled())
            what.addWidget(button, 2 * row, 0)
            what.addWidget(note, 2 * row + 1, 0, 1, 2)
            if kind is ExportKind.PNG:
                what.addWidget(self.scale, 2 * row, 1)
        # Room for the longest texts, so that the dialog does not jump.
        for label, lines in ((self._told, 2), (self._problem, 1)):
            label.setWordWrap(True)
            label.setMinimumHeight(lines * self.fontMetrics().lineSpacing() + 2)
            label.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._told.setProperty("role", "muted")
        self._told.setContentsMargins(_INDENT, 0, 0, 0)
        self._problem.setProperty("role", "notice")
        where = QHBoxLayout()
        label = QLabel("&File")
        label.setBuddy(self.path)
        for widget in (label, self.path, self.browse):
            where.addWidget(widget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 18, 20, 14)
        layout.setSpacing(8)
        layout.addLayout(what)
        layout.addWidget(self.identifiers)
        layout.addWidget(self._told)
        layout.addLayout(where)
        layout.addWidget(self._problem)
        layout.addWidget(self.buttons)

    @property
    def kind(self) -> ExportKind:
        """What is chosen."""
        return next(kind for kind, button in self.kinds.items() if button.isChecked())

    @property
    def file(self) -> Path | None:
        """Where it goes; None while there is no name."""
        text = self.path.text().strip()
        return Path(text).expanduser() if text else None

    # -- choosing -----------------------------------------------------------------------------

    def _choose(self, _id: int, is_on: bool) -> None:
        """Another kind: its own name, or the user's with another suffix."""
        if not is_on:
            return
        file = self.file
        if self._own_name or file is None:
            file = _free(self._folder / self._names[self.kind])
        else:
            known = file.suffix.lower() in set(ExportKind)
            file = file.with_suffix(self.kind) if known else file
        self.path.setText(str(file))
        self._look()

    def _take_path(self) -> None:
        self._own_name = False
        self._look()

    def _browse(self) -> None:
        file = ask_save(
            self, "Export", self.path.text() or self._names[self.kind], _FILTERS[self.kind]
        )
        if file is not None:
            self.path.setText(str(file))
            self._take_path()

    # -- showing ------------------------------------------------------------------------------

    def _look(self) -> None:
        """Says what the export will hold, and what speaks against it."""
        is_picture, named = self.kind is ExportKind.PNG, self.identifiers.isChecked()
        self.scale.setEnabled(is_picture)
        self._told.setText(_told(self.kind, named))
        problem, may = self._judge()
        self._problem.setText(problem)
        self.export.setEnabled(may)
        self.export.setText("Replace" if may and problem else "Export")

    def _judge(self) -> tuple[str, bool]:
        """What is to be said of the file, and whether it may be written."""
        file = self.file
        if file is None:
            return "Choose a file.", False
        try:
            if file.is_dir():
                return "This is a folder: add a name.", False
            if not file.parent.is_dir():
                return "There is no such folder.", False
            exists = file.exists()
            objection = self._exporter.objection(file)
        except (OSError, ValueError):
            return "The system does not take this name.", False
        if objection is not None:
            return "This is one of the scan's own files, or a model: choose another name.", False
        return ("A file of this name is there already.", True) if exists else ("", True)

    def _finish(self) -> None:
        file = self.file
        if file is None or not self._judge()[1]:
            return
        export = Export(kind=self.kind, path=file, names_patient=self.identifiers.isChecked())
        scale = self.scale.currentIndex() + 1
        self.accept()
        self.wanted.emit(export, scale)


def _told(kind: ExportKind, named: bool) -> str:
    if kind is ExportKind.PNG:
        with_them = "The picture shows the texts that are on screen now."
        without = "The picture is taken with identifiers hidden."
    elif kind is ExportKind.PDF:
        with_them = "The page names patient and study, and shows UIDs."
        without = "Names are left out; hashes stand in the place of UIDs."
    else:
        with_them = "The file holds UIDs and file names; it names no patient."
        without = "Hashes stand in the place of UIDs and file names."
    return with_them if named else f"{without} Texts burnt into the pixels stay."


def _free(path: Path) -> Path:
    """The path, or the next like it that is not taken."""
    number = 2
    found = path
    while found.exists():
        found = path.with_stem(f"{path.stem}-{number}")
        number += 1
    return found
