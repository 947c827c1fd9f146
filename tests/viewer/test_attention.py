"""The attention panel: what is read, tried out, compared, copied and explained."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QGuiApplication, QMouseEvent
from PySide6.QtWidgets import QApplication, QLabel

from sadmil_core import RESEARCH_USE_NOTICE
from sadmil_core.checkpoint import read_checkpoint, write_checkpoint
from sadmil_core.explain import HINT, Explainer
from sadmil_core.model.sadmil import SaDmil
from sadmil_core.paths import user_models_dir
from sadmil_core.report import write_csv
from tests.studies import write_spot_study
from tests.tiny_model import write_tiny_model
from tests.viewer.conftest import wait_until_idle
from viewer.model.attention_text import attention_table, curve_name, readout
from viewer.model.inquirer import EXPLAINING
from viewer.widgets.attention_panel import picture
from viewer.widgets.explanation_layer import describe


def panel_words(window) -> str:
    return "\n".join(
        label.text() for label in window.attention.findChildren(QLabel) if label.isVisible()
    )


def row_y(window, index: int) -> int:
    top, bottom = window.plot.axis_extent()
    return round(bottom - (index + 0.5) * (bottom - top) / 12)


def drag_threshold(qtbot, window, by: int) -> None:
    viewport, x = window.plot.viewport(), round(window.plot.threshold_x())
    y = row_y(window, 2)
    qtbot.mousePress(viewport, Qt.MouseButton.LeftButton, pos=QPoint(x, y))
    qtbot.mouseMove(viewport, QPoint(x + by // 2, y))
    qtbot.mouseMove(viewport, QPoint(x + by, y))
    qtbot.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=QPoint(x + by, y))


def write_relative(name: str, **model) -> None:
    """The tiny model with another head or pooling, and the same weights."""
    path = user_models_dir() / f"{name}.safetensors"
    write_tiny_model(path, name=name)
    header, tensors = read_checkpoint(path)
    changed = replace(header, name=name, model=replace(header.model, **model))
    if model.get("pooling") == "mean":
        tensors = {k: t for k, t in tensors.items() if not k.startswith("attention")}
        rule = replace(
            header.rule, slice_score="evidence", slice_threshold=0.0, relative_to_uniform=False
        )
        changed = replace(changed, rule=rule)
    write_checkpoint(path, changed, tensors)


def test_a_dragged_threshold_is_tried_out_and_never_more(qtbot, read_window, tmp_path):
    session = read_window.session
    before, result = session.state.slice_index, session.state.result
    drag_threshold(qtbot, read_window, -20)
    tried = session.state.inquiry.trial_threshold
    assert 0 <= tried < result.slice_threshold
    assert session.state.slice_index == before  # the stack stays
    words = panel_words(read_window)
    assert "WHAT IF attention >" in words
    assert f"Reports keep {result.slice_threshold:.3f}" in words
    # What decides is as it was: result, table and report.
    assert session.state.result is result
    assert f"{tried:.6g}" not in attention_table(session.state)
    write_csv(session.records, tmp_path / "with.csv", readouts=session.readouts)
    qtbot.keyClick(read_window, Qt.Key.Key_Escape)
    assert session.state.inquiry.trial_threshold is None
    assert "WHAT IF" not in panel_words(read_window)
    write_csv(session.records, tmp_path / "without.csv", readouts=session.readouts)
    assert (tmp_path / "with.csv").read_bytes() == (tmp_path / "without.csv").read_bytes()


def test_a_double_click_goes_back_to_the_stored_threshold(qtbot, read_window):
    qtbot.keyClick(read_window, "]")
    assert read_window.session.state.inquiry.trial_threshold is not None
    spot = QPoint(read_window.plot.width() - 30, row_y(read_window, 2))
    qtbot.mouseDClick(read_window.plot.viewport(), Qt.MouseButton.LeftButton, pos=spot)
    assert read_window.session.state.inquiry.trial_threshold is None


def test_another_series_begins_without_a_tried_threshold(qtbot, read_window, tmp_path):
    qtbot.keyClick(read_window, "[")
    other = write_spot_study(tmp_path / "other", slices=9, seed=3)
    read_window.session.open_path(other)
    wait_until_idle(qtbot, read_window.session)
    assert read_window.session.state.result is not None
    assert read_window.session.state.inquiry.trial_threshold is None


def test_the_tried_threshold_is_not_in_the_copied_picture(qtbot, read_window):
    stored = picture(read_window.session.state, read_window.attention)
    for _ in range(5):
        qtbot.keyClick(read_window, "]")
    assert picture(read_window.session.state, read_window.attention) == stored
    read_window.session.inquirer.toggle_evidence()
    assert picture(read_window.session.state, read_window.attention) != stored


def test_runs_are_named_in_words(read_window):
    texts = [
        item.textItem.toPlainText()
        for _, item in read_window.plot._items
        if hasattr(item, "textItem")
    ]
    peak = read_window.session.state.result.peak + 1
    assert f"● slices 6-8, peak {peak}" in texts


def test_hovering_shows_the_slice_with_its_numbers(qtbot, read_window):
    viewport, tip = read_window.plot.viewport(), read_window.plot.tip
    place = QPointF(150, row_y(read_window, 6))
    moved = QMouseEvent(
        QEvent.Type.MouseMove,
        place,
        QPointF(viewport.mapToGlobal(place.toPoint())),
        Qt.MouseButton.NoButton,
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(viewport, moved)
    assert tip.isVisible()
    assert "Slice 7: ● marked" in tip.words.text()
    assert f"{float(read_window.session.state.result.attention[6]):.3f}" in tip.words.text()
    assert not tip._picture.pixmap().isNull()
    assert read_window.session.state.slice_index == 5
    tip.hide()


def test_evidence_has_its_own_axis_and_the_strip_follows(qtbot, read_window):
    plot = read_window.plot
    assert not plot.getPlotItem().getAxis("top").isVisible()
    qtbot.keyClick(read_window, Qt.Key.Key_E)
    QApplication.processEvents()
    assert plot.getPlotItem().getAxis("top").isVisible()
    low, high = plot._second.viewRange()[0]
    assert low == pytest.approx(-high)  # zero in the middle: the sign is seen
    top, bottom = plot.axis_extent()
    y = bottom - 11.5 * (bottom - top) / 12
    point = read_window.strip.mapFromGlobal(plot.mapToGlobal(QPoint(0, round(y))))
    assert read_window.strip.index_at(point.y()) == 11
    assert "evidence +" in panel_words(read_window)


def test_without_this_slice_is_said_where_evidence_says_it(read_window):
    read_window.session.set_slice(6)
    result = read_window.session.state.result
    expected = result.probability_without(6)
    assert f"would read p = {expected:.3f}" in panel_words(read_window)


def test_without_this_slice_asks_a_network_that_is_not_linear(qtbot, window, study):
    write_probabilistic()
    window.session.choose_model("probabilistic")
    window.session.open_path(study)
    wait_until_idle(qtbot, window.session)
    result = window.session.state.result
    assert result.features is not None
    assert "press W to ask" in panel_words(window)
    qtbot.keyClick(window, Qt.Key.Key_W)
    wait_until_idle(qtbot, window.session)
    without = window.session.state.inquiry.without
    assert without.shape == result.attention.shape
    assert np.isfinite(without).all()
    window.session.set_slice(6)
    assert "would read p " in panel_words(window)
    assert "±" in panel_words(window)  # and it says how sure it is of the attention


def write_probabilistic() -> None:
    path = user_models_dir() / "probabilistic.safetensors"
    write_tiny_model(path, name="probabilistic")
    header, tensors = read_checkpoint(path)
    model = replace(header.model, attention=replace(header.model.attention, probabilistic=True))
    wanted = SaDmil(model).state_dict()
    tensors = {
        name: tensors.get(name, np.zeros(tuple(t.shape), np.float32)) for name, t in wanted.items()
    }
    write_checkpoint(path, replace(header, name="probabilistic", model=model), tensors)


def test_a_model_without_attention_is_not_said_to_have_any(qtbot, window, study):
    write_relative("average", pooling="mean")
    window.session.choose_model("average")
    window.session.open_path(study)
    wait_until_idle(qtbot, window.session)
    state = window.session.state
    assert state.result is not None
    words = panel_words(window)
    assert "no attention" in words
    assert "attention 0." not in words
    assert "share 0.083" in words
    assert "averages" in curve_name(state).meaning
    # The rule is on evidence: its line stands on the axis at the top, and can be dragged.
    assert window.plot.getPlotItem().getAxis("top").isVisible()
    drag_threshold(qtbot, window, 20)
    assert window.session.state.inquiry.trial_threshold > 0


def test_another_models_curve_is_laid_over_and_goes_with_the_series(qtbot, read_window, tmp_path):
    write_tiny_model(user_models_dir() / "second.safetensors", name="second", bias=-3.0)
    menu = read_window.commands.attention.others
    menu.aboutToShow.emit()
    (action,) = [each for each in menu.actions() if each.text() == "second"]
    first = read_window.session.state.result
    action.trigger()
    wait_until_idle(qtbot, read_window.session)
    state = read_window.session.state
    assert state.result is first
    assert state.other_result.model.model_id == "second"
    assert "second: " in panel_words(read_window)
    texts = [
        item.textItem.toPlainText()
        for _, item in read_window.plot._items
        if hasattr(item, "textItem")
    ]
    assert "● tiny\n▽ second" in texts
    assert "attention of second" in attention_table(state)
    read_window.session.open_path(write_spot_study(tmp_path / "next", slices=9, seed=3))
    qtbot.waitUntil(
        lambda: (
            read_window.session.state.slice_count == 9
            and read_window.session.state.other_result is not None
        ),
        timeout=20_000,
    )
    assert len(read_window.session.state.other_result.attention) == 9
    assert all(r.model.model_id == "tiny" for r in read_window.session.records)


def test_the_table_is_copied_with_header_and_notice(qtbot, read_window):
    qtbot.keyClick(read_window, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    notice, rule, header, *rows = QGuiApplication.clipboard().text().splitlines()
    assert notice.startswith(RESEARCH_USE_NOTICE)
    assert "attention > 1/S" in rule
    assert len(rows) == 12
    table = [dict(zip(header.split("\t"), row.split("\t"), strict=True)) for row in rows]
    result = read_window.session.state.result
    assert [row["slice_number"] for row in table] == [str(n) for n in range(1, 13)]
    assert [row["slice_positive"] for row in table].count("true") == 3
    assert [float(row["attention"]) for row in table] == pytest.approx(
        result.attention.tolist(), rel=1e-5
    )


def test_the_picture_is_copied_at_twice_the_size(qtbot, read_window):
    both = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    qtbot.keyClick(read_window, Qt.Key.Key_C, both)
    image = QGuiApplication.clipboard().image()
    assert image.width() >= 2 * 300
    colours = {
        image.pixelColor(x, y).name()
        for x in range(0, image.width(), 2)
        for y in range(0, image.height(), 2)
    }
    assert {"#ffb347", "#58a6ff"} <= colours  # marks and curve


@pytest.mark.parametrize("key", ["occlusion", "grad-cam"])
def test_an_explanation_lies_on_its_slice_and_says_what_it_is_not(qtbot, read_window, key):
    session, view = read_window.session, read_window.slice_view
    session.set_slice(6)

    def colour() -> str:
        spot = view._to_widget().map(QPoint(24, 24))
        return view.grab().toImage().pixelColor(spot).name()

    before = colour()
    actions = read_window.commands.attention
    (actions.occlusion if key == "occlusion" else actions.gradient).trigger()
    wait_until_idle(qtbot, session)
    found = session.state.explanation
    assert found.method == key
    assert found.moved_RC.shape == session.state.volume.hu.shape[1:]
    assert HINT in describe(found)
    assert colour() != before
    read_window.attention._opacity.setValue(0)
    assert colour() == before
    read_window.attention._opacity.setValue(80)
    assert colour() != before
    session.set_slice(0)
    assert session.state.explanation is None  # it belongs to its slice alone
    session.set_slice(6)
    qtbot.keyClick(read_window, Qt.Key.Key_X, Qt.KeyboardModifier.ControlModifier)
    assert colour() == before


def test_explaining_shows_progress_leaves_the_window_free_and_can_be_stopped(
    qtbot, read_window, monkeypatch
):
    gate = threading.Event()

    def held(self, index, method, progress):
        while not gate.wait(0.005):
            progress(1, 2, "held")

    monkeypatch.setattr(Explainer, "explain", held)
    session = read_window.session
    qtbot.keyClick(read_window, Qt.Key.Key_X)
    qtbot.waitUntil(lambda: session.state.asking is not None, timeout=20_000)
    qtbot.keyClick(read_window, Qt.Key.Key_Up)
    assert session.state.slice_index == 6
    assert session.is_working
    qtbot.keyClick(read_window, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: not session.jobs.is_busy(EXPLAINING), timeout=20_000)
    assert session.state.asking is None
    assert session.state.explanation is None
    assert session.state.result is not None
    gate.set()


def test_nothing_can_be_asked_before_there_is_an_answer(window):
    actions = window.commands.attention
    for action in (actions.evidence, actions.without, actions.occlusion, actions.copy_table):
        assert not action.isEnabled()
    assert readout(window.session.state, 0) == ()
