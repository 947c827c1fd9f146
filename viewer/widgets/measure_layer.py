"""Measurements over a slice: drawn, picked, moved and deleted by mouse or keyboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QPointF, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPainterPath, QPainterPathStroker, QPen, QTransform

from viewer import theme
from viewer.model.annotations import MeasureKind, Measurement, SliceKey
from viewer.model.measuring import measure_texts
from viewer.widgets.text_places import place_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sadmil_core.dicom import SliceHeader
    from sadmil_core.measure import Point
    from viewer.model.annotations import Annotations

_REACH_PX, _HANDLE_PX, _DRAG_PX = 8.0, 4.0, 4.0
_KEPT_TEXTS = 64


@dataclass(slots=True)
class _Grip:
    """A measurement in hand: one of its points, or all of it."""

    measurement: Measurement
    index: int | None
    start: Point
    points: tuple[Point, ...]


class MeasureLayer(QObject):
    """The drawings of the slice that is shown, and the tool that makes new ones.

    Points are (row, column), pixel centres at whole numbers; the transform that callers pass
    takes image coordinates, in which the first pixel covers 0 to 1.
    """

    changed = Signal()
    """It must be painted anew."""
    tool_changed = Signal(object)
    """The MeasureKind of the tool in hand, or None."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._annotations: Annotations | None = None
        self._header: SliceHeader | None = None
        self._key: SliceKey | None = None
        self._hu: NDArray[np.int16] | NDArray[np.float32] | None = None
        self._tool: MeasureKind | None = None
        self._draft: list[Point] = []
        self._pressed: QPointF | None = None
        self._selected: str | None = None
        self._grip: _Grip | None = None
        self._cursor: Point | None = None  # of the keyboard
        self._texts: dict[object, tuple[str, ...]] = {}
        self._boxes: list[QRect] = []  # of the texts that are painted, one after another

    def use(self, annotations: Annotations) -> None:
        """Shows and changes these annotations."""
        self._annotations = annotations
        annotations.changed.connect(self.changed)

    def show(
        self, header: SliceHeader | None, hu: NDArray[np.int16] | NDArray[np.float32] | None
    ) -> None:
        """Takes over another slice; what was half drawn on the last one is dropped."""
        key = SliceKey.of(header) if header is not None else None
        if key != self._key:
            self._draft.clear()
            self._grip = self._selected = self._cursor = None
        if hu is not self._hu:
            self._texts.clear()
        self._header, self._key, self._hu = header, key, hu

    # -- what can be done ---------------------------------------------------------------------

    @property
    def tool(self) -> MeasureKind | None:
        """What the left button draws; None where it draws nothing."""
        return self._tool

    def set_tool(self, kind: MeasureKind | None) -> None:
        """Takes a tool into the hand; the same one again puts it away."""
        self._tool = None if kind is self._tool else kind
        self._draft.clear()
        self._cursor = None
        self.tool_changed.emit(self._tool)
        self.changed.emit()

    @property
    def selected(self) -> Measurement | None:
        """The measurement that is picked, if it is still there."""
        if self._annotations is None or self._selected is None:
            return None
        found = self._annotations.get(self._selected)
        return found if found is not None and found.slice == self._key else None

    @property
    def is_busy(self) -> bool:
        """Whether something is half done, so that the keyboard belongs to it."""
        return self._cursor is not None

    def select_next(self) -> None:
        """Picks the next measurement of the slice, after the last one the first."""
        there = [m.uid for m in self._measurements()]
        if there:
            at = there.index(self._selected) + 1 if self._selected in there else 0
            self._selected = there[at % len(there)]
            self.changed.emit()

    def delete_selected(self) -> None:
        """Deletes the measurement that is picked."""
        picked = self.selected
        if picked is not None and self._annotations is not None:
            self._selected = self._grip = None
            self._annotations.remove(picked.uid)

    def cancel(self) -> bool:
        """Gives up the last thing begun: a move, a drawing, the tool, the pick.

        Returns:
            Whether there was any.
        """
        if self._cursor is not None or self._grip is not None or self._draft:
            self._cursor = self._grip = None
            self._draft.clear()
        elif self._tool is not None:
            self.set_tool(None)
        elif self.selected is not None:
            self._selected = None
        else:
            return False
        self.changed.emit()
        return True

    # -- mouse --------------------------------------------------------------------------------

    def press(self, at: QPointF, to_widget: QTransform) -> bool:
        """The left button goes down.

        Args:
            at: In widget coordinates.
            to_widget: Image to widget coordinates.

        Returns:
            Whether that was for a measurement; if not, it is free for anything else.
        """
        if self._key is None:
            return False
        self._pressed = at
        point = self._point(at, to_widget)
        if self._tool is not None:
            self._place(point)
            return True
        self._grip = self._grip_at(at, to_widget)
        self._selected = self._grip.measurement.uid if self._grip else None
        self.changed.emit()
        return self._grip is not None

    def pick(self, at: QPointF, to_widget: QTransform) -> None:
        """Picks what is under a point, and nothing where there is none."""
        grip = self._grip_at(at, to_widget)
        self._selected = grip.measurement.uid if grip else None
        self.changed.emit()

    def drag(self, at: QPointF, to_widget: QTransform) -> None:
        """The pointer moves: whatever is in hand goes along."""
        point = self._point(at, to_widget)
        if self._draft:
            self._draft[-1] = point
        elif self._grip is not None:
            self._move_grip(self._grip, point)
        else:
            return
        self.changed.emit()

    def release(self, at: QPointF, to_widget: QTransform) -> None:
        """The left button goes up: ends a drag; after a mere click the line goes on growing."""
        pressed, self._pressed = self._pressed, None
        if pressed is not None and self._draft:
            away = at - pressed
            if abs(away.x()) + abs(away.y()) >= _DRAG_PX:
                self._place(self._point(at, to_widget))
        elif self._grip is not None:
            self._drop_grip()

    def _place(self, point: Point) -> None:
        """Fixes the point that hangs on the pointer, and hangs the next one on it."""
        if self._tool is None or self._key is None or self._annotations is None:
            return
        if not self._draft:
            self._draft = [point, point]
        elif self._draft[-2] == point:
            return  # the second click of a double click
        else:
            self._draft[-1] = point
            if len(self._draft) == self._tool.point_count:
                made = Measurement(slice=self._key, kind=self._tool, points=tuple(self._draft))
                self._draft.clear()
                self._selected = made.uid
                self._annotations.add(made)
            else:
                self._draft.append(point)
        self.changed.emit()

    def _move_grip(self, grip: _Grip, point: Point) -> None:
        before = grip.measurement.points
        if grip.index is not None:
            changed = list(before)
            changed[grip.index] = point
            grip.points = tuple(changed)
            return
        by_row, by_column = point[0] - grip.start[0], point[1] - grip.start[1]
        grip.points = tuple(self._inside(r + by_row, c + by_column) for r, c in before)

    def _drop_grip(self) -> None:
        grip, self._grip = self._grip, None
        if grip is not None and self._annotations is not None:
            self._annotations.move(grip.measurement.uid, grip.points)
            self.changed.emit()

    def _grip_at(self, at: QPointF, to_widget: QTransform) -> _Grip | None:
        """What is under a point: handles first, the last drawn first."""
        found = self._measurements()[::-1]
        point = self._point(at, to_widget)
        for m in found:
            for index, spot in enumerate(m.points):
                away = _map(spot, to_widget) - at
                if away.x() ** 2 + away.y() ** 2 <= _REACH_PX**2:
                    return _Grip(m, index, point, m.points)
        stroker = QPainterPathStroker()
        stroker.setWidth(2 * _REACH_PX)
        for m in found:
            if stroker.createStroke(_path(m.kind, m.points, to_widget)).contains(at):
                return _Grip(m, None, point, m.points)
        return None

    # -- keyboard -----------------------------------------------------------------------------

    def press_key(self, key: Qt.Key, *, is_far: bool) -> bool:
        """Draws and moves without a mouse.

        Enter starts with the tool in hand, or takes hold of what is picked; arrows move by a
        pixel, or ten; Enter fixes the point.

        Args:
            key: The key.
            is_far: Ten pixels instead of one.

        Returns:
            Whether the key was for a measurement.
        """
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            return self._enter()
        steps = {
            Qt.Key.Key_Up: (-1, 0),
            Qt.Key.Key_Down: (1, 0),
            Qt.Key.Key_Left: (0, -1),
            Qt.Key.Key_Right: (0, 1),
        }
        if self._cursor is None or key not in steps:
            return False
        length = 10 if is_far else 1
        row, column = (length * step for step in steps[key])
        self._cursor = self._inside(self._cursor[0] + row, self._cursor[1] + column)
        if self._draft:
            self._draft[-1] = self._cursor
        elif self._grip is not None:
            self._move_grip(self._grip, self._cursor)
        self.changed.emit()
        return True

    def _enter(self) -> bool:
        picked = self.selected
        if self._cursor is not None and self._grip is not None:
            self._cursor = None
            self._drop_grip()
        elif self._cursor is not None:
            self._place(self._cursor)
            if not self._draft:
                self._cursor = None
        elif self._tool is not None and self._hu is not None:
            rows, columns = self._hu.shape
            self._cursor = ((rows - 1) / 2, (columns - 1) / 2)
        elif picked is not None:
            self._cursor = picked.points[0]
            self._grip = _Grip(picked, None, self._cursor, picked.points)
        else:
            return False
        self.changed.emit()
        return True

    # -- points -------------------------------------------------------------------------------

    def _measurements(self) -> tuple[Measurement, ...]:
        if self._annotations is None or self._key is None:
            return ()
        return self._annotations.on(self._key)

    def _point(self, at: QPointF, to_widget: QTransform) -> Point:
        spot = to_widget.inverted()[0].map(at)
        return self._inside(spot.y() - 0.5, spot.x() - 0.5)

    def _inside(self, row: float, column: float) -> Point:
        if self._hu is None:
            return row, column
        rows, columns = self._hu.shape
        return min(max(row, 0.0), rows - 1.0), min(max(column, 0.0), columns - 1.0)

    # -- painting -----------------------------------------------------------------------------

    def paint(self, painter: QPainter, to_widget: QTransform, area: QRect) -> None:
        """Paints all drawings of the slice, in widget coordinates.

        Args:
            painter: On the widget.
            to_widget: Image to widget coordinates.
            area: Where texts have to stay.
        """
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._boxes.clear()
        for m in self._measurements():
            grip = self._grip
            held = grip.points if grip is not None and grip.measurement.uid == m.uid else m.points
            self._paint_one(painter, m.kind, held, to_widget, area, m.uid == self._selected)
        if self._draft and self._tool is not None:
            self._paint_draft(painter, to_widget, area)
        if self._cursor is not None:
            spot = _map(self._cursor, to_widget)
            _stroke(painter, _cross(spot), theme.IMAGE_PICKED)
        painter.restore()

    def _paint_draft(self, painter: QPainter, to_widget: QTransform, area: QRect) -> None:
        kind, points = self._tool, tuple(self._draft)
        if kind is MeasureKind.ANGLE and len(points) == 2:
            kind = MeasureKind.DISTANCE  # the first leg
        if kind is not None:
            self._paint_one(painter, kind, points, to_widget, area, True)

    def _paint_one(
        self,
        painter: QPainter,
        kind: MeasureKind,
        points: tuple[Point, ...],
        to_widget: QTransform,
        area: QRect,
        is_picked: bool,
    ) -> None:
        colour = theme.IMAGE_PICKED if is_picked else theme.IMAGE_DRAWN
        path = _path(kind, points, to_widget)
        _stroke(painter, path, colour)
        if is_picked or not kind.is_region:
            painter.setPen(QPen(QColor("black"), 1))
            painter.setBrush(QColor(colour))
            for point in points:
                painter.drawEllipse(_map(point, to_widget), _HANDLE_PX, _HANDLE_PX)
            painter.setBrush(Qt.BrushStyle.NoBrush)
        self._paint_text(painter, "\n".join(self._text(kind, points)), path, area, colour)

    def _text(self, kind: MeasureKind, points: tuple[Point, ...]) -> tuple[str, ...]:
        if self._hu is None or self._header is None:
            return ()
        if (kind, points) not in self._texts:
            if len(self._texts) >= _KEPT_TEXTS:
                self._texts.clear()
            self._texts[kind, points] = measure_texts(kind, points, self._hu, self._header)
        return self._texts[kind, points]

    def _paint_text(
        self, painter: QPainter, text: str, path: QPainterPath, area: QRect, colour: str
    ) -> None:
        written = painter.fontMetrics().boundingRect(QRect(0, 0, 2000, 2000), 0, text)
        size = written.size() + QSize(10, 6)
        box = place_text(size, path.boundingRect(), area, self._boxes)
        self._boxes.append(box)
        painter.fillRect(box, QColor(0, 0, 0, theme.IMAGE_VEIL))
        painter.setPen(QColor(colour))
        painter.drawText(box.adjusted(5, 3, -5, -3), 0, text)


def _map(point: Point, to_widget: QTransform) -> QPointF:
    spot: QPointF = to_widget.map(QPointF(point[1] + 0.5, point[0] + 0.5))
    return spot


def _path(kind: MeasureKind, points: tuple[Point, ...], to_widget: QTransform) -> QPainterPath:
    spots = [_map(point, to_widget) for point in points]
    path = QPainterPath()
    if kind.is_region:
        box = QRectF(spots[0], spots[1]).normalized()
        (path.addEllipse if kind is MeasureKind.ELLIPSE else path.addRect)(box)
        return path
    path.moveTo(spots[0])
    for spot in spots[1:]:
        path.lineTo(spot)
    return path


def _cross(spot: QPointF) -> QPainterPath:
    path = QPainterPath()
    for x, y in ((12, 0), (0, 12)):
        path.moveTo(spot - QPointF(x, y))
        path.lineTo(spot + QPointF(x, y))
    return path


def _stroke(painter: QPainter, path: QPainterPath, colour: str) -> None:
    """A line with a dark edge, seen on bone as well as on air."""
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for pen in (QPen(QColor(0, 0, 0, 170), 4), QPen(QColor(colour), 1.75)):
        painter.setPen(pen)
        painter.drawPath(path)
