"""The cheat-sheet: every key and gesture as it is bound now."""

from __future__ import annotations

from collections import defaultdict
from html import escape
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QTextBrowser, QVBoxLayout

from viewer import theme

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

    from viewer.model.bindings import Bindings, Command

_COLUMNS = 3


def binding_text(command: Command, binding: str) -> str:
    """A key or gesture as the platform's users know it."""
    if command.gestures:
        return binding
    return QKeySequence(binding).toString(QKeySequence.SequenceFormat.NativeText)


class CheatSheet(QDialog):
    """Lists what keys and mouse do, made from the bindings; does not block the window behind it.

    Args:
        bindings: What is listed; a change is shown at once.
        parent: The window.
    """

    change_wanted = Signal()
    """The user wants other bindings."""

    def __init__(self, bindings: Bindings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Keys and mouse")
        self.resize(1160, 690)
        self._bindings = bindings
        self._page = QTextBrowser()
        self._page.setAccessibleName("Keys and mouse")
        self._page.document().setDocumentMargin(12)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        change = buttons.addButton("Change…", QDialogButtonBox.ButtonRole.ActionRole)
        change.clicked.connect(self.change_wanted)
        change.setAutoDefault(False)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 14, 16, 12)
        layout.addWidget(self._page)
        layout.addWidget(buttons)
        bindings.changed.connect(self._fill)
        self._fill()

    def plain_text(self) -> str:
        """The sheet as it is read."""
        return self._page.toPlainText()

    def _fill(self) -> None:
        groups: dict[str, list[str]] = defaultdict(list)
        for command in self._bindings.commands:
            bound = [binding_text(command, b) for b in self._bindings.of(command.id)]
            if bound:
                groups[command.group].append(_row(command.text, bound))
        columns: list[list[str]] = [[] for _ in range(_COLUMNS)]
        for name, rows in sorted(groups.items(), key=lambda item: -len(item[1])):
            shortest = min(columns, key=len)
            shortest += [_heading(name), *rows]
        cells = "".join(
            "<td valign='top' style='padding-right:20px; white-space:nowrap'>"
            f"<table cellpadding='1'>{''.join(rows)}</table></td>"
            for rows in columns
        )
        self._page.setHtml(f"<table><tr>{cells}</tr></table>")


def _heading(name: str) -> str:
    return (
        f"<tr><td colspan='2' style='padding-top:10px; color:{theme.ACCENT}'>"
        f"<b>{escape(name)}</b></td></tr>"
    )


def _row(text: str, bound: list[str]) -> str:
    keys = "<br>".join(f"<b>{escape(each)}</b>" for each in bound)
    return f"<tr><td style='padding-right:12px'>{keys}</td><td>{escape(text)}</td></tr>"
