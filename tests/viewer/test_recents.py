"""Recent studies: noted once they are seen, opened again, hidden, forgotten."""

from __future__ import annotations

import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton

from sadmil_core.paths import user_data_dir
from tests.viewer.conftest import end, wait_until_idle
from viewer.model.recent_store import LastResult, RecentStore, RecentStudy
from viewer.model.recents import Recents
from viewer.widgets.main_window import MainWindow
from viewer.widgets.recent_list import RecentDialog

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def named(name: str, *, minutes: int = 0, **known) -> RecentStudy:
    return RecentStudy(
        paths=(Path(f"/scans/{name}"),),
        scan_id=f"1.2.{name}",
        name=name,
        series=1,
        slices=12,
        opened_at=NOON + timedelta(minutes=minutes),
        **known,
    )


@pytest.fixture
def store(tmp_path: Path) -> RecentStore:
    return RecentStore(tmp_path / "recent.sqlite")


def test_the_last_one_stands_first_and_keeps_what_was_known(store: RecentStore) -> None:
    picture = np.arange(12, dtype=np.uint8).reshape(3, 4)
    result = LastResult(model="tiny", probability=0.9, is_positive=True)
    store.note(named("a", thumbnail=picture, result=result))
    store.note(named("b", minutes=1))
    store.note(named("a", minutes=2))
    first, second = store.studies()
    assert (first.name, second.name) == ("a", "b")
    assert first.thumbnail is not None
    assert np.array_equal(first.thumbnail, picture)
    assert first.result == result
    assert (second.thumbnail, second.result) == (None, None)


def test_a_hundred_are_kept(store: RecentStore) -> None:
    for number in range(103):
        store.note(named(str(number), minutes=number))
    names = [study.name for study in store.studies()]
    assert len(names) == 100
    assert (names[0], names[-1]) == ("102", "3")


def test_two_windows_write_into_one_file(store: RecentStore) -> None:
    other = RecentStore(store.path)
    store.note(named("a"))
    other.note(named("b", minutes=1))
    assert [study.name for study in store.studies()] == ["b", "a"]


def test_a_damaged_file_is_put_aside_and_a_new_one_begun(store: RecentStore, caplog) -> None:
    store.path.write_bytes(b"no database at all" * 100)
    assert store.studies() == ()
    store.note(named("a"))
    assert [study.name for study in store.studies()] == ["a"]
    assert "/scans" not in caplog.text


def test_a_file_of_a_newer_program_is_left_alone(store: RecentStore) -> None:
    store.note(named("a"))
    with sqlite3.connect(store.path) as database:
        database.execute("PRAGMA user_version = 99")
    store.note(named("b"))
    assert store.studies() == ()
    with sqlite3.connect(store.path) as database:
        assert database.execute("SELECT count(*) FROM study").fetchone() == (1,)


def test_clearing_leaves_no_trace(store: RecentStore) -> None:
    store.note(named("Doe-Jane"))
    assert b"Doe-Jane" in store.path.read_bytes()
    store.clear()
    assert store.studies() == ()
    for file in store.path.parent.iterdir():
        assert b"Doe-Jane" not in file.read_bytes()


def test_what_was_read_is_there_at_the_next_start(qtbot, read_window: MainWindow) -> None:
    recents = read_window.studies.recents
    qtbot.waitUntil(lambda: bool(recents.studies) and recents.studies[0].result is not None)
    (study,) = Recents(read_window.session).studies
    result = read_window.session.state.result
    assert study.result is not None
    assert study.result.probability == pytest.approx(result.scan_probability)
    assert study.slices == 12
    assert (user_data_dir() / "recent-studies.sqlite").is_file()


def test_recent_studies_stand_where_series_will_and_open_with_enter(
    qtbot, read_window: MainWindow, settings, session
) -> None:
    qtbot.waitUntil(lambda: bool(read_window.studies.recents.studies))
    from viewer.model.session import Session

    later = Session(device="cpu")
    window = MainWindow(later, settings)
    qtbot.addWidget(window)
    window.show()
    try:
        listed = window.studies.recent_list
        assert listed.isVisible()
        assert not window.series_list.isVisible()
        listed.view.setFocus()
        listed.view.setCurrentIndex(listed.view.model().index(0, 0))
        qtbot.keyClick(listed.view, Qt.Key.Key_Return)
        qtbot.waitUntil(lambda: later.state.volume is not None, timeout=10_000)
        assert not listed.isVisible()
        assert window.series_list.isVisible()
        wait_until_idle(qtbot, later)
    finally:
        end(later)


def test_a_folder_that_is_gone_is_said(qtbot, read_window: MainWindow, study: Path) -> None:
    recents = read_window.studies.recents
    qtbot.waitUntil(lambda: bool(recents.studies))
    shutil.rmtree(study)
    recents.refresh()
    qtbot.waitUntil(lambda: bool(recents.missing))
    item = read_window.studies.recent_list.view.model().item(0)
    assert "not there now" in item.text()


def test_nothing_is_shown_while_identifiers_are_hidden(qtbot, read_window: MainWindow) -> None:
    recents = read_window.studies.recents
    qtbot.waitUntil(lambda: bool(recents.studies))
    dialog = RecentDialog(recents, read_window, hides=True)
    assert dialog.list.view.model().rowCount() == 0
    assert "hidden" in dialog.list.words.text()
    assert not dialog.open_button.isEnabled()


def test_clearing_is_in_the_settings_and_in_the_menu(qtbot, read_window: MainWindow) -> None:
    recents = read_window.studies.recents
    qtbot.waitUntil(lambda: bool(recents.studies))
    read_window.show_settings()
    button = next(
        b for b in read_window.findChildren(QPushButton) if b.text() == "Clear recent studies"
    )
    button.click()
    assert recents.studies == ()
    assert button.text() == "Cleared"
