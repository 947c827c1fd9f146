"""Coordinates along the inner table, in which layers of blood are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from sadmil_core.synth.host import HostUnfit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.synth.host import Host
    from sadmil_core.synth.shapes import Box

    Floats = NDArray[np.float32]

HALF_WIDTH_MM = 65.0
"""From the midplane to the inner table of an average head, at its widest."""
HEIGHT_MM = 130.0
"""From the lowest intracranial slice of an average head to its vertex."""


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


def cropped(share: Floats, least: float = 0.02) -> Box | None:
    """The part of an array that is not empty."""
    found = ndimage.find_objects((share > least).astype(np.uint8), max_label=1)
    return found[0] if found else None


def within(outer: Box, part: Box) -> Box:
    """A part of a box, as a part of the volume."""
    z, y, x = (slice(o.start + p.start, o.start + p.stop) for o, p in zip(outer, part, strict=True))
    return z, y, x
