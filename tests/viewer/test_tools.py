"""The reader's tools: every binding of the table, measurements, key images, cine, options."""

from __future__ import annotations

import math

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtWidgets import QApplication, QLabel, QMenu, QWidget

from sadmil_core.display import PRESETS, DisplayWindow
from tests.studies import write_spot_study
from tests.viewer.conftest import wait_until_idle
from tests.viewer.test_main_window import turn_wheel
from viewer.model.annotations import MeasureKind, SliceKey
from viewer.widgets.bindings_dialog import BindingsDialog
from viewer.widgets.cheat_sheet import CheatSheet
from viewer.widgets.settings_dialog import SettingsDialog

LEFT, MIDDLE, RIGHT = (
    Qt.MouseButton.LeftButton,
    Qt.MouseButton.MiddleButton,
    Qt.MouseButton.RightButton,
)
SHIFT = Qt.KeyboardModifier.ShiftModifier
CTRL = Qt.KeyboardModifier.ControlModifier


@pytest.fixture
def open_window(qtbot, window, study):
    """A window with a series of 12 slices, that no model has read."""
    window.session.reads_unasked = False
    window.session.open_path(study)
    wait_until_idle(qtbot, window.session)
    assert window.session.state.slice_index == 5
    return window


def place(view, row: float, column: float) -> QPoint:
    """Where the centre of a pixel is drawn."""
    return view._to_widget().map(QPointF(column + 0.5, row + 0.5)).toPoint()


def drag(qtbot, view, start: QPoint, end: QPoint, button=LEFT, modifier=None) -> None:
    modifier = modifier or Qt.KeyboardModifier.NoModifier
    qtbot.mousePress(view, button, modifier, pos=start)
    qtbot.mouseMove(view, (start + end) / 2)
    qtbot.mouseMove(view, end)
    qtbot.mouseRelease(view, button, modifier, pos=end)


def here(window) -> SliceKey:
    state = window.session.state
    return SliceKey.of(state.entry.slices[state.slice_index])


def drawn(window):
    return window.session.annotations.on(here(window))


def texts(window) -> str:
    """All texts that are drawn over the slice."""
    view, found = window.slice_view, []
    real, view._paint_text = view._paint_text, lambda p, c, text: found.append(text)
    view.grab()
    view._paint_text = real
    return "\n".join(found)


# -- the table of bindings ----------------------------------------------------------------------

TABLE = {
    "mouse.window": ("Left drag",),
    "mouse.pan": ("Middle drag", "Shift+Left drag"),
    "mouse.zoom": ("Right drag", "Ctrl+Wheel"),
    "mouse.scroll": ("Wheel",),
    "mouse.menu": ("Right click",),
    "one-slice-towards-the-head": ("Up",),
    "one-slice-towards-the-feet": ("Down",),
    "ten-slices-towards-the-head": ("Shift+Up",),
    "ten-slices-towards-the-feet": ("Shift+Down",),
    "first-slice-foot-end": ("Home",),
    "last-slice-head-end": ("End",),
    "previous-series": ("PgUp",),
    "next-series": ("PgDown",),
    "next-marked-run-towards-the-head": ("N",),
    "previous-marked-run": ("P",),
    "cine": ("C",),
    "invert": ("I",),
    "corner-texts": ("T",),
    "reset-view-and-window": ("R",),
    "flip-left-to-right": ("H",),
    "flip-top-to-bottom": ("V",),
    "distance": ("D",),
    "angle": ("A",),
    "ellipse-roi": ("O",),
    "key-image": ("K",),
    "cancel-the-running-tool-or-job": ("Esc",),
    "dicom": ("1",),
    "brain": ("2",),
    "subdural": ("3",),
    "stroke": ("4",),
    "bone": ("5",),
    "soft-tissue": ("6",),
    "undo": ("Ctrl+Z",),
    "keys-and-mouse": ("F1",),
}


def test_the_usual_bindings_are_those_of_the_table(window):
    assert {name: window.bindings.of(name)[: len(keys)] for name, keys in TABLE.items()} == TABLE
    assert "Ctrl+Shift+Z" in window.bindings.of("redo")


