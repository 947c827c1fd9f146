"""Windows to measure on, and how long to wait for them."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QEventLoop, QObject, QSettings, QTimer
from PySide6.QtWidgets import QApplication

from viewer.collecting import WindowThreadCollector
from viewer.model.session import Session
from viewer.qt_log import quiet_qt
from viewer.settings import Settings
from viewer.theme import apply_theme
from viewer.widgets.main_window import MainWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from PySide6.QtWidgets import QWidget

PATIENCE_S = 300.0
_GLANCE_MS = 20
_FLAGS = QEventLoop.ProcessEventsFlag
_WAITING = _FLAGS.AllEvents | _FLAGS.WaitForMoreEvents


class Paints(QObject):
    """Counts the paint events of one widget."""

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self.count = 0
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Counts, and lets everything pass."""
        if event.type() == QEvent.Type.Paint:
            self.count += 1
        return False


def application() -> QApplication:
    """The one application of this process, in the program's theme."""
    quiet_qt()
    app = QApplication(sys.argv[:1])
    apply_theme(app)
    return app


@contextmanager
def own_folders() -> Iterator[Path]:
    """Settings, data and cache of nobody, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sadmil-bench-") as folder:
        for variable, name in (("SADMIL_DATA_DIR", "data"), ("SADMIL_CACHE_DIR", "cache")):
            os.environ[variable] = str(Path(folder) / name)
        yield Path(folder)


def new_window(model: str = "") -> MainWindow:
    """A window on the screen, 1280 x 800, with a model if one is named."""
    window = MainWindow(Session(), Settings(QSettings(os.devnull, QSettings.Format.IniFormat)))
    window.keeps_geometry = False
    WindowThreadCollector(window.session.jobs.is_any_busy, window).start()
    window.resize(1280, 800)
    window.show()
    if model:
        window.session.choose_model(model)
    QApplication.processEvents()
    return window


def wait_until(is_so: Callable[[], bool]) -> None:
    """Handles events until something is so.

    Raises:
        RuntimeError: It took minutes.
    """
    start = time.perf_counter()
    # Waits as the program does, with the interpreter free for its workers meanwhile.
    waker = QTimer()
    waker.start(_GLANCE_MS)
    while not is_so():
        QApplication.processEvents(_WAITING)
        if time.perf_counter() - start > PATIENCE_S:
            raise RuntimeError("what was waited for never came")


def draw(paints: Paints) -> None:
    """Handles events until the watched widget has been painted again."""
    before = paints.count
    wait_until(lambda: paints.count != before)


def close(window: MainWindow) -> None:
    """Closes a window and sees its threads end."""
    window.close()
    window.session.jobs.wait_closed(10.0)
