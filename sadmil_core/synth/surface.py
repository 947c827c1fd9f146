"""Coordinates along the inner table, in which layers of blood are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from sadmil_core.synth.host import HostUnfit
from sadmil_core.synth.lesions import Edit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.synth.host import Host
    from sadmil_core.synth.shapes import Box

    Floats = NDArray[np.float32]

HALF_WIDTH_MM = 65.0
"""From the midplane to the inner table of an average head, at its widest."""
HEIGHT_MM = 130.0
"""From the lowest intracranial slice of an average head to its vertex."""


_LEAST_SHARE, _LEAST_SHIFT_MM = 0.02, 0.1  # less is nothing
_RIGID_MM = 25.0  # tissue this close to a mass or the inner table is not shifted all the way


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """A box of the intracranial space as seen from the skull.

    Attributes:
        box: Of the volume.
        inside: (box) bool: intracranial.
        depth_mm: Distance from the inner table.
        x: Normalised, +1 at the left inner table.
        y: Normalised, +1 at the front.
        z: Normalised, 0 at the base, +1 at the vertex.
    """

    box: Box
    inside: NDArray[np.bool_]
    depth_mm: Floats
    x: Floats
    y: Floats
    z: Floats

    @property
    def angle(self) -> Floats:
        """Around the head, radians: 0 at the front, +pi/2 at the left, +-pi at the back."""
        out: Floats = np.arctan2(self.x, self.y)
        return out

    @property
    def across_mm(self) -> Floats:
        """Signed distance from the midplane, positive to the left."""
        return self.x * np.float32(HALF_WIDTH_MM)


def shell_of(host: Host) -> Shell:
    """The intracranial space of a host, cut out.

    Raises:
        HostUnfit: There is none.
    """
    inside = host.intracranial
    bounds = ndimage.find_objects(inside.astype(np.uint8), max_label=1)
    if not bounds or bounds[0] is None:
        raise HostUnfit("no inside of a skull is found")
    z, y, x = bounds[0]
    rows, columns = host.hu.shape[1:]
    box = (
        z,
        slice(max(0, y.start - 3), min(rows, y.stop + 3)),
        slice(max(0, x.start - 3), min(columns, x.stop + 3)),
    )
    p = host.place[(slice(None), *box)]
    return Shell(
        box=box,
        inside=inside[box],
        depth_mm=host.depth_mm[box],
        x=p[0],
        y=p[1],
        z=p[2],
    )


def window(values: Floats, low: float, high: float, soft: float) -> Floats:
    """1 between two values, 0 beyond them, with borders of a width."""
    up = np.clip((values - low) / soft + 0.5, 0.0, 1.0)
    down = np.clip((high - values) / soft + 0.5, 0.0, 1.0)
    out: Floats = (up * down).astype(np.float32)
    return out


def push_inwards(
    host: Host, shell: Shell, thick_mm: Floats, share: float, reach_mm: float
) -> Floats:
    """How a layer at the inner table moves the brain below it, (3, box) mm.

    Args:
        host: The head.
        shell: Where.
        thick_mm: Of the layer, at the surface next to each voxel.
        share: Of its thickness by which the brain gives way at the layer.
        reach_mm: The depth over which that fades.
    """
    smooth = ndimage.gaussian_filter(shell.depth_mm, (0.0, 2.0, 2.0))
    slope = np.stack(
        [
            np.gradient(smooth, host.pixel_mm[0], axis=1),
            np.gradient(smooth, host.pixel_mm[1], axis=2),
        ]
    )
    slope /= np.maximum(np.sqrt((slope**2).sum(axis=0)), 0.2)
    below = np.maximum(shell.depth_mm - thick_mm, 0.0)
    # No steeper than half the reach, so that tissue is compressed and never folded.
    amount = np.minimum(share * thick_mm, 0.5 * reach_mm) * np.exp(-below / np.float32(reach_mm))
    amount = ndimage.gaussian_filter(amount * shell.inside, (0.0, 2.5, 2.5))
    shift = np.zeros((3, *shell.depth_mm.shape), np.float32)
    shift[1:] = slope * amount
    return shift


def push_across(
    host: Host, shell: Shell, below_mm: Floats, *, side: float, amount_mm: float, z: float
) -> Floats:
    """How the midline gives way to what lies on one side of it, (3, box) mm.

    Args:
        host: The head.
        shell: Where.
        below_mm: How far brain lies from what holds it: the mass, or the inner table.
        side: +1 for a mass on the left, -1 on the right.
        amount_mm: Shift of the midline at its middle; the falx holds it at the front and back.
        z: About which height of the head.
    """
    leftwards = np.array(
        [
            float(np.diff(shell.x, axis=axis)[shell.inside[_but_last(axis)]].mean())
            for axis in (1, 2)
        ]
    )
    leftwards /= max(float(np.linalg.norm(leftwards)), 1e-6)
    near = np.float32(side) * shell.x
    amount = np.float32(amount_mm) * np.clip(1.0 + near / 0.75, 0.0, 1.0)
    amount = amount * np.clip(1.0 - (shell.y / np.float32(0.95)) ** 2, 0.0, 1.0)
    amount = amount * np.exp(-(((shell.z - np.float32(z)) / np.float32(0.24)) ** 2))
    rigid = np.clip(below_mm / np.float32(_RIGID_MM), 0.0, 1.0)
    amount = amount * rigid * rigid * (3.0 - 2.0 * rigid) * window(shell.z, 0.3, 2.0, 0.1)
    shift = np.zeros((3, *shell.x.shape), np.float32)
    for axis in (1, 2):
        shift[axis] = np.float32(-side * leftwards[axis - 1]) * amount
    return shift


def _but_last(axis: int) -> tuple[slice, ...]:
    return tuple(slice(None, -1) if each == axis else slice(None) for each in range(3))


def edit_on(
    box: Box,
    share: Floats,
    hu: Floats | float,
    kind: str,
    *,
    bleed: bool = False,
    shift_mm: Floats | None = None,
) -> Edit:
    """An edit of the part of a box where there is anything to do.

    Args:
        box: Of the volume.
        share: (box) of each voxel that is replaced.
        hu: (box) or one for all: what stands there.
        kind: See :class:`~sadmil_core.synth.lesions.Edit`.
        bleed: Likewise.
        shift_mm: (3, box) likewise.

    Raises:
        HostUnfit: There is nothing.
    """
    touched = share
    if shift_mm is not None:
        moved = np.abs(shift_mm).max(axis=0)
        touched = np.maximum(share, moved * (moved > _LEAST_SHIFT_MM))
    found = ndimage.find_objects((touched > _LEAST_SHARE).astype(np.uint8), max_label=1)
    if not found or found[0] is None:
        raise HostUnfit(f"there is no place for the {kind}")
    part = found[0]
    z, y, x = (slice(o.start + p.start, o.start + p.stop) for o, p in zip(box, part, strict=True))
    return Edit(
        kind=kind,
        bleed=bleed,
        box=(z, y, x),
        occupancy=np.ascontiguousarray(share[part], np.float32),
        target_hu=np.ascontiguousarray(hu[part], np.float32) if isinstance(hu, np.ndarray) else hu,
        shift_mm=None if shift_mm is None else np.ascontiguousarray(shift_mm[(slice(None), *part)]),
    )