def test_every_command_that_takes_a_key_has_an_action_with_that_key(window):
    for command in window.bindings.commands:
        if not command.gestures:
            action = window.commands.action(command.id)
            keys = tuple(key.toString() for key in action.shortcuts())
            assert keys == window.bindings.of(command.id)


@pytest.mark.parametrize(
    ("key", "option"),
    [
        ("I", "is_inverted"),
        ("H", "is_flipped_across"),
        ("V", "is_flipped_down"),
        ("T", "shows_texts"),
    ],
)
def test_a_key_turns_an_option_on_and_off(qtbot, open_window, key, option):
    before = getattr(open_window.session.state.options, option)
    picture = open_window.slice_view.grab().toImage()
    qtbot.keyClick(open_window, key)
    assert getattr(open_window.session.state.options, option) is not before
    assert open_window.slice_view.grab().toImage() != picture
    qtbot.keyClick(open_window, key)
    assert getattr(open_window.session.state.options, option) is before
    assert open_window.slice_view.grab().toImage() == picture


def test_the_letters_turn_with_the_picture_and_stay_when_texts_go(qtbot, open_window):
    places = {}
    view = open_window.slice_view

    def note(_painter, corner, text):
        places[text] = corner

    view._paint_text = note
    view.grab()
    assert places["R"] & Qt.AlignmentFlag.AlignLeft
    assert places["A"] & Qt.AlignmentFlag.AlignTop
    for key in "HVT":
        qtbot.keyClick(open_window, key)
    places.clear()
    view.grab()
    assert places["R"] & Qt.AlignmentFlag.AlignRight
    assert places["A"] & Qt.AlignmentFlag.AlignBottom
    # What changes the meaning of the picture is said even without texts.
    assert any("Flipped left to right" in text for text in places)
    assert not any("Zoom" in text for text in places)


def test_reset_turns_the_picture_upright_again(qtbot, open_window):
    for key in "HVI+":
        qtbot.keyClick(open_window, key)
    assert open_window.slice_view.zoom > 1
    qtbot.keyClick(open_window, "R")
    options = open_window.session.state.options
    assert options == options.upright()
    assert open_window.slice_view.zoom == 1


def test_page_keys_change_the_series_and_a_new_series_is_upright(qtbot, window, tmp_path):
    window.session.reads_unasked = False
    for name, count in (("a", 12), ("b", 7)):
        write_spot_study(tmp_path / "two" / name, slices=count, bleeding=(), seed=count)
    window.session.open_path(tmp_path / "two")
    wait_until_idle(qtbot, window.session)
    first = window.session.state.selected
    qtbot.keyClick(window, "H")
    there, back = ("PgDown", "PgUp") if first == 0 else ("PgUp", "PgDown")
    keys = {"PgDown": Qt.Key.Key_PageDown, "PgUp": Qt.Key.Key_PageUp}
    qtbot.keyClick(window, keys[there])
    wait_until_idle(qtbot, window.session)
    assert window.session.state.selected == 1 - first
    assert not window.session.state.options.is_flipped_across
    qtbot.keyClick(window, keys[back])
    wait_until_idle(qtbot, window.session)
    assert window.session.state.selected == first


# What the offscreen platform says of every menu.
@pytest.mark.qt_log_ignore("does not support", extend=True)
def test_the_right_button_zooms_by_dragging_and_opens_the_menu_by_clicking(qtbot, open_window):
    view = open_window.slice_view
    middle = view.rect().center()
    drag(qtbot, view, middle, middle + QPoint(0, -60), RIGHT)
    assert view.zoom > 1
    assert QApplication.activePopupWidget() is None
    zoom = view.zoom
    qtbot.mouseClick(view, RIGHT, pos=middle)
    menu = QApplication.activePopupWidget()
    assert isinstance(menu, QMenu)
    said = {action.text() for action in menu.actions()}
    assert {"Distance", "Invert", "Key image", "Reset view and window", "Brain"} <= said
    assert view.zoom == zoom
    menu.close()


