"""What leaves the viewer: page, tables and pictures, written on a worker thread."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QObject
from PySide6.QtGui import QImageWriter

from sadmil_core.atomic import replacing
from sadmil_core.dicom import WarningCode
from sadmil_core.errors import UnscorableError, WriteError
from sadmil_core.fitness import fitness_of_volume
from sadmil_core.report import write_csv, write_json
from sadmil_core.report.page import make_page
from sadmil_core.report.pdf import write_pdf
from sadmil_core.report.pseudonyms import Pseudonyms
from sadmil_core.report.record import all_skipped, unscored
from viewer.model.annotations import SliceKey
from viewer.model.lanes import EXPORTING
from viewer.model.state import MODEL_PRESET

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from PySide6.QtGui import QImage

    from sadmil_core.report import ScanRecord
    from viewer.model.session import Session


class ExportKind(StrEnum):
    """What can be exported; the value is the file's suffix."""

    PDF = ".pdf"
    CSV = ".csv"
    JSON = ".json"
    PNG = ".png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What is to be written where.

    Attributes:
        kind: What.
        path: The file; an older one is replaced.
        names_patient: Identifiers stay in; else hashes stand in their place.
        picture: What is to be written as PNG; it shows what it shows.
    """

    kind: ExportKind
    path: Path
    names_patient: bool = False
    picture: QImage | None = None


class Exporter(QObject):
    """Writes what a session knows.

    Args:
        session: The session, its owner.
        tell: Shows a message.
    """

    def __init__(self, session: Session, tell: Callable[[str], None]) -> None:
        super().__init__(session)
        self._session, self._tell = session, tell
        # One key while the program runs: what is exported in one sitting belongs together.
        self._pseudonyms = Pseudonyms()

    def can(self, kind: ExportKind) -> bool:
        """Whether there is such a thing now; what is seen is always there."""
        state = self._session.state
        if kind is ExportKind.PDF:
            return state.volume is not None and state.model is not None and not state.withholds
        if kind is ExportKind.PNG:
            return state.entry is not None
        return bool(self._session.records)

    def objection(self, path: Path) -> WriteError | None:
        """Why a file must not be written: it is one of the scan's own, or a model."""
        state = self._session.state
        inputs = [source for entry in state.entries for source in entry.sources]
        inputs += [file.path for file in state.skipped]
        inputs += [item.path for item in state.models]
        inputs += [state.model.path] if state.model else []
        if path.resolve() not in {each.resolve() for each in inputs}:
            return None
        return WriteError(
            f"{path} is one of the scan's own files, or a model.", remedy="Choose another name."
        )

    def start(self, export: Export) -> None:
        """Writes a file on a worker thread; the session's ``failed`` tells of what went wrong."""
        error = self.objection(export.path)
        if error is not None:
            self._session.failed.emit(error)
            return
        work, done = self._prepare(export)
        self._session.jobs.submit(
            EXPORTING,
            lambda _context: work(),
            on_done=lambda _none: self._tell(done),
            on_failed=self._session.failed.emit,
        )

    def _prepare(self, export: Export) -> tuple[Callable[[], None], str]:
        """The work, on what is known now, and what to say when it is done."""
        if export.kind is ExportKind.PNG:
            assert export.picture is not None
            picture = export.picture
            return (lambda: _write_png(picture, export.path)), "Picture written"
        if export.kind is ExportKind.PDF:
            return self._page_work(export), "Report of this series written"
        records, total = self._session.records, len(self._session.state.entries)
        count = f"{len(records)} of {total} series" if total > 1 else "1 series"
        return self._table_work(export), f"Slice report of {count} written"

    def _table_work(self, export: Export) -> Callable[[], None]:
        session, hashes = self._session, self._pseudonyms
        records, readouts = list(session.records), list(session.readouts)
        skipped = all_skipped(session.state.skipped, records)

        def work() -> None:
            shown, choices, files = records, readouts, skipped
            if not export.names_patient:
                shown = [hashes.hide_record(record) for record in records]
                choices = [hashes.hide_readout(readout) for readout in readouts]
                files = [hashes.hide_skipped(file) for file in skipped]
            if export.kind is ExportKind.CSV:
                write_csv(shown, export.path, readouts=choices)
            else:
                write_json(shown, export.path, skipped=files, readouts=choices)

        return work

    def _page_work(self, export: Export) -> Callable[[], None]:
        state, annotations = self._session.state, self._session.annotations
        volume, model = state.volume, state.model
        assert volume is not None
        assert model is not None
        slices = volume.entry.slices
        marked = [i for i, h in enumerate(slices) if annotations.is_key_image(SliceKey.of(h))]
        known, identity, window = state.record, state.identity, state.window
        preset = state.preset if state.preset not in (None, MODEL_PRESET) else ""
        made_at = datetime.now(UTC)

        def record() -> ScanRecord:
            if known is not None:
                return known
            error = UnscorableError("The model was not asked.")
            fitness = fitness_of_volume(volume)
            code = WarningCode.NOT_SCORED
            return unscored(volume.entry, model.header.identity, fitness, code, error)

        def work() -> None:
            page = make_page(
                record(),
                volume,
                model.header,
                made_at=made_at,
                pseudonyms=None if export.names_patient else self._pseudonyms,
                identity=identity,
                marked=marked,
                window=window,
                preset=preset or "",
            )
            write_pdf([page], export.path)

        return work


def _write_png(picture: QImage, path: Path) -> None:
    data = QByteArray()
    buffer = QBuffer(data)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    QImageWriter(buffer, QByteArray(b"PNG")).write(picture)
    with replacing(path) as stream:
        stream.write(bytes(data.data()))
