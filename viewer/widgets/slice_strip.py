"""The slice strip: one row a slice along the axis of the attention curve, head at the top."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, QSizeF, Qt, Signal
from PySide6.QtGui import QColor, QImage, QPainter, QPen, QPixmap
from PySide6.QtWidgets import QSizePolicy, QWidget

from sadmil_core.display import to_gray
from sadmil_core.result import slice_number
from viewer import theme
from viewer.widgets.wheel import WheelSteps

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PySide6.QtGui import QMouseEvent, QPaintEvent, QResizeEvent, QWheelEvent

    from sadmil_core.result import ScanResult
    from viewer.model.state import ViewState

_WIDTH = 92
_THUMB_SAMPLES = 64
_MIN_THUMB = 16
_NUMBER_WIDTH = 30
_HEAT_WIDTH = 8


class SliceStrip(QWidget):
    """Thumbnails beside the curve: number, picture, attention as a bar of colour, mark.

    Where rows are lower than a readable thumbnail, every second, third... slice is pictured;
    numbers, colours and marks still have one row a slice.
    """

    picked = Signal(int)
    """The slice that was clicked or dragged to."""
    stepped = Signal(int)
    """Slices to move by; positive is towards the head."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state: ViewState | None = None
        self._thumbs: dict[int, NDArray[np.int16] | NDArray[np.float32]] = {}
        self._images: dict[int, tuple[QImage, NDArray[np.uint8]]] = {}
        self._top, self._bottom = 0.0, 0.0
        self._drawn: QPixmap | None = None
        self._wheel = WheelSteps()
        self.setFixedWidth(_WIDTH)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)
        self.setAccessibleName("Slice strip")

    def sizeHint(self) -> QSize:
        """Narrow and tall."""
        return QSize(_WIDTH, 400)

    def set_axis(self, top: float, bottom: float) -> None:
        """Takes over the vertical extent of the curve's axis, in this widget's coordinates."""
        if (top, bottom) != (self._top, self._bottom):
            self._top, self._bottom = top, bottom
            self._drawn = None
            self.update()

    def render_state(self, state: ViewState) -> None:
        """Draws what differs from the last state."""
        old, self._state = self._state, state
        if old is None or old.volume is not state.volume:
            self._thumbs.clear()
            self._forget_images()
        elif old.window != state.window or _turned(old) != _turned(state):
            self._forget_images()
        if (
            old is None
            or old.entry is not state.entry
            or old.result is not state.result
            or old.labels is not state.labels
        ):
            self._drawn = None
        self.update()

    def _forget_images(self) -> None:
        self._images.clear()
        self._drawn = None

    def _image(self, state: ViewState, index: int) -> QImage | None:
        """A slice as it is windowed and turned beside; made when it is first painted.

        Of a long stack few are: to make all at each step of a drag would take longer than the
        slice itself.
        """
        if state.volume is None or state.entry is None:
            return None
        if index not in self._images:
            if index not in self._thumbs:
                step = max(1, max(state.volume.hu.shape[1:]) // _THUMB_SAMPLES)
                self._thumbs[index] = state.volume.hu[index, ::step, ::step].copy()
            inverts, across, down = _turned(state)
            inverted = state.entry.slices[0].inverted != inverts
            gray = to_gray(self._thumbs[index], state.window, inverted=inverted)
            gray = np.ascontiguousarray(gray[:: -1 if down else 1, :: -1 if across else 1])
            rows, columns = gray.shape
            image = QImage(gray.data, columns, rows, columns, QImage.Format.Format_Grayscale8)
            self._images[index] = image, gray  # an image does not keep its pixels alive
        return self._images[index][0]

    def _row(self, index: int, count: int) -> QRectF:
        height = (self._bottom - self._top) / count
        return QRectF(0, self._bottom - (index + 1) * height, self.width(), height)

    def index_at(self, y: float) -> int | None:
        """The slice whose row is at ``y``; None without slices."""
        state = self._state
        if state is None or not state.slice_count or self._bottom <= self._top:
            return None
        share = (self._bottom - y) / (self._bottom - self._top)
        return min(max(int(share * state.slice_count), 0), state.slice_count - 1)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Draws everything anew at the next paint."""
        self._drawn = None

    def changeEvent(self, event: QEvent) -> None:
        """Draws everything anew in the colours of a new theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.StyleChange:
            self._drawn = None

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paints the rows, from a pixmap that scrolling does not change, and the cursor."""
        painter = QPainter(self)
        state = self._state
        if state is None or not state.slice_count or self._bottom <= self._top:
            painter.fillRect(self.rect(), QColor(theme.GROUND))
            return
        if self._drawn is None:
            self._drawn = self._draw_rows(state)
        painter.drawPixmap(0, 0, self._drawn)
        current = self._row(state.slice_index, state.slice_count)
        painter.setPen(QPen(QColor(theme.ACCENT), 2))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(current.adjusted(1, 0, -1, 0))

    def _draw_rows(self, state: ViewState) -> QPixmap:
        ratio = self.devicePixelRatioF()
        drawn = QPixmap((QSizeF(self.size()) * ratio).toSize())
        drawn.setDevicePixelRatio(ratio)
        drawn.fill(QColor(theme.GROUND))
        painter = QPainter(drawn)
        painter.setFont(theme.tabular(self.font()))
        row_height = (self._bottom - self._top) / state.slice_count
        every = max(1, int(np.ceil(_MIN_THUMB / row_height)))
        result, geometry = state.result, state.entry.geometry if state.entry else None
        aspect = geometry.row_spacing_mm / geometry.column_spacing_mm if geometry else 1.0
        for index in range(state.slice_count):
            row = self._row(index, state.slice_count)
            if index % every == 0:
                self._paint_picture(painter, row, index, every, aspect, self._image(state, index))
            if result is not None:
                self._paint_result(painter, row, result, index)
        for index, said in state.marks.slices.items():
            if said.label is not None:
                row = self._row(index, state.slice_count)
                self._paint_label(painter, row, bleeds=said.label)
        painter.end()
        return drawn

    def _paint_result(self, painter: QPainter, row: QRectF, result: ScanResult, index: int) -> None:
        # Against twice the threshold at least, so that an even curve does not look alarming.
        highest = max(float(result.slice_score.max()), 2 * result.slice_threshold, 1e-12)
        self._paint_heat(painter, row, float(result.slice_score[index]) / highest)
        if not result.slice_positive[index]:
            return
        mark = row.adjusted(_HEAT_WIDTH, 0, 0, 0)
        mark.setWidth(14)
        painter.setPen(QColor(theme.SIGNAL))
        if row.height() >= 9:
            painter.drawText(mark, Qt.AlignmentFlag.AlignCenter, "●")
        else:
            painter.fillRect(mark.adjusted(4, 0, -4, 0), QColor(theme.SIGNAL))

    def _paint_label(self, painter: QPainter, row: QRectF, *, bleeds: bool) -> None:
        """What the reader says of the slice, at the edge away from what the model says."""
        mark = QRectF(row)
        mark.setLeft(row.right() - 15)
        veil = mark.adjusted(0, max(0.5, (row.height() - 16) / 2), -1, 0)
        veil.setHeight(min(row.height() - 1, 16))
        painter.fillRect(veil, QColor(0, 0, 0, theme.IMAGE_VEIL))
        painter.setPen(QColor(theme.IMAGE_DRAWN))
        if row.height() >= 9:
            painter.drawText(mark, Qt.AlignmentFlag.AlignCenter, "◆" if bleeds else "◇")
        elif bleeds:
            painter.fillRect(mark.adjusted(3, 0, -3, 0), QColor(theme.IMAGE_DRAWN))
        else:
            painter.drawLine(mark.center() - QPointF(4, 0), mark.center() + QPointF(4, 0))

    def _paint_heat(self, painter: QPainter, row: QRectF, share: float) -> None:
        colour = QColor(theme.ACCENT)
        colour.setAlphaF(0.08 + 0.92 * min(max(share, 0.0), 1.0))
        bar = QRectF(row)
        bar.setWidth(_HEAT_WIDTH)
        painter.fillRect(bar.adjusted(0, 0.5, 0, -0.5), colour)

    def _paint_picture(
        self,
        painter: QPainter,
        row: QRectF,
        index: int,
        every: int,
        aspect: float,
        image: QImage | None,
    ) -> None:
        # Centred on the slice's own row, so that number, mark and curve stand at one height.
        height = row.height() * every
        top = row.center().y() - height / 2
        painter.setPen(QColor(theme.MUTED))
        left = _HEAT_WIDTH + 14
        number = QRectF(left, row.center().y() - 10, _NUMBER_WIDTH - 4, 20)
        align = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(number, align, str(slice_number(index)))
        if image is None:
            return
        room = QRectF(left + _NUMBER_WIDTH, top, self.width() - left - _NUMBER_WIDTH - 3, height)
        room.adjust(0, 1, 0, -1)
        width, tall = image.width(), image.height() * aspect
        scale = min(room.width() / width, room.height() / tall)
        target = QRectF(0, 0, width * scale, tall * scale)
        target.moveCenter(room.center())
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawImage(target, image)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Moves to the slice that was clicked."""
        index = self.index_at(event.position().y())
        if index is not None:
            self.picked.emit(index)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Follows a drag."""
        if event.buttons():
            self.mousePressEvent(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Scrolls the stack."""
        steps = self._wheel.of(event)
        if steps:
            self.stepped.emit(steps)


def _turned(state: ViewState) -> tuple[bool, bool, bool]:
    """How the slice is shown: the strip beside it must not show another side."""
    options = state.options
    return options.is_inverted, options.is_flipped_across, options.is_flipped_down
