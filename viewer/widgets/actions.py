"""The actions of the main window: their keys, menus, tool bar, and when they are possible."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QMenu, QSizePolicy, QToolBar, QWidget

from sadmil_core.display import PRESETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from viewer.model.state import ViewState
    from viewer.widgets.main_window import MainWindow

_MATTERS_TO_ACTIONS = (
    "entries",
    "selected",
    "volume",
    "records",
    "model",
    "opening",
    "scoring",
    "skipped",
)


class WindowActions(QObject):
    """Makes the actions of one main window, and puts them into menus and the tool bar.

    Args:
        window: The window; its session carries most of them out.

    Attributes:
        menus: The menus by title, for parts of the window that add to them.
        tool_bar: The tool bar.
        presets: The window presets by name.
    """

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window, self._session = window, window.session
        self._state: ViewState | None = None
        self.menus: dict[str, QMenu] = {}
        self.presets: dict[str, QAction] = {}
        self.tool_bar = QToolBar("Main")

    def add(
        self,
        text: str,
        keys: str | list[str],
        run: Callable[[], object],
        tip: str = "",
        menu: str = "",
    ) -> QAction:
        """Adds an action to the window.

        Args:
            text: What it is called; stable, for it is known by it.
            keys: Its usual keys.
            run: What it does.
            tip: A sentence for the tool tip, where the text does not say it all.
            menu: The title of the menu it goes into, if any.
        """
        action = QAction(text, self._window)
        action.setShortcuts([QKeySequence(k) for k in ([keys] if isinstance(keys, str) else keys)])
        action.triggered.connect(lambda _checked=False: run())
        action.setToolTip(f"{tip or text.replace('…', '')} ({action.shortcut().toString()})")
        self._window.addAction(action)
        if menu:
            self._menu(menu).addAction(action)
        return action

    def _menu(self, title: str) -> QMenu:
        if title not in self.menus:
            self.menus[title] = self._window.menuBar().addMenu(f"&{title}")
        return self.menus[title]

    def fill(self) -> None:
        """Makes all actions, menus and the tool bar."""
        self._fill_file()
        self._fill_view()
        self._fill_model()
        self._fill_help()
        self._fill_tool_bar()

    def _fill_file(self) -> None:
        window, session = self._window, self._session
        add = partial(self.add, menu="File")
        self.open = add("Open folder…", "Ctrl+O", window.ask_folder)
        self.open.setIconText("Open")
        add("Open file…", "Ctrl+Shift+O", window.ask_file)
        add("Open demo study", "Ctrl+D", session.open_demo)
        self._menu("File").addSeparator()
        self.export = add(
            "Export report…", "Ctrl+E", window.ask_export, "Export the slice report as CSV"
        )
        self.export.setIconText("Export")
        self._menu("File").addSeparator()
        add("Quit", "Ctrl+Q", window.close)

    def _fill_view(self) -> None:
        window, session = self._window, self._session
        add = partial(self.add, menu="View")
        self._add_presets()
        self._menu("View").addSeparator()
        add("Reset view and window", "R", window.reset_view)
        self.files = add("Files passed over…", "Ctrl+Shift+F", window.show_files)
        self._menu("View").addSeparator()
        step, suspicious = session.step_slice, session.step_suspicious
        add("One slice towards the head", "Up", lambda: step(1))
        add("One slice towards the feet", "Down", lambda: step(-1))
        add("Ten slices towards the head", "Shift+Up", lambda: step(10))
        add("Ten slices towards the feet", "Shift+Down", lambda: step(-10))
        add("First slice (foot end)", "Home", lambda: session.set_slice(0))
        add("Last slice (head end)", "End", lambda: session.set_slice(1 << 30))
        add("Previous series", "PgUp", lambda: session.step_series(-1))
        add("Next series", "PgDown", lambda: session.step_series(1))
        add("Next marked run, towards the head", "N", lambda: suspicious(1))
        add("Previous marked run", "P", lambda: suspicious(-1))

    def _add_presets(self) -> None:
        group = QActionGroup(self)
        group.setExclusionPolicy(QActionGroup.ExclusionPolicy.ExclusiveOptional)
        for key, name in enumerate(("DICOM", *PRESETS), start=1):
            window = PRESETS.get(name)
            tip = f"Window {window.width_hu:g}/{window.level_hu:g}" if window else "The file's own"
            run = partial(self._session.set_preset, name)
            action = self.add(name, str(key), run, tip, menu="View")
            action.setCheckable(True)
            group.addAction(action)
            self.presets[name] = action

    def _fill_model(self) -> None:
        window, session = self._window, self._session
        add = partial(self.add, menu="Model")
        self.run = add("Run", "Ctrl+R", window.run_model)
        self.cancel = add("Cancel", "Esc", session.cancel)
        add("Choose a checkpoint file…", "Ctrl+M", window.ask_model)

    def _fill_help(self) -> None:
        add = partial(self.add, menu="Help")
        add("About the model", "F2", self._window.show_model)
        add("About sadmil-viewer", "Shift+F1", self._window.show_about)

    def _fill_tool_bar(self) -> None:
        bar = self.tool_bar
        bar.setMovable(False)
        bar.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
        bar.addAction(self.open)
        bar.addSeparator()
        bar.addActions(list(self.presets.values()))
        bar.addSeparator()
        bar.addAction(self.run)
        bar.addAction(self.cancel)
        gap = QWidget()
        gap.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        bar.addWidget(gap)
        bar.addWidget(self._window.model_box)
        bar.addSeparator()
        bar.addAction(self.export)
        self._window.addToolBar(bar)

    def render_state(self, state: ViewState) -> None:
        """Shows which actions are possible, and which preset is set."""
        old, self._state = self._state, state
        if old is None or any(
            getattr(old, name) is not getattr(state, name) for name in _MATTERS_TO_ACTIONS
        ):
            self._enable(state)
        # Always: the key of the preset that is set already has just unchecked its action.
        for name, action in self.presets.items():
            action.setChecked(name == state.preset)

    def _enable(self, state: ViewState) -> None:
        busy = state.opening is not None or state.scoring is not None
        self.cancel.setEnabled(busy)
        self.run.setEnabled(not busy and state.volume is not None and state.model is not None)
        self.files.setEnabled(bool(state.skipped))
        self.export.setEnabled(bool(self._session.records) and not busy)
        self.presets["DICOM"].setEnabled(self._session.own_window is not None)
        count = len(self._session.records)
        self.export.setToolTip(
            f"Export the slice report as CSV: {count} of {len(state.entries)} series read (Ctrl+E)"
        )
