"""The crosshair over one image: where the other planes cut it, and how it is moved."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

from PySide6.QtCore import QEvent, QObject, QPointF, Qt
from PySide6.QtGui import QColor, QPainter, QPen

from viewer import theme

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PySide6.QtGui import QMouseEvent, QTransform
    from PySide6.QtWidgets import QWidget

    from sadmil_core.dicom.header import Triple
    from viewer.model.cursor import Cursor
    from viewer.model.places import ImageFrame

_GRAB_PX = 6
_GAP_PX = 14
"""The middle stays free: that is where the reader looks."""


class Crosshair(QObject):
    """Paints the lines, and moves the cursor: drag a line, Ctrl+drag anywhere, or double-click.

    Args:
        view: Whose mouse events come here first.
        cursor: The point.
        frame: Where the view's image lies; None where it has none.
        transform: Image pixels (column, row, counted from the edge) to the widget's.
        planes: Normal and a point of each plane whose line is shown.
        is_free: Whether the left button has no other use just now.
    """

    def __init__(
        self,
        view: QWidget,
        cursor: Cursor,
        *,
        frame: Callable[[], ImageFrame | None],
        transform: Callable[[], QTransform],
        planes: Callable[[], Sequence[tuple[Triple, Triple]]],
        is_free: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(view)
        self._view, self._cursor = view, cursor
        self._frame, self._transform, self._planes = frame, transform, planes
        self._is_free = is_free
        self._drags = False
        self.is_on = False
        view.installEventFilter(self)

    def lines(self) -> list[tuple[QPointF, QPointF]]:
        """The ends of each line, in the widget."""
        frame = self._frame()
        if not self.is_on or frame is None or self._cursor.mm is None:
            return []
        onto = self._transform()
        cuts = [frame.cut(normal, through) for normal, through in self._planes()]
        return [
            (onto.map(QPointF(a[0] + 0.5, a[1] + 0.5)), onto.map(QPointF(b[0] + 0.5, b[1] + 0.5)))
            for a, b in filter(None, cuts)
        ]

    def centre(self) -> QPointF | None:
        """Where the cursor is seen, in the widget."""
        frame, at = self._frame(), self._cursor.mm
        if not self.is_on or frame is None or at is None:
            return None
        row, column = frame.pixel_of(at)
        return self._transform().map(QPointF(column + 0.5, row + 0.5))

    def paint(self, painter: QPainter) -> None:
        """Paints the lines, with a gap around the cursor."""
        centre = self.centre()
        if centre is None:
            return
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colour = QColor(theme.IMAGE_SIGNAL if self._drags else "#58a6ff")
        painter.setPen(QPen(colour, 1.2))
        for start, end in self.lines():
            for tip in (start, end):
                way = tip - centre
                length = (way.x() ** 2 + way.y() ** 2) ** 0.5
                if length > _GAP_PX:
                    painter.drawLine(centre + way * (_GAP_PX / length), tip)
        painter.restore()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Takes the mouse events that move the crosshair; leaves all others to the view."""
        kind = event.type()
        if not self.is_on or kind not in _HANDLED:
            return False
        mouse = cast("QMouseEvent", event)
        if kind == QEvent.Type.MouseMove:
            if self._drags:
                self._place(mouse.position())
            return self._drags
        if mouse.button() is not Qt.MouseButton.LeftButton:
            return False
        if kind == QEvent.Type.MouseButtonRelease:
            was, self._drags = self._drags, False
            self._view.update()
            return was
        if not self._is_free():
            return False
        modifiers = mouse.modifiers()
        anywhere = kind == QEvent.Type.MouseButtonDblClick or (
            modifiers == Qt.KeyboardModifier.ControlModifier
        )
        plain = modifiers == Qt.KeyboardModifier.NoModifier
        if anywhere or (plain and self._is_near(mouse.position())):
            self._drags = True
            if anywhere:
                self._place(mouse.position())
            return True
        return False

    def _is_near(self, point: QPointF) -> bool:
        return any(_distance(point, *line) <= _GRAB_PX for line in self.lines())

    def _place(self, point: QPointF) -> None:
        frame = self._frame()
        back, possible = self._transform().inverted()
        if frame is None or not possible:
            return
        spot = back.map(point)
        rows, columns = frame.shape
        row = min(max(spot.y() - 0.5, 0.0), rows - 1.0)
        column = min(max(spot.x() - 0.5, 0.0), columns - 1.0)
        self._cursor.place(frame.patient_mm(row, column))


_HANDLED = (
    QEvent.Type.MouseButtonPress,
    QEvent.Type.MouseButtonDblClick,
    QEvent.Type.MouseMove,
    QEvent.Type.MouseButtonRelease,
)


def _distance(point: QPointF, start: QPointF, end: QPointF) -> float:
    """Of a point from a segment, in px."""
    way, away = end - start, point - start
    square = QPointF.dotProduct(way, way)
    share = min(max(QPointF.dotProduct(away, way) / square, 0.0), 1.0) if square else 0.0
    rest = away - way * share
    return math.sqrt(QPointF.dotProduct(rest, rest))
