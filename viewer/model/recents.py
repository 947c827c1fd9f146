"""Notes which studies are opened, and what was said of them; opens them again."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, Signal

from viewer.model.recent_store import LastResult, RecentStore, RecentStudy

if TYPE_CHECKING:
    from sadmil_core.dicom import StackEntry
    from sadmil_core.report import ScanRecord
    from viewer.model.session import Session
    from viewer.model.state import ViewState

LOOKING = "looking for folders"
"""The lane on which it is checked what is still there."""
_MANY = 16


class Recents(QObject):
    """The recent studies of the user.

    Args:
        session: Whose studies they are.
        parent: The owner.
        store: Where they are kept; the user's own database if None.
    """

    changed = Signal()
    """The studies, or which of them are missing."""

    def __init__(
        self, session: Session, parent: QObject | None = None, store: RecentStore | None = None
    ) -> None:
        super().__init__(parent)
        self._session, self._store = session, store or RecentStore()
        self.studies = self._store.studies()
        self.missing: frozenset[tuple[Path, ...]] = frozenset()
        """The paths of studies that are not there now."""
        self._noted: tuple[object, ...] = ()
        session.labels.released.connect(self.changed)
        # Queued: the state is drawn first.
        session.changed.connect(self._follow, Qt.ConnectionType.QueuedConnection)

    def open(self, study: RecentStudy) -> None:
        """Opens a study again."""
        self._session.open_paths(study.paths, study.scan_id)

    def withholds(self, study: RecentStudy) -> bool:
        """Whether the study's result is hidden until the reader has marked it."""
        return self._session.labels.withholds_study(study.scan_id)

    def clear(self) -> None:
        """Forgets all studies."""
        self._store.clear()
        self.studies, self.missing = (), frozenset()
        self.changed.emit()

    def refresh(self) -> None:
        """Reads the list again, for other windows may have added to it, and looks what is there.

        A folder on a network that is gone may take a minute to say so: on a worker thread.
        """
        self.studies = studies = self._store.studies()
        self.changed.emit()
        self._session.jobs.submit(
            LOOKING,
            lambda _context: frozenset(
                study.paths for study in studies if not all(map(os.path.exists, study.paths))
            ),
            on_done=self._take_missing,
            on_failed=lambda _error: None,
        )

    def _take_missing(self, missing: frozenset[tuple[Path, ...]]) -> None:
        self.missing = missing
        self.changed.emit()

    def _follow(self) -> None:
        """Notes the study that is shown, and again once more is known of it."""
        state = self._session.state
        entry = state.entry
        if state.volume is None or entry is None or state.selected is None:
            return
        known = entry, state.known_record, state.thumbnails.get(state.selected)
        if len(self._noted) == len(known) and all(map(_is, known, self._noted)):
            return
        self._noted = known
        self._store.note(_note_of(state, entry))
        self.studies = self._store.studies()
        self.changed.emit()


def _is(one: object, other: object) -> bool:
    return one is other


def _note_of(state: ViewState, entry: StackEntry) -> RecentStudy:
    assert state.selected is not None
    study = [e for e in state.entries if e.study_instance_uid == entry.study_instance_uid]
    paths, identity = _paths_of(study), state.identities[state.selected]
    told = "  ".join(filter(None, (identity.date_text, identity.study_description)))
    return RecentStudy(
        paths=paths,
        scan_id=entry.study_instance_uid,
        name=told or paths[0].name,
        series=len(study),
        slices=len(entry.slices),
        opened_at=datetime.now(UTC),
        thumbnail=state.thumbnails.get(state.selected),
        result=_result_of(state.known_record) if state.known_record is not None else None,
    )


def _paths_of(entries: list[StackEntry]) -> tuple[Path, ...]:
    """What to open to have a study again: its folders, or the archives and volumes it lies in."""
    found = set()
    for entry in entries:
        archives = {archive.source for archive in entry.archives}
        is_file = entry.slices[0].is_volume
        for path in entry.sources:
            whole = is_file or path in archives
            found.add(Path(os.path.abspath(path if whole else path.parent)))
    if len(found) > _MANY:
        return (Path(os.path.commonpath(found)),)
    return tuple(sorted(found))


def _result_of(record: ScanRecord) -> LastResult:
    result = record.result
    return LastResult(
        model=record.model.model_id,
        probability=result.scan_probability if result is not None else None,
        is_positive=result is not None and result.scan_positive,
        failure=record.failure.message if record.failure is not None else "",
    )
