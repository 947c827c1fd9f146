"""How a row of the series list is painted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QPainter
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

from viewer import theme
from viewer.model.badges import BadgeKind
from viewer.model.opening import THUMBNAIL_PX
from viewer.widgets.badge import SIZE_PX, paint_badge
from viewer.widgets.series_rows import ROW, SeriesRow, StudyRow

if TYPE_CHECKING:
    from viewer.widgets.series_rows import AnyIndex

_MARGIN = 8
_SERIES_HEIGHT = THUMBNAIL_PX + 2 * _MARGIN
_STUDY_HEIGHT = 28
_SELECTED_EDGE_PX = 3


class SeriesDelegate(QStyledItemDelegate):
    """Paints headings, and series with thumbnail, name, facts and badge."""

    def sizeHint(self, option: QStyleOptionViewItem, index: AnyIndex) -> QSize:
        """All series are of one height, so that a long list scrolls evenly."""
        is_study = isinstance(index.data(ROW), StudyRow)
        return QSize(0, _STUDY_HEIGHT if is_study else _SERIES_HEIGHT)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: AnyIndex) -> None:
        """Paints one row."""
        row = index.data(ROW)
        area: QRect = option.rect
        painter.save()
        if isinstance(row, StudyRow):
            _paint_study(painter, area, row)
        elif isinstance(row, SeriesRow):
            state: QStyle.StateFlag = option.state
            _paint_ground(painter, area, state)
            _paint_series(painter, area, row)
        painter.restore()


def _paint_study(painter: QPainter, area: QRect, row: StudyRow) -> None:
    painter.fillRect(area, QColor(theme.GROUND))
    font = QFont(painter.font())
    font.setBold(True)
    painter.setFont(font)
    painter.setPen(QColor(theme.MUTED))
    inner = area.adjusted(_MARGIN, 0, -_MARGIN, 0)
    text = painter.fontMetrics().elidedText(row.name, Qt.TextElideMode.ElideRight, inner.width())
    painter.drawText(inner, Qt.AlignmentFlag.AlignVCenter, text)


def _paint_ground(painter: QPainter, area: QRect, state: QStyle.StateFlag) -> None:
    if state & QStyle.StateFlag.State_Selected:
        painter.fillRect(area, QColor(theme.RAISED))
        edge = QRect(area.left(), area.top(), _SELECTED_EDGE_PX, area.height())
        painter.fillRect(edge, QColor(theme.ACCENT))
    elif state & QStyle.StateFlag.State_MouseOver:
        painter.fillRect(area, QColor(theme.HOVER))


def _paint_series(painter: QPainter, area: QRect, row: SeriesRow) -> None:
    picture = QRect(0, 0, THUMBNAIL_PX, THUMBNAIL_PX)
    picture.moveTopLeft(area.topLeft())
    picture.translate(_MARGIN + _SELECTED_EDGE_PX, _MARGIN)
    painter.fillRect(picture, QColor("black"))
    if row.thumbnail is not None:
        place = row.thumbnail.rect()
        place.moveCenter(picture.center())
        painter.drawPixmap(place, row.thumbnail)
    text = area.adjusted(picture.right() - area.left() + _MARGIN, _MARGIN, -_MARGIN, -_MARGIN)
    if row.badge.kind is not BadgeKind.NONE:
        text.setRight(text.right() - SIZE_PX - _MARGIN // 2)
        square = QRectF(text.right() + _MARGIN // 2, text.top() + 2, SIZE_PX, SIZE_PX)
        paint_badge(painter, square, row.badge)
        if row.badge.count > 1:
            _paint_count(painter, square, row.badge.count)
    metrics = painter.fontMetrics()
    line = metrics.height() + 4
    top = text.top() + (text.height() - 2 * line) // 2
    for number, (words, colour) in enumerate(((row.name, theme.TEXT), (row.facts, theme.MUTED))):
        painter.setPen(QColor(colour))
        place = QRect(text.left(), top + number * line, text.width(), line)
        elided = metrics.elidedText(words, Qt.TextElideMode.ElideRight, text.width())
        painter.drawText(place, Qt.AlignmentFlag.AlignVCenter, elided)


def _paint_count(painter: QPainter, badge: QRectF, count: int) -> None:
    font = QFont(painter.font())
    small = QFont(font)
    small.setPointSizeF(font.pointSizeF() * 0.85)
    painter.setFont(small)
    painter.setPen(QColor(theme.MUTED))
    below = badge.translated(0, SIZE_PX + 2).adjusted(-6, 0, 6, 0)
    painter.drawText(below, Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop, str(count))
    painter.setFont(font)
