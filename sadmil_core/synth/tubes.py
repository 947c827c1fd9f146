"""Thin tubes in a head: vessels, catheters."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.synth.shapes import thin_samples
from sadmil_core.synth.surface import HALF_WIDTH_MM, HEIGHT_MM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sadmil_core.synth.host import Host
    from sadmil_core.synth.surface import Shell

    Floats = NDArray[np.float32]
    Point = tuple[float, float, float]

HALF_LENGTH_MM = 85.0
"""From the middle to the inner table at the front of an average head."""
SCALE_MM = np.array([HALF_WIDTH_MM, HALF_LENGTH_MM, HEIGHT_MM], np.float32)
"""What a unit of the head's own coordinates (``Host.place``) is in an average head."""


def tube(host: Host, shell: Shell, points: Sequence[Point], radius_mm: float) -> Floats:
    """The share of each voxel that a tube along a line of points fills.

    Args:
        host: The head.
        shell: Its intracranial space; the tube ends where that does.
        points: In the head's own coordinates.
        radius_mm: Of the tube.

    Returns:
        The shape of the shell's box, averaged through thick slices.
    """
    lifts = thin_samples(host) / HEIGHT_MM
    edge = np.float32(max(host.pixel_mm))
    out = np.zeros(shell.x.shape, np.float32)
    flat = out.reshape(-1)
    reach = radius_mm + float(edge) + 0.5 * host.thickness_mm
    for start, end in pairwise(points):
        a, b = (np.asarray(p, np.float32) * SCALE_MM for p in (start, end))
        middle, half = (a + b) / 2, float(np.linalg.norm(b - a)) / 2
        near = shell.inside.copy()
        for axis, (values, scale) in enumerate(
            zip((shell.x, shell.y, shell.z), SCALE_MM, strict=True)
        ):
            near &= np.abs(values * scale - middle[axis]) <= half + reach
        at = np.flatnonzero(near)
        if not at.size:
            continue
        p = np.stack([v.reshape(-1)[at] for v in (shell.x, shell.y, shell.z)], axis=1) * SCALE_MM
        share = np.zeros(at.size, np.float32)
        for lift in lifts:
            raised = p - a
            raised[:, 2] += np.float32(lift * HEIGHT_MM)
            along = np.clip(raised @ (b - a) / max(float((b - a) @ (b - a)), 1e-6), 0.0, 1.0)
            away = np.linalg.norm(raised - along[:, None] * (b - a), axis=1)
            share += np.clip((np.float32(radius_mm) - away) / edge + 0.5, 0.0, 1.0)
        flat[at] = np.maximum(flat[at], share / len(lifts))
    return out
