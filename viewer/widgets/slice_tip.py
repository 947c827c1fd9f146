"""A tip with a slice's picture and what the model says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QImage, QPixmap, QTransform
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QWidget

from sadmil_core.display import to_gray
from viewer import theme
from viewer.model.attention_text import readout

if TYPE_CHECKING:
    from viewer.model.state import ViewState

_SIDE = 112


class SliceTip(QFrame):
    """Stands to the left of the pointer, so that it covers neither curve nor strip's row."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.ToolTip)
        self.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)
        self.setFrameShape(QFrame.Shape.Box)
        self._picture, self.words = QLabel(), QLabel()
        self.words.setFont(theme.tabular(self.font()))
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 6, 10, 6)
        row.addWidget(self._picture)
        row.addWidget(self.words)

    def show_slice(self, state: ViewState, index: int, at: QPoint) -> None:
        """Shows one slice of the state.

        Args:
            state: What is open.
            index: The slice.
            at: The pointer, on the screen.
        """
        self.words.setText("\n".join(readout(state, index)) or "not scored")
        hu, entry = state.hu_of(index), state.entry
        self._picture.setVisible(hu is not None)
        if hu is not None and entry is not None:
            step = max(1, max(hu.shape) // _SIDE)
            inverted = entry.slices[index].inverted != state.options.is_inverted
            gray = to_gray(hu[::step, ::step].copy(), state.window, inverted=inverted)
            rows, columns = gray.shape
            image = QImage(gray.data, columns, rows, columns, QImage.Format.Format_Grayscale8)
            aspect = entry.geometry.row_spacing_mm / entry.geometry.column_spacing_mm
            tall = image.scaled(columns, max(1, round(rows * aspect)))
            options = state.options
            turned = QTransform.fromScale(
                -1 if options.is_flipped_across else 1, -1 if options.is_flipped_down else 1
            )
            picture = QPixmap.fromImage(tall.transformed(turned))
            self._picture.setPixmap(
                picture.scaled(
                    _SIDE,
                    _SIDE,
                    Qt.AspectRatioMode.KeepAspectRatio,
                    Qt.TransformationMode.SmoothTransformation,
                )
            )
        self.adjustSize()
        self.move(at - QPoint(self.width() + 24, self.height() // 2))
        self.show()
