"""Where the text of a drawing stands: beside it, within the picture, on no other text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, QRect

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from PySide6.QtCore import QRectF, QSize

_GAP_PX = 6


def place_text(size: QSize, beside: QRectF, area: QRect, taken: Sequence[QRect]) -> QRect:
    """A box for a text.

    Args:
        size: Of the box.
        beside: What the text is about.
        area: Where it has to stay.
        taken: Boxes of other texts.

    Returns:
        The first free box of those at the four corners and of those above and below them; where
        none is free, the one at the lower right, pushed into the area.
    """
    first: QRect | None = None
    for box in _candidates(size, beside):
        inside = _pushed(box, area)
        first = first or inside
        if not any(inside.intersects(other) for other in taken):
            return inside
    assert first is not None
    return first


def _candidates(size: QSize, beside: QRectF) -> Iterator[QRect]:
    right, left = round(beside.right()) + _GAP_PX, round(beside.left()) - _GAP_PX - size.width()
    below, above = round(beside.bottom()) - _GAP_PX // 2, round(beside.top()) - size.height()
    for x, y in ((right, below), (left, below), (right, above), (left, above)):
        yield QRect(QPoint(x, y), size)
    for steps in range(1, 9):
        for y in (below + steps * size.height(), above - steps * size.height()):
            for x in (right, left):
                yield QRect(QPoint(x, y), size)


def _pushed(box: QRect, area: QRect) -> QRect:
    pushed = QRect(box)
    pushed.moveRight(min(pushed.right(), area.right()))
    pushed.moveLeft(max(pushed.left(), area.left()))
    pushed.moveBottom(min(pushed.bottom(), area.bottom()))
    pushed.moveTop(max(pushed.top(), area.top()))
    return pushed
