"""The worklist: a folder tree is read in the background, the most suspicious study first."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from PySide6.QtCore import Qt

from sadmil_core.predict import Predictor
from tests.studies import write_spot_study
from tests.viewer.conftest import wait_until_idle
from viewer.model.worklist import WORKLIST, WorkStatus
from viewer.widgets.main_window import MainWindow


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three studies."""
    for number in range(3):
        write_spot_study(tmp_path / "tree" / str(number), seed=number + 1)
    return tmp_path / "tree"


@pytest.fixture
def listed(qtbot, window: MainWindow, tree: Path) -> MainWindow:
    window.studies.queue(tree)
    worklist = window.studies.worklist
    qtbot.waitUntil(lambda: bool(worklist.items) and not worklist.is_running, timeout=30_000)
    return window


def test_results_stand_by_probability(listed: MainWindow) -> None:
    items = listed.studies.worklist.items
    assert [item.status for item in items] == [WorkStatus.SCORED] * 3
    found = [item.probability for item in items]
    assert found == sorted(found, reverse=True)
    assert listed.studies.worklist.message == "All studies are read"
    assert listed.studies.dock.isVisible()
    rows = listed.studies.panel.rows
    assert rows.rowCount() == 3
    assert rows.data(rows.index(0, 0))


def test_a_study_that_cannot_be_read_is_named_with_its_reason(
    qtbot, window: MainWindow, tree: Path, monkeypatch
) -> None:
    real, asked = Predictor.run, []

    def run(self, volume, *given, **named):
        asked.append(volume.entry.study_instance_uid)
        if len(asked) == 2:
            raise ZeroDivisionError("as if a weight were missing")
        return real(self, volume, *given, **named)

    monkeypatch.setattr(Predictor, "run", run)
    window.studies.queue(tree)
    worklist = window.studies.worklist
    qtbot.waitUntil(lambda: bool(worklist.items) and not worklist.is_running, timeout=30_000)
    *scored, last = worklist.items
    assert [item.status for item in scored] == [WorkStatus.SCORED] * 2
    assert last.scan_id == asked[1]
    assert last.probability is None
    assert last.reason


def test_next_opens_what_was_loaded_ahead(qtbot, listed: MainWindow) -> None:
    worklist, session = listed.studies.worklist, listed.session
    qtbot.keyClick(listed, Qt.Key.Key_PageDown, Qt.KeyboardModifier.ControlModifier)
    first, second = worklist.items[0].scan_id, worklist.items[1].scan_id
    qtbot.waitUntil(lambda: session.state.volume is not None, timeout=10_000)
    assert session.state.entry.study_instance_uid == first
    qtbot.waitUntil(lambda: worklist._ready is not None, timeout=10_000)
    assert worklist._ready.scan_id == second
    ahead = worklist._ready.volume
    qtbot.keyClick(listed, Qt.Key.Key_PageDown, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: session.state.volume is ahead, timeout=10_000)
    wait_until_idle(qtbot, session)
    assert session.state.result.scan_probability == worklist.items[1].probability
    qtbot.keyClick(listed, Qt.Key.Key_PageUp, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: worklist.current == first)
    wait_until_idle(qtbot, session)


def test_enter_opens_the_row(qtbot, listed: MainWindow) -> None:
    table = listed.studies.panel.table
    table.setCurrentIndex(listed.studies.panel.rows.index(2, 0))
    qtbot.keyClick(table, Qt.Key.Key_Return)
    wanted = listed.studies.worklist.items[2].scan_id
    qtbot.waitUntil(lambda: listed.session.state.volume is not None, timeout=10_000)
    assert listed.session.state.entry.study_instance_uid == wanted
    wait_until_idle(qtbot, listed.session)


def test_stopping_keeps_what_is_read_and_going_on_reads_the_rest(
    qtbot, window: MainWindow, tree: Path, monkeypatch
) -> None:
    gate, real, calls = threading.Event(), Predictor.run, []

    def run(self, volume, progress, *given, **named):
        calls.append(volume.entry.study_instance_uid)
        if len(calls) == 2:
            while not gate.wait(0.005):
                progress(0, 1, "held")
        return real(self, volume, progress, *given, **named)

    monkeypatch.setattr(Predictor, "run", run)
    worklist = window.studies.worklist
    window.studies.queue(tree)
    qtbot.waitUntil(lambda: len(calls) == 2, timeout=30_000)
    reached = []
    qtbot.mouseMove(window)
    window.session.changed.connect(reached.append)
    window.session.set_options(is_inverted=True)  # the window answers meanwhile
    assert reached
    worklist.cancel()
    gate.set()
    qtbot.waitUntil(lambda: not worklist.is_running, timeout=10_000)
    assert worklist.message.startswith("Stopped: 1 of 3")
    assert worklist.can_resume
    worklist.resume()
    qtbot.waitUntil(lambda: not worklist.is_running and not worklist.can_resume, timeout=30_000)
    assert [item.status for item in worklist.items] == [WorkStatus.SCORED] * 3
    assert calls.count(calls[0]) == 1


def test_names_are_numbers_while_identifiers_are_hidden(listed: MainWindow) -> None:
    rows = listed.studies.panel.rows
    listed.session.set_options(hides_identifiers=True)
    shown = [str(rows.data(rows.index(row, 2))) for row in range(3)]
    assert sorted(shown) == ["Study 1", "Study 2", "Study 3"]


def test_an_empty_folder_is_said(qtbot, window: MainWindow, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    told = []
    window.session.failed.disconnect(window.show_error)
    window.session.failed.connect(told.append)
    window.studies.queue(tmp_path / "nothing")
    qtbot.waitUntil(lambda: bool(told), timeout=10_000)
    assert not window.session.jobs.is_busy(WORKLIST)
    assert not window.studies.worklist.items
