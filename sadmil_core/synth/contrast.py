"""A head after contrast medium: bright arteries, sinuses and choroid, and no blood outside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.synth.surface import shell_of, window
from sadmil_core.synth.tubes import tube

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.synth.host import Host
    from sadmil_core.synth.surface import Shell
    from sadmil_core.synth.tubes import Point

    Floats = NDArray[np.float32]

_MIDLINE: tuple[tuple[float, tuple[Point, ...]], ...] = (
    (1.6, ((0.0, 0.02, 0.17), (0.0, 0.06, 0.29))),  # basilar artery
    (1.1, ((0.02, 0.22, 0.31), (0.015, 0.5, 0.38), (0.015, 0.5, 0.55), (0.01, 0.2, 0.68))),
    (1.9, ((0.0, -0.3, 0.47), (0.0, -0.55, 0.42), (0.0, -0.9, 0.34))),  # Galen, straight sinus
)
_PAIRED: tuple[tuple[float, tuple[Point, ...]], ...] = (
    (1.8, ((0.14, 0.2, 0.2), (0.12, 0.2, 0.3))),  # internal carotid artery
    (1.4, ((0.12, 0.2, 0.3), (0.36, 0.16, 0.32), (0.52, 0.12, 0.36))),  # middle cerebral artery
    (1.0, ((0.52, 0.12, 0.36), (0.62, 0.0, 0.43), (0.66, -0.15, 0.5))),
    (1.0, ((0.5, 0.14, 0.36), (0.6, 0.22, 0.45), (0.66, 0.1, 0.54))),
    (0.8, ((0.03, 0.05, 0.3), (0.2, -0.08, 0.31), (0.27, -0.3, 0.34), (0.3, -0.5, 0.4))),
)
_CHOROID: tuple[Point, ...] = ((0.2, -0.25, 0.5), (0.3, -0.45, 0.5))


def enhanced(host: Host, rng: np.random.Generator) -> tuple[Shell, Floats, Floats]:
    """What contrast medium fills.

    Args:
        host: The head.
        rng: Source of randomness.

    Returns:
        Where the fields lie, the share of each voxel that is filled, and its HU.

    Raises:
        HostUnfit: Nothing of the inside of the skull is in view.
    """
    shell = shell_of(host)
    arterial = float(rng.uniform(100.0, 280.0))
    venous = float(arterial * rng.uniform(0.6, 0.95))
    filled = np.zeros(shell.x.shape, np.float32)
    hu = np.full(shell.x.shape, np.float32(arterial))

    def add(share: Floats, density: float) -> None:
        more = share > filled
        hu[more] = density
        np.maximum(filled, share, out=filled)

    for radius, points in _MIDLINE:
        add(tube(host, shell, _moved(points, rng, 1.0), radius * rng.uniform(0.8, 1.2)), arterial)
    for side in (-1.0, 1.0):
        for radius, points in _PAIRED:
            path = _moved(points, rng, side)
            add(tube(host, shell, path, radius * rng.uniform(0.8, 1.2)), arterial)
        choroid = tube(host, shell, _moved(_CHOROID, rng, side), rng.uniform(1.5, 3.0))
        add(choroid, float(rng.uniform(60.0, 110.0)))
    add(_sinuses(host, rng, shell), venous)
    return shell, filled, hu


def _moved(points: tuple[Point, ...], rng: np.random.Generator, side: float) -> tuple[Point, ...]:
    off = rng.normal(0.0, 0.015, (len(points), 3))
    return tuple(
        (side * (x + dx), y + dy, z + dz)
        for (x, y, z), (dx, dy, dz) in zip(points, off.tolist(), strict=True)
    )


def _sinuses(host: Host, rng: np.random.Generator, shell: Shell) -> Floats:
    """The superior sagittal sinus all along, the transverse ones, and a thin falx."""
    edge = np.float32(max(host.pixel_mm))
    half = np.float32(rng.uniform(2.5, 4.5)) * np.clip(1.2 - shell.depth_mm / 9.0, 0.0, 1.0)
    share = np.clip((half - np.abs(shell.across_mm)) / edge + 0.5, 0.0, 1.0) * (half > 0.3)
    share = share * window(shell.z, 0.36, 1.2, 0.05)
    thick = np.float32(rng.uniform(2.5, 5.0))
    transverse = np.clip((thick - shell.depth_mm) / edge + 0.5, 0.0, 1.0)
    low = float(rng.uniform(0.2, 0.3))
    transverse *= window(shell.z, low, low + 0.06, 0.03) * window(shell.y, -1.1, -0.35, 0.1)
    falx = 0.35 * np.clip((0.8 - np.abs(shell.across_mm)) / edge + 0.5, 0.0, 1.0)
    falx = falx * window(shell.z, 0.6, 1.1, 0.05)
    out: Floats = (np.maximum(np.maximum(share, transverse), falx) * shell.inside).astype(
        np.float32
    )
    return out
