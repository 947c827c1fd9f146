"""Where the slices of a stack lie in the patient.

Frames are LPS mm (PS3.3 C.7.6.2.1.1): x grows to the patient's left, y to the back, z to the
head. The stack normal always points to the head, so index 0 is the foot end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sadmil_core.dicom.header import Triple

AXIAL_COSINE = 0.7
"""Below this |n_z| a stack is not axial."""
TILT_NOTED_DEG = 1.0
"""A gantry tilt from here on is worth a warning."""
UNEVEN_TOLERANCE = 0.05
"""Spacings may differ from their median by this share before a warning."""
GAP_FACTOR = 1.5
"""A spacing above this multiple of its neighbourhood's counts as missing slices."""
STRAY_NOTED_MM = 1.0
"""Slices this far off the line they should lie on are worth a warning."""
_BODY_AXIS = (0.0, 0.0, 1.0)
_POSITION_DECIMALS = 6  # a nanometre: hides the rounding of the dot product, nothing real


@dataclass(frozen=True, slots=True, kw_only=True)
class StackGeometry:
    """The frame of one stack of S slices.

    Attributes:
        row_direction: Unit vector (LPS) along a row, towards higher columns.
        column_direction: Unit vector (LPS) along a column, towards higher rows.
        origins_mm: ImagePositionPatient of each slice, S triples, foot to head.
        row_spacing_mm: Distance between the centres of neighbouring rows.
        column_spacing_mm: Distance between the centres of neighbouring columns.
        has_positions: False where the file had none; then ``origins_mm`` is made up
            (1 mm apart along z) and only the order of the slices means anything.
        has_orientation: False where the file had none; then the directions are those of an
            ordinary axial scan, and which side is which is not known.
    """

    row_direction: Triple
    column_direction: Triple
    origins_mm: tuple[Triple, ...]
    row_spacing_mm: float
    column_spacing_mm: float
    has_positions: bool = True
    has_orientation: bool = True

    @property
    def normal(self) -> Triple:
        """Unit vector across the slices, towards the head."""
        return head_normal(self.row_direction, self.column_direction)

    @property
    def z_mm(self) -> tuple[float, ...]:
        """The third component of each slice's position."""
        return tuple(origin[2] for origin in self.origins_mm)

    @property
    def position_mm(self) -> tuple[float, ...]:
        """Each slice's position along the normal: what order, gaps and spacing are taken from."""
        return tuple(self.position_at(index) for index in range(len(self.origins_mm)))

    def position_at(self, index: int) -> float:
        """One slice's position along the normal, in mm."""
        return along_normal(self.origins_mm[index], self.normal)

    @property
    def runs_foot_to_head(self) -> bool:
        """Whether the order of the slices is known to run from the feet to the head."""
        return self.has_positions and self.has_orientation and self.is_axial

    @property
    def spacings_mm(self) -> tuple[float, ...]:
        """The S-1 distances between neighbours along the normal."""
        return tuple(b - a for a, b in pairwise(self.position_mm))

    @property
    def spacing_mm(self) -> float:
        """The median distance between neighbours; 0 for a single slice."""
        return float(np.median(self.spacings_mm)) if len(self.origins_mm) > 1 else 0.0

    @property
    def missing_after(self) -> tuple[int, ...]:
        """For each of the S-1 intervals, how many slices seem to be missing in it.

        An interval is judged against the median of itself and its two neighbours on either
        side, so that a change of spacing within a protocol is not taken for a gap.
        """
        steps = np.asarray(self.spacings_mm)
        missing = []
        for i, step in enumerate(steps):
            usual = float(np.median(steps[max(0, i - 2) : i + 3]))
            missing.append(round(step / usual) - 1 if 0 < usual * GAP_FACTOR < step else 0)
        return tuple(missing)

    @property
    def is_axial(self) -> bool:
        """Whether the slices lie across the body's long axis, within 45 degrees."""
        return abs(self.normal[2]) >= AXIAL_COSINE

    @property
    def tilt_deg(self) -> float:
        """Gantry tilt about the patient's left-right axis, from the orientation alone.

        The angle by which the normal leans from the body axis: positive where the front
        of the slice is nearer to the head than its back.
        """
        normal = self.normal
        return math.degrees(math.atan2(normal[1], normal[2]))

    @property
    def shear_deg(self) -> float:
        """The angle between the normal and the line from the first origin to the last.

        A tilted gantry steps along the table, so this is the size of its tilt; 0 where the
        slices are stacked along their normal, as those reformatted from a volume are, however
        oblique. Reformats need this angle, which the orientation alone does not tell.
        """
        way = _between(self.origins_mm[0], self.origins_mm[-1])
        across = along_normal(way, self.normal)
        return math.degrees(math.atan2(_aside(way, self.normal), across))

    @property
    def stray_mm(self) -> float:
        """How far slices lie aside of where stacking would put them.

        Slices are stacked along their normal, or along the body axis by a table that moves
        under a tilted gantry. Of the two lines through the first origin, the one that fits
        better counts, and on it the slice farthest off.
        """
        ways = [_between(self.origins_mm[0], origin) for origin in self.origins_mm]
        lines = (self.normal, _BODY_AXIS)
        return min(max(_aside(way, line) for way in ways) for line in lines)


