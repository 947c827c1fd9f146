"""Results of earlier runs: found again at once, kept without anybody waiting for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sadmil_core.resultcache import ReadSettings, ResultCache
from viewer.model.state import record_key

if TYPE_CHECKING:
    from sadmil_core.errors import SadmilError
    from sadmil_core.report import ScanRecord
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

    def __init__(self, jobs: JobRunner, device: str, precision: str) -> None:
        self.cache = ResultCache()
        self.settings = ReadSettings(device=device, precision=precision)
        self._jobs = jobs

    def recall(self, state: ViewState) -> ScanRecord | None:
        """What the chosen model has said of the selected stack in an earlier run.

        None where this run knows better. It takes about a millisecond.
        """
        entry, model = state.entry, state.model
        if entry is None or model is None:
            return None
        identity = model.header.identity
        if record_key(entry, identity.sha256) in state.records:
            return None
        return self.cache.get(entry, identity, self.settings)

    def keep(self, record: ScanRecord) -> None:
        """Writes a record, on a worker thread; one that cannot be written is done without."""
        self._jobs.submit(
            KEEPING,
            lambda _context: self.cache.put(record, self.settings),
            on_done=lambda _kept: None,
            on_failed=_note,
        )

    def clear(self) -> None:
        """Forgets all results."""
        self.cache.clear()


def _note(error: SadmilError) -> None:
    # Not its message, which names a folder of the user.
    _log.warning("a result could not be kept: %s", type(error.__cause__ or error).__name__)
