"""What stands where the slice will be while nothing is open: ways to begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from sadmil_core import RESEARCH_USE_NOTICE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QAction

    from viewer.model.state import ViewState

_WIDTH = 400  # px, of the column


class StartPage(QWidget):
    """A button for each way to begin, in the middle of the widget it lies upon.

    Args:
        parent: What it covers; things dropped here fall through to the window.
        ways: Actions with the sentence that stands below each one's button.
    """

    def __init__(self, parent: QWidget, ways: Sequence[tuple[QAction, str]]) -> None:
        super().__init__(parent)
        self.setObjectName("startPage")
        self._covered = parent
        self.column = QVBoxLayout()
        self.column.setSpacing(6)
        self.buttons = []
        for action, sentence in ways:
            self.buttons.append(self._add_button(action))
            self._add_text(sentence)
            self.column.addSpacing(14)
        self._add_text(f"{RESEARCH_USE_NOTICE}.")
        page = QVBoxLayout(self)
        page.addStretch(1)
        page.addLayout(self.column)
        page.addStretch(1)
        page.setAlignment(self.column, Qt.AlignmentFlag.AlignHCenter)
        parent.installEventFilter(self)
        self._fill_parent()

    def _add_button(self, action: QAction) -> QPushButton:
        keys = action.shortcut().toString()
        button = QPushButton(action.text() + (f"   {keys}" if keys else ""))
        button.setMinimumSize(_WIDTH, 44)
        button.setAccessibleName(action.text().replace("…", ""))
        button.clicked.connect(action.trigger)
        button.setAutoDefault(True)
        self.column.addWidget(button)
        return button

    def _add_text(self, text: str) -> None:
        label = QLabel(text)
        label.setObjectName("imageText")
        label.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        label.setFixedWidth(_WIDTH)
        self.column.addWidget(label)

    def render_state(self, state: ViewState) -> None:
        """Stands there only while nothing is open or being opened."""
        shown = state.entry is None and state.opening is None and state.preview is None
        if shown != self.isVisibleTo(self._covered):
            self.setVisible(shown)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Stays as large as what it covers."""
        if watched is self._covered and event.type() == QEvent.Type.Resize:
            self._fill_parent()
        return False

    def _fill_parent(self) -> None:
        self.setGeometry(self._covered.rect())
