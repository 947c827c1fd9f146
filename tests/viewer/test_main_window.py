from __future__ import annotations

import pydicom
import pytest
from PySide6.QtCore import QEvent, QMimeData, QPoint, QPointF, QSettings, Qt, QUrl
from PySide6.QtGui import QDropEvent, QGuiApplication, QWheelEvent
from PySide6.QtWidgets import QApplication, QFileDialog, QLabel, QMessageBox

from sadmil_core import RESEARCH_USE_NOTICE
from sadmil_core.display import PRESETS
from sadmil_core.paths import user_models_dir
from tests.studies import write_spot_study
from tests.tiny_model import write_tiny_model
from tests.viewer.conftest import export_csv, wait_until_idle
from viewer.widgets.error_dialog import ErrorDialog


def turn_wheel(widget, notches: int, modifiers=Qt.KeyboardModifier.NoModifier) -> None:
    centre = QPointF(widget.rect().center())
    event = QWheelEvent(
        centre,
        QPointF(widget.mapToGlobal(widget.rect().center())),
        QPoint(),
        QPoint(0, round(120 * notches)),
        Qt.MouseButton.NoButton,
        modifiers,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, event)


def drop(window, *paths) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    event = QDropEvent(
        QPointF(50, 50),
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    window.dropEvent(event)


def brightness(window, x: int, y: int) -> int:
    """The gray of a point of the drawn slice."""
    return window.slice_view.grab().toImage().pixelColor(x, y).lightness()


def labels(window) -> str:
    return "\n".join(label.text() for label in window.findChildren(QLabel) if label.isVisible())


def test_the_notice_is_on_screen_in_every_state(qtbot, window, study):
    assert RESEARCH_USE_NOTICE in labels(window).replace(",\n", ", ")
    window.session.open_path(study)
    wait_until_idle(qtbot, window.session)
    assert RESEARCH_USE_NOTICE in labels(window).replace(",\n", ", ")


def test_probability_and_marked_slices_are_told_apart(read_window):
    text = labels(read_window)
    result = read_window.session.state.result
    assert "POSITIVE" in text
    assert f"scan probability of hemorrhage {result.scan_probability:.3f}" in text
    assert "threshold 0.5" in text
    assert "marked slices 6-8" in text  # counted from 1


def test_the_patients_right_is_drawn_on_the_left(read_window):
    view = read_window.slice_view
    read_window.session.set_slice(1)
    read_window.session.set_preset("Brain")
    middle = view.height() // 2
    side = view.height() // 8
    # High columns (the patient's left, 30 HU) are brighter than low ones (20 HU).
    right_of_screen = brightness(read_window, view.width() // 2 + side, middle)
    left_of_screen = brightness(read_window, view.width() // 2 - side, middle)
    assert right_of_screen > left_of_screen > 0


@pytest.mark.parametrize(
    ("key", "modifier", "expected"),
    [
        (Qt.Key.Key_Up, Qt.KeyboardModifier.NoModifier, 6),
        (Qt.Key.Key_Down, Qt.KeyboardModifier.NoModifier, 4),
        (Qt.Key.Key_Up, Qt.KeyboardModifier.ShiftModifier, 11),
        (Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier, 0),
        (Qt.Key.Key_Home, Qt.KeyboardModifier.NoModifier, 0),
        (Qt.Key.Key_End, Qt.KeyboardModifier.NoModifier, 11),
    ],
)
def test_keys_move_through_the_stack(qtbot, read_window, key, modifier, expected):
    assert read_window.session.state.slice_index == 5
    qtbot.keyClick(read_window, key, modifier)
    assert read_window.session.state.slice_index == expected


def test_keys_work_while_the_series_list_has_the_focus(qtbot, read_window):
    read_window.series_list._view.setFocus()
    qtbot.keyClick(read_window.series_list._view, Qt.Key.Key_Up)
    assert read_window.session.state.slice_index == 6


def test_n_and_p_visit_the_marked_run(qtbot, read_window):
    peak = read_window.session.state.result.peak
    read_window.session.set_slice(0)
    qtbot.keyClick(read_window, Qt.Key.Key_N)
    assert read_window.session.state.slice_index == peak
    read_window.session.set_slice(11)
    qtbot.keyClick(read_window, Qt.Key.Key_P)
    assert read_window.session.state.slice_index == peak


@pytest.mark.parametrize("name", ["slice_view", "strip", "plot", "slider"])
def test_the_wheel_goes_towards_the_head_everywhere(read_window, name):
    widget = getattr(read_window, name)
    widget = {"plot": lambda w: w.viewport(), "slider": lambda w: w.slider}.get(name, lambda w: w)(
        widget
    )
    turn_wheel(widget, 1)
    assert read_window.session.state.slice_index == 6
    turn_wheel(widget, -2)
    assert read_window.session.state.slice_index == 4
    for _ in range(10):
        turn_wheel(widget, 0.125)  # a touchpad: a slice after eight small turns
    assert read_window.session.state.slice_index == 5


def test_the_wheel_in_passing_does_not_change_the_model(read_window):
    write_tiny_model(user_models_dir() / "other.safetensors", name="other")
    read_window.session.refresh_models()
    before = read_window.session.state.model
    turn_wheel(read_window.model_box, -1)
    assert read_window.session.state.model is before


def test_ctrl_and_wheel_zoom_instead(read_window):
    turn_wheel(read_window.slice_view, 2, Qt.KeyboardModifier.ControlModifier)
    assert read_window.slice_view.zoom > 1
    assert read_window.session.state.slice_index == 5


def test_the_slider_and_the_stack_follow_each_other(read_window):
    read_window.slider.slider.setValue(3)  # people count from 1
    assert read_window.session.state.slice_index == 2
    read_window.session.set_slice(9)
    assert read_window.slider.slider.value() == 10


@pytest.mark.parametrize("index", [0, 4, 11])
def test_a_click_on_curve_or_strip_goes_to_that_slice(qtbot, read_window, index):
    top, bottom = read_window.plot.axis_extent()
    y = bottom - (index + 0.5) * (bottom - top) / 12
    viewport = read_window.plot.viewport()
    qtbot.mouseClick(viewport, Qt.MouseButton.LeftButton, pos=QPoint(120, round(y)))
    assert read_window.session.state.slice_index == index
    read_window.session.set_slice(6)
    in_strip = read_window.strip.mapFromGlobal(viewport.mapToGlobal(QPoint(0, round(y))))
    qtbot.mouseClick(read_window.strip, Qt.MouseButton.LeftButton, pos=QPoint(40, in_strip.y()))
    assert read_window.session.state.slice_index == index


def test_the_strip_shares_the_axis_after_a_resize(qtbot, read_window):
    read_window.resize(1366, 700)
    QApplication.processEvents()
    top, bottom = read_window.plot.axis_extent()
    for index in (0, 11):
        y = bottom - (index + 0.5) * (bottom - top) / 12
        point = read_window.strip.mapFromGlobal(read_window.plot.mapToGlobal(QPoint(0, round(y))))
        assert read_window.strip.index_at(point.y()) == index


def test_left_drag_changes_window_and_level(qtbot, read_window):
    view = read_window.slice_view
    before = read_window.session.state.window
    start = view.rect().center()
    qtbot.mousePress(view, Qt.MouseButton.LeftButton, pos=start)
    qtbot.mouseMove(view, start + QPoint(40, -25))
    qtbot.mouseRelease(view, Qt.MouseButton.LeftButton, pos=start + QPoint(40, -25))
    after = read_window.session.state.window
    assert after.width_hu > before.width_hu
    assert after.level_hu > before.level_hu
    assert read_window.session.state.preset is None
    assert read_window.session.state.slice_index == 5


@pytest.mark.parametrize(
    ("button", "modifier"),
    [
        (Qt.MouseButton.MiddleButton, Qt.KeyboardModifier.NoModifier),
        (Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ShiftModifier),
        (Qt.MouseButton.RightButton, Qt.KeyboardModifier.NoModifier),
    ],
)
def test_pan_and_zoom_leave_window_and_slice_alone_and_r_resets(
    qtbot, read_window, button, modifier
):
    view = read_window.slice_view
    before = view.grab().toImage()
    start = view.rect().center()
    qtbot.mousePress(view, button, modifier, pos=start)
    qtbot.mouseMove(view, start + QPoint(30, -60))
    qtbot.mouseRelease(view, button, modifier, pos=start + QPoint(30, -60))
    qtbot.mouseMove(view, QPoint(-5, -5))
    assert view.grab().toImage() != before
    assert read_window.session.state.window == PRESETS["Brain"]
    assert read_window.session.state.slice_index == 5
    qtbot.keyClick(read_window, Qt.Key.Key_R)
    assert view.zoom == 1.0


@pytest.mark.parametrize(("key", "name"), list(zip("23456", PRESETS, strict=True)))
def test_digits_choose_the_presets(qtbot, read_window, key, name):
    qtbot.keyClick(read_window, key)
    assert read_window.session.state.window == PRESETS[name]
    assert read_window.commands.presets[name].isChecked()


def test_marked_slices_are_framed_and_named_in_words(read_window):
    read_window.session.set_slice(6)
    marked = read_window.slice_view.grab().toImage()
    read_window.session.set_slice(0)
    clear = read_window.slice_view.grab().toImage()
    edge = QPoint(1, marked.height() // 2)
    assert marked.pixelColor(edge).name() == "#ffb347"
    assert clear.pixelColor(edge).saturation() == 0  # gray: no frame


def test_dropping_a_folder_opens_it(qtbot, window, study):
    drop(window, study)
    wait_until_idle(qtbot, window.session)
    assert window.session.state.slice_count == 12


def test_export_and_run_are_off_until_they_can_work(qtbot, window, study):
    assert not window.commands.export.isEnabled()
    assert not window.commands.run.isEnabled()
    assert not window.commands.cancel.isEnabled()
    window.session.open_path(study)
    assert window.commands.cancel.isEnabled()
    wait_until_idle(qtbot, window.session)
    assert window.commands.export.isEnabled()
    assert window.commands.run.isEnabled()
    assert not window.commands.cancel.isEnabled()


def test_errors_come_in_a_dialog_whose_text_can_be_copied(qtbot, window, tmp_path):
    (tmp_path / "DOE_JANE").mkdir()
    window.session.open_path(tmp_path / "DOE_JANE")
    wait_until_idle(qtbot, window.session)
    dialog = window.findChild(ErrorDialog)
    assert dialog is not None
    assert dialog.isVisible()
    assert not dialog.isModal()
    dialog.copy()
    copied = QGuiApplication.clipboard().text()
    assert "is an empty folder" in copied
    assert "Choose the folder" in copied
    assert "JANE" not in copied  # folders are often named after patients
    dialog.close()


def test_a_newer_error_takes_the_place_of_the_older_one(qtbot, window, tmp_path):
    for name in ("one", "two"):
        window.session.open_path(tmp_path / name)
        wait_until_idle(qtbot, window.session)
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    (dialog,) = window.findChildren(ErrorDialog)
    assert "two" in dialog.findChild(QLabel).text()
    dialog.close()


def test_a_checkpoint_that_is_not_one_is_refused_with_a_reason(qtbot, read_window, tmp_path):
    fake = tmp_path / "model.safetensors"
    fake.write_bytes(b"not weights at all")
    before = read_window.session.state.model
    read_window.session.choose_model(str(fake))
    dialog = read_window.findChild(ErrorDialog)
    assert "is not a checkpoint" in dialog.text
    assert read_window.session.state.model is before
    dialog.close()


def test_closing_during_work_asks(qtbot, window, study, monkeypatch):
    answers = iter([QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes])
    asked = []

    def question(*arguments):
        asked.append(arguments)
        return next(answers)

    monkeypatch.setattr(QMessageBox, "question", question)
    window.session.open_path(study)
    assert not window.close()
    assert window.isVisible()
    window.session.open_path(study)
    assert window.close()
    assert len(asked) == 2


def test_two_series_are_listed_with_their_facts(qtbot, window, tmp_path):
    write_spot_study(tmp_path / "both" / "a", slices=12, seed=1)
    write_spot_study(tmp_path / "both" / "b", slices=7, bleeding=(), seed=2)
    window.session.open_path(tmp_path / "both")
    wait_until_idle(qtbot, window.session)
    rows = window.series_list._rows
    texts = [rows.index(rows.row_of(i)).data() for i in range(2)]
    assert any("12 slices, 5.0 mm apart" in text for text in texts)
    assert any("7 slices, 5.0 mm apart" in text for text in texts)
    selected = window.session.state.selected
    window.series_list._view.setCurrentIndex(rows.index(rows.row_of(1 - selected)))
    wait_until_idle(qtbot, window.session)
    assert window.session.state.selected == 1 - selected


def test_the_model_box_remembers_the_choice_without_paths(qtbot, window, settings):
    write_tiny_model(user_models_dir() / "v0.5.safetensors", name="v0.5")
    box = window.model_box
    box.opened.emit()
    box.activated.emit(box.findText("v0.5"))
    assert settings.model == "v0.5"
    assert window.session.state.model.header.name == "v0.5"
    assert box.currentText() == "v0.5"


def test_a_checkpoint_file_is_told_apart_from_an_installed_model_of_its_name(
    window, settings, tmp_path
):
    settings.model = "tiny"
    path = tmp_path / "elsewhere" / "tiny.safetensors"
    write_tiny_model(path, name="tiny", bias=-9.0)
    window.session.choose_model(str(path))
    assert window.model_box.currentText() == "tiny (file)"
    assert settings.model == "tiny"


def test_the_caution_for_a_demonstration_model_stays_whatever_else_is_said(
    qtbot, window, study, tmp_path
):
    write_tiny_model(user_models_dir() / "toy.safetensors", name="toy", phantoms_only=True)
    window.session.choose_model("toy")
    window.session.open_path(study)
    wait_until_idle(qtbot, window.session)
    window.session.run_model()
    wait_until_idle(qtbot, window.session)
    export_csv(window.session, tmp_path / "x.csv")
    wait_until_idle(qtbot, window.session)
    text = labels(window)
    assert "written" in text
    assert "meaningless on a patient's scan" in text


def test_no_letters_where_the_file_gives_no_orientation(qtbot, window, study):
    for path in study.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        del dataset.ImageOrientationPatient
        dataset.save_as(path)
    drawn = []
    real = window.slice_view._paint_text
    window.slice_view._paint_text = lambda p, corner, text: (
        drawn.append(text),
        real(p, corner, text),
    )
    window.session.open_path(study)
    wait_until_idle(qtbot, window.session)
    window.slice_view.grab()
    assert drawn
    assert not {"R", "L", "A", "P"} & set(drawn)
    assert "sides are not known" in window.details.plain_text()


@pytest.mark.parametrize("size", [(1024, 700), (1366, 700)])
def test_the_window_can_be_made_as_small_as_a_laptop_needs(qtbot, window, tmp_path, size):
    window.session.open_path(
        write_spot_study(tmp_path / "many", slices=60, bleeding=tuple(range(0, 60, 2)))
    )
    wait_until_idle(qtbot, window.session)
    assert window.session.state.result.scan_positive
    window.resize(*size)
    QApplication.processEvents()
    assert (window.width(), window.height()) == size


def test_a_file_dialog_leaves_no_folder_name_on_disk(window, monkeypatch, tmp_path):
    store = QSettings(QSettings.Scope.UserScope, "QtProject")

    def choose(_parent, _title):
        store.setValue("FileDialog/lastVisited", "file:///archive/DOE_JANE")
        store.setValue("FileDialog/history", ["file:///archive/DOE_JANE"])
        return ""

    monkeypatch.setattr(QFileDialog, "getExistingDirectory", choose)
    window.commands.open.trigger()
    store.sync()
    assert store.value("FileDialog/lastVisited") is None
    assert store.value("FileDialog/history") is None


def test_several_files_dropped_are_opened_as_one_and_no_others(qtbot, window, study):
    drop(window, *sorted(study.glob("*.dcm"))[:3])
    wait_until_idle(qtbot, window.session)
    assert window.session.state.slice_count == 3


def test_several_folders_dropped_are_one_index(qtbot, window, tmp_path):
    folders = [
        write_spot_study(tmp_path / "a", slices=12, seed=1),
        write_spot_study(tmp_path / "b", slices=9, bleeding=(), seed=2),
    ]
    drop(window, *folders)
    wait_until_idle(qtbot, window.session)
    assert sorted(len(entry.slices) for entry in window.session.state.entries) == [9, 12]
