"""The reader's labels in the main window: menu Labels, the panel's wishes, settings, export."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QCheckBox, QLineEdit

from sadmil_core.data.scans import SUBTYPES
from viewer.widgets.file_dialogs import ask_save
from viewer.widgets.label_panel import SHORT_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtGui import QAction

    from viewer.model.state import ViewState
    from viewer.settings import Settings
    from viewer.widgets.main_window import MainWindow
    from viewer.widgets.settings_dialog import SettingsDialog

_KINDS = "Manifests (*.csv *.parquet)"


class Labelling(QObject):
    """Brings panel, keys and settings to the session's label desk.

    Args:
        window: The window; its actions are there already.
        settings: What is remembered between runs.

    Attributes:
        of_slice: What can be said of the slice, for its context menu.
    """

    def __init__(self, window: MainWindow, settings: Settings) -> None:
        super().__init__(window)
        self._window, self._session, self._settings = window, window.session, settings
        desk, panel = window.session.labels, window.label_panel
        panel.scan_marked.connect(desk.mark_scan)
        panel.slice_marked.connect(desk.mark_slice)
        panel.subtype_cycled.connect(desk.cycle_subtype)
        panel.scan_judged.connect(desk.judge_scan)
        panel.noted.connect(desk.write_note)
        panel.set_reader(desk.reader)
        desk.leaving.connect(panel.finish_note)
        add = partial(window.commands.add, menu="Labels")
        self._scan = self._pair("Scan", "Ctrl+B", "Ctrl+Shift+B", desk.mark_scan)
        self._slice = self._pair("Slice", "B", "Shift+B", desk.mark_slice)
        window.commands.menu("Labels").addSeparator()
        self._subtypes = {
            name: add(f"{name.capitalize()} in this slice", f"Alt+{n}", self._cycler(name))
            for n, name in enumerate(SUBTYPES, start=1)
        }
        window.commands.menu("Labels").addSeparator()
        self._judgements = tuple(
            add(f"{word} with the model on the {what}", keys, partial(judge, word == "Agree"))
            for word, what, keys, judge in (
                ("Agree", "scan", "Ctrl+G", desk.judge_scan),
                ("Disagree", "scan", "Ctrl+Shift+G", desk.judge_scan),
                ("Agree", "slice", "G", desk.judge_slice),
                ("Disagree", "slice", "Shift+G", desk.judge_slice),
            )
        )
        window.commands.menu("Labels").addSeparator()
        self._note = add("Write a note", "Ctrl+N", panel.note.setFocus)
        self._first = add(
            "Read first",
            "",
            self._toggle_first,
            "Hide what models say until you have marked the scan",
            checkable=True,
        )
        self._export = add("Export labels…", "Ctrl+Shift+E", self._ask_export)
        self.of_slice = (*self._slice, *self._subtypes.values())
        self._shown: tuple[object, ...] = ()

    def _pair(
        self, what: str, yes: str, no: str, mark: Callable[[bool], None]
    ) -> tuple[QAction, QAction]:
        add = partial(self._window.commands.add, menu="Labels", checkable=True)
        return (
            add(f"{what} bleeds", yes, partial(mark, True)),
            add(f"{what} does not bleed", no, partial(mark, False)),
        )

    def _cycler(self, name: str) -> partial[None]:
        return partial(self._session.labels.cycle_subtype, name)

    def _toggle_first(self) -> None:
        reads_first = not self._session.state.options.reads_first
        self._session.set_options(reads_first=reads_first)
        self._window.keep_options()
        self._session.labels.released.emit()

    def _ask_export(self) -> None:
        self._window.label_panel.finish_note()
        path = ask_save(self._window, "Export labels as a manifest", "labels.csv", _KINDS)
        if path is not None:
            self._session.labels.export(path)

    # -- settings -----------------------------------------------------------------------------

    def add_settings(self, dialog: SettingsDialog) -> None:
        """Adds who reads, and whether the model is hidden at first."""
        reader = QLineEdit(self._session.labels.reader)
        reader.setPlaceholderText("unnamed")
        reader.setMaxLength(80)
        reader.editingFinished.connect(lambda: self._set_reader(reader.text()))
        first = QCheckBox("Read first: hide the model until the scan is marked")
        first.setChecked(self._session.state.options.reads_first)
        first.toggled.connect(lambda _yes: self._toggle_first())
        dialog.add_row("Reader", reader)
        dialog.add_row("Labels", first)

    def _set_reader(self, name: str) -> None:
        self._settings.reader = name.strip()
        self._session.labels.set_reader(name)
        self._window.label_panel.set_reader(self._session.labels.reader)

    # -- showing ------------------------------------------------------------------------------

    def render_state(self, state: ViewState) -> None:
        """Shows what is said, and what can be."""
        self._first.setChecked(state.options.reads_first)
        shown = (state.labels, state.entry, state.slice_index, state.result)
        here = state.marks.of(state.slice_index)
        for pair, said in ((self._scan, state.marks.label), (self._slice, here.label)):
            # Always: the key of what is said already has just unchecked its action.
            pair[0].setChecked(said is True)
            pair[1].setChecked(said is False)
        if len(shown) == len(self._shown) and all(
            a is b for a, b in zip(shown, self._shown, strict=True)
        ):
            return
        self._shown = shown
        has_stack = state.entry is not None
        for action in (*self._scan, *self._slice, *self._subtypes.values(), self._note):
            action.setEnabled(has_stack)
        for action in self._judgements:
            action.setEnabled(state.result is not None)
        self._export.setEnabled(bool(state.entries))
        for name, action in self._subtypes.items():
            said = here.subtypes.get(name)
            word = {True: ": present", False: ": absent", None: ""}[said]
            action.setText(f"{name.capitalize()} in this slice ({SHORT_NAMES[name]}){word}")
