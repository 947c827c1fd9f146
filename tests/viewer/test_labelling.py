"""The reader's labels in the window: given, undone, kept, hidden behind, exported."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt

from sadmil_core.data.manifest import read_manifest
from sadmil_core.labels import Drawing, DrawingStore, LabelDatabase, slice_names
from sadmil_core.paths import user_data_dir
from tests.studies import write_spot_study
from tests.viewer.conftest import end, wait_until_idle
from viewer.model.annotations import MeasureKind, Measurement, SliceKey
from viewer.model.exporting import ExportKind
from viewer.model.session import Session
from viewer.settings import Settings
from viewer.widgets.main_window import MainWindow
from viewer.widgets.recent_list import RecentList
from viewer.widgets.worklist_panel import WorkRows

CTRL, SHIFT, ALT = (
    Qt.KeyboardModifier.ControlModifier,
    Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.AltModifier,
)
NONE = Qt.KeyboardModifier.NoModifier


@pytest.fixture
def marks(read_window: MainWindow):
    return lambda: read_window.session.state.marks


def press(qtbot, window: MainWindow, key: Qt.Key, modifiers=NONE) -> None:
    window.slice_view.setFocus()
    qtbot.keyClick(window.slice_view, key, modifiers)


@pytest.mark.parametrize(
    ("key", "modifiers", "said"),
    [
        (Qt.Key.Key_B, CTRL, lambda m: m.label is True),
        (Qt.Key.Key_B, CTRL | SHIFT, lambda m: m.label is False),
        (Qt.Key.Key_B, NONE, lambda m: m.of(5).label is True),
        (Qt.Key.Key_B, SHIFT, lambda m: m.of(5).label is False),
        (Qt.Key.Key_1, ALT, lambda m: m.of(5).subtypes == {"epidural": True}),
        (Qt.Key.Key_2, ALT, lambda m: m.of(5).subtypes == {"subdural": True}),
        (Qt.Key.Key_3, ALT, lambda m: m.of(5).subtypes == {"subarachnoid": True}),
        (Qt.Key.Key_4, ALT, lambda m: m.of(5).subtypes == {"intraparenchymal": True}),
        (Qt.Key.Key_5, ALT, lambda m: m.of(5).subtypes == {"intraventricular": True}),
    ],
)
def test_a_key_says_it_and_again_takes_it_back(
    qtbot, read_window: MainWindow, marks, key, modifiers, said
) -> None:
    read_window.session.set_slice(5)
    press(qtbot, read_window, key, modifiers)
    assert said(marks())
    if modifiers == ALT:  # by way of "not there"
        press(qtbot, read_window, key, modifiers)
        assert list(marks().of(5).subtypes.values()) == [False]
    press(qtbot, read_window, key, modifiers)
    assert not said(marks())


@pytest.mark.parametrize(("modifiers", "agrees"), [(CTRL, True), (CTRL | SHIFT, False)])
def test_agreeing_with_the_scan_takes_the_models_decision_over(
    qtbot, read_window: MainWindow, marks, modifiers, agrees
) -> None:
    positive = read_window.session.state.result.scan_positive
    press(qtbot, read_window, Qt.Key.Key_G, modifiers)
    assert (marks().agrees, marks().label) == (agrees, positive is agrees)


@pytest.mark.parametrize(("modifiers", "agrees"), [(NONE, True), (SHIFT, False)])
def test_agreeing_with_a_slice_takes_its_mark_over(
    qtbot, read_window: MainWindow, marks, modifiers, agrees
) -> None:
    read_window.session.set_slice(6)
    marked = bool(read_window.session.state.result.slice_positive[6])
    press(qtbot, read_window, Qt.Key.Key_G, modifiers)
    assert (marks().of(6).agrees, marks().of(6).label) == (agrees, marked is agrees)


def test_buttons_say_what_keys_say_and_show_it(qtbot, read_window: MainWindow, marks) -> None:
    panel = read_window.label_panel
    read_window.session.set_slice(6)
    qtbot.mouseClick(panel.slice[0], Qt.MouseButton.LeftButton)
    qtbot.mouseClick(panel.subtypes["subdural"], Qt.MouseButton.LeftButton)
    qtbot.mouseClick(panel.scan[0], Qt.MouseButton.LeftButton)
    assert marks().label is True
    assert marks().of(6).subtypes == {"subdural": True}
    assert panel.scan[0].isChecked()
    assert not panel.scan[1].isChecked()
    assert panel.subtypes["subdural"].accessibleName() == "subdural in this slice: present"
    qtbot.mouseClick(panel.subtypes["subdural"], Qt.MouseButton.LeftButton)
    assert panel.subtypes["subdural"].accessibleName() == "subdural in this slice: absent"
    assert panel.subtypes["subdural"].font().strikeOut()
    read_window.session.set_slice(2)
    assert not panel.slice[0].isChecked()
    assert panel._slice_name.text() == "Slice 3"


def test_the_strip_shows_what_was_said(qtbot, read_window: MainWindow) -> None:
    before = read_window.strip.grab().toImage()
    read_window.session.set_slice(2)
    read_window.session.labels.mark_slice(True)
    read_window.session.set_slice(5)
    assert read_window.strip.grab().toImage() != before


def test_a_contradiction_is_refused_in_words(qtbot, read_window: MainWindow, marks) -> None:
    read_window.session.set_slice(5)
    read_window.session.labels.mark_slice(True)
    read_window.session.labels.mark_scan(False)
    assert marks().label is None
    assert "slices 6 are marked as bleeding" in read_window.session.state.message


def test_labels_and_drawings_are_undone_in_one_order(qtbot, read_window: MainWindow, marks) -> None:
    session = read_window.session
    session.set_slice(5)
    session.labels.mark_slice(True)
    key = SliceKey.of(session.state.entry.slices[5])
    session.annotations.toggle_key_image(key)
    session.labels.mark_scan(True)
    press(qtbot, read_window, Qt.Key.Key_Z, CTRL)
    assert (marks().label, marks().of(5).label) == (None, True)
    press(qtbot, read_window, Qt.Key.Key_Z, CTRL)
    assert not session.annotations.is_key_image(key)
    session.set_slice(0)
    press(qtbot, read_window, Qt.Key.Key_Z, CTRL)
    assert marks().of(5).label is None
    assert session.state.slice_index == 5  # where it happened
    press(qtbot, read_window, Qt.Key.Key_Y, CTRL)
    assert marks().of(5).label is True


def test_a_step_of_another_series_is_undone_there(qtbot, session, tmp_path) -> None:
    write_spot_study(tmp_path / "both" / "a", seed=1)
    write_spot_study(tmp_path / "both" / "b", seed=2, slices=14)
    session.open_path(tmp_path / "both")
    wait_until_idle(qtbot, session)
    first = session.state.selected
    session.labels.mark_scan(True)
    session.select_series(1 - first)
    wait_until_idle(qtbot, session)
    assert session.state.marks.label is None
    session.annotations.undo_stack.undo()
    assert session.state.marks.label is None
    session.select_series(first)
    assert session.state.marks.label is None


@pytest.fixture
def later(qapp, tiny):
    made = Session(device="cpu")
    made.choose_model("tiny")
    yield made
    end(made)


def test_everything_is_there_in_the_next_run(
    qtbot, read_window: MainWindow, study, later: Session
) -> None:
    """The first run is not even closed: what is seen is kept."""
    session = read_window.session
    session.set_slice(5)
    session.labels.cycle_subtype("subdural")
    session.labels.write_note("thin")
    key = SliceKey.of(session.state.entry.slices[5])
    line = Measurement(slice=key, kind=MeasureKind.DISTANCE, points=((1.0, 2.0), (3.0, 4.5)))
    gone = Measurement(slice=key, kind=MeasureKind.DISTANCE, points=((0.0, 0.0), (9.0, 9.0)))
    session.annotations.add(line)
    session.annotations.add(gone)
    session.annotations.move(line.uid, ((1.0, 2.0), (8.0, 4.5)))
    session.annotations.toggle_key_image(key)
    session.annotations.remove(gone.uid)
    later.open_path(study)
    wait_until_idle(qtbot, later)
    assert later.state.marks == session.state.marks
    assert later.state.marks.note == "thin"
    (kept,) = later.annotations.on(key)
    assert kept.points == ((1.0, 2.0), (8.0, 4.5))
    assert later.annotations.is_key_image(key)
    assert not later.annotations.undo_stack.canUndo()


def test_what_is_undone_on_a_series_that_is_no_longer_shown_is_gone_for_good(
    qtbot, session: Session, later: Session, tmp_path
) -> None:
    write_spot_study(tmp_path / "both" / "a", seed=1)
    write_spot_study(tmp_path / "both" / "b", seed=2, slices=14)
    session.open_path(tmp_path / "both")
    wait_until_idle(qtbot, session)
    first = session.state.selected
    key = SliceKey.of(session.state.entry.slices[5])
    session.annotations.toggle_key_image(key)
    session.select_series(1 - first)
    wait_until_idle(qtbot, session)
    session.annotations.undo_stack.undo()
    later.open_path(tmp_path / "both")
    wait_until_idle(qtbot, later)
    later.select_series(first)
    assert not later.annotations.is_key_image(key)


def test_a_drawing_of_a_kind_that_is_not_known_is_left_alone(
    qtbot, session: Session, study
) -> None:
    session.open_path(study)
    wait_until_idle(qtbot, session)
    entry, hashes = session.state.entry, session.labels.hashes
    series = f"{hashes.of(entry.series_instance_uid)}/{entry.stack_index}"
    name = slice_names(entry, hashes)[3]
    store = DrawingStore(LabelDatabase())
    store.change(series, (), [Drawing(uid="x", slice=name, kind="spiral", points=((1.0, 2.0),))])
    session.drawings.recall(entry)
    session.annotations.toggle_key_image(SliceKey.of(entry.slices[4]))
    session.annotations.undo_stack.undo()
    assert [drawing.kind for drawing in store.of(series)] == ["spiral"]


def test_readers_have_labels_of_their_own(qtbot, read_window: MainWindow, marks) -> None:
    desk = read_window.session.labels
    desk.set_reader("ann")
    desk.mark_scan(True)
    desk.set_reader("bob")
    assert marks().label is None
    desk.mark_scan(False)
    desk.set_reader("ann")
    assert marks().label is True
    assert set(desk.journal.readers()) == {"ann", "bob"}


# -- read first ---------------------------------------------------------------------------------


@pytest.fixture
def hidden(qtbot, window: MainWindow, study):
    """A window in read-first mode, the model done."""
    window.session.set_options(reads_first=True)
    window.session.open_path(study)
    wait_until_idle(qtbot, window.session)
    assert window.session.state.known_record is not None
    return window


def test_nothing_of_the_model_is_seen_before_the_scan_is_marked(qtbot, hidden) -> None:
    session, panel = hidden.session, hidden.result_panel
    assert session.state.record is None
    assert session.state.result is None
    assert session.records == ()
    assert panel._decision.text() == "hidden"
    assert "hidden until you have marked the scan" in panel._result.text()
    assert "hidden" in hidden.plot._hint.toPlainText()
    assert not hidden.plot._items
    for kind in (ExportKind.PDF, ExportKind.CSV, ExportKind.JSON):
        assert not session.exporter.can(kind)
    here = session.state.slice_index
    press(qtbot, hidden, Qt.Key.Key_N)
    assert session.state.slice_index == here
    assert not any(button.isEnabled() for button in hidden.label_panel.judgement)


def test_marking_slices_reveals_nothing_marking_the_scan_does(qtbot, hidden) -> None:
    session = hidden.session
    session.set_slice(5)
    press(qtbot, hidden, Qt.Key.Key_B)
    assert session.state.result is None
    press(qtbot, hidden, Qt.Key.Key_B, CTRL)
    assert session.state.result is not None
    assert hidden.result_panel._decision.text() in ("POSITIVE", "negative")
    assert hidden.label_panel.judgement[0].isEnabled()
    press(qtbot, hidden, Qt.Key.Key_B, CTRL)  # taken back, but seen is seen
    assert session.state.marks.label is None
    assert session.state.result is not None
    rows = session.labels.journal.rows()
    sha256 = session.state.result.model.sha256
    assert [(row.value, row.model) for row in rows] == [("1", ""), ("1", ""), ("", sha256)]


def test_the_setting_hides_at_once_and_is_remembered(
    qtbot, read_window: MainWindow, settings: Settings
) -> None:
    read_window.commands.action("read-first").trigger()
    assert read_window.session.state.result is None
    assert settings.reads_first
    read_window.commands.action("read-first").trigger()
    assert read_window.session.state.result is not None
    assert not settings.reads_first


def test_a_second_series_is_hidden_too(qtbot, window: MainWindow, tmp_path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        write_spot_study(tmp_path / "both" / name, seed=seed)
    session = window.session
    session.open_path(tmp_path / "both")
    wait_until_idle(qtbot, session)
    session.select_series(1)
    wait_until_idle(qtbot, session)
    session.labels.mark_scan(True)
    session.set_options(reads_first=True)
    assert len(session.records) == 1
    assert session.state.result is not None
    session.select_series(0)
    assert session.state.result is None


def test_worklist_and_recent_studies_keep_the_secret(qtbot, window: MainWindow, tmp_path) -> None:
    for name, seed, bleeding in (("a", 1, ()), ("b", 2, (4, 5, 6, 7)), ("c", 3, (5,))):
        write_spot_study(tmp_path / "list" / name, seed=seed, bleeding=bleeding)
    session, worklist = window.session, window.studies.worklist
    session.set_options(reads_first=True)
    window.studies.queue(tmp_path / "list")
    wait_until_idle(qtbot, session)
    rows = WorkRows(worklist)
    rows.show()
    assert [item.number for item in worklist.items] == [1, 2, 3]
    for item in worklist.items:
        texts = rows._texts(item)
        assert texts[0] == ""
        assert texts[1] == "hidden"
        assert texts[4] == ""
    worklist.open(worklist.items[0].scan_id)
    wait_until_idle(qtbot, session)
    qtbot.waitUntil(lambda: bool(window.studies.recents.studies))
    recent = RecentList(window.studies.recents)
    qtbot.addWidget(recent)
    told = recent.view.model().index(0, 0).data(Qt.ItemDataRole.ToolTipRole)
    assert "POSITIVE" not in told
    assert "negative" not in told
    opened = worklist.items[0].scan_id
    session.labels.mark_scan(True)
    (item,) = (i for i in worklist.items if i.scan_id == opened)
    assert rows._texts(item)[1] in ("POSITIVE", "negative")
    told = recent.view.model().index(0, 0).data(Qt.ItemDataRole.ToolTipRole)
    assert "POSITIVE" in told or "negative" in told
    hidden = [i for i in worklist.items if i.scan_id != opened]
    assert [i.number for i in hidden] == sorted(i.number for i in hidden)


# -- notes --------------------------------------------------------------------------------------


def test_a_note_is_written_without_setting_off_keys(qtbot, read_window: MainWindow, marks) -> None:
    note = read_window.label_panel.note
    read_window.activateWindow()
    press(qtbot, read_window, Qt.Key.Key_N, CTRL)
    qtbot.waitUntil(note.hasFocus)
    qtbot.keyClicks(note, "bleed, inverted?")
    assert not read_window.session.state.options.is_inverted
    assert marks().of(read_window.session.state.slice_index).label is None
    qtbot.keyClick(note, Qt.Key.Key_Return)
    assert marks().note == "bleed, inverted?"
    assert not note.hasFocus()
    press(qtbot, read_window, Qt.Key.Key_Z, CTRL)
    assert marks().note == ""
    assert note.text() == ""


def test_a_note_that_is_being_written_is_kept_on_the_series_it_is_about(
    qtbot, window: MainWindow, tmp_path
) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        write_spot_study(tmp_path / "both" / name, seed=seed)
    session, note = window.session, window.label_panel.note
    session.open_path(tmp_path / "both")
    wait_until_idle(qtbot, session)
    first = session.state.selected
    window.activateWindow()
    note.setFocus()
    qtbot.waitUntil(note.hasFocus)
    qtbot.keyClicks(note, "of the first")
    for key in (Qt.Key.Key_PageUp, Qt.Key.Key_PageDown, Qt.Key.Key_Up):
        qtbot.keyClick(note, key)  # they would leave the series, or its slice
    assert session.state.selected == first
    session.select_series(1 - first)
    assert note.text() == ""
    assert session.state.marks.note == ""
    session.select_series(first)
    assert session.state.marks.note == "of the first"
    assert note.text() == "of the first"


# -- export -------------------------------------------------------------------------------------


def test_labels_are_exported_as_a_manifest(qtbot, read_window: MainWindow, tmp_path) -> None:
    session, path = read_window.session, tmp_path / "labels.csv"
    session.set_slice(5)
    session.labels.judge_slice(False)
    session.labels.mark_scan(True)
    session.labels.export(path)
    wait_until_idle(qtbot, session)
    assert "Labels of 1 scan written" in session.state.message
    (scan,) = read_manifest(path).scans
    assert scan.label is True
    assert scan.slices[5].label is session.state.marks.of(5).label


def test_without_labels_there_is_nothing_to_export(
    qtbot, read_window: MainWindow, tmp_path
) -> None:
    session, path = read_window.session, tmp_path / "labels.csv"
    with qtbot.waitSignal(session.failed) as said:
        session.labels.export(path)
    assert "has a label" in str(said.args[0])
    assert not path.exists()


def test_a_file_of_the_scan_is_not_overwritten(qtbot, read_window: MainWindow) -> None:
    session = read_window.session
    session.labels.mark_scan(True)
    file = session.state.entry.slices[0].path
    before = file.read_bytes()
    with qtbot.waitSignal(session.failed):
        session.labels.export(file)
    wait_until_idle(qtbot, session)
    assert file.read_bytes() == before


# -- what goes wrong ----------------------------------------------------------------------------


def test_a_damaged_database_is_told_once_and_reading_goes_on(
    qtbot, window: MainWindow, study
) -> None:
    path = user_data_dir() / "labels.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no database at all " * 400)
    said = []
    window.session.failed.connect(said.append)
    window.session.open_path(study)
    wait_until_idle(qtbot, window.session)
    assert [type(error).__name__ for error in said] == ["LabelError"]
    assert "damaged" in str(said[0])
    assert window.session.state.result is not None
    window.session.labels.mark_scan(True)
    assert window.session.state.marks.label is None  # never shown as kept when it is not
    assert len(said) == 2


def test_a_label_that_cannot_be_written_is_not_shown(
    qtbot, read_window: MainWindow, marks, monkeypatch
) -> None:
    monkeypatch.setattr("sadmil_core.labels.database._WAIT_S", 0.05)
    with LabelDatabase().transaction() as other:
        other.execute("BEGIN IMMEDIATE")
        with qtbot.waitSignal(read_window.session.failed):
            read_window.session.labels.mark_scan(True)
        assert marks().label is None
        other.rollback()
    read_window.session.labels.mark_scan(True)
    assert marks().label is True
