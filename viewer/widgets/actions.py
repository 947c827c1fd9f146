"""The actions of the main window: their keys, menus, tool bar, and when they are possible."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QPoint, QPointF, Qt
from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QMenu, QSizePolicy, QToolBar, QToolButton, QWidget

from sadmil_core.display import PRESETS
from viewer.log_folder import open_log_folder
from viewer.model.annotations import MeasureKind, SliceKey
from viewer.model.bindings import Bindings, Command
from viewer.model.exporting import ExportKind
from viewer.widgets.attention_actions import AttentionActions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from viewer.model.cine import Cine
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
    "asking",
    "skipped",
)
_ZOOM_STEP = 1.25
_PAN_PX = 40
_WINDOW_STEP = 0.1  # of the width


class WindowActions(QObject):
    """Makes the actions of one main window, and puts them into menus and the tool bar.

    Args:
        window: The window; its session carries most of them out.
        bindings: Where keys are looked up, and each action is registered.

    Attributes:
        cine: What plays the stack.
        menus: The menus by title, for parts of the window that add to them.
        tool_bar: The tool bar.
        presets: The window presets by name.
        tools: The measuring tools.
    """

    def __init__(self, window: MainWindow, bindings: Bindings, cine: Cine) -> None:
        super().__init__(window)
        self._window, self._session = window, window.session
        self._bindings, self.cine = bindings, cine
        self._state: ViewState | None = None
        self._actions: dict[str, QAction] = {}
        self._tips: dict[str, str] = {}
        self.menus: dict[str, QMenu] = {}
        self.presets: dict[str, QAction] = {}
        self.tools: dict[MeasureKind, QAction] = {}
        self.tool_bar = QToolBar("Main")
        bindings.changed.connect(self._bind)

    # -- making -------------------------------------------------------------------------------

    def add(
        self,
        text: str,
        keys: str | Sequence[str],
        run: Callable[[], object],
        tip: str = "",
        menu: str = "",
        *,
        checkable: bool = False,
    ) -> QAction:
        """Adds an action to the window, and its command to the bindings.

        Args:
            text: What it is called; stable, for what the user binds is stored by it.
            keys: Its usual keys.
            run: What it does.
            tip: A sentence for the tool tip, where the text does not say it all.
            menu: The title of the menu it goes into, if any.
            checkable: Whether it is something that is on or off.
        """
        name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
        defaults = tuple(filter(None, (keys,) if isinstance(keys, str) else keys))
        plain = text.replace("…", "")
        shown = Command(id=name, text=plain, group=menu or "Other", defaults=defaults)
        self._bindings.register(shown)
        action = QAction(text, self._window)
        action.setCheckable(checkable)
        action.triggered.connect(lambda _checked=False: run())
        self._actions[name], self._tips[name] = action, tip or plain
        self._bind_one(name)
        self._window.addAction(action)
        if menu:
            self.menu(menu).addAction(action)
        return action

    def menu(self, title: str) -> QMenu:
        """The menu of that title; made where there is none."""
        if title not in self.menus:
            menu, bar = QMenu(f"&{title}", self._window), self._window.menuBar()
            last = self.menus.get("Help")  # which is the last one, whoever comes later
            bar.insertMenu(last.menuAction(), menu) if last else bar.addMenu(menu)
            self.menus[title] = menu
        return self.menus[title]

    def action(self, name: str) -> QAction:
        """An action by the id of its command."""
        return self._actions[name]

    def _bind(self) -> None:
        for name in self._actions:
            self._bind_one(name)

    def _bind_one(self, name: str) -> None:
        action, keys = self._actions[name], self._bindings.of(name)
        action.setShortcuts([QKeySequence(key) for key in keys])
        shown = f" ({action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)})"
        action.setToolTip(self._tips[name] + (shown if keys else ""))

    def fill(self) -> None:
        """Makes all actions, menus and the tool bar."""
        self._fill_file()
        self._fill_edit()
        self._fill_view()
        self._fill_go()
        self._fill_measure()
        self._fill_model()
        self.attention = AttentionActions(self._window, self)
        self._fill_help()
        self._fill_tool_bar()
        self.add("Cancel the running tool or job", "Esc", self.stop)

    def _fill_file(self) -> None:
        window, session = self._window, self._session
        add = partial(self.add, menu="File")
        self.open = add("Open folder…", "Ctrl+O", window.ask_folder)
        self.open.setIconText("Open")
        file = add("Open file…", "Ctrl+Shift+O", window.ask_file)
        demo = add("Open demo study", "Ctrl+D", session.open_demo)
        self.beginnings = (
            (self.open, "Of head CT, with any number of series. Or drop it here."),
            (file, "DICOM, DICOMDIR, zip, NIfTI, NRRD or MetaImage."),
            (demo, "A synthetic head with a bleed: no patient."),
        )
        self.menu("File").addSeparator()
        self.export = add(
            "Export report…", "Ctrl+E", window.ask_export, "Export report, tables or picture"
        )
        self.export.setIconText("Export")
        self.menu("File").addSeparator()
        add("Settings…", "Ctrl+,", window.show_settings)
        add("Quit", "Ctrl+Q", window.close)

    def _fill_edit(self) -> None:
        add, annotations = partial(self.add, menu="Edit"), self._session.annotations
        stack, measures = annotations.undo_stack, self._window.slice_view.measures
        self._undo = add("Undo", "Ctrl+Z", stack.undo)
        self._redo = add("Redo", ("Ctrl+Shift+Z", "Ctrl+Y"), stack.redo)
        # Methods of an object that goes with the window: the stack outlives it.
        stack.indexChanged.connect(self._show_steps)
        self._show_steps()
        self.menu("Edit").addSeparator()
        self._delete = add("Delete measurement", ("Del", "Backspace"), measures.delete_selected)
        self._delete_all = add("Delete all measurements of the slice", "", self._delete_all_here)
        self._next = add("Select next measurement", "M", measures.select_next)
        self.menu("Edit").addSeparator()
        self._key_image = add("Key image", "K", self._toggle_key_image, checkable=True)
        self._next_key = add("Next key image", "Shift+K", self._go_to_key_image)
        for signal in (annotations.changed, measures.changed):
            signal.connect(self._enable_edit)
        annotations.changed.connect(self._enable_next_key)

    def _fill_view(self) -> None:
        window = self._window
        add = partial(self.add, menu="View")
        self._add_presets()
        self.menu("View").addSeparator()
        self._inverted = add("Invert", "I", partial(self._toggle, "is_inverted"), checkable=True)
        self._across = add(
            "Flip left to right", "H", partial(self._toggle, "is_flipped_across"), checkable=True
        )
        self._down = add(
            "Flip top to bottom", "V", partial(self._toggle, "is_flipped_down"), checkable=True
        )
        add("Reset view and window", "R", window.reset_view)
        self.menu("View").addSeparator()
        self._texts = add("Corner texts", "T", partial(self._toggle, "shows_texts"), checkable=True)
        self.hide = add(
            "Hide identifiers",
            "Ctrl+H",
            partial(self._toggle, "hides_identifiers"),
            "Name no patient on screen",
            checkable=True,
        )
        self.full = add("Full screen", "F11", self._toggle_full_screen, checkable=True)
        self.menu("View").addSeparator()
        self.files = add("Files passed over…", "Ctrl+Shift+F", window.show_files)
        self._add_view_keys()

    def _add_view_keys(self) -> None:
        """What the mouse does, by keys."""
        view, adjust = self._window.slice_view, self._adjust_window
        menu = QMenu("Zoom, pan and window", self._window)
        self.menus[menu.title()] = menu
        self.menu("View").addMenu(menu)
        add = partial(self.add, menu=menu.title())
        add("Zoom in", ("+", "="), lambda: view.zoom_by(_ZOOM_STEP))
        add("Zoom out", "-", lambda: view.zoom_by(1 / _ZOOM_STEP))
        for side, x, y in (("left", -1, 0), ("right", 1, 0), ("up", 0, -1), ("down", 0, 1)):
            move = QPointF(x, y) * _PAN_PX
            add(f"Pan {side}", f"Ctrl+{side.capitalize()}", partial(view.pan_by, move))
        add("Wider window", "Alt+Right", lambda: adjust(width=1))
        add("Narrower window", "Alt+Left", lambda: adjust(width=-1))
        add("Higher level", "Alt+Up", lambda: adjust(level=1))
        add("Lower level", "Alt+Down", lambda: adjust(level=-1))

    def _add_presets(self) -> None:
        group = QActionGroup(self)
        group.setExclusionPolicy(QActionGroup.ExclusionPolicy.ExclusiveOptional)
        for key, name in enumerate(("DICOM", *PRESETS), start=1):
            window = PRESETS.get(name)
            tip = f"Window {window.width_hu:g}/{window.level_hu:g}" if window else "The file's own"
            run = partial(self._session.set_preset, name)
            action = self.add(name, str(key), run, tip, menu="View", checkable=True)
            group.addAction(action)
            self.presets[name] = action

    def _fill_go(self) -> None:
        session, cine = self._session, self.cine
        add, step, suspicious = (
            partial(self.add, menu="Go"),
            session.step_slice,
            session.step_suspicious,
        )
        add("One slice towards the head", "Up", lambda: step(1))
        add("One slice towards the feet", "Down", lambda: step(-1))
        add("Ten slices towards the head", "Shift+Up", lambda: step(10))
        add("Ten slices towards the feet", "Shift+Down", lambda: step(-10))
        add("First slice (foot end)", "Home", lambda: session.set_slice(0))
        add("Last slice (head end)", "End", lambda: session.set_slice(1 << 30))
        self.menu("Go").addSeparator()
        add("Previous series", "PgUp", lambda: session.step_series(-1))
        add("Next series", "PgDown", lambda: session.step_series(1))
        self.menu("Go").addSeparator()
        add("Next marked run, towards the head", "N", lambda: suspicious(1))
        add("Previous marked run", "P", lambda: suspicious(-1))
        self.menu("Go").addSeparator()
        self._cine = add("Cine", "C", cine.toggle, "Play the stack", checkable=True)
        add("Cine faster", ".", lambda: cine.change_speed(1))
        add("Cine slower", ",", lambda: cine.change_speed(-1))

    def _fill_measure(self) -> None:
        measures = self._window.slice_view.measures
        for kind, text, key, tip in (
            (MeasureKind.DISTANCE, "Distance", "D", "Measure a distance: drag, or click both ends"),
            (MeasureKind.ANGLE, "Angle", "A", "Measure an angle: leg, vertex, leg"),
            (MeasureKind.ELLIPSE, "Ellipse ROI", "O", "Measure HU and area in an ellipse"),
            (
                MeasureKind.RECTANGLE,
                "Rectangle ROI",
                "Shift+O",
                "Measure HU and area in a rectangle",
            ),
        ):
            run = partial(measures.set_tool, kind)
            self.tools[kind] = self.add(text, key, run, tip, menu="Measure", checkable=True)
        measures.tool_changed.connect(self._show_tool)

    def _fill_model(self) -> None:
        window, session = self._window, self._session
        add = partial(self.add, menu="Model")
        self.run = add("Run", "Ctrl+R", window.run_model)
        self.cancel = add("Cancel", "", session.cancel, "Stop what is running")
        add("Choose a checkpoint file…", "Ctrl+M", window.ask_model)

    def _fill_help(self) -> None:
        add, window = partial(self.add, menu="Help"), self._window
        add("Keys and mouse", "F1", window.show_cheat_sheet)
        add("Change keys and mouse…", "Ctrl+F1", window.show_bindings)
        add("Open log folder", "", open_log_folder, "What to look into when something went wrong")
        self.menu("Help").addSeparator()
        add("About the model", "F2", window.show_model)
        add("About sadmil-viewer", "Shift+F1", window.show_about)

    def _fill_tool_bar(self) -> None:
        bar = self.tool_bar
        bar.setMovable(False)
        bar.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
        bar.addAction(self.open)
        bar.addSeparator()
        bar.addActions(list(self.presets.values()))
        bar.addSeparator()
        self._measure_button = QToolButton()
        self._measure_button.setMenu(self.menu("Measure"))
        self._measure_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._measure_button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._measure_button.setToolTip("Distance, angle, regions")
        bar.addWidget(self._measure_button)
        self._show_tool(None)
        bar.addAction(self._cine)
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

    # -- doing --------------------------------------------------------------------------------

    def stop(self) -> None:
        """Gives up the last thing begun: a drawing, a tool, cine, work, the full screen."""
        if self._window.slice_view.measures.cancel():
            return
        if self.cine.is_running:
            self.cine.stop()
        elif self._window.layouts.cancel():
            return
        elif self._session.is_working:
            self._session.cancel()
        elif self._session.state.inquiry.trial_threshold is not None:
            self._session.inquirer.try_threshold(None)
        elif self._window.isFullScreen():
            self._toggle_full_screen()

    def _toggle(self, option: str) -> None:
        changed: dict[str, Any] = {option: not getattr(self._session.state.options, option)}
        self._session.set_options(**changed)
        self._window.keep_options()

    def _toggle_full_screen(self) -> None:
        self._window.setWindowState(self._window.windowState() ^ Qt.WindowState.WindowFullScreen)
        self.full.setChecked(self._window.isFullScreen())

    def _adjust_window(self, *, width: int = 0, level: int = 0) -> None:
        now = self._session.state.window
        step = max(1.0, _WINDOW_STEP * now.width_hu)
        changed = max(1.0, now.width_hu + width * step), now.level_hu + level * step
        self._session.set_window(type(now)(level_hu=changed[1], width_hu=changed[0]))

    def _here(self) -> SliceKey | None:
        state = self._session.state
        return SliceKey.of(state.entry.slices[state.slice_index]) if state.entry else None

    def _delete_all_here(self) -> None:
        key = self._here()
        if key is not None:
            self._session.annotations.remove_all_on(key)

    def _toggle_key_image(self) -> None:
        key = self._here()
        if key is not None:
            self._session.annotations.toggle_key_image(key)

    def _marked(self) -> list[int]:
        """The key images of the stack."""
        entry, annotations = self._session.state.entry, self._session.annotations
        slices = entry.slices if entry else ()
        return [i for i, h in enumerate(slices) if annotations.is_key_image(SliceKey.of(h))]

    def _go_to_key_image(self) -> None:
        marked, here = self._marked(), self._session.state.slice_index
        if marked:
            self._session.set_slice(next((i for i in marked if i > here), marked[0]))

    def go_to(self, key: SliceKey) -> None:
        """Shows a slice of the stack, where it is one of it."""
        entry = self._session.state.entry
        for index, header in enumerate(entry.slices if entry else ()):
            if SliceKey.of(header) == key:
                self._session.set_slice(index)
                return

    def show_menu(self, at: QPoint) -> None:
        """Opens the context menu of the slice."""
        menu = QMenu(self._window)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        if self._delete.isEnabled():
            menu.addAction(self._delete)
        menu.addAction(self._key_image)
        menu.addActions(list(self._window.labelling.of_slice))
        menu.addSeparator()
        menu.addActions(list(self.tools.values()))
        menu.addSeparator()
        menu.addActions(list(self.presets.values()))
        menu.addSeparator()
        menu.addActions([self._inverted, self._across, self._down])
        menu.addAction(self._actions["reset-view-and-window"])
        menu.addSeparator()
        menu.addActions([self._texts, self.hide, self.full])
        menu.popup(at)

    # -- showing ------------------------------------------------------------------------------

    def render_state(self, state: ViewState) -> None:
        """Shows which actions are possible, and which are on."""
        self.attention.render_state(state)
        old, self._state = self._state, state
        if old is None or any(
            getattr(old, name) is not getattr(state, name) for name in _MATTERS_TO_ACTIONS
        ):
            self._enable(state)
        if old is None or (old.selected, old.slice_index) != (state.selected, state.slice_index):
            self._enable_edit()
        if old is None or old.entry is not state.entry:
            self._enable_next_key()
        # Always: the key of the preset that is set already has just unchecked its action.
        for name, action in self.presets.items():
            action.setChecked(name == state.preset)
        options = state.options
        self._inverted.setChecked(options.is_inverted)
        self._across.setChecked(options.is_flipped_across)
        self._down.setChecked(options.is_flipped_down)
        self._texts.setChecked(options.shows_texts)
        self.hide.setChecked(options.hides_identifiers)
        self._cine.setChecked(options.cine_hz > 0)

    def _enable(self, state: ViewState) -> None:
        busy = state.opening is not None or state.scoring is not None
        self.cancel.setEnabled(busy or state.asking is not None)
        self.run.setEnabled(not busy and state.volume is not None and state.model is not None)
        self.files.setEnabled(bool(state.skipped))
        self.export.setEnabled(not busy and any(map(self._session.exporter.can, ExportKind)))
        self.presets["DICOM"].setEnabled(self._session.own_window is not None)
        has_stack = state.entry is not None
        for action in (*self.tools.values(), self._inverted, self._across, self._down):
            action.setEnabled(has_stack)
        self._measure_button.setEnabled(has_stack)
        self._cine.setEnabled(state.slice_count > 1)
        count = len(self._session.records)
        self._tips["export-report"] = (
            f"Export report, tables or picture: {count} of {len(state.entries)} series read"
        )
        self._bind_one("export-report")

    def _enable_edit(self) -> None:
        key, annotations = self._here(), self._session.annotations
        has_drawings = key is not None and bool(annotations.on(key))
        self._delete.setEnabled(self._window.slice_view.measures.selected is not None)
        self._delete_all.setEnabled(has_drawings)
        self._next.setEnabled(has_drawings)
        self._key_image.setEnabled(key is not None)
        self._key_image.setChecked(key is not None and annotations.is_key_image(key))

    def _enable_next_key(self) -> None:
        self._next_key.setEnabled(bool(self._marked()))

    def _show_steps(self) -> None:
        stack = self._session.annotations.undo_stack
        undo, redo = stack.undoText().lower(), stack.redoText().lower()
        self._undo.setEnabled(stack.canUndo())
        self._undo.setText(f"Undo: {undo}" if undo else "Undo")
        self._redo.setEnabled(stack.canRedo())
        self._redo.setText(f"Redo: {redo}" if redo else "Redo")

    def _show_tool(self, kind: MeasureKind | None) -> None:
        for each, action in self.tools.items():
            action.setChecked(each is kind)
        self._measure_button.setText(f"Measure: {kind}" if kind else "Measure")
        self._measure_button.setDown(False)
