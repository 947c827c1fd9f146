"""What goes wrong when a head is scanned: it moves, or there is metal. Over all else, bleeds too.

By the projection theorem the views of a parallel beam from one direction are one line through the
centre of a slice's spectrum. A head that moved during the rotation is therefore put together of
wedges of spectra, each of the head in another place: doubled edges and streaks come by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from sadmil_core.synth.host import Tissue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from sadmil_core.synth.host import Host

    Floats = NDArray[np.float32]
    Spoil = Callable[[Host, Floats, np.random.Generator], Floats]

_AIR_HU, _METAL_HU = -1000.0, 3000.0
_MOVED_MM = 0.12, 0.9
_SUDDEN = 6  # the higher, the more suddenly the head moves from one place to the next
_STREAKS_HU = 5.0, 60.0


def spoil(host: Host, hu: Floats, rng: np.random.Generator) -> tuple[Floats, list[str]]:
    """Draws artefacts as often as they occur, or rather more, and lays them over a scan.

    Args:
        host: The head, for where things lie.
        hu: (S, R, C) the scan as it would be without them; it is not changed.
        rng: Source of randomness.

    Returns:
        The scan, and the names of what was done to it.
    """
    done = []
    for name, (often, act) in ARTEFACTS.items():
        if rng.random() < often:
            hu = act(host, hu, rng)
            done.append(name)
    return hu, done


def moved(host: Host, hu: Floats, rng: np.random.Generator) -> Floats:
    """A head that moved during some slices, mostly a little."""
    out = hu.copy()
    count = int(np.clip(rng.geometric(0.3), 1, len(hu)))
    first = int(rng.integers(0, len(hu) - count + 1))
    angle = _angles(*hu.shape[1:])
    strength_mm = float(np.exp(rng.uniform(*np.log(_MOVED_MM))))
    for at in range(first, first + count):
        spectrum = np.zeros(angle.shape, np.complex64)
        middles = np.sort(rng.uniform(0, np.pi, int(rng.integers(2, 5))))
        near = [np.cos(angle - middle) ** 2 for middle in middles]
        total = np.sum(np.power(near, _SUDDEN), axis=0)
        for weight in near:
            offset = rng.normal(0.0, strength_mm, 2) / np.asarray(host.pixel_mm)
            turn = np.radians(rng.normal(0.0, strength_mm))
            pose = np.fft.fft2(_posed(hu[at], turn, offset))
            spectrum += weight**_SUDDEN / total * pose
        out[at] = np.real(np.fft.ifft2(spectrum))
    return out


def with_metal(host: Host, hu: Floats, rng: np.random.Generator) -> Floats:
    """A clip or coils at the base, or an electrode on the skin, with its streaks."""
    inside = rng.random() < 0.5
    x, y, z = host.place
    if inside:
        fit = host.intracranial & (np.abs(x) < 0.45) & (y > -0.1) & (y < 0.35)
        fit &= (z > 0.2) & (z < 0.42)
    else:
        fit = (host.tissue == Tissue.SCALP) & (z > 0.1)
    found = np.flatnonzero(fit)
    if not found.size:
        return hu
    at, row, column = np.unravel_index(int(rng.choice(found)), fit.shape)
    strength = float(np.exp(rng.uniform(*np.log(_STREAKS_HU))))
    radius = float(rng.uniform(1.0, 5.0) if inside else rng.uniform(0.8, 2.5))
    out = hu.copy()
    dy = (np.arange(hu.shape[1])[:, None] - row) * np.float32(host.pixel_mm[0])
    dx = (np.arange(hu.shape[2])[None] - column) * np.float32(host.pixel_mm[1])
    away = np.hypot(dy, dx).astype(np.float32)
    body = ndimage.binary_dilation(hu[at] > -500, iterations=2)
    tall = radius + 0.5 * host.thickness_mm
    for near in np.flatnonzero(np.abs(host.position_mm - host.position_mm[at]) <= tall):
        share = 1.0 - abs(host.position_mm[near] - host.position_mm[at]) / (tall + 0.1)
        pattern = _star(rng, np.arctan2(dy, dx).astype(np.float32))
        streaks = np.float32(strength * share) * pattern / (0.4 + away / np.float32(25.0))
        metal = np.clip(radius - away + 0.5, 0.0, 1.0) * np.float32(min(1.0, 1.5 * share))
        plane = out[near] + streaks * (away > 0.7 * radius) * body
        out[near] = np.clip(plane + metal * (_METAL_HU - plane), _AIR_HU - 24.0, _METAL_HU)
    return out


ARTEFACTS: Mapping[str, tuple[float, Spoil]] = {
    "motion": (0.12, moved),
    "metal": (0.05, with_metal),
}
"""By name, how often a scan has it, and how it is done."""


def _angles(rows: int, columns: int) -> Floats:
    """Of each place of a spectrum, from 0 to pi."""
    down, right = np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(columns)[None]
    out: Floats = (np.arctan2(down, right) % np.pi).astype(np.float32)
    return out


def _posed(plane: Floats, turn: float, offset: NDArray[np.float64]) -> Floats:
    cosine, sine = np.cos(turn), np.sin(turn)
    matrix = np.array([[cosine, -sine], [sine, cosine]])
    middle = 0.5 * (np.array(plane.shape) - 1)
    shifted = middle - matrix @ (middle + offset)
    out: Floats = ndimage.affine_transform(plane, matrix, shifted, order=1, mode="nearest")
    return out


def _star(rng: np.random.Generator, angle: Floats) -> Floats:
    """Streaks from a point, dark and bright, the same on both sides of it; about -1 to 1."""
    turned = np.zeros(angle.shape, np.float32)
    waves = 2 * rng.integers(1, 24, 7)
    for wave, phase in zip(waves.tolist(), rng.uniform(0, 2 * np.pi, 7).tolist(), strict=True):
        turned += np.sin(np.float32(wave) * angle + np.float32(phase))
    # Few are strong.
    out: Floats = turned * np.abs(turned) / np.float32(9.0)
    return out
