"""What the chosen model is, from its header: shown without loading it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QFormLayout, QLabel, QVBoxLayout

from sadmil_core.report.model_card import card_lines

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

    from sadmil_core.checkpoint import CheckpointHeader


class ModelDialog(QDialog):
    """Shows a model's card; does not block the window behind it.

    Args:
        header: Of the model.
        parent: The window.
    """

    def __init__(self, header: CheckpointHeader, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("About the model")
        self.resize(640, 420)
        self._lines = card_lines(header)
        form = QFormLayout()
        form.setHorizontalSpacing(18)
        form.setVerticalSpacing(8)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name, words in self._lines:
            label, text = QLabel(name), QLabel(words)
            label.setProperty("role", "muted")
            text.setWordWrap(True)
            # Whatever a checkpoint's author wrote is text, never markup.
            text.setTextFormat(Qt.TextFormat.PlainText)
            text.setTextInteractionFlags(
                Qt.TextInteractionFlag.TextSelectableByMouse
                | Qt.TextInteractionFlag.TextSelectableByKeyboard
            )
            text.setAccessibleName(name)
            form.addRow(label, text)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        copy = buttons.addButton("Copy", QDialogButtonBox.ButtonRole.ActionRole)
        copy.clicked.connect(self.copy)
        copy.setAutoDefault(False)
        buttons.rejected.connect(self.reject)
        close = buttons.button(QDialogButtonBox.StandardButton.Close)
        close.setDefault(True)
        close.setFocus()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 18, 20, 14)
        layout.setSpacing(14)
        layout.addLayout(form)
        layout.addStretch()
        layout.addWidget(buttons)

    def copy(self) -> None:
        """Puts the card on the clipboard."""
        QGuiApplication.clipboard().setText("\n".join(f"{a}: {b}" for a, b in self._lines))
