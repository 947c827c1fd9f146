"""The actions around the attention curve: menu Attention, and the buttons of its panel."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QMimeData, QObject
from PySide6.QtGui import QActionGroup, QGuiApplication
from PySide6.QtWidgets import QMenu

from viewer.model.attention_text import attention_table
from viewer.widgets.attention_panel import picture

if TYPE_CHECKING:
    from viewer.model.state import ViewState
    from viewer.widgets.actions import WindowActions
    from viewer.widgets.main_window import MainWindow

_OPACITY_STEP = 0.1


class AttentionActions(QObject):
    """Makes the menu, and shows which of it is possible.

    Args:
        window: The window.
        commands: Where its actions are made.
    """

    def __init__(self, window: MainWindow, commands: WindowActions) -> None:
        super().__init__(window)
        self._window, self._session = window, window.session
        self._shown: tuple[object, ...] = ()
        ask = window.session.inquirer
        add, menu = partial(commands.add, menu="Attention"), commands.menu("Attention")
        self.evidence = add("Evidence curve", "E", ask.toggle_evidence, checkable=True)
        # What its button says; a text of the button's own would be lost, and the panel grow,
        # whenever the action changes.
        self.evidence.setIconText("Evidence")
        self.others = QMenu("Compare with model", window)
        menu.addMenu(self.others)
        self.others.aboutToShow.connect(self._list_others)
        self.without = add(
            "Without this slice", "W", ask.leave_out, "Ask what the scan would read without it"
        )
        menu.addSeparator()
        self._lower = add("Try a lower threshold", "[", lambda: ask.step_threshold(-1))
        self._higher = add("Try a higher threshold", "]", lambda: ask.step_threshold(1))
        self._stored = add("Back to the stored threshold", "", lambda: ask.try_threshold(None))
        menu.addSeparator()
        self.occlusion = add(
            "Explain this slice by occlusion", "X", lambda: ask.explain("occlusion")
        )
        self.gradient = add(
            "Explain this slice by Grad-CAM", "Shift+X", lambda: ask.explain("grad-cam")
        )
        self.shown = add("Show explanations", "Ctrl+X", ask.toggle_explanation, checkable=True)
        add("Explanation more opaque", "Ctrl+]", lambda: self._fade(1))
        add("Explanation less opaque", "Ctrl+[", lambda: self._fade(-1))
        menu.addSeparator()
        self.copy_table = add("Copy curve as table", "Ctrl+C", self._copy_table)
        self.copy_picture = add("Copy curve as picture", "Ctrl+Shift+C", self._copy_picture)
        self._list_others()
        panel = window.attention
        panel.evidence.setDefaultAction(self.evidence)
        panel.compare.setMenu(self.others)
        panel.explain.addActions([self.occlusion, self.gradient, self.shown])
        panel.copy.addActions([self.copy_table, self.copy_picture])

    def _fade(self, direction: int) -> None:
        opacity = self._session.state.attention.opacity
        self._session.inquirer.set_opacity(opacity + direction * _OPACITY_STEP)

    def _copy_table(self) -> None:
        QGuiApplication.clipboard().setText(attention_table(self._session.state))

    def _copy_picture(self) -> None:
        data = QMimeData()
        data.setImageData(picture(self._session.state, self._window.attention))
        QGuiApplication.clipboard().setMimeData(data)

    def render_state(self, state: ViewState) -> None:
        """Shows what is possible, and what is on."""
        result = state.result
        self.evidence.setChecked(state.attention.shows_evidence)
        self.shown.setChecked(state.attention.shows_explanation)
        shown = (result, state.asked, state.asking is None)
        if len(self._shown) == len(shown) and all(
            a is b for a, b in zip(shown, self._shown, strict=True)
        ):
            return
        self._shown = shown
        self.evidence.setEnabled(result is not None and result.evidence is not None)
        free = result is not None and state.asking is None
        self.without.setEnabled(free and result is not None and result.features is not None)
        for action in (self.occlusion, self.gradient):
            action.setEnabled(free)
        for action in (self._lower, self._higher, self.copy_table, self.copy_picture):
            action.setEnabled(result is not None)
        self._stored.setEnabled(state.inquiry.trial_threshold is not None)

    def _list_others(self) -> None:
        """Fills the menu when it is about to be seen: the models may be others by then."""
        self._session.refresh_models()
        ask, state = self._session.inquirer, self._session.state
        other = state.attention.other
        self.others.clear()
        group = QActionGroup(self.others)
        none = self.others.addAction("No other model", lambda: ask.compare_with(None))
        none.setCheckable(True)
        none.setChecked(other is None)
        group.addAction(none)
        chosen = state.model.path if state.model else None
        for item in state.models:
            if item.path == chosen:
                continue
            action = self.others.addAction(item.label, partial(ask.compare_with, str(item.path)))
            action.setCheckable(True)
            action.setChecked(other is not None and other.path == item.path)
            group.addAction(action)
