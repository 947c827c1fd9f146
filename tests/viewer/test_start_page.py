"""The start page: ways to begin while nothing is open, by mouse and by keyboard."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt

from tests.viewer.conftest import wait_until_idle
from viewer.widgets.main_window import MainWindow


def test_it_stands_there_until_something_is_open(qtbot, window: MainWindow, study: Path) -> None:
    assert window.start_page.isVisible()
    assert window.start_page.size() == window.slice_view.size()
    window.session.open_path(study)
    assert not window.start_page.isVisible()
    wait_until_idle(qtbot, window.session)
    assert not window.start_page.isVisible()


def test_it_comes_back_where_nothing_could_be_opened(
    qtbot, window: MainWindow, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    window.session.failed.disconnect(window.show_error)
    window.session.open_path(empty)
    wait_until_idle(qtbot, window.session)
    qtbot.waitUntil(window.start_page.isVisible, timeout=5_000)


def _note(asked: list[str], text: str, *_: object) -> None:
    asked.append(text)


def test_buttons_do_what_their_actions_do(qtbot, window: MainWindow, monkeypatch) -> None:
    asked = []
    folder, file, demo = window.start_page.buttons
    for button, action in zip(
        (folder, file, demo), [way for way, _ in window.commands.beginnings], strict=True
    ):
        action.triggered.disconnect()
        action.triggered.connect(partial(_note, asked, button.text()))
        button.click()
    assert [text.split("…")[0].split("   ")[0] for text in asked] == [
        "Open folder",
        "Open file",
        "Open demo study",
    ]


def test_tab_and_enter_are_enough(qtbot, window: MainWindow) -> None:
    window.activateWindow()
    folder, file, demo = window.start_page.buttons
    folder.setFocus()
    qtbot.keyClick(folder, Qt.Key.Key_Tab)
    qtbot.keyClick(file, Qt.Key.Key_Tab)
    assert window.focusWidget() is demo
    with qtbot.waitSignal(demo.clicked):
        qtbot.keyClick(demo, Qt.Key.Key_Return)
    window.session.jobs.close()


def test_help_is_the_last_menu(window: MainWindow) -> None:
    titles = [action.text().replace("&", "") for action in window.menuBar().actions()]
    assert titles[-1] == "Help"
    assert "Layout" in titles
