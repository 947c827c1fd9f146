"""The attention panel: what the curve is, the curve, and what the current slice has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QRect, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QImage, QPainter
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from sadmil_core import RESEARCH_USE_NOTICE
from viewer import theme
from viewer.model.attention_text import curve_name, readout, trial_text
from viewer.widgets.attention_plot import AttentionPlot

if TYPE_CHECKING:
    from viewer.model.state import ViewState

_LINES = 6
_FOOT = 44


class AttentionPanel(QWidget):
    """Heading, buttons, curve and readout; a bar for the explanation while there is one."""

    opacity_wanted = Signal(float)
    """How strongly the explanation should cover the slice, 0 to 1."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plot = AttentionPlot()
        self._heading = QLabel()
        self._heading.setProperty("role", "heading")
        self._heading.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.evidence = QToolButton()
        self.compare, self.explain, self.copy = (
            _menu_button(text) for text in ("Compare", "Explain", "Copy")
        )
        self._trial, self._readout = QLabel(), QLabel()
        self._trial.setProperty("role", "outlined")
        self._readout.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        for label in (self._trial, self._readout):
            label.setWordWrap(True)
            label.setFont(theme.tabular(self.font()))
            label.setContentsMargins(8, 2, 6, 4)
            # A fixed size: neither curve nor slice may jump with what is said.
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            label.setFixedHeight(_LINES * self.fontMetrics().lineSpacing() + 16)
        self._opacity = QSlider(Qt.Orientation.Horizontal)
        self._opacity.setRange(0, 100)
        self._opacity.setAccessibleName("Opacity of the explanation")
        self._opacity.setToolTip("Opacity of the explanation")
        self._opacity.valueChanged.connect(lambda value: self.opacity_wanted.emit(value / 100))
        self._bar = QWidget()
        row = QHBoxLayout(self._bar)
        row.setContentsMargins(10, 0, 10, 4)
        row.addWidget(QLabel("Explanation"))
        row.addWidget(self._opacity, 1)
        kept = self._bar.sizePolicy()
        kept.setRetainSizeWhenHidden(True)
        self._bar.setSizePolicy(kept)
        self._lay_out()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self._heading)
        buttons = QHBoxLayout()
        buttons.setContentsMargins(6, 0, 6, 2)
        buttons.setSpacing(2)
        for button in (self.evidence, self.compare, self.explain, self.copy):
            buttons.addWidget(button)
        buttons.addStretch(1)
        column.addLayout(buttons)
        column.addWidget(self.plot, 1)
        for widget in (self._bar, self._trial, self._readout):
            column.addWidget(widget)

    def render_state(self, state: ViewState) -> None:
        """Writes the state out."""
        name = curve_name(state)
        self._heading.setText(name.heading)
        self._heading.setToolTip(name.meaning)
        tried = trial_text(state)
        self._trial.setText(tried)
        # In the place of the readout, while something is tried out.
        self._trial.setVisible(bool(tried))
        self._readout.setVisible(not tried)
        self._readout.setText("\n".join(readout(state, state.slice_index)))
        self._bar.setVisible(state.explanation is not None)
        self._opacity.blockSignals(True)
        self._opacity.setValue(round(100 * state.attention.opacity))
        self._opacity.blockSignals(False)
        self.plot.render_state(state)


def _menu_button(text: str) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return button


def picture(state: ViewState, like: QWidget) -> QImage:
    """The curve as a picture, by the stored rule, with model and notice; at twice the size.

    Args:
        state: What is shown; a threshold that is tried out is left away.
        like: Whose size it has.
    """
    plot = AttentionPlot()
    plot.setAttribute(Qt.WidgetAttribute.WA_DontShowOnScreen)
    width, height = max(like.width(), 300), max(like.height() - _FOOT, 300)
    plot.resize(width, height)
    plot.show()  # which lays it out
    plot.render_state(state, exported=True)
    plot.settle()
    image = QImage(2 * width, 2 * (height + _FOOT), QImage.Format.Format_RGB32)
    image.setDevicePixelRatio(2)
    image.fill(QColor(theme.GROUND))
    painter = QPainter(image)
    plot.render(painter, QRectF(0, 0, width, height))
    painter.setPen(QColor(theme.TEXT))
    result = state.result
    by = f": {result.model.model_id}, {result.model.sha256[:12]}" if result else ""
    words = f"{curve_name(state).heading}{by}\n{RESEARCH_USE_NOTICE}"
    painter.drawText(QRect(8, height, width - 16, _FOOT), Qt.AlignmentFlag.AlignLeft, words)
    painter.end()
    plot.close()
    plot.deleteLater()
    return image
