"""A coronal or sagittal reformat: windowed, lettered, with the mouse of the slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QPointF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QImage, QPainter, QTransform
from PySide6.QtWidgets import QSizePolicy, QWidget

from sadmil_core.dicom import direction_letters
from sadmil_core.display import DisplayWindow, to_gray
from viewer import theme
from viewer.model.bindings import Bindings, gesture_text, modifier_text
from viewer.model.places import frame_of_plane
from viewer.widgets.text_tiles import TextTiles
from viewer.widgets.wheel import WheelSteps

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtGui import QMouseEvent, QPaintEvent, QWheelEvent

    from sadmil_core.reformat import Plane, PlaneImage
    from viewer.model.places import ImageFrame
    from viewer.model.state import ViewState

_MARGIN = 10
_MIN_ZOOM, _MAX_ZOOM = 0.2, 20.0
_AXIS_LETTERS = (("L", "R"), ("P", "A"), ("H", "F"))
_TOP, _BOTTOM = Qt.AlignmentFlag.AlignTop, Qt.AlignmentFlag.AlignBottom
_LEFT, _RIGHT = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
_ACROSS, _UPRIGHT = Qt.AlignmentFlag.AlignHCenter, Qt.AlignmentFlag.AlignVCenter


class PlaneView(QWidget):
    """Shows the newest image of one plane; never turned over, whatever the slice is."""

    stepped = Signal(float)
    """Millimetres to move by along the plane's normal: towards the back, or the left."""
    window_dragged = Signal(object)
    retried = Signal()
    """A click where there is no image."""

    def __init__(self, plane: Plane, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plane = plane
        self.bindings = Bindings()
        self.overlays: list[Callable[[QPainter], None]] = []
        self._image: PlaneImage | None = None
        self._picture: QImage | None = None
        self._state: ViewState | None = None
        self._text, self._caption = "", ""
        self._zoom, self._pan = 1.0, QPointF(0, 0)
        self._gesture: str | None = None
        self._last = QPointF()
        self._pointer: QPointF | None = None
        self._wheel, self._tiles = WheelSteps(), TextTiles()
        self.setMouseTracking(True)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(160, 160)
        self.setAccessibleName(f"{plane.capitalize()} reformat")

    def sizeHint(self) -> QSize:
        """Half as large as the slice."""
        return QSize(320, 320)

    @property
    def image(self) -> PlaneImage | None:
        """What is shown."""
        return self._image

    @property
    def frame(self) -> ImageFrame | None:
        """Where the image lies in the patient."""
        return frame_of_plane(self._image) if self._image is not None else None

    def render_plane(
        self, image: PlaneImage | None, state: ViewState, *, text: str, caption: str
    ) -> None:
        """Shows an image.

        Args:
            image: The reformat; None shows ``text`` instead.
            state: Its window is used.
            text: Why there is no image.
            caption: What kind of image it is, where it is not a single plane.
        """
        old, self._state = self._state, state
        self._text, self._caption = text, caption
        changed = old is None or old.window != state.window
        inverts = state.options.is_inverted
        changed = changed or (old is not None and old.options.is_inverted != inverts)
        if image is not self._image or changed:
            self._image = image
            self._picture = self._draw(state) if image is not None else None
        self.update()

    def reset_view(self) -> None:
        """Fits the image into the widget again."""
        self._zoom, self._pan = 1.0, QPointF(0, 0)
        self.update()

    def _draw(self, state: ViewState) -> QImage:
        assert self._image is not None
        entry = state.entry
        inverted = entry.slices[0].inverted if entry else False
        gray = to_gray(self._image.hu, state.window, inverted=inverted != state.options.is_inverted)
        rows, columns = gray.shape
        image = QImage(gray.data, columns, rows, columns, QImage.Format.Format_Grayscale8)
        return image.convertToFormat(QImage.Format.Format_RGB32)

    def to_widget(self) -> QTransform:
        """Image pixels (column, row, counted from the edge) to widget coordinates."""
        if self._picture is None:
            return QTransform()
        columns, rows = self._picture.width(), self._picture.height()
        scale = min(self.width() / columns, self.height() / rows) * self._zoom
        middle = QPointF(self.width() / 2, self.height() / 2) + self._pan
        moved = QTransform().translate(middle.x(), middle.y()).scale(scale, scale)
        return moved.translate(-columns / 2, -rows / 2)

    # -- painting -----------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paints the image, its letters and what it is."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor("black"))
        painter.setFont(theme.tabular(self.font()))
        if self._picture is None or self._image is None:
            painter.setPen(QColor(theme.IMAGE_MUTED))
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(self.rect().adjusted(24, 0, -24, 0), flags, self._text)
            self._write(painter, _TOP | _LEFT, self.plane.capitalize())
            return
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.setTransform(self.to_widget())
        painter.drawImage(0, 0, self._picture)
        painter.resetTransform()
        for overlay in self.overlays:
            overlay(painter)
        self._write(painter, _TOP | _LEFT, f"{self.plane.capitalize()}  {self._place()}")
        below = "\n".join(filter(None, (self._caption, self._pointer_text())))
        self._write(painter, _BOTTOM | _LEFT, below)
        font = painter.font()
        font.setBold(True)
        font.setPointSize(font.pointSize() + 2)
        painter.setFont(font)
        right = np.array(self._image.row_direction)
        down = np.array(self._image.column_direction)
        for place, (x, y, z) in (
            (_LEFT | _UPRIGHT, (-right).tolist()),
            (_RIGHT | _UPRIGHT, right.tolist()),
            (_TOP | _ACROSS, (-down).tolist()),
            (_BOTTOM | _ACROSS, down.tolist()),
        ):
            self._write(painter, place, direction_letters((x, y, z)))

    def _place(self) -> str:
        """Where the plane lies, as people say it: 12.0 mm A, counted from the scanner's centre."""
        assert self._image is not None
        axis = self.plane.normal.index(1.0)
        at = round(self._image.origin_mm[axis], 1)
        return f"{_AXIS_LETTERS[axis][at < 0]} {abs(at):.1f} mm"

    def _pointer_text(self) -> str:
        back, possible = self.to_widget().inverted()
        if self._pointer is None or self._image is None or not possible:
            return ""
        spot = back.map(self._pointer)
        row, column = int(np.floor(spot.y())), int(np.floor(spot.x()))
        rows, columns = self._image.hu.shape
        if not (0 <= row < rows and 0 <= column < columns):
            return ""
        if self._image.in_gap[row, column]:
            return "slices are missing here"
        return "" if self._image.outside[row, column] else f"{self._image.hu[row, column]:.0f} HU"

    def _write(self, painter: QPainter, place: Qt.AlignmentFlag, text: str) -> None:
        if text:
            area = self.rect().adjusted(_MARGIN, _MARGIN, -_MARGIN, -_MARGIN)
            self._tiles.draw(painter, area, place, text, round(0.8 * area.width()))

    # -- mouse --------------------------------------------------------------------------------

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Scrolls through the planes, or zooms, as bound for the slice."""
        command = self.bindings.command_of(f"{modifier_text(event.modifiers())}Wheel")
        if command is not None and command.id == "mouse.zoom":
            turn = event.angleDelta().y() or event.angleDelta().x()
            self._zoom_by(1.0015**turn, event.position())
        elif command is not None and command.id == "mouse.scroll":
            steps = self._wheel.of(event)
            if steps and self._image is not None:
                self.stepped.emit(steps * self._image.pixel_mm)
        event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Starts what the button is bound to on the slice."""
        self._last = event.position()
        self._gesture = None
        if self._image is None:
            self.retried.emit()
            return
        command = self.bindings.command_of(gesture_text(event.button(), event.modifiers(), "drag"))
        self._gesture = command.id if command else None

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Carries it on, and reads the value under the pointer."""
        self._pointer = event.position()
        moved = event.position() - self._last
        self._last = event.position()
        if self._gesture == "mouse.window" and self._state is not None:
            window = self._state.window
            speed = max(0.2, window.width_hu / 300)
            level = window.level_hu - moved.y() * speed
            self.window_dragged.emit(
                DisplayWindow(level, max(1.0, window.width_hu + moved.x() * speed))
            )
        elif self._gesture == "mouse.pan":
            self._pan += moved
        elif self._gesture == "mouse.zoom":
            self._zoom_by(1.01 ** -moved.y(), None)
        elif self._gesture == "mouse.scroll" and self._image is not None:
            self.stepped.emit(-moved.y() * self._image.pixel_mm)
        self.update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Ends it."""
        self._gesture = None

    def leaveEvent(self, event: object) -> None:
        """Forgets the pointer."""
        self._pointer = None
        self.update()

    def _zoom_by(self, factor: float, around: QPointF | None) -> None:
        zoom = min(max(self._zoom * factor, _MIN_ZOOM), _MAX_ZOOM)
        offset = QPointF(0, 0)
        if around is not None:
            offset = around - QPointF(self.width() / 2, self.height() / 2)
        self._pan = offset + (self._pan - offset) * (zoom / self._zoom)
        self._zoom = zoom
        self.update()
