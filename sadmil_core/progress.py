"""Progress reports and cancellation, the same for the command line and the window."""

from __future__ import annotations

import threading
from typing import Protocol


class Cancelled(Exception):  # noqa: N818 - not an error: the user asked for it
    """Raised out of a progress call once the user has asked to stop."""


class Progress(Protocol):
    """What long work calls between its steps.

    A call may raise :class:`Cancelled`; the work lets it pass and leaves nothing half-done.
    """

    def __call__(self, done: int, total: int, phase: str) -> None:
        """Reports ``done`` of ``total`` steps of the named phase (a short verb phrase)."""


def no_progress(done: int, total: int, phase: str) -> None:
    """A :class:`Progress` that reports nowhere and is never cancelled."""


class CancelToken:
    """A flag one thread sets and the working thread meets at its next progress call."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Asks the work to stop at its next step."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()

    def raise_if_cancelled(self) -> None:
        """Raises :class:`Cancelled` once a stop was asked for."""
        if self._event.is_set():
            raise Cancelled
