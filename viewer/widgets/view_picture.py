"""What is seen, as a picture: the panes as they stand, at once or twice their size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QColor, QImage, QPainter, QRegion

from sadmil_core import RESEARCH_USE_NOTICE, __version__
from viewer import theme

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtWidgets import QWidget

_PADDING = 8


def picture_of(around: QWidget, panes: Sequence[QWidget], scale: int, words: str = "") -> QImage:
    """The visible ones of some neighbouring panes, with the notice below.

    Args:
        around: The widget they stand in.
        panes: Its children.
        scale: Pixels of the picture for each of the screen's own unit.
        words: What to say below, beside the notice; cut where there is no room.
    """
    area = QRect()
    for pane in panes:
        if pane.isVisible():
            area = area.united(pane.geometry())
    line = around.fontMetrics().height() + _PADDING
    image = QImage(area.width() * scale, (area.height() + line) * scale, QImage.Format.Format_RGB32)
    image.setDevicePixelRatio(scale)
    image.fill(QColor(theme.GROUND))
    painter = QPainter(image)
    around.render(painter, QPoint(0, 0), QRegion(area))
    painter.setFont(around.font())
    painter.setPen(QColor(theme.TEXT))
    foot = QRect(_PADDING, area.height(), area.width() - 2 * _PADDING, line)
    centre = Qt.AlignmentFlag.AlignVCenter
    painter.drawText(foot, Qt.AlignmentFlag.AlignLeft | centre, RESEARCH_USE_NOTICE)
    taken = painter.fontMetrics().horizontalAdvance(RESEARCH_USE_NOTICE) + 3 * _PADDING
    said = ", ".join(filter(None, (words, f"sadmil-viewer {__version__}")))
    said = painter.fontMetrics().elidedText(
        said, Qt.TextElideMode.ElideLeft, max(0, foot.width() - taken)
    )
    painter.setPen(QColor(theme.MUTED))
    painter.drawText(foot, Qt.AlignmentFlag.AlignRight | centre, said)
    painter.end()
    return image