def test_the_window_follows_the_alt_keys(qtbot, open_window):
    alt = Qt.KeyboardModifier.AltModifier
    for key, expected in (
        (Qt.Key.Key_Right, DisplayWindow(40, 88)),
        (Qt.Key.Key_Left, DisplayWindow(40, 79.2)),
        (Qt.Key.Key_Up, DisplayWindow(47.92, 79.2)),
        (Qt.Key.Key_Down, DisplayWindow(40, 79.2)),
    ):
        qtbot.keyClick(open_window, key, alt)
        window = open_window.session.state.window
        assert window.level_hu == pytest.approx(expected.level_hu)
        assert window.width_hu == pytest.approx(expected.width_hu)


def test_full_screen_is_entered_and_left_by_key(qtbot, window):
    qtbot.keyClick(window, Qt.Key.Key_F11)
    assert window.isFullScreen()
    qtbot.keyClick(window, Qt.Key.Key_Escape)
    assert not window.isFullScreen()


def test_escape_stops_a_running_job(qtbot, window, study, held_load):
    window.session.open_path(study)
    qtbot.waitUntil(lambda: window.session.state.load is not None, timeout=10_000)
    qtbot.keyClick(window, Qt.Key.Key_Escape)
    wait_until_idle(qtbot, window.session)
    assert window.session.state.volume is None
    assert "cancelled" in window.session.state.notice


# -- cine ---------------------------------------------------------------------------------------


def test_cine_plays_round_and_can_be_changed_in_speed(qtbot, open_window):
    session, cine = open_window.session, open_window.commands.cine
    session.set_slice(11)
    qtbot.keyClick(open_window, "C")
    assert session.state.options.cine_hz == cine.speed_hz == 10
    qtbot.keyClick(open_window, ".")
    assert session.state.options.cine_hz == 15
    qtbot.keyClick(open_window, ",")
    qtbot.keyClick(open_window, ",")
    assert session.state.options.cine_hz == 8
    assert "Cine 8/s" in texts(open_window)
    qtbot.waitUntil(lambda: session.state.slice_index == 1, timeout=5000)
    qtbot.keyClick(open_window, Qt.Key.Key_Escape)
    assert not cine.is_running
    assert session.state.options.cine_hz == 0


def test_cine_stops_with_its_series(qtbot, open_window, tmp_path):
    qtbot.keyClick(open_window, "C")
    open_window.session.open_path(write_spot_study(tmp_path / "other", slices=5, bleeding=()))
    wait_until_idle(qtbot, open_window.session)
    assert not open_window.commands.cine.is_running


# -- measurements -------------------------------------------------------------------------------


def test_a_distance_is_drawn_by_dragging_and_is_in_millimetres(qtbot, open_window):
    view = open_window.slice_view
    qtbot.keyClick(open_window, "D")
    assert open_window.commands.tools[MeasureKind.DISTANCE].isChecked()
    drag(qtbot, view, place(view, 10, 10), place(view, 10, 50))
    (line,) = drawn(open_window)
    (row, column), (end_row, end_column) = line.points
    assert (row, end_row) == pytest.approx((10, 10), abs=0.2)
    assert (column, end_column) == pytest.approx((10, 50), abs=0.2)
    between = open_window.session.state.entry.slices[5].pixel_spacing_mm[1]
    (text,) = view.measures._text(line.kind, line.points)
    assert float(text.removesuffix(" mm")) == pytest.approx(40 * between, rel=0.01)
    assert open_window.session.state.window == PRESETS["Brain"]


def test_an_angle_is_drawn_by_three_clicks(qtbot, open_window):
    view = open_window.slice_view
    qtbot.keyClick(open_window, "A")
    for row, column in ((10, 30), (30, 30), (30, 50)):
        qtbot.mouseMove(view, place(view, row, column))
        qtbot.mouseClick(view, LEFT, pos=place(view, row, column))
    (angle,) = drawn(open_window)
    (text,) = view.measures._text(angle.kind, angle.points)
    assert float(text.removesuffix("°")) == pytest.approx(90, abs=1)


