"""The slice: windowed image, orientation letters, corner texts, mouse tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QContextMenuEvent, QImage, QPainter, QPen, QTransform
from PySide6.QtWidgets import QSizePolicy, QWidget

from sadmil_core.display import DisplayWindow, to_gray
from sadmil_core.result import slice_number
from viewer import theme
from viewer.model.bindings import Bindings, gesture_text, modifier_text
from viewer.model.corners import corner_texts, edge_letters
from viewer.model.state import ViewOptions
from viewer.widgets.explanation_layer import ExplanationLayer
from viewer.widgets.measure_layer import MeasureLayer
from viewer.widgets.text_tiles import TextTiles
from viewer.widgets.wheel import WheelSteps

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from PySide6.QtGui import QKeyEvent, QMouseEvent, QPaintEvent, QWheelEvent

    from sadmil_core.dicom import StackGeometry
    from viewer.model.annotations import Annotations, MeasureKind
    from viewer.model.sight import SeenSlice
    from viewer.model.state import Preview, ViewState

    Pixels = NDArray[np.int16] | NDArray[np.float32]

_MARGIN = 12
_ROOMY_PX = 560
_MIN_ZOOM, _MAX_ZOOM = 0.2, 20.0
_CLICK_PX = 4
_TOP, _BOTTOM = Qt.AlignmentFlag.AlignTop, Qt.AlignmentFlag.AlignBottom
_LEFT, _RIGHT = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight


class SliceView(QWidget):
    """Shows one slice, windowed anew whenever the slice or the window changes."""

    stepped = Signal(int)
    """Slices to move by; positive is towards the head."""
    window_dragged = Signal(object)
    """The DisplayWindow under way."""
    menu_wanted = Signal(QPoint)
    """The context menu is asked for, at a point of the screen."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state: ViewState | None = None
        self._pixels: NDArray[np.int16] | NDArray[np.float32] | None = None
        self._image: QImage | None = None
        self._zoom, self._pan = 1.0, QPointF(0, 0)
        self.bindings = Bindings()
        """What the mouse does; a window puts its own in this place."""
        self._annotations: Annotations | None = None
        self.measures = MeasureLayer(self)
        """The drawings over the slice."""
        self.measures.changed.connect(self.update)
        self.measures.tool_changed.connect(self._show_tool)
        self._explanation = ExplanationLayer()
        self.stand_in: Callable[[ViewState], Pixels | None] = lambda _state: None
        """Gives Hounsfield units to show in place of the slice's own, such as a slab's."""
        self.seen: Callable[[ViewState], SeenSlice | None] = lambda _state: None
        """Gives a finished picture to show in place of the windowed slice."""
        self.caption: Callable[[ViewState], str] = lambda _state: ""
        """Says what is shown where that is not the plain slice."""
        self.overlays: list[Callable[[QPainter], None]] = []
        """What others paint over the slice, in widget coordinates."""
        self._seen: tuple[SeenSlice, QImage] | None = None
        self._gesture: str | None = None
        self._click: str | None = None
        self._scrolled = 0.0
        self._last = self._pressed = QPointF()
        self._pointer: QPointF | None = None
        self._wheel = WheelSteps()
        self._tiles = TextTiles()
        self.setMouseTracking(True)
        self.setAutoFillBackground(False)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(280, 280)
        self.setAccessibleName("CT slice")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def use(self, annotations: Annotations) -> None:
        """Shows and changes these measurements and key images."""
        self._annotations = annotations
        self.measures.use(annotations)

    def _show_tool(self, kind: MeasureKind | None) -> None:
        if kind is None:
            self.unsetCursor()
        else:
            self.setCursor(Qt.CursorShape.CrossCursor)
            self.setFocus()

    def sizeHint(self) -> QSize:
        """A square that fits a laptop screen."""
        return QSize(640, 640)

    def render_state(self, state: ViewState) -> None:
        """Draws what differs from the last state."""
        old, self._state = self._state, state
        if old is None or old.selected != state.selected or old.root != state.root:
            self.reset_view()
        pixels = self._current_pixels(state)
        seen = self.seen(state)
        self._seen = (seen, _image_of(seen)) if seen is not None else None
        if (
            pixels is not self._pixels
            or old is None
            or old.window != state.window
            or old.options.is_inverted != state.options.is_inverted
        ):
            self._pixels = pixels
            self._make_image(state)
        entry = state.entry
        has_slice = entry is not None and pixels is not None
        self.measures.show(entry.slices[state.slice_index] if entry and has_slice else None, pixels)
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
            instead = self.stand_in(state)
            found = instead if instead is not None else found
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
        gray = to_gray(self._pixels, state.window, inverted=inverted != state.options.is_inverted)
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

    def to_widget(self) -> QTransform:
        """Image pixels (column, row, counted from the edge) to widget coordinates."""
        return self._to_widget()

    def _to_widget(self) -> QTransform:
        """Image pixels (column, row) to widget coordinates."""
        if self._image is None:
            return QTransform()
        columns, rows = self._image.width(), self._image.height() * self._pixel_aspect()
        scale = min(self.width() / columns, self.height() / rows) * self._zoom
        middle = QPointF(self.width() / 2, self.height() / 2) + self._pan
        options = self._state.options if self._state else ViewOptions()
        across = -1 if options.is_flipped_across else 1
        down = -1 if options.is_flipped_down else 1
        return (
            QTransform()
            .translate(middle.x(), middle.y())
            .scale(scale * across, scale * down * self._pixel_aspect())
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
            if self._seen is None:
                painter.drawImage(0, 0, self._image)
            else:
                top, left, height, width = self._seen[0].box
                painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, on=False)
                painter.drawImage(QRectF(left, top, width, height), self._seen[1])
            painter.resetTransform()
        if state is None or (state.entry is None and self._image is None):
            return
        painter.setRenderHint(QPainter.RenderHint.TextAntialiasing)
        painter.setFont(theme.tabular(self.font()))
        self._explanation.paint(painter, self._to_widget(), state, self.rect())
        self.measures.paint(painter, self._to_widget(), self.rect())
        for overlay in self.overlays:
            overlay(painter)
        corners = corner_texts(
            state, zoom=self._zoom, pointer=self._pointer_text(), annotations=self._annotations
        )
        for corner, lines in (
            (_TOP | _LEFT, corners.top_left),
            (_TOP | _RIGHT, corners.top_right),
            (_BOTTOM | _LEFT, (*self.caption(state).splitlines(), *corners.bottom_left)),
            (_BOTTOM | _RIGHT, corners.bottom_right),
        ):
            self._paint_text(painter, corner, "\n".join(lines))
        self._paint_letters(painter, state)
        self._paint_mark(painter, state)

    def _paint_empty(self, painter: QPainter) -> None:
        painter.setPen(QColor(theme.IMAGE_MUTED))
        state = self._state
        if state is not None and state.load is not None and state.opening is not None:
            text = f"Slice {slice_number(state.slice_index)} is loading"
        elif state is not None and state.opening is not None:
            text = "Loading"
        elif state is not None and state.entry is not None:
            text = "This slice is not loaded"
        else:
            return  # the start page stands here
        flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
        painter.drawText(self.rect().adjusted(40, 0, -40, 0), flags, text)

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

    def _paint_letters(self, painter: QPainter, state: ViewState) -> None:
        geometry = self._geometry()
        if geometry is None or not geometry.has_orientation:
            return  # letters that are guessed would be worse than none
        font = painter.font()
        font.setBold(True)
        font.setPointSize(font.pointSize() + 3)
        painter.setFont(font)
        centre_h, centre_v = Qt.AlignmentFlag.AlignHCenter, Qt.AlignmentFlag.AlignVCenter
        places = (_LEFT | centre_v, _RIGHT | centre_v, _TOP | centre_h, _BOTTOM | centre_h)
        for place, letter in zip(places, edge_letters(geometry, state.options), strict=True):
            self._paint_text(painter, place, letter)

    def _paint_mark(self, painter: QPainter, state: ViewState) -> None:
        """A frame and a line of text on slices the model marks."""
        result = state.result
        if result is None or not result.slice_positive[state.slice_index]:
            return
        painter.setPen(QPen(QColor(theme.IMAGE_SIGNAL), 3))
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
        painter.setBrush(QColor(theme.IMAGE_SIGNAL))
        painter.drawRoundedRect(box, 4, 4)
        painter.setPen(QColor(theme.IMAGE_ON_SIGNAL))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)

    # -- mouse and keys -----------------------------------------------------------------------

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Does what the wheel is bound to."""
        command = self.bindings.command_of(f"{modifier_text(event.modifiers())}Wheel")
        if command is not None and command.id == "mouse.zoom":
            # Qt takes a turn with Alt to be sideways.
            turn = event.angleDelta().y() or event.angleDelta().x()
            self._zoom_by(1.0015**turn, event.position())
        elif command is not None and command.id == "mouse.scroll":
            steps = self._wheel.of(event)
            if steps:
                self.stepped.emit(steps)
        event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Picks a measurement, draws one, or starts what the button is bound to."""
        self._last = self._pressed = event.position()
        self._gesture = None
        if self._image is None:
            return
        button, modifiers = event.button(), event.modifiers()
        is_plain = button is Qt.MouseButton.LeftButton and not modifier_text(modifiers)
        if is_plain and self.measures.press(event.position(), self._to_widget()):
            return
        command = self.bindings.command_of(gesture_text(button, modifiers, "drag"))
        click = self.bindings.command_of(gesture_text(button, modifiers, "click"))
        self._gesture = command.id if command else None
        self._click = click.id if click else None

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Carries the gesture on, and reads the value under the pointer."""
        self._pointer = event.position()
        self.measures.drag(event.position(), self._to_widget())
        if self._click is not None:
            if (event.position() - self._pressed).manhattanLength() < _CLICK_PX:
                return
            self._click = None  # a drag, and no click any more
        moved = event.position() - self._last
        self._last = event.position()
        if self._gesture == "mouse.window" and self._state is not None:
            self._drag_window(moved)
        elif self._gesture == "mouse.pan":
            self.pan_by(moved)
        elif self._gesture == "mouse.zoom":
            self._zoom_by(1.01 ** -moved.y(), None)
        elif self._gesture == "mouse.scroll":
            self._drag_stack(moved)
        self.update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Ends the gesture; a click is one that has not moved."""
        self._gesture = None
        self.measures.release(event.position(), self._to_widget())
        if self._click == "mouse.menu":
            self.measures.pick(event.position(), self._to_widget())
            self.menu_wanted.emit(event.globalPosition().toPoint())
        self._click = None

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Opens the menu from the keyboard; the mouse has its own way."""
        if event.reason() is QContextMenuEvent.Reason.Keyboard:
            self.menu_wanted.emit(self.mapToGlobal(self.rect().center()))
        event.accept()

    def event(self, event: QEvent) -> bool:
        """While a measurement is in hand, its keys go before those of the window."""
        if event.type() == QEvent.Type.ShortcutOverride and self.measures.is_busy:
            key = cast("QKeyEvent", event).key()
            if key in (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_Left, Qt.Key.Key_Right):
                event.accept()
                return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Draws and moves measurements."""
        far = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        if not self.measures.press_key(Qt.Key(event.key()), is_far=far):
            super().keyPressEvent(event)

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

    def _drag_stack(self, moved: QPointF) -> None:
        """Up is towards the head; the stack's length is about that of the picture."""
        count = self._state.slice_count if self._state else 0
        self._scrolled -= moved.y() * max(count, 20) / max(self.height(), 1)
        steps = int(self._scrolled)
        self._scrolled -= steps
        if steps:
            self.stepped.emit(steps)

    def pan_by(self, moved: QPointF) -> None:
        """Moves the picture, in px of the widget."""
        self._pan += moved
        self.update()

    def zoom_by(self, factor: float) -> None:
        """Magnifies about the middle of the widget."""
        self._zoom_by(factor, None)

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


def _image_of(seen: SeenSlice) -> QImage:
    rows, columns, _ = seen.rgb.shape
    image = QImage(seen.rgb.data, columns, rows, 3 * columns, QImage.Format.Format_RGB888)
    return image.convertToFormat(QImage.Format.Format_RGB32)


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
