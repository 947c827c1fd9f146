"""What a reader's hands expect: every key and gesture of the table, and what it changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QMouseEvent, QWheelEvent
from PySide6.QtWidgets import QApplication, QMenu

from tests.studies import write_spot_study
from tests.viewer.conftest import wait_until_idle
from viewer.model.annotations import MeasureKind, SliceKey
from viewer.widgets.main_window import MainWindow

LEFT, MIDDLE, RIGHT = (
    Qt.MouseButton.LeftButton,
    Qt.MouseButton.MiddleButton,
    Qt.MouseButton.RightButton,
)
NONE, CTRL, SHIFT = (
    Qt.KeyboardModifier.NoModifier,
    Qt.KeyboardModifier.ControlModifier,
    Qt.KeyboardModifier.ShiftModifier,
)
KEY = Qt.Key
START = 3


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three series of 26 slices, which bleed around the 10th and the 20th."""
    folder = tmp_path_factory.mktemp("three")
    for number in range(3):
        write_spot_study(
            folder / str(number), slices=26, bleeding=(9, 10, 11, 19, 20, 21), seed=number + 1
        )
    return folder


@pytest.fixture
def reading(qtbot, window: MainWindow, three: Path) -> MainWindow:
    """A window in which the second of three series is read."""
    session = window.session
    session.open_path(three)
    wait_until_idle(qtbot, session)
    session.select_series(1)
    wait_until_idle(qtbot, session)
    session.set_slice(START)
    session.set_preset("Bone")
    return window


def drag(window: MainWindow, button: Qt.MouseButton, by: QPoint, modifiers=NONE) -> None:
    """Press, move in two steps, release; moves carry the button, as real ones do."""
    view = window.slice_view
    middle = view.rect().center()
    kinds = QEvent.Type
    for kind, place, held in (
        (kinds.MouseButtonPress, middle, button),
        (kinds.MouseMove, middle + by / 2, button),
        (kinds.MouseMove, middle + by, button),
        (kinds.MouseButtonRelease, middle + by, Qt.MouseButton.NoButton),
    ):
        moved = kind == kinds.MouseMove
        event = QMouseEvent(
            kind,
            QPointF(place),
            QPointF(view.mapToGlobal(place)),
            Qt.MouseButton.NoButton if moved else button,
            held,
            modifiers,
        )
        QApplication.sendEvent(view, event)


