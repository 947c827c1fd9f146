"""The slice: windowed image, orientation letters, corner texts, mouse tools."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QImage, QPainter, QPen, QTransform
from PySide6.QtWidgets import QSizePolicy, QWidget

from sadmil_core.dicom import direction_letters
from sadmil_core.display import DisplayWindow, to_gray
from sadmil_core.result import slice_number
from viewer import theme
from viewer.widgets.text_tiles import TextTiles
from viewer.widgets.wheel import WheelSteps

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PySide6.QtGui import QMouseEvent, QPaintEvent, QWheelEvent

    from sadmil_core.dicom import StackGeometry
    from viewer.model.state import Preview, ViewState

_MARGIN = 12
_ROOMY_PX = 560
_MIN_ZOOM, _MAX_ZOOM = 0.2, 20.0


class _Tool(Enum):
    WINDOW = "window"
    PAN = "pan"
    ZOOM = "zoom"


class SliceView(QWidget):
    """Shows one slice, windowed anew whenever the slice or the window changes."""

    stepped = Signal(int)
    """Slices to move by; positive is towards the head."""
    window_dragged = Signal(object)
    """The DisplayWindow under way."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state: ViewState | None = None
        self._pixels: NDArray[np.int16] | NDArray[np.float32] | None = None
        self._image: QImage | None = None
        self._zoom, self._pan = 1.0, QPointF(0, 0)
        self._tool: _Tool | None = None
        self._last = QPointF()
        self._pointer: QPointF | None = None
        self._wheel = WheelSteps()
        self._tiles = TextTiles()
        self.setMouseTracking(True)
        self.setAutoFillBackground(False)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(280, 280)
        self.setAccessibleName("CT slice")
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.NoContextMenu)

    def sizeHint(self) -> QSize:
        """A square that fits a laptop screen."""
        return QSize(640, 640)

    def render_state(self, state: ViewState) -> None:
        """Draws what differs from the last state."""
        old, self._state = self._state, state
        if old is None or old.selected != state.selected or old.root != state.root:
            self.reset_view()
        pixels = self._current_pixels(state)
        if pixels is not self._pixels or old is None or old.window != state.window:
            self._pixels = pixels
            self._make_image(state)
        self.setAccessibleDescription(_describe(state))
        self.update()

    def reset_view(self) -> None:
        """Fits the slice into the widget again."""
        self._zoom, self._pan = 1.0, QPointF(0, 0)
        self.update()

    @property
    def zoom(self) -> float:
        """Magnification relative to the fitted size."""
        return self._zoom

    @property
    def has_image(self) -> bool:
        """Whether there is a slice to see, be it a preview."""
        return self._image is not None

    def _current_pixels(self, state: ViewState) -> NDArray[np.int16] | NDArray[np.float32] | None:
        found = state.hu_of(state.slice_index) if state.entry is not None else None
        if found is not None:
            # Views of one slice are made anew each time.
            return self._pixels if self._same_memory(found) else found
        preview = _preview_of(state)
        return preview.hu if preview else None

    def _same_memory(self, pixels: NDArray[np.int16] | NDArray[np.float32]) -> bool:
        return (
            self._pixels is not None
            and self._pixels.ctypes.data == pixels.ctypes.data
            and self._pixels.shape == pixels.shape
        )

    def _make_image(self, state: ViewState) -> None:
        if self._pixels is None:
            self._image = None
            return
        preview = _preview_of(state)
        header = preview.header if preview else None
        if state.entry is not None:
            header = state.entry.slices[state.slice_index]
        inverted = header.inverted if header else False
        gray = to_gray(self._pixels, state.window, inverted=inverted)
        rows, columns = gray.shape
        image = QImage(gray.data, columns, rows, columns, QImage.Format.Format_Grayscale8)
        # Qt scales 32-bit images twice as fast. One image is kept and painted over: to get a
        # new one from the system for each slice would take as long as to fill it.
        if self._image is None or self._image.size() != image.size():
            self._image = QImage(image.size(), QImage.Format.Format_RGB32)
        painter = QPainter(self._image)
        painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_Source)
        painter.drawImage(0, 0, image)
        painter.end()

    # -- geometry -----------------------------------------------------------------------------

    def _pixel_aspect(self) -> float:
        """Height of a pixel over its width, in the patient."""
        geometry = self._geometry()
        return geometry.row_spacing_mm / geometry.column_spacing_mm if geometry else 1.0

    def _geometry(self) -> StackGeometry | None:
        return self._state.entry.geometry if self._state and self._state.entry else None

    def _to_widget(self) -> QTransform:
        """Image pixels (column, row) to widget coordinates."""
        if self._image is None:
            return QTransform()
        columns, rows = self._image.width(), self._image.height() * self._pixel_aspect()
        scale = min(self.width() / columns, self.height() / rows) * self._zoom
        middle = QPointF(self.width() / 2, self.height() / 2) + self._pan
        return (
            QTransform()
            .translate(middle.x(), middle.y())
            .scale(scale, scale * self._pixel_aspect())
            .translate(-self._image.width() / 2, -self._image.height() / 2)
        )

    def _pixel_under(self, point: QPointF) -> tuple[int, int] | None:
        """Row and column under a widget point, or None outside the image."""
        if self._image is None:
            return None
        inverse, possible = self._to_widget().inverted()
        if not possible:
            return None
        spot = inverse.map(point)
        row, column = int(np.floor(spot.y())), int(np.floor(spot.x()))
        inside = 0 <= row < self._image.height() and 0 <= column < self._image.width()
        return (row, column) if inside else None

    # -- painting -----------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paints the slice, its letters and its texts."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor("black"))
        state = self._state
        if self._image is None or state is None:
            self._paint_empty(painter)
        else:
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            painter.setTransform(self._to_widget())
            painter.drawImage(0, 0, self._image)
            painter.resetTransform()
        if state is None or (state.entry is None and self._image is None):
            return
        painter.setRenderHint(QPainter.RenderHint.TextAntialiasing)
        painter.setFont(theme.tabular(self.font()))
        for corner, lines in self._corner_texts(state).items():
            self._paint_text(painter, corner, "\n".join(lines))
        self._paint_letters(painter)
        self._paint_mark(painter, state)

    def _paint_empty(self, painter: QPainter) -> None:
        painter.setPen(QColor(theme.MUTED))
        state = self._state
        if state is not None and state.load is not None and state.opening is not None:
            text = f"Slice {slice_number(state.slice_index)} is loading"
        elif state is not None and state.opening is not None:
            text = "Loading"
        elif state is not None and state.entry is not None:
            text = "This slice is not loaded"
        else:
            text = (
                "Open a folder of head CT: File > Open folder, or drop it here.\n\n"
                "File > Open demo study shows a synthetic head."
            )
        flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
        painter.drawText(self.rect().adjusted(40, 0, -40, 0), flags, text)

    def _corner_texts(self, state: ViewState) -> dict[Qt.AlignmentFlag, list[str]]:
        top, bottom = Qt.AlignmentFlag.AlignTop, Qt.AlignmentFlag.AlignBottom
        left, right = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        texts: dict[Qt.AlignmentFlag, list[str]] = {}
        identity, entry = state.identity, state.entry
        if identity is not None:
            about = " ".join(filter(None, (identity.sex, identity.age)))
            name = identity.patient_name.replace("^", " ").strip()
            texts[top | left] = [t for t in (name, identity.patient_id, about) if t]
            date = identity.study_date
            if len(date) == 8 and date.isdigit():
                date = f"{date[:4]}-{date[4:6]}-{date[6:]}"
            texts[top | right] = [
                t for t in (identity.institution, identity.study_description, date) if t
            ]
        window = state.window
        preset = f"  {state.preset}" if state.preset else ""
        pointer = self._pointer_text()
        texts[bottom | left] = [
            *([pointer] if pointer else []),
            f"W {window.width_hu:.0f}  L {window.level_hu:.0f}{preset}",
            f"Zoom {self._zoom:.2f}",
        ]
        if entry is not None and identity is not None:
            geometry = entry.geometry
            lines = [identity.series_description]
            lines.append(f"Slice {slice_number(state.slice_index)}/{state.slice_count}")
            if geometry.has_positions:
                lines.append(f"Position {geometry.position_at(state.slice_index):.1f} mm")
            thickness = entry.slices[state.slice_index].slice_thickness_mm
            if thickness:
                lines.append(f"Thickness {thickness:.1f} mm")
            texts[bottom | right] = [t for t in lines if t]
        elif state.preview is not None and entry is None:
            texts[bottom | right] = ["Preview: reading headers,", "its place is not known yet"]
        return texts

    def _pointer_text(self) -> str:
        spot = self._pixel_under(self._pointer) if self._pointer is not None else None
        if spot is None or self._pixels is None:
            return ""
        value = float(self._pixels[spot])
        return f"{value:.0f} HU  ({spot[1]}, {spot[0]})"

    def _paint_text(self, painter: QPainter, corner: Qt.AlignmentFlag, text: str) -> None:
        if not text:
            return
        area = self.rect().adjusted(_MARGIN, _MARGIN, -_MARGIN, -_MARGIN)
        self._tiles.draw(painter, area, corner, text, round(0.4 * area.width()))

    def _paint_letters(self, painter: QPainter) -> None:
        geometry = self._geometry()
        if geometry is None or not geometry.has_orientation:
            return  # letters that are guessed would be worse than none
        row, column = geometry.row_direction, geometry.column_direction
        centre_h, centre_v = Qt.AlignmentFlag.AlignHCenter, Qt.AlignmentFlag.AlignVCenter
        font = painter.font()
        font.setBold(True)
        font.setPointSize(font.pointSize() + 3)
        painter.setFont(font)
        for direction, sign, place in (
            (row, 1.0, Qt.AlignmentFlag.AlignRight | centre_v),
            (row, -1.0, Qt.AlignmentFlag.AlignLeft | centre_v),
            (column, 1.0, Qt.AlignmentFlag.AlignBottom | centre_h),
            (column, -1.0, Qt.AlignmentFlag.AlignTop | centre_h),
        ):
            x, y, z = (sign * part for part in direction)
            # The strongest letter alone: with a tilted gantry "AH" reads as noise.
            self._paint_text(painter, place, direction_letters((x, y, z))[:1])

    def _paint_mark(self, painter: QPainter, state: ViewState) -> None:
        """A frame and a line of text on slices the model marks."""
        result = state.result
        if result is None or not result.slice_positive[state.slice_index]:
            return
        painter.setPen(QPen(QColor(theme.SIGNAL), 3))
        painter.drawRect(QRectF(self.rect()).adjusted(1.5, 1.5, -1.5, -1.5))
        font = theme.tabular(self.font())
        font.setBold(True)
        painter.setFont(font)
        score = float(result.slice_score[state.slice_index])
        rule = result.rule.slice_score
        text = f"● Marked: {rule} {score:.3f} > {result.slice_threshold:.3f}"
        box = painter.fontMetrics().boundingRect(text).adjusted(-10, -5, 10, 5)
        box.moveCenter(self.rect().center())
        # In a narrow view below the corner texts, else beside them.
        below = 4 * painter.fontMetrics().height() if self.width() < _ROOMY_PX else 24
        box.moveTop(_MARGIN + below)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(theme.SIGNAL))
        painter.drawRoundedRect(box, 4, 4)
        painter.setPen(QColor(theme.ON_SIGNAL))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)

    # -- mouse --------------------------------------------------------------------------------

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Scrolls the stack; with Ctrl, zooms."""
        turn = event.angleDelta().y()
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self._zoom_by(1.0015**turn, event.position())
        else:
            steps = self._wheel.of(event)
            if steps:
                self.stepped.emit(steps)
        event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Starts the tool of the pressed button."""
        shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        tools = {
            Qt.MouseButton.LeftButton: _Tool.PAN if shift else _Tool.WINDOW,
            Qt.MouseButton.MiddleButton: _Tool.PAN,
            Qt.MouseButton.RightButton: _Tool.ZOOM,
        }
        self._tool = tools.get(event.button()) if self._image is not None else None
        self._last = event.position()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Carries the tool on, and reads the value under the pointer."""
        self._pointer = event.position()
        moved = event.position() - self._last
        self._last = event.position()
        if self._tool is _Tool.WINDOW and self._state is not None:
            self._drag_window(moved)
        elif self._tool is _Tool.PAN:
            self._pan += moved
        elif self._tool is _Tool.ZOOM:
            self._zoom_by(1.01 ** -moved.y(), None)
        self.update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Ends the tool."""
        self._tool = None

    def leaveEvent(self, event: object) -> None:
        """Forgets the pointer, so that no stale HU value stays on screen."""
        self._pointer = None
        self.update()

    def _drag_window(self, moved: QPointF) -> None:
        """Right widens, up raises the level; faster for wide windows."""
        if self._state is None:
            return
        window = self._state.window
        speed = max(0.2, window.width_hu / 300)
        self.window_dragged.emit(
            DisplayWindow(
                window.level_hu - moved.y() * speed,
                max(1.0, window.width_hu + moved.x() * speed),
            )
        )

    def _zoom_by(self, factor: float, around: QPointF | None) -> None:
        zoom = min(max(self._zoom * factor, _MIN_ZOOM), _MAX_ZOOM)
        if around is not None:
            # The point under the pointer stays where it is.
            offset = around - QPointF(self.width() / 2, self.height() / 2)
            self._pan = offset + (self._pan - offset) * (zoom / self._zoom)
        else:
            self._pan *= zoom / self._zoom
        self._zoom = zoom
        self.update()


def _preview_of(state: ViewState) -> Preview | None:
    """The preview, where it is of the very slice that is named, or nothing is named yet."""
    preview = state.preview
    if preview is None or state.entry is None:
        return preview
    return preview if preview.header.path == state.entry.slices[state.slice_index].path else None


def _describe(state: ViewState) -> str:
    """What a screen reader says of the slice."""
    if state.entry is None:
        return "no scan is open"
    text = f"slice {slice_number(state.slice_index)} of {state.slice_count}"
    result = state.result
    if result is None:
        return text
    marked = "marked" if result.slice_positive[state.slice_index] else "not marked"
    return f"{text}, {marked}, attention {float(result.attention[state.slice_index]):.3f}"
