"""A skull that was opened: kerf, burr holes and plates, with air or fluid below the flap."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.synth.host import HostUnfit, Tissue
from sadmil_core.synth.shapes import smooth_field, thin_samples
from sadmil_core.synth.surface import HEIGHT_MM, edit_on, shell_of, window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.synth.host import Host
    from sadmil_core.synth.lesions import Edit
    from sadmil_core.synth.shapes import Box

    Floats = NDArray[np.float32]

_SKULL_RADIUS_MM = 78.0
_BONE_HU = (120.0, 350.0)  # from no bone to all bone
_LEAST_VOXELS = 12


def draw_craniotomy(host: Host, rng: np.random.Generator) -> list[Edit]:
    """Draws a bone flap that was put back, and what is often seen with it.

    Args:
        host: The head.
        rng: Source of randomness.

    Raises:
        HostUnfit: The part of the vault is not in view.
    """
    whole: Box = tuple(slice(0, n) for n in host.hu.shape)  # type: ignore[assignment]
    x, y, _ = host.place
    side = float(rng.choice([-1.0, 1.0]))
    middle = side * float(rng.uniform(0.4, 2.2)), float(rng.uniform(0.48, 0.76))
    radii = float(rng.uniform(18.0, 45.0)), float(rng.uniform(15.0, 34.0))
    turn = np.angle(np.exp(1j * (np.arctan2(x, y) - middle[0]))).astype(np.float32)
    bone = np.clip((host.hu - _BONE_HU[0]) / (_BONE_HU[1] - _BONE_HU[0]), 0.0, 1.0)
    bone = bone * np.isin(host.tissue, (Tissue.SKULL, Tissue.SCALP)) * (np.abs(turn) < 1.2)
    gap, plates = _cut(host, rng, turn, middle[1], radii)
    gap = gap * bone
    if int((gap > 0.4).sum()) < _LEAST_VOXELS:
        raise HostUnfit("the vault is not in view where it would have been opened")
    kerf = edit_on(whole, gap, float(rng.uniform(20.0, 50.0)), "craniotomy")
    edits = [kerf]
    if rng.random() < 0.5:
        hu = float(rng.uniform(1200.0, 2600.0))
        with suppress(HostUnfit):
            edits.append(edit_on(whole, plates * (bone > 0.5), hu, "plate"))
    edits += _below(host, rng, middle, radii)
    return edits


def _cut(
    host: Host,
    rng: np.random.Generator,
    turn: Floats,
    middle: float,
    radii: tuple[float, float],
) -> tuple[Floats, Floats]:
    """The kerf with its burr holes, and small plates across it; through the whole of the bone."""
    edge = np.float32(max(host.pixel_mm))
    width = float(rng.uniform(1.0, 2.8))
    holes = rng.uniform(-np.pi, np.pi, int(rng.integers(2, 5)))
    hole_mm, plate_mm = float(rng.uniform(4.0, 7.0)), float(rng.uniform(3.0, 5.0))
    plated = rng.uniform(-np.pi, np.pi, int(rng.integers(1, 4)))
    along = turn * np.float32(_SKULL_RADIUS_MM)
    gap, plates = np.zeros(turn.shape, np.float32), np.zeros(turn.shape, np.float32)
    lifts = thin_samples(host)
    for lift in lifts:
        up = (host.place[2] - np.float32(middle)) * np.float32(HEIGHT_MM) + np.float32(lift)
        from_rim = (np.sqrt((along / radii[0]) ** 2 + (up / radii[1]) ** 2) - 1.0) * min(radii)
        now = np.clip((0.5 * width - np.abs(from_rim)) / edge + 0.5, 0.0, 1.0)
        for angle in holes:
            away = np.hypot(along - radii[0] * np.cos(angle), up - radii[1] * np.sin(angle))
            now = np.maximum(now, np.clip((hole_mm - away) / edge + 0.5, 0.0, 1.0))
        gap += now / len(lifts)
        for angle in plated:
            away = np.hypot(along - radii[0] * np.cos(angle), up - radii[1] * np.sin(angle))
            plates += np.clip((plate_mm - away) / edge + 0.5, 0.0, 1.0) / len(lifts)
    return gap, np.minimum(plates, 1.0)


def _below(
    host: Host, rng: np.random.Generator, middle: tuple[float, float], radii: tuple[float, float]
) -> list[Edit]:
    """Fluid and air between flap and brain."""
    shell = shell_of(host)
    turn = np.abs(np.angle(np.exp(1j * (shell.angle - middle[0])))) * _SKULL_RADIUS_MM / radii[0]
    rise = np.abs(shell.z - middle[1]) * HEIGHT_MM / radii[1]
    profile = np.sqrt(np.clip(1.0 - turn**2, 0.0, 1.0) * np.clip(1.0 - rise**2, 0.0, 1.0))
    profile *= np.clip(1.0 + 0.25 * smooth_field(rng, host, shell.box, 15.0), 0.3, 1.7)
    edge = np.float32(max(host.pixel_mm))
    edits: list[Edit] = []
    if rng.random() < 0.6:
        layer = np.float32(rng.uniform(2.0, 7.0)) * profile
        share = np.clip((layer - shell.depth_mm) / edge + 0.5, 0.0, 1.0) * (layer > 0.3)
        hu = float(rng.uniform(6.0, 26.0))
        with suppress(HostUnfit):
            edits.append(edit_on(shell.box, share * shell.inside, hu, "hygroma"))
    if rng.random() < 0.5:
        # Air rises to the front of a head that lies on its back.
        side = np.sign(middle[0])
        patch = window(side * shell.x, 0.02, float(rng.uniform(0.2, 0.6)), 0.06)
        patch = patch * window(shell.y, float(rng.uniform(0.5, 0.75)), 1.3, 0.1)
        patch = patch * window(shell.z, 0.45, float(rng.uniform(0.6, 0.95)), 0.05)
        layer = np.float32(rng.uniform(2.0, 8.0)) * patch
        share = np.clip((layer - shell.depth_mm) / edge + 0.5, 0.0, 1.0) * (layer > 0.3)
        hu = float(rng.uniform(-980.0, -700.0))
        with suppress(HostUnfit):
            edits.append(edit_on(shell.box, share * shell.inside, hu, "air"))
    return edits
