"""The choice of model."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox

from sadmil_core.report.model_card import card_lines

if TYPE_CHECKING:
    from PySide6.QtGui import QWheelEvent
    from PySide6.QtWidgets import QWidget

    from viewer.model.state import ModelChoice, ModelItem, ViewState


class ModelBox(QComboBox):
    """Lists the models that can be chosen, and looks for new ones when it is opened."""

    picked = Signal(object)
    """The ModelItem that was chosen."""
    opened = Signal()
    """The list is about to be shown."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown: tuple[tuple[ModelItem, ...], str] | None = None
        self.setAccessibleName("Model")
        self.setMinimumWidth(120)
        self.activated.connect(lambda index: self.picked.emit(self.itemData(index)))

    def render_state(self, state: ViewState) -> None:
        """Draws what differs from the last state."""
        chosen = state.model.path if state.model else None
        self.setToolTip(_about(state.model))
        shown = (state.models, str(chosen))
        if shown == self._shown:
            return
        self._shown = shown
        self.clear()
        for item in state.models:
            self.addItem(item.label, item)
        paths = [item.path for item in state.models]
        self.setCurrentIndex(paths.index(chosen) if chosen in paths else -1)
        self.setEnabled(bool(paths))

    def showPopup(self) -> None:
        """Says that the list is about to be shown."""
        self.opened.emit()
        super().showPopup()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Ignored: a turn of the wheel in passing must not change the model."""
        event.ignore()


_TOLD = ("Model", "SHA-256", "Trained on", "Licence", "Limits")


def _about(model: ModelChoice | None) -> str:
    """What the model is, as its header says: known before anything of it is loaded."""
    if model is None:
        return "The model that reads the scans: none is chosen"
    # As markup it wraps; what a checkpoint's author wrote must not be taken for any.
    rows = (f"{a}: {escape(b)}" for a, b in card_lines(model.header) if a in _TOLD)
    return "<p>" + "<br>".join(rows) + "</p>"
