"""``--snapshot``: the real window, its work done, as a picture."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QObject, QTimer
from PySide6.QtWidgets import QApplication

from sadmil_core.atomic import replacing
from sadmil_core.errors import SadmilError, UnscorableError
from sadmil_core.report import write_csv
from viewer.model.jobs import unexpected

if TYPE_CHECKING:
    from pathlib import Path

    from viewer.widgets.main_window import MainWindow


class Snapshot(QObject):
    """Waits until the window's work is done, saves what was asked for, and ends the program.

    Attributes:
        status: The exit status: 0, or 1 where anything failed.
    """

    def __init__(self, window: MainWindow, picture: Path, report: Path | None) -> None:
        super().__init__(window)
        self.status = 0
        self._asked = False
        self._window, self._picture, self._report = window, picture, report
        window.keeps_geometry = False
        session = window.session
        session.failed.disconnect(window.show_error)
        session.failed.connect(self._fail)
        session.jobs.idled.connect(lambda _lane: QTimer.singleShot(0, self._look))

    def _look(self) -> None:
        """Goes on once nothing is running; asks for the model where it did not start itself."""
        session = self._window.session
        if session.jobs.is_any_busy():
            return
        state = session.state
        if state.volume is not None and state.record is None and not self._asked:
            self._asked = True
            session.run_model(asked=True)
            if session.jobs.is_any_busy():
                return
        if state.volume is not None and state.result is None and self.status == 0:
            self._fail(UnscorableError(state.notice or "No model is installed."))
        self.finish()

    def _fail(self, error: SadmilError) -> None:
        print(f"sadmil-viewer: {error}", file=sys.stderr)
        self.status = 1

    def finish(self) -> None:
        """Saves and quits."""
        try:
            self._show_peak()
            QApplication.processEvents()
            self._save()
        except SadmilError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - the program must end whatever happens here
            self._fail(unexpected(error))
        finally:
            self._window.close()
            QApplication.exit(self.status)

    def _show_peak(self) -> None:
        result = self._window.session.state.result
        if result is not None and result.scan_positive:
            self._window.session.set_slice(result.peak)

    def _save(self) -> None:
        data = QByteArray()
        buffer = QBuffer(data)
        buffer.open(QIODevice.OpenModeFlag.WriteOnly)
        self._window.grab().save(buffer, "PNG")
        with replacing(self._picture) as stream:
            stream.write(bytes(data.data()))
        print(f"picture: {self._picture}")
        session = self._window.session
        records = session.records
        if self._report is not None and records:
            write_csv(records, self._report, readouts=session.readouts)
            total = len(session.state.entries)
            print(f"slice report of {len(records)} of {total} series: {self._report}")
