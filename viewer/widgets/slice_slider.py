"""The slice slider, on the axis of the attention curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QSizePolicy, QSlider, QWidget

from sadmil_core.result import slice_number
from viewer.widgets.wheel import WheelSteps

if TYPE_CHECKING:
    from PySide6.QtGui import QResizeEvent, QWheelEvent

    from viewer.model.state import ViewState

_WIDTH = 26
_HANDLE = 14  # px, as in the style sheet


class _Slider(QSlider):
    stepped = Signal(int)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(Qt.Orientation.Vertical, parent)
        self._wheel = WheelSteps()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """One slice a notch, as everywhere; a plain slider would take three."""
        steps = self._wheel.of(event)
        if steps:
            self.stepped.emit(steps)


class SliceSlider(QWidget):
    """A vertical slider whose handle stands beside the row of its slice, head at the top."""

    picked = Signal(int)
    """The slice dragged to, 0-based."""
    stepped = Signal(int)
    """Slices to move by; positive is towards the head."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.slider = _Slider(self)
        self.slider.setAccessibleName("Slice, counted from the feet")
        self.slider.valueChanged.connect(lambda number: self.picked.emit(number - 1))
        self.slider.stepped.connect(self.stepped)
        self._top, self._bottom, self._count = 0.0, 0.0, 0
        self.setFixedWidth(_WIDTH)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Ignored)

    def minimumSizeHint(self) -> QSize:
        """Any height will do."""
        return QSize(_WIDTH, 0)

    def render_state(self, state: ViewState) -> None:
        """Draws what differs from the last state."""
        self.slider.blockSignals(True)
        self.slider.setRange(1, max(1, state.slice_count))
        self.slider.setValue(slice_number(state.slice_index))
        self.slider.setEnabled(state.slice_count > 1)
        self.slider.blockSignals(False)
        if state.slice_count != self._count:
            self._count = state.slice_count
            self._place()

    def set_axis(self, top: float, bottom: float) -> None:
        """Takes over the vertical extent of the curve's axis, in this widget's coordinates."""
        if (top, bottom) != (self._top, self._bottom):
            self._top, self._bottom = top, bottom
            self._place()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Keeps the slider on the axis."""
        self._place()

    def _place(self) -> None:
        height = self._bottom - self._top
        # At either end the handle's centre is to stand at the middle of a row.
        inset = height / max(self._count, 1) / 2 - _HANDLE / 2
        inset = max(0.0, min(inset, height / 2 - 2 * _HANDLE))
        self.slider.setGeometry(
            0, round(self._top + inset), _WIDTH, max(0, round(height - 2 * inset))
        )
