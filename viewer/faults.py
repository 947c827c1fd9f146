"""Faults that nothing else has caught, on any thread: into the log, and before the user once."""

from __future__ import annotations

import sys
import threading
import traceback
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from viewer.model.jobs import UnexpectedError
from viewer.privacy import scrub

if TYPE_CHECKING:
    from types import TracebackType


class FaultCatcher(QObject):
    """Stands in the interpreter's hooks, which would print a fault and forget it.

    Qt goes on after a fault in a slot; so does the program, and says what happened. One and the
    same fault is told once: a slice that cannot be painted would fail with every frame.
    """

    caught = Signal(object)
    """The exception; slots of objects on the GUI thread are called there."""
    interrupted = Signal()
    """Ctrl+C in the terminal."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._told: set[str] = set()
        self._old = sys.excepthook, threading.excepthook, sys.unraisablehook

    def install(self) -> None:
        """Takes the place of the hooks."""
        self._old = sys.excepthook, threading.excepthook, sys.unraisablehook
        sys.excepthook = self._handle
        threading.excepthook = self._handle_thread
        sys.unraisablehook = self._handle_unraisable

    def remove(self) -> None:
        """Puts back what was there before."""
        sys.excepthook, threading.excepthook, sys.unraisablehook = self._old

    def _handle(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            self.interrupted.emit()
            return
        where = "".join(traceback.format_tb(trace))
        fault = f"{kind.__name__}\n{where}"
        if fault not in self._told:
            self._told.add(fault)
            self.caught.emit(error.with_traceback(trace))

    def _handle_thread(self, fault: threading.ExceptHookArgs) -> None:
        if fault.exc_value is not None and not issubclass(fault.exc_type, SystemExit):
            self._handle(fault.exc_type, fault.exc_value, fault.exc_traceback)

    def _handle_unraisable(self, fault: sys.UnraisableHookArgs) -> None:
        if fault.exc_value is not None:
            self._handle(fault.exc_type, fault.exc_value, fault.exc_traceback)


def crash_error(crash: str) -> UnexpectedError:
    """What to tell the user of a breakdown of the interpreter in an earlier run.

    Args:
        crash: The stack that was written then.
    """
    return UnexpectedError(
        "The program broke down the last time it ran.",
        remedy="Please report it with the details. Nothing that was exported is damaged.",
        detail=scrub(crash),
    )
