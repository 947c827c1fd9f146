"""What a coarse look at the pixels shows of a head: skull, brain, air, noise.

Each slice is read by itself on a grid of about 3 mm, in directions around the middle of the
body's cross-section: where there is brain, bone lies just under the skin in nearly all of them
and soft tissue within. Nothing else in the body looks like that, tilted or not; tables, head
rests and missing bone flaps cost some directions, not the ring.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.dicom import CTVolume

GRID_MM = 3.0
"""Fine enough to meet a thin skull in every direction; a scan is read in some 20 ms."""
MAX_SLICES = 48
"""Of more slices, evenly spread ones are read."""
ASSUMED_FIELD_MM = 240.0
"""The field of view where the files give no pixel spacing: that of an ordinary head CT."""
AIR_BELOW_HU, BODY_ABOVE_HU = -500, -300
PADDING_BELOW_HU = -1100
BONE_ABOVE_HU = 150
"""Low, for the thin skulls of newborns, that a coarse grid meets in part."""
SOFT_HU = (-20, 100)
"""Brain, its fluid and fresh blood; not fat, bone or air."""

_DIRECTIONS = 36
_UNDER_SKIN_MM = 25.0  # scalp, swelling and bandage, and a head rest that touches
_INNER_SHARE = 0.85  # of the way to the skull: leaves out its inner edge
_SHELL_MM = 4.0  # half of what is thinner than this is no body: tables, head rests, tubes

# An ordinary brain slice has bone all round and soft tissue throughout. A large bone flap may be
# missing (a third of the ring); at the base, bone and air take a third of the inside.
_RING, _SOFT = 0.6, 0.65
_CAVITY_CM2 = (25.0, 300.0)  # from near the vertex of a newborn to a hydrocephalus
_HEAD_WIDTH_MM, _HEAD_LENGTH_MM = 230.0, 280.0  # of chests and bellies at least one is larger


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceAnatomy:
    """One slice at a coarse look.

    Attributes:
        width_mm: Extent of the body's largest part across, 0 where there is none.
        length_mm: Its extent from front to back.
        ring: Share of directions in which bone lies just under the skin.
        soft: Share of soft tissue inside that bone.
        cavity_cm2: The area inside it.
        tissue_hu: Median of the soft tissue inside; NaN where there is none.
        noise_hu: Standard deviation of the noise there; NaN where there is none.
        cut_mm: How much of the body's outline is the edge of the field.
    """

    width_mm: float = 0.0
    length_mm: float = 0.0
    ring: float = 0.0
    soft: float = 0.0
    cavity_cm2: float = 0.0
    tissue_hu: float = float("nan")
    noise_hu: float = float("nan")
    cut_mm: float = 0.0

    @property
    def shows_brain(self) -> bool:
        """Whether it shows brain within a skull."""
        return (
            self.ring >= _RING
            and self.soft >= _SOFT
            and _CAVITY_CM2[0] <= self.cavity_cm2 <= _CAVITY_CM2[1]
            and self.width_mm <= _HEAD_WIDTH_MM
            and self.length_mm <= _HEAD_LENGTH_MM
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StackAnatomy:
    """A stack at a coarse look.

    Attributes:
        slices: The slices that were read, foot to head; the first and last among them.
        air: Share of air among all pixels but padding; 0 where there is nothing else.
        air_hu: Its median; NaN where there is none.
    """

    slices: tuple[SliceAnatomy, ...]
    air: float
    air_hu: float

    @property
    def brain(self) -> tuple[SliceAnatomy, ...]:
        """The slices that show brain."""
        return tuple(each for each in self.slices if each.shows_brain)


def look_at(volume: CTVolume) -> StackAnatomy:
    """Reads the anatomy of a stack.

    Args:
        volume: Hounsfield units, or what is taken for them.
    """
    geometry, (count, rows, columns) = volume.entry.geometry, volume.entry.shape
    spacing = geometry.row_spacing_mm, geometry.column_spacing_mm
    if volume.entry.slices[0].pixel_spacing_mm is None:
        spacing = (ASSUMED_FIELD_MM / max(rows, columns),) * 2
    step = tuple(max(1, round(GRID_MM / each)) for each in spacing)
    indices = np.unique(np.linspace(0, count - 1, min(count, MAX_SLICES)).round().astype(int))
    coarse = [volume.hu[index, :: step[0], :: step[1]] for index in indices]
    planes: NDArray[np.float32] = np.stack(coarse).astype(np.float32)
    pitch = spacing[0] * step[0], spacing[1] * step[1]
    real = planes[planes > PADDING_BELOW_HU]
    air = real[real < AIR_BELOW_HU]
    edge = _edge_of_field(planes)
    return StackAnatomy(
        slices=tuple(_read_slice(plane, pitch, edge) for plane in planes),
        air=air.size / max(real.size, 1),
        air_hu=float(np.median(air)) if air.size else float("nan"),
    )


def _edge_of_field(planes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(rows, columns) bool: the outermost pixels of the field, a rectangle or the circle in it."""
    rows, columns = planes.shape[1:]
    y = (np.arange(rows) + 0.5) / rows * 2 - 1
    x = (np.arange(columns) + 0.5) / columns * 2 - 1
    radius = np.hypot(y[:, None], x)
    outside = planes[:, radius > 1.05]
    rim = planes[:, (radius > 0.9) & (radius <= 1.0)]
    field = np.ones((rows, columns), dtype=np.bool_)
    # Outside the scanner's circle each slice holds one value only; air inside it does not.
    if outside.size and (outside == outside[:, :1]).all():
        air = rim < AIR_BELOW_HU
        if (air & (rim == outside[:, :1])).sum() <= air.sum() / 2:
            field = radius <= 1.0
    from scipy import ndimage  # here: the window must not wait for it to open

    edge: NDArray[np.bool_] = field & ~ndimage.binary_erosion(field, np.ones((3, 3)))
    return edge


