"""Scrolling and windowing, drawn, beside pyqtgraph's ImageView of the same volume and size."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtWidgets import QApplication

from sadmil_core.bench import compare
from sadmil_core.bench.series import series_folder
from sadmil_core.display import DisplayWindow
from viewer.bench import Figure, comparison_document
from viewer.bench.windows import (
    Paints,
    application,
    close,
    draw,
    new_window,
    own_folders,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sadmil_core.dicom import CTVolume
    from viewer.widgets.main_window import MainWindow

_STARTS = 5


def measure(slices: int, pixels: int, changes: int) -> dict[str, Any]:
    """Medians and 99th percentiles of our own, ratios to ImageView, and the first slice.

    Args:
        slices: Of the study.
        pixels: Rows and columns.
        changes: How many are timed of each kind.
    """
    application()
    with own_folders(), series_folder(slices, pixels) as folder:
        window = new_window()
        found: dict[str, Any] = {"window_opens_without_torch": "torch" not in sys.modules}
        shares = []
        for _ in range(_STARTS):
            close(window)
            window = new_window()
            volume, share = _open(window, folder)
            shares.append(share)
        found["first_slice_on_screen"] = Figure(
            name=f"first slice of {slices} painted, from opening the folder, as a share of all",
            value=float(np.median(shares)),
            unit="ratio",
            limit=1 / 3,
        ).document()
        # Thumbnails of the list are made by now; nothing else runs.
        view, figures = ImageViews(volume, window), []
        for name, ours, theirs in (
            (f"slice change of {slices} x {pixels} x {pixels}", _scroll(window), view.scroll),
            ("window/level drag", _drag(window), view.drag),
        ):
            figures += _latencies(name, ours, theirs, changes)
        found["latencies"] = [figure.document() for figure in figures]
        view.close()
        found["slice_change"] = _ratios(window, volume, changes)
        close(window)
    return found


def _open(window: MainWindow, folder: Path) -> tuple[CTVolume, float]:
    """Opens a folder; the volume, and when the first slice was painted as a share of the whole."""
    session, view = window.session, window.slice_view
    start, first = time.perf_counter(), 0.0
    session.open_path(folder)

    def is_loaded() -> bool:
        nonlocal first
        if not first and view.has_image:
            view.repaint()
            first = time.perf_counter() - start
        return session.state.volume is not None

    wait_until(is_loaded)
    whole = time.perf_counter() - start
    wait_until(lambda: not session.jobs.is_any_busy())
    assert session.state.volume is not None
    return session.state.volume, (first or whole) / whole


def _scroll(window: MainWindow) -> Callable[[], None]:
    """Shows the next slice in the whole window, and waits until it is drawn."""
    paints, session = Paints(window.slice_view), window.session

    def change() -> None:
        state = session.state
        session.set_slice((state.slice_index + 1) % state.slice_count)
        draw(paints)

    return change


def _drag(window: MainWindow) -> Callable[[], None]:
    """Moves width and level a little, as a drag does."""
    paints, session, step = Paints(window.slice_view), window.session, [0]

    def change() -> None:
        step[0] += 1
        session.set_window(DisplayWindow(40.0 + step[0] % 30, 80.0 + step[0] % 50))
        draw(paints)

    return change


class ImageViews:
    """An ImageView as it comes, its image as large as our slice.

    Args:
        volume: What it shows.
        window: Whose slice sets the size.
        histogram: Whether it shows its histogram, as it does by itself.
    """

    def __init__(self, volume: CTVolume, window: MainWindow, *, histogram: bool = True) -> None:
        self._view = pg.ImageView()
        self._view.setImage(volume.hu, autoRange=True, autoLevels=False, levels=(0, 80))
        self._view.ui.histogram.setVisible(histogram)
        self._view.ui.graphicsView.setFixedSize(window.slice_view.size())
        self._view.show()
        QApplication.processEvents()
        self._paints = Paints(self._view.ui.graphicsView.viewport())
        self._count, self._step = len(volume.hu), 0

    def scroll(self) -> None:
        """Shows the next slice and waits until it is drawn."""
        self._step += 1
        self._view.setCurrentIndex(self._step % self._count)
        draw(self._paints)

    def drag(self) -> None:
        """Moves the levels a little and waits until that is drawn."""
        self._step += 1
        low, width = self._step % 30, 80 + self._step % 50
        self._view.setLevels(low, low + width)
        draw(self._paints)

    def close(self) -> None:
        """Gives everything back."""
        self._view.close()


def _latencies(
    name: str, ours: Callable[[], None], theirs: Callable[[], None], changes: int
) -> list[Figure]:
    """Both in turn, so that they share the machine's mood."""
    pairs = [(_ms(ours), _ms(theirs)) for _ in range(changes)]
    own, other = np.array(pairs).T
    return [
        Figure(
            name=f"{name}, drawn, {told}",
            value=float(np.percentile(own, share)),
            unit="ms",
            limit=limit,
            beside=float(np.percentile(other, share)),
        )
        for told, share, limit in (("median", 50, 8.0), ("99th percentile", 99, 16.0))
    ]


def _ms(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - start)


def _ratios(window: MainWindow, volume: CTVolume, changes: int) -> list[dict[str, Any]]:
    """The whole window, with strip, curve and texts, against an ImageView and nothing else."""
    found = []
    for kind, limit in (("as it comes", 1.0), ("histogram hidden", None)):
        view = ImageViews(volume, window, histogram=limit is not None)
        comparison = compare(
            f"one slice change of {len(volume.hu)}, drawn (the whole window)",
            _scroll(window),
            view.scroll,
            other=f"pyqtgraph ImageView, {kind}, same image size",
            limit=limit,
            runs=max(1, changes // 2),
        )
        found.append(comparison_document(comparison))
        view.close()
    return found
