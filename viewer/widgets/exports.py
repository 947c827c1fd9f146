"""Opens the export dialog and carries out what it is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QStandardPaths

from sadmil_core.result import slice_number
from viewer.model.exporting import Export, ExportKind
from viewer.widgets.export_dialog import ExportDialog
from viewer.widgets.view_picture import picture_of

if TYPE_CHECKING:
    from PySide6.QtGui import QImage

    from viewer.widgets.main_window import MainWindow


class Exports(QObject):
    """What can be exported from a window.

    Args:
        window: The window.
    """

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window, self._session = window, window.session
        # Where the last one went; kept in memory only, for folders can be named for a patient.
        self._folder: Path | None = None

    def ask(self) -> None:
        """Lets the user choose what to export, and where to."""
        state, exporter = self._session.state, self._session.exporter
        total, read = len(state.entries), len(self._session.records)
        count = f"{read} of {total} series read" if total > 1 else "the series"
        notes = {
            ExportKind.PDF: "Key images or the strongest slices, curve, runs of marked slices, "
            "warnings and the model, of the series that is open.",
            ExportKind.CSV: f"A row for each slice of {count}.",
            ExportKind.JSON: f"The same and more of {count}, as sadmil predict writes it.",
            ExportKind.PNG: "What is seen now, with measurements, and with the notice below.",
        }
        names = {
            ExportKind.PDF: "report.pdf",
            ExportKind.CSV: "slice_report.csv",
            ExportKind.JSON: "slice_report.json",
            ExportKind.PNG: f"slice_{slice_number(state.slice_index):03d}.png",
        }
        dialog = ExportDialog(exporter, notes, names, self._usual_folder(), self._window)
        dialog.wanted.connect(self._carry_out)
        dialog.open()

    def _usual_folder(self) -> Path:
        if self._folder is not None and self._folder.is_dir():
            return self._folder
        place = QStandardPaths.StandardLocation.DocumentsLocation
        documents = Path(QStandardPaths.writableLocation(place))
        return documents if documents.is_dir() else Path.home()

    def _carry_out(self, export: Export, scale: int) -> None:
        self._folder = export.path.parent
        if export.kind is ExportKind.PNG:
            picture = self.picture(scale, names_patient=export.names_patient)
            export = replace(export, picture=picture)
        self._session.exporter.start(export)

    def picture(self, scale: int, *, names_patient: bool) -> QImage:
        """What is seen now.

        Args:
            scale: 1 or 2.
            names_patient: The texts on screen stay as they are; else identifiers are hidden
                for the moment, which nobody sees, for nothing is painted meanwhile.
        """
        options, result = self._session.state.options, self._session.state.result
        if not names_patient:
            self._session.set_options(hides_identifiers=True)
        try:
            model = f"{result.model.model_id}, {result.model.sha256[:12]}" if result else ""
            panes = self._window.layouts.panes
            return picture_of(panes[0].parentWidget() or panes[0], panes, scale, model)
        finally:
            self._session.set_options(hides_identifiers=options.hides_identifiers)