@pytest.mark.parametrize(
    ("modifier", "kind", "area_px"),
    [(None, MeasureKind.ELLIPSE, math.pi * 3.4 * 3.4), (SHIFT, MeasureKind.RECTANGLE, 49)],
)
def test_a_region_tells_mean_spread_and_area(qtbot, open_window, modifier, kind, area_px):
    view = open_window.slice_view
    modifier = modifier or Qt.KeyboardModifier.NoModifier
    qtbot.keyClick(open_window, Qt.Key.Key_O, modifier)
    drag(qtbot, view, place(view, 20.6, 20.6), place(view, 27.4, 27.4))  # in the spot of 70 HU
    (region,) = drawn(open_window)
    assert region.kind is kind
    mean, extremes, area = view.measures._text(region.kind, region.points)
    assert mean == "mean 70.0  SD 0.0 HU"
    assert extremes == "min 70  max 70 HU"
    pixel_mm = open_window.session.state.entry.slices[5].pixel_spacing_mm
    found = float(area.removeprefix("area ").removesuffix(" mm²"))
    assert found == pytest.approx(area_px * pixel_mm[0] * pixel_mm[1], rel=0.35)


def test_a_measurement_stays_with_its_slice(qtbot, open_window):
    view = open_window.slice_view
    qtbot.keyClick(open_window, "D")
    drag(qtbot, view, place(view, 10, 10), place(view, 10, 50))
    with_line = view.grab().toImage()
    qtbot.keyClick(open_window, Qt.Key.Key_Up)
    assert drawn(open_window) == ()
    qtbot.keyClick(open_window, Qt.Key.Key_Down)
    assert len(drawn(open_window)) == 1
    qtbot.keyClick(open_window, "M")
    assert view.grab().toImage() == with_line


def test_a_measurement_is_moved_by_handle_or_whole_and_deleted_and_all_undone(qtbot, open_window):
    view, stack = open_window.slice_view, open_window.session.annotations.undo_stack
    qtbot.keyClick(open_window, "D")
    drag(qtbot, view, place(view, 10, 10), place(view, 10, 50))
    qtbot.keyClick(open_window, Qt.Key.Key_Escape)
    assert view.measures.tool is None
    drag(qtbot, view, place(view, 10, 50), place(view, 40, 50))
    (line,) = drawn(open_window)
    assert line.points[1] == pytest.approx((40, 50), abs=0.3)
    assert line.points[0] == pytest.approx((10, 10), abs=0.3)
    drag(qtbot, view, place(view, 25, 30), place(view, 30, 30))
    (moved,) = drawn(open_window)
    assert moved.points[0] == pytest.approx((15, 10), abs=0.4)
    assert moved.points[1] == pytest.approx((45, 50), abs=0.4)
    qtbot.keyClick(open_window, Qt.Key.Key_Delete)
    assert drawn(open_window) == ()
    qtbot.keyClick(open_window, Qt.Key.Key_Z, CTRL)
    qtbot.keyClick(open_window, Qt.Key.Key_Z, CTRL)
    assert drawn(open_window) == (line,)
    qtbot.keyClick(open_window, Qt.Key.Key_Z, CTRL | SHIFT)
    assert drawn(open_window) == (moved,)
    assert stack.canUndo()
    assert open_window.session.state.window == PRESETS["Brain"]


def test_undo_shows_the_slice_it_changes(qtbot, open_window):
    view = open_window.slice_view
    qtbot.keyClick(open_window, "D")
    drag(qtbot, view, place(view, 10, 10), place(view, 10, 50))
    qtbot.keyClick(open_window, Qt.Key.Key_Home)
    qtbot.keyClick(open_window, Qt.Key.Key_Z, CTRL)
    assert open_window.session.state.slice_index == 5
    assert drawn(open_window) == ()