def head_normal(row: Triple, column: Triple) -> Triple:
    """The unit vector row x column, turned towards the head (n_z >= 0)."""
    x = row[1] * column[2] - row[2] * column[1]
    y = row[2] * column[0] - row[0] * column[2]
    z = row[0] * column[1] - row[1] * column[0]
    length = math.hypot(x, y, z) * (-1.0 if z < 0 else 1.0)
    return (x / length + 0.0, y / length + 0.0, z / length + 0.0)


def _between(start: Triple, end: Triple) -> Triple:
    return (end[0] - start[0], end[1] - start[1], end[2] - start[2])


def _aside(way: Triple, direction: Triple) -> float:
    """The distance of a point from the line along a unit vector, both from one origin."""
    along = sum(a * b for a, b in zip(way, direction, strict=True))
    return math.hypot(*(a - along * b for a, b in zip(way, direction, strict=True)))


def along_normal(origin: Triple, normal: Triple) -> float:
    """The coordinate of a point along a unit vector, in mm."""
    dot = sum(a * b for a, b in zip(origin, normal, strict=True))
    return round(dot, _POSITION_DECIMALS) + 0.0


def spacing_is_even(spacings_mm: Sequence[float]) -> bool:
    """Whether all spacings agree with their median within ``UNEVEN_TOLERANCE``."""
    if not spacings_mm:
        return True
    usual = float(np.median(spacings_mm))
    return all(abs(step - usual) <= UNEVEN_TOLERANCE * usual for step in spacings_mm)


_AXES = (("L", "R"), ("P", "A"), ("H", "F"))


def direction_letters(direction: Triple) -> str:
    """The body letters of a direction, strongest first (PS3.3 C.7.6.1.1.1): ``L``, ``PF``...

    Args:
        direction: A vector in LPS; a component under 0.2 of its length is left out.
    """
    length = math.hypot(*direction) or 1.0
    parts = [
        (abs(value) / length, letters[value < 0])
        for value, letters in zip(direction, _AXES, strict=True)
        if abs(value) / length >= 0.2
    ]
    return "".join(letter for _, letter in sorted(parts, reverse=True))


def side_letters(
    geometry: StackGeometry, *, flipped_across: bool = False, flipped_down: bool = False
) -> tuple[str, str, str, str]:
    """The side of the patient at the left, right, top and bottom edge of a slice's picture.

    Args:
        geometry: Of the stack; its orientation must be known.
        flipped_across: The picture is turned left to right.
        flipped_down: The picture is turned top to bottom.

    Returns:
        One letter each: the strongest alone, for with a tilted gantry "AH" reads as noise.
    """

    def letter(direction: Triple, sign: float) -> str:
        x, y, z = (sign * part for part in direction)
        return direction_letters((x, y, z))[:1]

    across = -1.0 if flipped_across else 1.0
    down = -1.0 if flipped_down else 1.0
    row, column = geometry.row_direction, geometry.column_direction
    return letter(row, -across), letter(row, across), letter(column, -down), letter(column, down)
