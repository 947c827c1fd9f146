"""Layouts: what stands in the window, reformats by a cursor, slabs, and the model's input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sadmil_core.reformat import Projection
from tests.bodies import head
from tests.studies import write_spot_study
from tests.synthetic import write_series
from tests.viewer.conftest import wait_until_idle
from viewer.model.reformats import PLANES
from viewer.model.state import MODEL_PRESET
from viewer.widgets.layouts import Layout
from viewer.widgets.main_window import MainWindow


@pytest.mark.parametrize("layout", list(Layout))
def test_each_layout_shows_its_parts_and_keeps_the_slice(
    qtbot, read_window: MainWindow, layout: Layout
) -> None:
    read_window.session.set_slice(3)
    read_window.layouts.set_layout(layout)
    wait_until_idle(qtbot, read_window.session)
    assert read_window.slice_view.isVisible()
    assert read_window.attention.isVisible() == (layout is not Layout.SINGLE)
    assert read_window.series_list.isVisible() == (layout is Layout.READ)
    assert read_window.layouts.second.isVisible() == (layout is Layout.COMPARE)
    panes = read_window.layouts.planes.values()
    assert {pane.isVisible() for pane in panes} == {layout is Layout.REFORMATS}
    assert read_window.session.state.slice_index == 3
    assert read_window.layouts.actions[layout].isChecked()


def test_reformats_cut_the_volume_where_the_cursor_is(qtbot, read_window: MainWindow) -> None:
    layouts, session = read_window.layouts, read_window.session
    layouts.set_layout(Layout.REFORMATS)
    qtbot.waitUntil(lambda: set(PLANES) <= set(layouts.reformats.images), timeout=20_000)
    for image in layouts.reformats.images.values():
        assert np.isfinite(image.hu).any()
    geometry = session.state.entry.geometry
    at = layouts.cursor.mm
    assert at is not None
    layouts.cursor.place(tuple(np.add(geometry.origins_mm[6], np.subtract(at, at))))
    qtbot.waitUntil(lambda: session.state.slice_index == 6, timeout=5_000)


def test_a_slab_takes_neighbours_in_and_says_so(qtbot, read_window: MainWindow) -> None:
    layouts, session = read_window.layouts, read_window.session
    session.set_slice(5)
    single = np.array(session.state.volume.hu[5])
    layouts.slabs.set_thickness(20.0)
    layouts.slabs.set_projection(Projection.MEAN)
    qtbot.waitUntil(lambda: layouts.slabs.image_of(session.state) is not None, timeout=10_000)
    assert "20 mm" in layouts.slabs.caption_of(session.state)
    assert layouts.slabs.image_of(session.state).hu.shape == single.shape


def test_the_models_input_is_shown_without_torch(qtbot, read_window: MainWindow) -> None:
    layouts, session = read_window.layouts, read_window.session
    read_window.commands.presets[MODEL_PRESET].trigger()
    qtbot.waitUntil(lambda: layouts.sight.picture_of(session.state) is not None, timeout=10_000)
    assert session.state.preset == MODEL_PRESET
    first = layouts.sight.picture_of(session.state).caption
    read_window.commands.presets[MODEL_PRESET].trigger()
    assert layouts.sight.picture_of(session.state).caption != first
    session.set_preset("Brain")
    assert layouts._seen(session.state) is None


def test_a_second_series_stands_beside_the_first(qtbot, window: MainWindow, tmp_path: Path) -> None:
    write_spot_study(tmp_path / "two" / "a")
    write_series(tmp_path / "two" / "b", hu=head(8), series_uid="1.2.3.77", uid_start=500)
    window.session.open_path(tmp_path / "two")
    wait_until_idle(qtbot, window.session)
    window.layouts.set_layout(Layout.COMPARE)
    wait_until_idle(qtbot, window.session)
    assert window.layouts.second.isVisible()
    assert window.layouts.companion is not None