def wheel(window: MainWindow, notches: int, modifiers=NONE) -> None:
    view = window.slice_view
    middle = view.rect().center()
    event = QWheelEvent(
        QPointF(middle),
        QPointF(view.mapToGlobal(middle)),
        QPoint(),
        QPoint(0, 120 * notches),
        Qt.MouseButton.NoButton,
        modifiers,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(view, event)


def peak_of_runs(window: MainWindow) -> list[int]:
    """The slices N and P go to, foot to head."""
    from sadmil_core.result import positive_runs

    result = window.session.state.result
    assert result is not None
    return [
        first + int(result.slice_score[first : last + 1].argmax())
        for first, last in positive_runs(result.slice_positive)
    ]


Check = Callable[[MainWindow], Any]


def at(window: MainWindow) -> int:
    return window.session.state.slice_index


def preset(window: MainWindow) -> str | None:
    return window.session.state.preset


def options(window: MainWindow) -> Any:
    return window.session.state.options


KEYS: list[tuple[Qt.Key, Qt.KeyboardModifier, Check, Any]] = [
    (KEY.Key_Up, NONE, at, START + 1),
    (KEY.Key_Down, NONE, at, START - 1),
    (KEY.Key_Up, SHIFT, at, START + 10),
    (KEY.Key_Down, SHIFT, at, 0),
    (KEY.Key_Home, NONE, at, 0),
    (KEY.Key_End, NONE, at, 25),
    (KEY.Key_PageUp, NONE, lambda w: w.session.state.selected, 0),
    (KEY.Key_PageDown, NONE, lambda w: w.session.state.selected, 2),
    (KEY.Key_C, NONE, lambda w: w.commands.cine.is_running, True),
    (KEY.Key_1, NONE, preset, "DICOM"),
    (KEY.Key_2, NONE, preset, "Brain"),
    (KEY.Key_3, NONE, preset, "Subdural"),
    (KEY.Key_4, NONE, preset, "Stroke"),
    (KEY.Key_5, NONE, preset, "Bone"),
    (KEY.Key_6, NONE, preset, "Soft tissue"),
    (KEY.Key_7, NONE, preset, "What the model saw"),
    (KEY.Key_I, NONE, lambda w: options(w).is_inverted, True),
    (KEY.Key_H, NONE, lambda w: options(w).is_flipped_across, True),
    (KEY.Key_V, NONE, lambda w: options(w).is_flipped_down, True),
    (KEY.Key_T, NONE, lambda w: options(w).shows_texts, False),
    (KEY.Key_D, NONE, lambda w: w.slice_view.measures.tool, MeasureKind.DISTANCE),
    (KEY.Key_A, NONE, lambda w: w.slice_view.measures.tool, MeasureKind.ANGLE),
    (KEY.Key_O, NONE, lambda w: w.slice_view.measures.tool, MeasureKind.ELLIPSE),
]


@pytest.mark.parametrize(("key", "modifiers", "found", "expected"), KEYS)
def test_a_key_does_what_readers_expect(
    qtbot, reading: MainWindow, key, modifiers, found: Check, expected
) -> None:
    if expected != "Bone":
        assert found(reading) != expected
    qtbot.keyClick(reading, key, modifiers)
    assert found(reading) == expected
    reading.commands.cine.stop()


def test_n_and_p_go_from_run_to_run(qtbot, reading: MainWindow) -> None:
    first, second = peak_of_runs(reading)[:2]
    for key, expected in ((KEY.Key_N, first), (KEY.Key_N, second), (KEY.Key_P, first)):
        qtbot.keyClick(reading, key)
        assert at(reading) == expected


def test_k_marks_a_key_image(qtbot, reading: MainWindow) -> None:
    session = reading.session
    key = SliceKey.of(session.state.entry.slices[START])
    qtbot.keyClick(reading, KEY.Key_K)
    assert session.annotations.is_key_image(key)
    qtbot.keyClick(reading, KEY.Key_K)
    assert not session.annotations.is_key_image(key)


def test_r_goes_back_to_the_whole_upright_brain(qtbot, reading: MainWindow) -> None:
    before = reading.slice_view.to_widget()
    for key in (KEY.Key_I, KEY.Key_H, KEY.Key_V):
        qtbot.keyClick(reading, key)
    drag(reading, RIGHT, QPoint(0, -80))
    qtbot.keyClick(reading, KEY.Key_R)
    shown = options(reading)
    assert shown == shown.upright()
    assert preset(reading) == "Brain"
    assert reading.slice_view.to_widget() == before


def test_escape_gives_up_a_tool_and_then_a_job(qtbot, reading: MainWindow, held_load) -> None:
    qtbot.keyClick(reading, KEY.Key_D)
    qtbot.keyClick(reading, KEY.Key_Escape)
    assert reading.slice_view.measures.tool is None
    reading.session.select_series(2)
    assert reading.session.is_working
    qtbot.keyClick(reading, KEY.Key_Escape)
    qtbot.waitUntil(lambda: not reading.session.is_working, timeout=10_000)
    assert "cancelled" in reading.session.state.notice.lower()


def test_f1_shows_the_cheat_sheet(qtbot, reading: MainWindow) -> None:
    qtbot.keyClick(reading, KEY.Key_F1)
    sheets = [w for w in QApplication.topLevelWidgets() if type(w).__name__ == "CheatSheet"]
    assert [sheet.isVisible() for sheet in sheets] == [True]
    sheets[0].close()


# -- the mouse ----------------------------------------------------------------------------------


def test_dragging_with_the_left_button_changes_width_and_level(reading: MainWindow) -> None:
    before, place = reading.session.state.window, reading.slice_view.to_widget()
    drag(reading, LEFT, QPoint(40, 0))
    wider = reading.session.state.window
    assert wider.width_hu > before.width_hu
    assert wider.level_hu == pytest.approx(before.level_hu)
    drag(reading, LEFT, QPoint(0, 40))
    assert reading.session.state.window.level_hu != wider.level_hu
    assert reading.slice_view.to_widget() == place
    assert preset(reading) is None


@pytest.mark.parametrize(("button", "modifiers"), [(MIDDLE, NONE), (LEFT, SHIFT)])
def test_dragging_pans(reading: MainWindow, button, modifiers) -> None:
    before, shown = reading.slice_view.to_widget(), reading.session.state.window
    drag(reading, button, QPoint(30, -20), modifiers)
    after = reading.slice_view.to_widget()
    assert (after.dx() - before.dx(), after.dy() - before.dy()) == pytest.approx((30, -20))
    assert after.m11() == before.m11()
    assert reading.session.state.window == shown


def test_dragging_with_the_right_button_zooms(reading: MainWindow) -> None:
    before = reading.slice_view.to_widget().m11()
    drag(reading, RIGHT, QPoint(0, -60))
    assert reading.slice_view.to_widget().m11() > before
    drag(reading, RIGHT, QPoint(0, 60))
    assert reading.slice_view.to_widget().m11() == pytest.approx(before)


def test_the_wheel_scrolls_towards_the_head_and_with_ctrl_zooms(reading: MainWindow) -> None:
    wheel(reading, 1)
    assert at(reading) == START + 1
    wheel(reading, -1)
    assert at(reading) == START
    before = reading.slice_view.to_widget().m11()
    wheel(reading, 1, CTRL)
    assert reading.slice_view.to_widget().m11() > before
    assert at(reading) == START


def test_a_right_click_without_a_drag_opens_the_menu(
    qtbot, reading: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[list[str]] = []  # offscreen, a menu cannot hold the keyboard
    monkeypatch.setattr(
        QMenu, "popup", lambda menu, _at: shown.append([a.text() for a in menu.actions()])
    )
    drag(reading, RIGHT, QPoint(0, -60))
    assert not shown
    qtbot.mouseClick(reading.slice_view, RIGHT, pos=reading.slice_view.rect().center())
    (texts,) = shown
    assert {"Key image", "Slice bleeds", "Distance", "Brain", "Invert"} <= set(texts)


# -- beside the slice ---------------------------------------------------------------------------


def test_the_strip_shows_the_side_that_the_slice_shows(reading: MainWindow) -> None:
    """The patient's left is brighter in these studies: in the strip it must change sides, too."""

    def sides() -> tuple[float, float]:
        state = reading.session.state
        image = reading.strip._image(state, 12)
        assert image is not None
        columns, row = image.width(), image.height() // 2
        gray = [image.pixelColor(column, row).lightness() for column in range(columns)]
        quarter = columns // 4
        return sum(gray[quarter : columns // 2]), sum(gray[columns // 2 : 3 * quarter])

    reading.session.set_preset("Stroke")
    left, right = sides()
    assert left != right
    reading.session.set_options(is_flipped_across=True)
    assert (sides()[0] > sides()[1]) == (right > left)
    reading.session.set_options(is_flipped_across=False, is_inverted=True)
    assert (sides()[0] > sides()[1]) == (right > left)