def test_measuring_needs_no_mouse(qtbot, open_window):
    view = open_window.slice_view
    qtbot.keyClick(open_window, "D")
    qtbot.keyClick(view, Qt.Key.Key_Return)  # the cursor appears in the middle
    qtbot.keyClick(view, Qt.Key.Key_Return)  # the first end
    for _ in range(3):
        qtbot.keyClick(view, Qt.Key.Key_Right, SHIFT)
    qtbot.keyClick(view, Qt.Key.Key_Down)
    qtbot.keyClick(view, Qt.Key.Key_Return)
    (line,) = drawn(open_window)
    assert line.points[1][1] - line.points[0][1] == pytest.approx(30)
    assert line.points[1][0] - line.points[0][0] == pytest.approx(1)
    assert open_window.session.state.slice_index == 5
    qtbot.keyClick(open_window, Qt.Key.Key_Escape)  # puts the tool away
    qtbot.keyClick(view, Qt.Key.Key_Return)  # takes hold of what is picked
    qtbot.keyClick(view, Qt.Key.Key_Down, SHIFT)
    qtbot.keyClick(view, Qt.Key.Key_Return)
    (moved,) = drawn(open_window)
    assert moved.points[0][0] - line.points[0][0] == pytest.approx(10)
    qtbot.keyClick(view, Qt.Key.Key_Up)  # nothing in hand: the arrows move the stack again
    assert open_window.session.state.slice_index == 6


def test_escape_gives_up_what_was_begun_step_by_step(qtbot, open_window):
    view = open_window.slice_view
    qtbot.keyClick(open_window, "A")
    qtbot.mouseClick(view, LEFT, pos=place(view, 10, 10))
    for _ in range(2):
        qtbot.keyClick(open_window, Qt.Key.Key_Escape)
    assert drawn(open_window) == ()
    assert view.measures.tool is None
    drag(qtbot, view, place(view, 5, 5), place(view, 30, 30))
    assert drawn(open_window) == ()
    assert open_window.session.state.window != PRESETS["Brain"]  # the button is free again


def test_measurements_follow_flips_zoom_and_pan(qtbot, open_window):
    view = open_window.slice_view
    for key in "HV+":
        qtbot.keyClick(open_window, key)
    drag(qtbot, view, view.rect().center(), view.rect().center() + QPoint(15, 5), MIDDLE)
    qtbot.keyClick(open_window, "D")
    drag(qtbot, view, place(view, 20, 20), place(view, 30, 40))
    (line,) = drawn(open_window)
    assert line.points[0] == pytest.approx((20, 20), abs=0.3)
    assert line.points[1] == pytest.approx((30, 40), abs=0.3)


def test_key_images_are_marked_named_and_visited(qtbot, open_window):
    session = open_window.session
    for index in (2, 9):
        session.set_slice(index)
        qtbot.keyClick(open_window, "K")
    assert "★ Key image" in texts(open_window)
    session.set_slice(4)
    assert "Key image" not in texts(open_window)
    qtbot.keyClick(open_window, Qt.Key.Key_K, SHIFT)
    assert session.state.slice_index == 9
    qtbot.keyClick(open_window, Qt.Key.Key_K, SHIFT)
    assert session.state.slice_index == 2
    qtbot.keyClick(open_window, "K")
    assert not session.annotations.is_key_image(here(open_window))


def test_the_pointer_reads_hounsfield_units(qtbot, open_window):
    view = open_window.slice_view
    qtbot.mouseMove(view, place(view, 24, 24))
    assert "70 HU  (24, 24)" in texts(open_window)


# -- identifiers, texts, dialogs ----------------------------------------------------------------


def everything_said(window) -> str:
    rows = window.series_list._rows
    said = [str(rows.index(i).data() or "") for i in range(rows.rowCount())]
    said += [label.text() for label in window.findChildren(QLabel)]
    return "\n".join([texts(window), window.details.plain_text(), *said, window.windowTitle()])


def test_hidden_identifiers_are_nowhere_on_screen(qtbot, open_window, settings):
    identity = open_window.session.state.identity
    name = identity.patient_name.replace("^", " ").strip()
    assert name in everything_said(open_window)
    qtbot.keyClick(open_window, Qt.Key.Key_H, CTRL)
    said = everything_said(open_window)
    for text in (
        name,
        identity.patient_id,
        identity.institution,
        identity.study_description,
        identity.series_description,
        "2024-01-01",
    ):
        assert not text or text not in said
    assert "Identifiers hidden" in said
    assert settings.hides_identifiers


def test_errors_name_no_folder_while_identifiers_are_hidden(qtbot, window, tmp_path):
    window.session.set_options(hides_identifiers=True)
    window.session.open_path(tmp_path / "DOE_JANE")
    wait_until_idle(qtbot, window.session)
    said = "\n".join(label.text() for label in window._error_dialog.findChildren(QLabel))
    assert said
    assert "JANE" not in said
    window._error_dialog.close()


