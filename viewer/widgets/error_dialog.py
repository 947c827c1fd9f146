"""One dialog for everything that goes wrong: what happened, what to do, and text to copy."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QLabel, QPlainTextEdit, QVBoxLayout

from sadmil_core import __version__
from viewer.log_folder import open_log_folder
from viewer.model.jobs import UnexpectedError
from viewer.privacy import scrub

if TYPE_CHECKING:
    from pathlib import Path

    from PySide6.QtWidgets import QWidget

    from sadmil_core.errors import SadmilError


class ErrorDialog(QDialog):
    """Shows a SadmilError; does not block the window behind it.

    Args:
        error: What to show.
        root: The folder that is open: its name is kept out of what can be copied.
        parent: The window.
        hides: Names of files and folders are hidden on screen, too: they can hold a patient's.
        names: What is known to name a patient; kept out of what can be copied.
    """

    def __init__(
        self,
        error: SadmilError,
        root: Path | None = None,
        parent: QWidget | None = None,
        *,
        hides: bool = False,
        names: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("That did not work")
        self.setMinimumWidth(520)

        def shown(text: str) -> str:
            return scrub(text, root, names) if hides else text

        message = QLabel(shown(Exception.__str__(error)))
        remedy = QLabel(shown(error.remedy))
        remedy.setProperty("role", "muted")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 18, 20, 14)
        layout.setSpacing(10)
        for label in (message, remedy):
            label.setWordWrap(True)
            label.setTextFormat(Qt.TextFormat.PlainText)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            if label.text():
                layout.addWidget(label)
        self.text = scrub(_copyable(error), root, names)
        if error.detail:
            details = QPlainTextEdit(shown(error.detail))
            details.setReadOnly(True)
            details.setAccessibleName("Details")
            details.setMaximumHeight(160)
            layout.addWidget(details)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        copy = buttons.addButton("Copy details", QDialogButtonBox.ButtonRole.ActionRole)
        copy.clicked.connect(self.copy)
        copy.setAutoDefault(False)
        if isinstance(error, UnexpectedError):
            log = buttons.addButton("Open log folder", QDialogButtonBox.ButtonRole.ActionRole)
            log.clicked.connect(open_log_folder)
            log.setAutoDefault(False)
        buttons.button(QDialogButtonBox.StandardButton.Close).setDefault(True)
        buttons.rejected.connect(self.reject)
        layout.addWidget(buttons)

    def copy(self) -> None:
        """Puts the whole text on the clipboard."""
        QGuiApplication.clipboard().setText(self.text)


def _copyable(error: SadmilError) -> str:
    lines = [f"{type(error).__name__}: {error}"]
    if error.detail:
        lines.append(error.detail.rstrip())
    lines.append(
        f"sadmil-viewer {__version__}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.release()}"
    )
    return "\n".join(lines)
