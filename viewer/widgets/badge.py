"""The signs of a series, told apart by shape, not by colour alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPainter, QPen, QPolygonF

from viewer import theme
from viewer.model.badges import BadgeKind

if TYPE_CHECKING:
    from viewer.model.badges import Badge

SIZE_PX = 18


def paint_badge(painter: QPainter, area: QRectF, badge: Badge) -> None:
    """Paints a badge: a ring with i, a triangle with !, a filled octagon with a cross.

    Args:
        painter: On the widget.
        area: A square.
        badge: What to paint; nothing where there is nothing to be said.
    """
    if badge.kind is BadgeKind.NONE:
        return
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    area = area.adjusted(1.5, 1.5, -1.5, -1.5)
    if badge.kind is BadgeKind.NOTE:
        painter.setPen(QPen(QColor(theme.MUTED), 1.5))
        painter.drawEllipse(area)
        _write(painter, area, "i", theme.MUTED)
    elif badge.kind is BadgeKind.CAUTION:
        painter.setPen(QPen(QColor(theme.SIGNAL), 1.5))
        corners = (area.bottomLeft(), QPointF(area.center().x(), area.top()), area.bottomRight())
        painter.drawPolygon(QPolygonF(corners))
        _write(painter, area.adjusted(0, 3, 0, 1), "!", theme.SIGNAL)
    else:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(theme.SIGNAL))
        painter.drawPolygon(_octagon(area))
        painter.setPen(QPen(QColor(theme.ON_SIGNAL), 2))
        inner = area.adjusted(4.5, 4.5, -4.5, -4.5)
        painter.drawLine(inner.topLeft(), inner.bottomRight())
        painter.drawLine(inner.topRight(), inner.bottomLeft())
    painter.restore()


def _octagon(area: QRectF) -> QPolygonF:
    cut = area.width() * 0.29
    left, top, right, bottom = area.left(), area.top(), area.right(), area.bottom()
    return QPolygonF(
        [
            QPointF(left + cut, top),
            QPointF(right - cut, top),
            QPointF(right, top + cut),
            QPointF(right, bottom - cut),
            QPointF(right - cut, bottom),
            QPointF(left + cut, bottom),
            QPointF(left, bottom - cut),
            QPointF(left, top + cut),
        ]
    )


def _write(painter: QPainter, area: QRectF, text: str, colour: str) -> None:
    font = QFont(painter.font())
    font.setBold(True)
    font.setPixelSize(11)
    painter.setFont(font)
    painter.setPen(QColor(colour))
    painter.drawText(area, Qt.AlignmentFlag.AlignCenter, text)
