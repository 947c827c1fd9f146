"""Recent studies and the worklist in the main window: their places, actions and settings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt
from PySide6.QtWidgets import QDockWidget, QPushButton

from viewer.model.recents import Recents
from viewer.model.worklist import Worklist
from viewer.widgets.file_dialogs import ask_folder
from viewer.widgets.recent_list import RecentDialog, RecentList
from viewer.widgets.worklist_panel import WorklistPanel

if TYPE_CHECKING:
    from pathlib import Path

    from PySide6.QtWidgets import QSplitter

    from viewer.model.state import ViewState
    from viewer.widgets.main_window import MainWindow
    from viewer.widgets.settings_dialog import SettingsDialog

_DOCK_HEIGHT = 240


class Studies(QObject):
    """Owns the recent studies, the worklist, and what shows them.

    Args:
        window: The window; its actions are there already.
        left: Where the series stand: while there are none, recent studies stand there.
    """

    def __init__(self, window: MainWindow, left: QSplitter) -> None:
        super().__init__(window)
        self._window, self._session = window, window.session
        self.recents = Recents(self._session, self)
        self.worklist = Worklist(self._session, self)
        self.recent_list = RecentList(self.recents)
        self.recent_list.opened.connect(self.recents.open)
        left.insertWidget(0, self.recent_list)
        self.panel = WorklistPanel(self.worklist)
        self.panel.queue_wanted.connect(self.ask_queue)
        self.dock = QDockWidget("Worklist", window)
        self.dock.setObjectName("worklist")
        self.dock.setWidget(self.panel)
        self.dock.setAllowedAreas(
            Qt.DockWidgetArea.BottomDockWidgetArea | Qt.DockWidgetArea.TopDockWidgetArea
        )
        window.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, self.dock)
        self.dock.hide()
        self._make_actions()
        self.recents.changed.connect(lambda: self.render_state(self._session.state))
        self.worklist.changed.connect(self._enable)
        self.worklist.progressed.connect(self._enable)
        self.recents.refresh()
        self._enable()

    def _make_actions(self) -> None:
        commands, worklist = self._window.commands, self.worklist
        menu = commands.menu("File")
        for text, keys, run, tip in (
            ("Recent studies…", "Ctrl+Shift+R", self.show_recents, "Studies that were opened"),
            ("Clear recent studies", "", self.recents.clear, "Forget which studies were opened"),
        ):
            action = commands.add(text, keys, run, tip, menu="File")
            menu.insertAction(commands.export, action)
            if not keys:
                self._clear = action
        menu.insertSeparator(commands.export)
        add = partial(commands.add, menu="Worklist")
        add("Queue a folder…", "Ctrl+L", self.ask_queue, "Read all studies below a folder")
        self._shown = add("Show the worklist", "Ctrl+Shift+L", self._toggle, checkable=True)
        self.dock.visibilityChanged.connect(self._shown.setChecked)
        commands.menu("Worklist").addSeparator()
        self._next = add("Next study of the worklist", "Ctrl+PgDown", lambda: worklist.step(1))
        self._previous = add("Previous study of the worklist", "Ctrl+PgUp", self._step_back)
        commands.menu("Worklist").addSeparator()
        self._stop = add("Stop reading the worklist", "", worklist.cancel)
        self._resume = add("Go on reading the worklist", "", worklist.resume)

    # -- commands -----------------------------------------------------------------------------

    def show_recents(self) -> None:
        """Shows the recent studies in a dialog."""
        self.recents.refresh()
        hides = self._session.state.options.hides_identifiers
        RecentDialog(self.recents, self._window, hides=hides).show()

    def ask_queue(self) -> None:
        """Lets the user choose a folder whose studies are to be read."""
        folder = ask_folder(self._window, "Queue a folder of studies")
        if folder:
            self.queue(folder)

    def queue(self, folder: Path) -> None:
        """Reads all studies below a folder, and shows the worklist."""
        if self.dock.isHidden():
            self._toggle()
        self.worklist.start((folder,))

    def _toggle(self) -> None:
        self.dock.setVisible(self.dock.isHidden())
        if not self.dock.isHidden():
            height = min(_DOCK_HEIGHT, self._window.height() // 3)
            self._window.resizeDocks([self.dock], [height], Qt.Orientation.Vertical)
            self.panel.table.setFocus()

    def _step_back(self) -> None:
        self.worklist.step(-1)

    def add_settings(self, dialog: SettingsDialog) -> None:
        """Adds what can be cleared to the settings."""
        recent = QPushButton("Clear recent studies")
        results = QPushButton("Clear kept results")
        recent.clicked.connect(self.recents.clear)
        results.clicked.connect(self._session.kept.clear)
        for label, button in (("Studies", recent), ("Results", results)):
            button.clicked.connect(partial(_say_cleared, button))
            dialog.add_row(label, button)

    # -- showing ------------------------------------------------------------------------------

    def render_state(self, state: ViewState) -> None:
        """Shows recent studies while nothing else is there; hides names where they are hidden."""
        hides = state.options.hides_identifiers
        for part in (self.recent_list, self.panel):
            part.set_hidden(hides)
        begins = state.entry is None and bool(self.recents.studies)
        self.recent_list.setVisible(begins)
        self._window.series_list.setVisible(not begins)
        self._window.details.setVisible(state.entry is not None)
        self._clear.setEnabled(bool(self.recents.studies))

    def _enable(self) -> None:
        worklist = self.worklist
        for action in (self._next, self._previous):
            action.setEnabled(bool(worklist.items))
        self._stop.setEnabled(worklist.is_running)
        self._resume.setEnabled(worklist.can_resume)


def _say_cleared(button: QPushButton) -> None:
    button.setText("Cleared")
    button.setEnabled(False)
