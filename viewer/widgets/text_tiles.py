"""Blocks of text over an image, drawn once and then copied."""

from __future__ import annotations

from PySide6.QtCore import QRect, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter, QPixmap

from viewer import theme

_PADDING = 4
_KEPT = 64
_GROUND = QColor(0, 0, 0, theme.IMAGE_VEIL)
_ROOMY = 2000


class TextTiles:
    """Text on a dark ground, readable over bone, the table or an inverted image.

    While a reader scrolls, most blocks stay the same: laying them out for every frame would
    take as long as windowing the slice.
    """

    def __init__(self) -> None:
        self._tiles: dict[tuple[str, str, int, int, float], QPixmap] = {}

    def draw(
        self, painter: QPainter, area: QRect, place: Qt.AlignmentFlag, text: str, width: int
    ) -> None:
        """Draws a block in a corner or at an edge of ``area``, in the painter's font.

        Args:
            painter: In widget coordinates.
            area: What to align to.
            place: Horizontal and vertical alignment.
            text: One or more lines.
            width: Longer lines are cut with an ellipsis, in px.
        """
        # Not the device's own ratio: a widget that is rendered into a picture keeps the screen's.
        ratio = max(abs(painter.deviceTransform().m11()), 1.0)
        key = (text, painter.font().key(), place.value, width, ratio)
        tile = self._tiles.get(key)
        if tile is None:
            if len(self._tiles) >= _KEPT:
                self._tiles.clear()
            tile = self._tiles[key] = _make_tile(text, painter.font(), place, width, ratio)
        target = QRect(area)
        size = tile.deviceIndependentSize().toSize()
        if place & Qt.AlignmentFlag.AlignRight:
            target.moveLeft(area.right() + 1 - size.width())
        elif place & Qt.AlignmentFlag.AlignHCenter:
            target.moveLeft(area.center().x() - size.width() // 2)
        if place & Qt.AlignmentFlag.AlignBottom:
            target.moveTop(area.bottom() + 1 - size.height())
        elif place & Qt.AlignmentFlag.AlignVCenter:
            target.moveTop(area.center().y() - size.height() // 2)
        painter.drawPixmap(target.topLeft(), tile)


def _make_tile(
    text: str, font: QFont, place: Qt.AlignmentFlag, width: int, ratio: float
) -> QPixmap:
    metrics = QFontMetrics(font)
    lines = [
        metrics.elidedText(line, Qt.TextElideMode.ElideRight, width) for line in text.split("\n")
    ]
    text = "\n".join(lines)
    across = place & Qt.AlignmentFlag.AlignHorizontal_Mask
    box = metrics.boundingRect(QRect(0, 0, _ROOMY, _ROOMY), 0, text)
    size = QSize(box.width() + 2 * _PADDING, box.height() + 2)
    tile = QPixmap(size * ratio)
    tile.setDevicePixelRatio(ratio)
    tile.fill(_GROUND)
    painter = QPainter(tile)
    painter.setFont(font)
    painter.setPen(QColor(theme.IMAGE_TEXT))
    painter.drawText(QRect(_PADDING, 1, box.width(), box.height()), Qt.AlignmentFlag(across), text)
    painter.end()
    return tile
