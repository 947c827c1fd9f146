"""How long the window does not answer: the longest pause of its event loop, by phase."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Qt, QTimer
from PySide6.QtWidgets import QApplication

from sadmil_core.bench.series import series_folder
from sadmil_core.modelstore import DEFAULT_MODEL
from viewer.bench import Figure
from viewer.bench.windows import application, close, new_window, own_folders, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from viewer.widgets.main_window import MainWindow

_EVERY_MS = 2
_STALL_MS, _IMPORT_MS = 50.0, 250.0
_STARTING = "starting the model"


class Heartbeat(QObject):
    """A timer of the event loop; remembers the longest time it was late, by phase.

    Args:
        phase: What is under way now.
    """

    def __init__(self, phase: Callable[[], str]) -> None:
        super().__init__()
        self._phase = phase
        self.longest_ms: dict[str, float] = {}
        self._last = time.perf_counter()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._timer.start(_EVERY_MS)

    def _beat(self) -> None:
        now, phase = time.perf_counter(), self._phase()
        late = max(0.0, 1000 * (now - self._last) - _EVERY_MS)
        self._last = now
        self.longest_ms[phase] = max(late, self.longest_ms.get(phase, 0.0))

    def restart(self) -> None:
        """Counts from now on."""
        self.longest_ms.clear()
        self._last = time.perf_counter()


def measure(slices: int, pixels: int) -> dict[str, Any]:
    """Loading a large study; the import of torch, predicting and explaining on the demo study.

    Args:
        slices: Of the large study.
        pixels: Its rows and columns.
    """
    application()
    found = []
    with own_folders():
        window = new_window(DEFAULT_MODEL)
        session = window.session
        session.reads_unasked = False
        beat = Heartbeat(lambda: _phase(window))
        with series_folder(slices, pixels) as folder:
            beat.restart()
            session.open_path(folder)
            _wait_idle(window)
            found.append(_figure(f"load {slices} x {pixels} x {pixels}", _worst(beat), _STALL_MS))
        session.open_demo()
        _wait_idle(window)
        beat.restart()
        session.run_model(asked=True)
        _wait_idle(window)
        starting = beat.longest_ms.pop(_STARTING, 0.0)
        found.append(_figure("import of torch, once", starting, _IMPORT_MS))
        found.append(_figure("predict, the first time", _worst(beat), _STALL_MS))
        questions: tuple[tuple[str, Callable[[], None]], ...] = (
            ("predict again", partial(session.run_model, asked=True)),
            ("explain by Grad-CAM", partial(session.inquirer.explain, "grad-cam")),
            ("explain by occlusion", partial(session.inquirer.explain, "occlusion")),
        )
        for name, ask in questions:
            beat.restart()
            ask()
            _wait_idle(window)
            found.append(_figure(name, _worst(beat), _STALL_MS))
        close(window)
    return {"stalls": [figure.document() for figure in found]}


def _phase(window: MainWindow) -> str:
    scoring = window.session.state.scoring
    return _STARTING if scoring is not None and scoring.phase == _STARTING else ""


def _wait_idle(window: MainWindow) -> None:
    wait_until(lambda: not window.session.jobs.is_any_busy())
    QApplication.processEvents()


def _worst(beat: Heartbeat) -> float:
    return max(beat.longest_ms.values(), default=0.0)


def _figure(name: str, value: float, limit: float) -> Figure:
    return Figure(name=f"longest stall of the window: {name}", value=value, unit="ms", limit=limit)
