"""Reformats while the crosshair moves: pairs of planes drawn a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from sadmil_core.bench.series import THIN_MM, series_folder
from viewer.bench import Figure
from viewer.bench.windows import (
    Paints,
    application,
    close,
    new_window,
    own_folders,
    wait_until,
)
from viewer.widgets.layouts import Layout

if TYPE_CHECKING:
    from viewer.widgets.main_window import MainWindow

_STEPS = 60
_AIM_HZ = 20.0


def measure(slices: int, pixels: int) -> dict[str, Any]:
    """Coronal and sagittal planes of a straight volume, both new at each step.

    Args:
        slices: Of the study.
        pixels: Rows and columns.
    """
    application()
    cubes = series_folder(slices, pixels, spacing_mm=THIN_MM)
    with own_folders(), cubes as folder:
        window = new_window()
        window.session.open_path(folder)
        wait_until(lambda: window.session.state.volume is not None)
        layouts = window.layouts
        layouts.set_layout(Layout.REFORMATS)
        wait_until(lambda: len(layouts.reformats.images) == len(layouts.planes))
        paints = [Paints(pane) for pane in layouts.planes.values()]
        taken = [_step(window, paints) for _ in range(_STEPS)]
        close(window)
    rate = Figure(
        name=f"reformats of {slices} x {pixels} x {pixels}, both planes new and drawn",
        value=1 / float(np.median(taken)),
        unit="1/s",
        limit=_AIM_HZ,
        at_least=True,
    )
    return {"planes": [rate.document()]}


def _step(window: MainWindow, paints: list[Paints]) -> float:
    """Moves the crosshair by a millimetre or so; seconds until both planes are new and drawn."""
    layouts = window.layouts
    x, y, z = layouts.cursor.mm or (0.0, 0.0, 0.0)
    before, drawn = dict(layouts.reformats.images), [paint.count for paint in paints]

    def are_new() -> bool:
        images = layouts.reformats.images
        return all(images[plane] is not old for plane, old in before.items())

    start = time.perf_counter()
    layouts.cursor.place((x + 2 * THIN_MM, y + 2 * THIN_MM, z))
    wait_until(are_new)
    wait_until(lambda: all(p.count > n for p, n in zip(paints, drawn, strict=True)))
    return time.perf_counter() - start
