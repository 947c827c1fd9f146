"""Cine: the stack as a film, at a speed the reader sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, QTimer

if TYPE_CHECKING:
    from viewer.model.session import Session
    from viewer.model.state import ViewState

SPEEDS_HZ = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0)
DEFAULT_HZ = 10.0


class Cine(QObject):
    """Steps towards the head and starts again at the feet.

    It stops with the series: what plays is always what the reader started.

    Args:
        session: Whose stack it plays; the owner.
        speed_hz: Slices a second.
    """

    def __init__(self, session: Session, speed_hz: float = DEFAULT_HZ) -> None:
        super().__init__(session)
        self._session = session
        self._speed_hz = min(SPEEDS_HZ, key=lambda hz: abs(hz - speed_hz))
        self._root, self._selected = session.state.root, session.state.selected
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._advance)
        session.changed.connect(self._watch)

    @property
    def is_running(self) -> bool:
        """Whether it plays."""
        return self._timer.isActive()

    @property
    def speed_hz(self) -> float:
        """Slices a second."""
        return self._speed_hz

    def toggle(self) -> None:
        """Starts or stops."""
        if self.is_running:
            self.stop()
        elif self._session.state.slice_count > 1:
            self._timer.start(round(1000 / self._speed_hz))
            self._session.set_options(cine_hz=self._speed_hz)

    def stop(self) -> None:
        """Stops on the slice that is shown."""
        if self.is_running:
            self._timer.stop()
            self._session.set_options(cine_hz=0.0)

    def change_speed(self, steps: int) -> None:
        """Takes the next faster (+1) or slower (-1) speed; also while it plays."""
        at = SPEEDS_HZ.index(self._speed_hz) + steps
        self._speed_hz = SPEEDS_HZ[min(max(at, 0), len(SPEEDS_HZ) - 1)]
        if self.is_running:
            self._timer.setInterval(round(1000 / self._speed_hz))
            self._session.set_options(cine_hz=self._speed_hz)

    def _advance(self) -> None:
        state = self._session.state
        at_end = state.slice_index >= state.slice_count - 1
        self._session.set_slice(0 if at_end else state.slice_index + 1)

    def _watch(self, state: ViewState) -> None:
        if (state.root, state.selected) != (self._root, self._selected):
            self._root, self._selected = state.root, state.selected
            self.stop()