def _read_slice(
    plane: NDArray[np.float32], pitch: tuple[float, float], edge: NDArray[np.bool_]
) -> SliceAnatomy:
    body = _largest_part(plane > BODY_ABOVE_HU, pitch)
    rows, columns = np.nonzero(body)
    if not rows.size:
        return SliceAnatomy()
    extent = np.ptp(rows) + 1, np.ptp(columns) + 1
    y = (rows - (rows.min() + rows.max()) / 2) * pitch[0]
    x = (columns - (columns.min() + columns.max()) / 2) * pitch[1]
    values, radius = plane[rows, columns], np.hypot(y, x)
    direction = ((np.arctan2(y, x) / (2 * np.pi) + 0.5) * _DIRECTIONS).astype(int) % _DIRECTIONS
    bone = values > BONE_ABOVE_HU
    skin_mm, bone_mm = np.zeros(_DIRECTIONS), np.zeros(_DIRECTIONS)
    np.maximum.at(skin_mm, direction, radius)
    np.maximum.at(bone_mm, direction[bone], radius[bone])
    under_skin = (bone_mm > 0) & (skin_mm - bone_mm <= _UNDER_SKIN_MM)

    inside = np.zeros(plane.shape, dtype=np.bool_)
    limit_mm = np.where(bone_mm > 0, bone_mm, skin_mm) * _INNER_SHARE
    inside[rows, columns] = radius <= limit_mm[direction]
    soft = inside & (plane > SOFT_HU[0]) & (plane < SOFT_HU[1])
    cavity = int(inside.sum())
    return SliceAnatomy(
        width_mm=float(extent[1] * pitch[1]),
        length_mm=float(extent[0] * pitch[0]),
        ring=float(under_skin.mean()),
        soft=float(soft.sum() / max(cavity, 1)),
        cavity_cm2=cavity * pitch[0] * pitch[1] / 100,
        tissue_hu=float(np.median(plane[soft])) if soft.any() else float("nan"),
        noise_hu=_noise(plane, soft),
        cut_mm=float((body & edge).sum() * (pitch[0] + pitch[1]) / 2),
    )


def _largest_part(mask: NDArray[np.bool_], pitch: tuple[float, float]) -> NDArray[np.bool_]:
    """The largest connected part, without thin shells beside it, holes filled."""
    margin = max(1, round(_SHELL_MM / max(pitch)))
    block = np.ones((3, 3), dtype=np.bool_)
    # Outside the field the body goes on: it must not be worn away at the edge.
    from scipy import ndimage  # here: the window must not wait for it to open

    core = ndimage.binary_erosion(mask, block, iterations=margin, border_value=1)
    labels, count = ndimage.label(core)
    if not count:
        return np.zeros_like(mask)
    largest = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    grown = ndimage.binary_dilation(largest, block, iterations=margin) & mask
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(grown)
    return filled


def _noise(plane: NDArray[np.float32], soft: NDArray[np.bool_]) -> float:
    """The noise's standard deviation, from differences of neighbours in soft tissue.

    On this grid neighbours lie so far apart that their noise is independent; the median keeps
    edges out of it.
    """
    pairs = soft[:, 1:] & soft[:, :-1]
    if not pairs.any():
        return float("nan")
    steps = np.abs((plane[:, 1:] - plane[:, :-1])[pairs])
    return float(np.median(steps) * 1.4826 / np.sqrt(2))
