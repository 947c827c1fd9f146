"""An explanation laid over its slice, always with the words that say what it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QColor, QImage, QPainter

from viewer import theme

if TYPE_CHECKING:
    from PySide6.QtGui import QTransform

    from sadmil_core.explain import Explanation
    from viewer.model.state import ViewState

_RAISED, _LOWERED = theme.IMAGE_SIGNAL, "#58a6ff"
_NOTHING = 1e-6
_HINT = "a hint of what moved the score, not a segmentation"  # HINT of the core, which needs torch


class ExplanationLayer:
    """Paints explanations; keeps the last one as a picture."""

    def __init__(self) -> None:
        self._of: Explanation | None = None
        self._image: QImage | None = None

    def paint(
        self, painter: QPainter, to_widget: QTransform, state: ViewState, area: QRect
    ) -> None:
        """Paints the explanation of the current slice, if there is one and it is wanted.

        Args:
            painter: Of the widget.
            to_widget: Image pixels to the widget.
            state: What is shown.
            area: Of the widget.
        """
        found = state.explanation
        if found is None:
            return
        if self._of is not found:
            self._of, self._image = found, _picture(found)
        if self._image is not None:
            painter.save()
            painter.setTransform(to_widget)
            painter.setOpacity(state.attention.opacity)
            painter.drawImage(0, 0, self._image)
            painter.restore()
        self._paint_words(painter, found, area)

    @staticmethod
    def _paint_words(painter: QPainter, found: Explanation, area: QRect) -> None:
        words = painter.fontMetrics().boundingRect(
            area.adjusted(60, 0, -60, 0), Qt.AlignmentFlag.AlignHCenter, describe(found)
        )
        words.moveBottom(area.bottom() - 96)
        painter.save()
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(0, 0, 0, 190))
        painter.drawRoundedRect(words.adjusted(-8, -4, 8, 4), 4, 4)
        painter.setPen(QColor(theme.IMAGE_TEXT))
        painter.drawText(words, Qt.AlignmentFlag.AlignHCenter, describe(found))
        painter.restore()


def describe(found: Explanation) -> str:
    """What an explanation shows, in words, with its strength in units of the scan logit."""
    name = "Occlusion" if found.method == "occlusion" else "Grad-CAM"
    if found.strongest < _NOTHING:
        return f"{name}: no place of this slice moved the score\n{_HINT}"
    return (
        f"{name}: amber raised, blue lowered the scan logit, by up to {found.strongest:.3g}\n"
        f"{_HINT}"
    )


def _picture(found: Explanation) -> QImage | None:
    """Amber and blue, the more opaque the stronger; None where nothing moved the score."""
    if found.strongest < _NOTHING:
        return None
    share = found.moved_RC / found.strongest
    rows, columns = share.shape
    rgba = np.empty((rows, columns, 4), dtype=np.uint8)
    for channel, (raised, lowered) in enumerate(
        zip(QColor(_RAISED).getRgb()[:3], QColor(_LOWERED).getRgb()[:3], strict=True)  # type: ignore[index]
    ):
        rgba[..., channel] = np.where(share > 0, raised, lowered)
    rgba[..., 3] = np.rint(255 * np.abs(share))
    image = QImage(rgba.data, columns, rows, 4 * columns, QImage.Format.Format_RGBA8888)
    return image.copy()  # an image does not keep its pixels alive
