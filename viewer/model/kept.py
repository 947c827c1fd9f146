"""Results of earlier runs: found again at once, kept without anybody waiting for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sadmil_core.errors import WriteError
from sadmil_core.resultcache import ReadSettings, ResultCache
from viewer.model.state import record_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from sadmil_core.devices import DeviceChoice, Precision
    from sadmil_core.dicom import StackEntry
    from sadmil_core.errors import SadmilError
    from sadmil_core.report import ScanRecord
    from sadmil_core.result import ModelIdentity
    from viewer.model.jobs import JobRunner
    from viewer.model.state import ViewState

KEEPING = "keeping results"
"""The lane on which results are written."""
_log = logging.getLogger(__name__)


class KeptResults:
    """The cache of results, for one device and precision.

    Args:
        jobs: What writes, off the GUI thread.
        device: Where models are asked to run.
        precision: At which precision.
    """

    def __init__(self, jobs: JobRunner, device: DeviceChoice, precision: Precision) -> None:
        self.cache = ResultCache()
        self.settings = ReadSettings(device=device, precision=precision)
        self._jobs = jobs

    def recall(self, state: ViewState, entry: StackEntry | None) -> dict[str, Any]:
        """What the chosen model has said of a stack in an earlier run, as changes of the state.

        It takes about a millisecond; there is nothing to be changed where this run knows better.
        """
        if entry is None or state.model is None:
            return {}
        identity = state.model.header.identity
        key = record_key(entry, identity.sha256)
        found = None if key in state.records else self.cache.get(entry, identity, self.settings)
        if found is None:
            return {}
        notice = found.failure.message if found.failure else ""
        return {"records": {**state.records, key: found}, "notice": notice}

    def keep(self, record: ScanRecord) -> None:
        """Writes a record, on a worker thread; one that cannot be written is done without."""
        self._jobs.submit(
            KEEPING,
            lambda _context: self.cache.put(record, self.settings),
            on_done=lambda _kept: None,
            on_failed=_note,
        )

    def read_through(
        self,
        entry: StackEntry,
        model: ModelIdentity,
        read_stack: Callable[[StackEntry], ScanRecord],
    ) -> ScanRecord:
        """What is known of a stack, or else what reading it says, which is kept.

        Called on worker threads.
        """
        known = self.cache.get(entry, model, self.settings)
        if known is not None:
            return known
        record = read_stack(entry)
        try:
            self.cache.put(record, self.settings)
        except WriteError as error:
            _note(error)
        return record

    def clear(self) -> None:
        """Forgets all results."""
        self.cache.clear()


def _note(error: SadmilError) -> None:
    # Not its message, which names a folder of the user.
    _log.warning("a result could not be kept: %s", type(error.__cause__ or error).__name__)
