"""``python -m viewer.bench``: what the window costs, as JSON on standard output.

Called by ``sadmil bench`` in a process of its own. Drawing is measured offscreen, against
pyqtgraph's ImageView showing the same volume at the same size.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ.setdefault("PYQTGRAPH_QT_LIB", "PySide6")

import pyqtgraph as pg
from PySide6.QtCore import QEvent, QObject, QSettings
from PySide6.QtWidgets import QApplication, QWidget

from sadmil_core.bench import compare
from sadmil_core.bench.series import series_folder
from viewer.model.session import Session
from viewer.qt_log import quiet_qt
from viewer.settings import Settings
from viewer.theme import apply_theme
from viewer.widgets.main_window import MainWindow

if TYPE_CHECKING:
    from pathlib import Path

    from sadmil_core.dicom import CTVolume

_PATIENCE_S = 60.0


class _Paints(QObject):
    """Counts the paint events of one widget."""

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self.count = 0
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Paint:
            self.count += 1
        return False


def _draw(app: QApplication, paints: _Paints) -> None:
    """Handles events until the watched widget has been painted again."""
    before, start = paints.count, time.perf_counter()
    while paints.count == before:
        app.processEvents()
        if time.perf_counter() - start > _PATIENCE_S:
            raise RuntimeError("the widget was never painted")


def _open(app: QApplication, window: MainWindow, folder: Path) -> tuple[CTVolume, float]:
    """Opens a folder; the volume, and when the first slice was painted as a share of the whole."""
    session = window.session
    start = time.perf_counter()
    first: float | None = None
    session.open_path(folder)
    while session.state.volume is None:
        app.processEvents()
        view = window.slice_view
        if first is None and view.has_image:
            view.repaint()
            first = time.perf_counter() - start
        if time.perf_counter() - start > _PATIENCE_S:
            raise RuntimeError("the volume was never loaded")
    whole = time.perf_counter() - start
    return session.state.volume, (first or whole) / whole


def _compare_slice_change(
    app: QApplication, window: MainWindow, volume: CTVolume
) -> list[dict[str, Any]]:
    """The whole window, with strip, curve and texts, against an ImageView and nothing else.

    ImageView is taken as it comes, with its histogram, and once more with that hidden; either
    shows the image at the size of our slice view, and without our smooth interpolation.
    """
    count = volume.hu.shape[0]
    ours = _Paints(window.slice_view)
    at = [0, 0]

    def change_ours() -> None:
        at[0] += 1
        window.session.set_slice(at[0] % count)
        _draw(app, ours)

    found = []
    for kind, limit in (("as it comes", 1.0), ("histogram hidden", None)):
        image_view = pg.ImageView()
        image_view.setImage(volume.hu, autoRange=True, autoLevels=False, levels=(0, 80))
        image_view.ui.histogram.setVisible(limit is not None)
        image_view.ui.graphicsView.setFixedSize(window.slice_view.size())
        image_view.show()
        app.processEvents()
        theirs = _Paints(image_view.ui.graphicsView.viewport())

        def change_theirs(view: Any = image_view, paints: _Paints = theirs) -> None:
            at[1] += 1
            view.setCurrentIndex(at[1] % count)
            _draw(app, paints)

        comparison = compare(
            f"one slice change of {count} x 512 x 512, drawn (the whole window)",
            change_ours,
            change_theirs,
            other=f"pyqtgraph ImageView, {kind}, same image size",
            limit=limit,
            runs=200,
        )
        found.append({**asdict(comparison), "holds": comparison.holds})
        image_view.close()
    return found


def _new_window() -> MainWindow:
    window = MainWindow(Session(), Settings(QSettings(os.devnull, QSettings.Format.IniFormat)))
    window.keeps_geometry = False
    window.resize(1280, 800)
    window.show()
    return window


def measure() -> dict[str, Any]:
    """The document: slice change, first slice, and whether the window needs torch to open."""
    quiet_qt()
    app = QApplication(sys.argv[:1])
    apply_theme(app)
    window = _new_window()
    app.processEvents()
    found: dict[str, Any] = {"window_opens_without_torch": "torch" not in sys.modules}
    shares = []
    with series_folder(500) as folder:
        for _ in range(5):
            window.close()
            window = _new_window()
            volume, share = _open(app, window, folder)
            shares.append(share)
        found["slice_change"] = _compare_slice_change(app, window, volume)
    found["first_slice_on_screen"] = {
        "name": "first slice of 500 painted / all loaded, from opening the folder",
        "ratio": round(statistics.median(shares), 4),
        "limit": 1 / 3,
    }
    window.close()
    return found


if __name__ == "__main__":
    print(json.dumps(measure()))
