"""The same head with other anatomy: ventricles wider or narrower, and everything a little moved."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from sadmil_core.synth.host import Tissue
from sadmil_core.synth.insertion import apply_edits, displaced
from sadmil_core.synth.lesions import Edit
from sadmil_core.synth.shapes import smooth_field
from sadmil_core.synth.surface import shell_of
from sadmil_core.synth.texture import draw_noise, measure_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.synth.host import Host
    from sadmil_core.synth.surface import Shell

    Floats = NDArray[np.float32]

ATROPHY, NARROW = 0.3, 0.2
"""How often the ventricles are made wider, and how often narrower."""
_WIDER_MM, _NARROWER_MM = (1.0, 6.0), (0.5, 2.0)
_MOVED_MM = (0.3, 2.0)
_RIGID_MM = 16.0  # tissue this close to the inner table moves less and less
_LEAST_ML = 2.0  # of ventricles, to be changed


def vary(host: Host, rng: np.random.Generator) -> Host:
    """Draws a head that could be another patient's with the same skull.

    Args:
        host: The head; it is not changed.
        rng: Source of randomness.

    Returns:
        The head with its tissue moved and its labels with it; skull, noise and sharpness stay.

    Raises:
        HostUnfit: It has no inside of a skull.
    """
    shell = shell_of(host)
    shift = _wander(host, rng, shell)
    kind = rng.random()
    if kind < ATROPHY:
        shift += _from_ventricles(host, shell, float(rng.uniform(*_WIDER_MM)))
    elif kind < ATROPHY + NARROW:
        shift -= _from_ventricles(host, shell, float(rng.uniform(*_NARROWER_MM)))
    rigid = np.clip(shell.depth_mm / np.float32(_RIGID_MM), 0.0, 1.0)
    shift *= rigid * rigid * (3.0 - 2.0 * rigid)
    edit = Edit(
        kind="variant",
        bleed=False,
        box=shell.box,
        occupancy=np.zeros(shell.x.shape, np.float32),
        target_hu=0.0,
        shift_mm=shift,
    )
    hu = apply_edits(host, [edit], rng).hu
    tissue = host.tissue.copy()
    tissue[shell.box] = displaced(host, host.tissue[shell.box], shift, order=0)
    _restore_noise(host, hu, tissue, shell, np.abs(shift).max(axis=0), rng)
    return replace(host, hu=hu, tissue=tissue)


def _restore_noise(
    host: Host,
    hu: Floats,
    tissue: NDArray[np.uint8],
    shell: Shell,
    moved_mm: Floats,
    rng: np.random.Generator,
) -> None:
    """Adds what noise was lost to interpolation, where tissue moved."""
    was, _ = measure_noise(host.hu, host.tissue == Tissue.BRAIN)
    left, _ = measure_noise(hu, tissue == Tissue.BRAIN)
    lost = float(np.sqrt(max(was**2 - left**2, 0.0)))
    shape: tuple[int, int, int] = moved_mm.shape
    where = np.clip(moved_mm / np.float32(min(host.pixel_mm)), 0.0, 1.0)
    hu[shell.box] += where * draw_noise(rng, shape, lost, host.grain)


def _wander(host: Host, rng: np.random.Generator, shell: Shell) -> Floats:
    shift = np.zeros((3, *shell.x.shape), np.float32)
    for axis in (1, 2):
        amount = np.float32(rng.uniform(*_MOVED_MM))
        shift[axis] = amount * np.clip(smooth_field(rng, host, shell.box, 60.0), -2.0, 2.0)
    return shift


def _from_ventricles(host: Host, shell: Shell, amount_mm: float) -> Floats:
    """Away from the ventricles' walls within the slice, fading over the brain's depth."""
    shift = np.zeros((3, *shell.x.shape), np.float32)
    ventricle = host.tissue[shell.box] == Tissue.VENTRICLE
    if ventricle.sum() * float(np.prod(host.spacing_mm)) / 1000 < _LEAST_ML:
        return shift
    outside = ndimage.distance_transform_edt(~ventricle, sampling=host.spacing_mm)
    inside = ndimage.distance_transform_edt(ventricle, sampling=host.spacing_mm)
    distance = ndimage.gaussian_filter((outside - inside).astype(np.float32), (0.7, 2.5, 2.5))
    slope = np.stack(np.gradient(distance, *host.pixel_mm, axis=(1, 2)))
    slope /= np.maximum(np.sqrt((slope**2).sum(axis=0)), 0.5)
    reach = np.float32(max(3.0 * amount_mm, 14.0))
    # Nothing moves at the ventricles' axis; the walls do, and brain beyond them less and less.
    amount = np.float32(amount_mm) * np.exp(-np.maximum(distance, 0.0) / reach)
    amount = amount * np.clip(1.0 + distance / np.float32(6.0), 0.0, 1.0)
    amount = ndimage.gaussian_filter(amount, (0.7, 2.0, 2.0))
    shift[1:] = slope * amount
    return shift
