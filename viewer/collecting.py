"""Python's garbage is collected on the thread of the window, and there alone.

Collected wherever memory happens to run over, a dialog that was closed may be taken apart by a
worker's thread: Qt then waits for Python's lock while it holds its own, the window's thread waits
the other way round, and both stand still for good.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from collections.abc import Callable

_EVERY_MS = 50
_FEW_OBJECTS = 700  # what Python itself takes as not worth looking at
_YOUNG_TO_FULL = 20
_YOUNG_TO_FORCE = 600  # half a minute or more; a worklist may keep the workers busy for hours


class WindowThreadCollector(QObject):
    """Collects at intervals what Python would have collected on any thread.

    Args:
        is_busy: Whether work is going on; all of memory is looked through when none is,
            or when that has not been so for long.
        parent: Owner.
    """

    def __init__(self, is_busy: Callable[[], bool], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._is_busy = is_busy
        self._young = 0
        self._was_enabled = False
        self._with_torch = False
        self._timer = QTimer(self, interval=_EVERY_MS)
        self._timer.timeout.connect(self.collect)

    def start(self) -> None:
        """Takes over from Python."""
        self._was_enabled = gc.isenabled()
        gc.disable()
        # Modules and the window stay as long as the program: looking at them each time takes long.
        gc.freeze()
        self._timer.start()

    def stop(self) -> None:
        """Gives back to Python."""
        self._timer.stop()
        gc.unfreeze()
        if self._was_enabled:
            gc.enable()

    def collect(self) -> None:
        """Collects what is due; to be called on the window's thread."""
        if gc.get_count()[0] < _FEW_OBJECTS:
            return
        gc.collect(1)
        self._young += 1
        if self._young < (_YOUNG_TO_FORCE if self._is_busy() else _YOUNG_TO_FULL):
            return
        self._young = 0
        gc.collect()
        if not self._with_torch and "torch" in sys.modules:
            self._with_torch = True
            gc.freeze()
