"""SIGTERM and Ctrl+C as a wish to stop between two steps, with everything saved."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_KINDS = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class StopWish:
    """Whether somebody asked to stop, and by which signal.

    Attributes:
        signal: Its number; 0 before.
    """

    signal: int = 0

    def __call__(self) -> bool:
        return self.signal != 0

    @property
    def exit_status(self) -> int:
        """What a shell expects of a program ended by it."""
        return 128 + self.signal


@contextmanager
def listening() -> Iterator[StopWish]:
    """Notes SIGTERM (batch systems, torchrun) and Ctrl+C while the block runs.

    A second signal of the kind does what it would have done. Outside the main thread, where
    Python takes no signals, nothing is noted.
    """
    wish = StopWish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before = {kind: signal.getsignal(kind) for kind in _KINDS}

    def note(number: int, _frame: FrameType | None) -> None:
        wish.signal = number
        signal.signal(number, before[signal.Signals(number)])

    for kind in _KINDS:
        signal.signal(kind, note)
    try:
        yield wish
    finally:
        for kind in _KINDS:
            signal.signal(kind, before[kind])
