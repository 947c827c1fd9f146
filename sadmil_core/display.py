"""Display windowing: Hounsfield units to the gray levels a reader sees (PS3.3 C.11.2.1.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class DisplayWindow:
    """A display window in HU. Widths under 1 are not allowed by the standard."""

    level_hu: float
    width_hu: float

    def __post_init__(self) -> None:
        if not self.width_hu >= 1:
            raise ValueError(f"a display window is at least 1 HU wide, not {self.width_hu}")


PRESETS: dict[str, DisplayWindow] = {
    "Brain": DisplayWindow(40, 80),
    "Subdural": DisplayWindow(80, 200),
    "Stroke": DisplayWindow(40, 40),
    "Bone": DisplayWindow(480, 2500),
    "Soft tissue": DisplayWindow(40, 400),
}
"""The usual windows of head CT by name, in the order of their keys."""


def to_gray(
    hu: NDArray[np.int16] | NDArray[np.float32],
    window: DisplayWindow,
    *,
    inverted: bool = False,
) -> NDArray[np.uint8]:
    """Maps Hounsfield units to 8-bit gray, linearly between the window's ends.

    Args:
        hu: Any shape.
        window: Level and width.
        inverted: MONOCHROME1: after the window, black and white change places.

    Returns:
        uint8 of the same shape, rounded to the nearest gray.
    """
    if window.width_hu == 1:
        above = hu > window.level_hu - 0.5
        return np.where(above != inverted, np.uint8(255), np.uint8(0))
    # ((x - (level - 0.5)) / (width - 1) + 0.5) * 255 as one line a x + b, in place: faster
    # than a table of all int16 values. The last half is for rounding.
    slope = 255.0 / (window.width_hu - 1)
    offset = 127.5 - (window.level_hu - 0.5) * slope
    if inverted:
        slope, offset = -slope, 255.0 - offset
    gray: NDArray[np.float32] = np.multiply(hu, np.float32(slope), dtype=np.float32)
    gray += np.float32(offset + 0.5)
    np.clip(gray, 0, 255, out=gray)
    return gray.astype(np.uint8)
