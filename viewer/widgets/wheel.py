"""Wheel and touchpad turns to whole steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PySide6.QtGui import QWheelEvent

_NOTCH = 120


class WheelSteps:
    """Adds up the small turns of touchpads until they make a step."""

    def __init__(self) -> None:
        self._turned = 0

    def of(self, event: QWheelEvent) -> int:
        """Whole steps since the last call; positive is up, towards the head."""
        event.accept()
        self._turned += event.angleDelta().y()
        steps = int(self._turned / _NOTCH)
        self._turned -= steps * _NOTCH
        return steps