def test_the_cheat_sheet_is_made_from_the_bindings(qtbot, window):
    qtbot.keyClick(window, Qt.Key.Key_F1)
    sheet = window.findChild(CheatSheet)
    said = sheet.plain_text()
    for command in window.bindings.commands:
        if window.bindings.of(command.id):
            assert command.text in said
    window.bindings.assign("invert", ["Ctrl+Shift+I"])
    assert "Ctrl+Shift+I" in sheet.plain_text()
    sheet.close()


def test_the_editor_changes_a_key_at_once_and_keeps_it(qtbot, open_window, settings):
    open_window.show_bindings()
    dialog = open_window.findChild(BindingsDialog)
    dialog.choose("invert")
    dialog.keys[0].setKeySequence("D")
    dialog.apply_button.click()
    assert "D is taken by Distance" in dialog.message.text()
    dialog.keys[0].setKeySequence("J")
    dialog.apply_button.click()
    assert dialog.message.text() == ""
    assert settings.bindings == {"invert": ["J"]}
    qtbot.keyClick(open_window, "J")
    assert open_window.session.state.options.is_inverted
    qtbot.keyClick(open_window, "I")
    assert open_window.session.state.options.is_inverted
    dialog.choose("mouse.pan")
    dialog.gestures[0].setCurrentText("Alt+Left drag")
    dialog.apply_button.click()
    assert open_window.bindings.of("mouse.pan") == ("Alt+Left drag", "Shift+Left drag")
    dialog.choose("invert")
    dialog.restore_button.click()
    assert open_window.bindings.of("invert") == ("I",)
    dialog.close()


def test_a_gesture_that_was_given_away_does_the_new_thing(qtbot, open_window):
    open_window.bindings.assign("mouse.scroll", ["Wheel", "Alt+Left drag"])
    view = open_window.slice_view
    middle = view.rect().center()
    drag(qtbot, view, middle, middle - QPoint(0, 150), modifier=Qt.KeyboardModifier.AltModifier)
    assert open_window.session.state.slice_index > 5
    open_window.bindings.assign("mouse.scroll", [])
    before = open_window.session.state.slice_index
    turn_wheel(view, 1)
    assert open_window.session.state.slice_index == before


def test_the_search_of_the_editor_finds_commands_and_keys(qtbot, window):
    window.show_bindings()
    dialog = window.findChild(BindingsDialog)
    dialog.search.setText("flip")
    shown = {item.text(0) for item in dialog._items.values() if not item.isHidden()}
    assert shown == {"Flip left to right", "Flip top to bottom"}
    dialog.close()


def test_settings_hold_at_once_and_are_kept(qtbot, open_window, settings):
    open_window.show_settings()
    dialog = open_window.findChild(SettingsDialog)
    dialog.reads.setChecked(True)
    dialog.texts.setChecked(False)
    dialog.hides.setChecked(True)
    dialog.speed.setCurrentIndex(0)
    session = open_window.session
    assert session.reads_unasked
    assert settings.reads_unasked
    assert not session.state.options.shows_texts
    assert session.state.options.hides_identifiers
    assert (settings.shows_texts, settings.hides_identifiers) == (False, True)
    assert settings.cine_hz == open_window.commands.cine.speed_hz == 1
    dialog.close()


def test_where_the_model_waits_to_be_asked_it_is_not_run(open_window):
    assert open_window.session.state.result is None
    assert "press Run" in open_window.session.state.notice


def test_every_field_of_the_dialogs_can_be_reached_and_has_a_name(qtbot, window):
    window.show_settings()
    window.show_bindings()
    for kind in (SettingsDialog, BindingsDialog):
        dialog = window.findChild(kind)
        fields = dialog.findChildren(QWidget)
        for field in fields:
            if field.focusPolicy() & Qt.FocusPolicy.TabFocus and field.isVisible():
                named = field.accessibleName() or getattr(field, "text", str)()
                inner = field.parent() is not dialog and field.parent().accessibleName()
                assert named or inner, field
        dialog.close()
