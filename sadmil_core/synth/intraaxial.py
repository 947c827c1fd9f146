"""Bleeds within the brain: clots with oedema and mass effect, petechiae, blood in ventricles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage, special

from sadmil_core.synth.host import HostUnfit, Tissue
from sadmil_core.synth.lesions import Edit
from sadmil_core.synth.shapes import (
    box_around,
    draw_lump,
    occupancy_of,
    smooth_field,
)
from sadmil_core.synth.texture import smooth_keeping_edges

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sadmil_core.synth.host import Host
    from sadmil_core.synth.shapes import Box, Lump

    Floats = NDArray[np.float32]
    Range = tuple[float, float]

FLUID_HU = 6.0
MEDIAN_ML, SPREAD = 12.0, 1.0
"""The lognormal distribution of a clot's volume, cut off at its range."""

_OEDEMA_BELOW_BRAIN_HU = 13.0
_RIGID_MM = 14.0  # tissue this close to the inner table moves less and less
_MOVE_ACROSS_MM = 2.6  # between thicker slices interpolation would show
_HALF_HEAD_MM = 65.0  # across
_LEAST_IVH_ML = 0.35
_LEAST_WITH_SATELLITES_ML = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a clot's centre may lie, in head coordinates.

    Attributes:
        weight: How often, against the other sites.
        x: Distance from the midplane.
        y: From the back (-1) to the front (+1).
        z: From the base (0) to the vertex (1).
        depth_mm: Least depth below the inner table.
        most_ml: Larger clots do not occur there.
    """

    weight: float
    x: Range
    y: Range
    z: Range
    depth_mm: float
    most_ml: float = 60.0


SITES: Mapping[str, Site] = {
    "putamen": Site(weight=0.33, x=(0.30, 0.46), y=(-0.08, 0.28), z=(0.42, 0.6), depth_mm=18),
    "thalamus": Site(
        weight=0.15, x=(0.1, 0.27), y=(-0.25, 0.02), z=(0.44, 0.58), depth_mm=25, most_ml=16
    ),
    "frontal": Site(weight=0.14, x=(0.15, 0.65), y=(0.25, 0.8), z=(0.42, 0.88), depth_mm=9),
    "parietal": Site(weight=0.16, x=(0.2, 0.75), y=(-0.6, 0.1), z=(0.58, 0.9), depth_mm=9),
    "temporal": Site(weight=0.12, x=(0.5, 0.85), y=(-0.3, 0.4), z=(0.26, 0.46), depth_mm=8),
    "occipital": Site(weight=0.10, x=(0.15, 0.5), y=(-0.85, -0.5), z=(0.42, 0.65), depth_mm=8),
}
POSTERIOR_FOSSA: Mapping[str, Site] = {
    "cerebellum": Site(
        weight=0.75, x=(0.08, 0.45), y=(-0.8, -0.35), z=(0.08, 0.32), depth_mm=8, most_ml=30
    ),
    "pons": Site(weight=0.25, x=(0.0, 0.1), y=(-0.22, 0.1), z=(0.16, 0.34), depth_mm=10, most_ml=8),
}


def draw_volume_ml(rng: np.random.Generator, volume_ml: Range = (1.0, 60.0)) -> float:
    """A clot's volume: lognormal, within a range."""
    for _ in range(100):
        volume = float(MEDIAN_ML * np.exp(SPREAD * rng.standard_normal()))
        if volume_ml[0] <= volume <= volume_ml[1]:
            return volume
    return float(np.exp(rng.uniform(*np.log(volume_ml))))


def draw_intraparenchymal(
    host: Host,
    rng: np.random.Generator,
    *,
    volume_ml: Range = (1.0, 60.0),
    hu: Range = (52.0, 80.0),
    sites: Mapping[str, Site] = SITES,
) -> list[Edit]:
    """Draws a clot in the brain, with its oedema and the tissue that it moves.

    Args:
        host: The head.
        rng: Source of randomness.
        volume_ml: Range of its volume, drawn lognormally within it.
        hu: Range of its mean density.
        sites: Where it may lie, by name.

    Returns:
        The clot, and its oedema where it has any.

    Raises:
        HostUnfit: The head has no brain at any of these sites.
    """
    site = _pick(rng, sites)
    most = max(min(volume_ml[1], site.most_ml), volume_ml[0])
    volume = draw_volume_ml(rng, (volume_ml[0], most))
    radius = (volume * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    centre, side = _centre(host, rng, site, radius)
    lump = draw_lump(rng, centre, volume_ml=volume, longest=1.9, rough=rng.uniform(0.1, 0.26))
    young = rng.random() < 0.75
    rim = float(rng.uniform(1.0, 6.0) if young else rng.uniform(4.0, 11.0))
    reach = 1.15 * lump.reach_mm + max(rim, 0.9 * radius)
    box = box_around(host, centre, reach)
    room = _room(host, box, side)
    occupancy = occupancy_of(host, lump, box, _fray(host, rng, box, radius)) * room
    for other in _satellites(rng, lump, volume):
        occupancy = np.maximum(occupancy, occupancy_of(host, other, box) * room)
    mean = float(rng.uniform(*hu)) if young else float(rng.uniform(hu[0] - 8, hu[0] + 8))
    clot = Edit(
        kind="intraparenchymal",
        bleed=True,
        box=box,
        occupancy=occupancy,
        target_hu=_clot_hu(host, rng, box, occupancy, mean),
        shift_mm=_mass_effect(host, box, lump, share=float(rng.uniform(0.3, 0.75))),
    )
    if rng.random() < 0.1:  # hyperacute: nothing around it yet
        return [clot]
    strength = float(rng.uniform(0.45, 0.95))
    return [clot, _oedema(host, box, lump, rim_mm=rim, strength=strength, side=side, rng=rng)]


def draw_posterior_fossa(
    host: Host,
    rng: np.random.Generator,
    *,
    volume_ml: Range = (1.0, 30.0),
    hu: Range = (52.0, 80.0),
) -> list[Edit]:
    """Draws a clot in the cerebellum or the pons (see :func:`draw_intraparenchymal`)."""
    return draw_intraparenchymal(host, rng, volume_ml=volume_ml, hu=hu, sites=POSTERIOR_FOSSA)


def draw_petechial(
    host: Host,
    rng: np.random.Generator,
    *,
    count: tuple[int, int] = (3, 12),
    volume_ml: Range = (0.03, 0.5),
    hu: Range = (55.0, 80.0),
) -> list[Edit]:
    """Draws small bleeds scattered about the border of grey and white matter.

    Args:
        host: The head.
        rng: Source of randomness.
        count: Range of their number.
        volume_ml: Range of the volume of one.
        hu: Range of their density.

    Raises:
        HostUnfit: The head has no brain where they lie.
    """
    site = _pick(rng, {k: v for k, v in SITES.items() if k not in ("putamen", "thalamus")})
    middle, side = _centre(host, rng, site, 2.0)
    wanted = int(rng.integers(count[0], count[1] + 1))
    spread = float(rng.uniform(9.0, 22.0))
    edits: list[Edit] = []
    for number in range(wanted):
        volume = float(np.exp(rng.uniform(*np.log(volume_ml))))
        if number == 0:
            volume = max(volume, 0.5 * volume_ml[1])
        centre = middle + rng.standard_normal(3) * spread * (number > 0)
        lump = draw_lump(rng, centre, volume_ml=volume, longest=2.4, rough=0.2)
        try:
            box = box_around(host, centre, lump.reach_mm + 1.0)
        except HostUnfit:
            continue
        occupancy = occupancy_of(host, lump, box) * _room(host, box, side, depth_mm=2.5)
        if occupancy.max() < 0.3:
            continue
        edits.append(
            Edit(
                kind="intraparenchymal",
                bleed=True,
                box=box,
                occupancy=occupancy,
                target_hu=float(rng.uniform(*hu)),
            )
        )
    if not edits:
        raise HostUnfit("no brain where petechial bleeds would lie")
    return edits


def draw_intraventricular(
    host: Host,
    rng: np.random.Generator,
    *,
    filled: Range = (0.05, 0.7),
    hu: Range = (48.0, 78.0),
) -> list[Edit]:
    """Draws blood in the ventricles: in the dependent horns up to a level, or a cast.

    Args:
        host: The head, lying on its back.
        rng: Source of randomness.
        filled: Range of the share of the ventricles on a side that is filled.
        hu: Range of the density at the bottom.

    Raises:
        HostUnfit: Too little of the ventricles is seen for blood in them.
    """
    ventricle = host.tissue == Tissue.VENTRICLE
    box = _box_of(ventricle, host, margin_mm=4.0)
    if box is None:
        raise HostUnfit("no ventricles are found")
    room = ndimage.binary_dilation(ventricle[box], np.ones((1, 3, 3)))
    smooth = smooth_keeping_edges(host.hu[box], host.noise_sd_hu, radius=1)
    brain = brain_hu(host)
    fluid = np.clip((brain - smooth) / (brain - FLUID_HU), 0.0, 1.0) * room
    cast = rng.random() < 0.25
    amount = 0.9 if cast else float(np.exp(rng.uniform(*np.log(filled))))
    sides = (-1, 1) if rng.random() < 0.6 else (int(rng.choice([-1, 1])),)
    level = _levels(host, rng, box, fluid, amount, sides)
    blood = fluid * level
    bottom = float(rng.uniform(*hu))
    clear = np.minimum(smooth, brain)
    # The fluid that is still in a mixed voxel has to go, too.
    share = np.clip(blood * (bottom - FLUID_HU) / np.maximum(bottom - clear, 8.0), 0.0, 1.0)
    share = share.astype(np.float32)
    voxel = float(np.prod(host.spacing_mm)) / 1000
    if (share >= 0.5).sum() * voxel < _LEAST_IVH_ML:
        raise HostUnfit("the ventricles are too narrow for blood that would be seen")
    uneven = smooth_field(rng, host, box, 7.0) * np.float32(rng.uniform(1.0, 4.0))
    return [
        Edit(
            kind="intraventricular",
            bleed=True,
            box=box,
            occupancy=share,
            target_hu=(bottom + uneven).astype(np.float32),
        )
    ]


def draw_retouch(
    host: Host,
    rng: np.random.Generator,
    *,
    volume_ml: Range = (1.0, 60.0),
    sites: Mapping[str, Site] = SITES,
) -> list[Edit]:
    """Draws an edit without blood: a clot's outline and mass effect, filled with brain.

    It leaves in a head whatever traces the editing itself leaves, and nothing else.

    Raises:
        HostUnfit: The head has no brain at any of these sites.
    """
    site = _pick(rng, sites)
    volume = draw_volume_ml(rng, (volume_ml[0], max(min(volume_ml[1], site.most_ml), 1.0)))
    radius = (volume * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    centre, side = _centre(host, rng, site, radius)
    lump = draw_lump(rng, centre, volume_ml=volume, longest=1.9, rough=0.18)
    box = box_around(host, centre, 1.15 * lump.reach_mm + 0.9 * radius)
    occupancy = occupancy_of(host, lump, box) * _room(host, box, side)
    smooth = smooth_keeping_edges(host.hu[box], host.noise_sd_hu)
    change = float(rng.uniform(-10.0, 5.0)) if rng.random() < 0.5 else 0.0
    shift = _mass_effect(host, box, lump, share=float(rng.uniform(0.1, 0.6)))
    return [
        Edit(
            kind="retouch",
            bleed=False,
            box=box,
            occupancy=occupancy,
            target_hu=(smooth + np.float32(change)).astype(np.float32),
            shift_mm=shift,
        )
    ]


def brain_hu(host: Host) -> float:
    """The median density of a host's brain."""
    some = host.hu[:, ::3, ::3][host.tissue[:, ::3, ::3] == Tissue.BRAIN]
    return float(np.median(some))


def _pick(rng: np.random.Generator, sites: Mapping[str, Site]) -> Site:
    names = sorted(sites)
    weights = np.array([sites[name].weight for name in names])
    return sites[names[int(rng.choice(len(names), p=weights / weights.sum()))]]


def _centre(
    host: Host, rng: np.random.Generator, site: Site, radius_mm: float
) -> tuple[NDArray[np.float64], float]:
    """A place for a clot's centre, in mm, and the side it lies on (0 where it may cross)."""
    every = (slice(None), slice(None, None, 2), slice(None, None, 2))
    x, y, z = host.place[(slice(None), *every)]
    least = max(site.depth_mm, min(0.62 * radius_mm, 20.0))
    fit = (host.tissue[every] == Tissue.BRAIN) & (host.depth_mm[every] >= least)
    # A clot beside the falx or the third ventricle would be cut flat by it.
    clear = min(0.75 * radius_mm / _HALF_HEAD_MM, 0.95 * site.x[1]) if site.x[0] > 0 else 0.0
    fit &= np.abs(x) >= clear
    for values, (low, high) in ((np.abs(x), site.x), (y, site.y), (z, site.z)):
        fit &= (values >= low) & (values <= high)
    found = np.flatnonzero(fit)
    if not found.size:
        raise HostUnfit("the head has no brain where the lesion would lie, or it is not in view")
    at = np.unravel_index(int(rng.choice(found)), fit.shape)
    index = int(at[0]), 2 * int(at[1]), 2 * int(at[2])
    box = tuple(slice(each, each + 1) for each in index)
    p, q, r = host.points_mm(box)  # type: ignore[arg-type]
    centre = np.array([p.item(), q.item(), r.item()])
    # Between the slices, too.
    centre[0] += rng.uniform(-0.5, 0.5) * host.spacing_mm[0]
    centre[1:] += rng.uniform(-1.0, 1.0, 2)
    across = float(host.place[(0, *index)])
    return centre, float(np.sign(across)) if abs(across) > 0.12 else 0.0


def _room(host: Host, box: Box, side: float, depth_mm: float = 1.0) -> Floats:
    """Where in a box blood may lie: inside the skull, on its side of the falx."""
    room = np.clip(host.depth_mm[box] / np.float32(depth_mm) - 0.3, 0.0, 1.0)
    if side:
        x = host.place[(0, *box)] * np.float32(side * _HALF_HEAD_MM)
        room = room * np.clip(x / np.float32(1.5) - 0.3, 0.0, 1.0)
    out: Floats = room.astype(np.float32)
    return out


def _clot_hu(
    host: Host, rng: np.random.Generator, box: Box, occupancy: Floats, mean: float
) -> Floats:
    """A clot's densities: uneven, and sometimes layered or mixed with blood not yet clotted."""
    target = mean + smooth_field(rng, host, box, 9.0) * np.float32(rng.uniform(1.5, 4.5))
    target += smooth_field(rng, host, box, 3.0) * np.float32(rng.uniform(0.5, 2.5))
    kind = rng.random()
    if kind < 0.2:  # swirls of liquid blood
        swirl = smooth_field(rng, host, box, 6.0)
        target -= np.float32(rng.uniform(8.0, 18.0)) * np.clip(2 * swirl - 1.0, 0.0, 1.0)
    elif kind < 0.27:  # cells settle: a level
        y = host.points_mm(box)[1]
        inside = occupancy > 0.5
        if inside.any():
            level = float(
                np.quantile(np.broadcast_to(y, inside.shape)[inside], rng.uniform(0.3, 0.7))
            )
            target += np.float32(8.0) * np.tanh((y - level) / 1.5)
    out: Floats = np.clip(target, 38.0, 95.0).astype(np.float32)
    return out


def _fray(host: Host, rng: np.random.Generator, box: Box, radius_mm: float) -> Floats:
    """How uneven a clot's border is from voxel to voxel, mm: some are smooth, some ragged."""
    ragged = float(rng.uniform(0.0, 1.0)) * min(0.16 * radius_mm, 2.6)
    out: Floats = np.float32(ragged) * smooth_field(rng, host, box, 7.0)
    return out + np.float32(0.5 * ragged) * smooth_field(rng, host, box, 3.5)


def _satellites(rng: np.random.Generator, lump: Lump, volume_ml: float) -> list[Lump]:
    """Small bleeds at the border of a larger one, which join it or nearly do."""
    found = []
    for _ in range(int(rng.poisson(1.2)) if volume_ml > _LEAST_WITH_SATELLITES_ML else 0):
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        reach = lump.turn.T @ (lump.turn @ direction * lump.radii_mm)
        at = lump.centre_mm + reach * rng.uniform(0.85, 1.1)
        share = float(np.exp(rng.uniform(*np.log((0.004, 0.06)))))
        found.append(draw_lump(rng, at, volume_ml=share * volume_ml, longest=2.6, rough=0.25))
    return found


def _radial(host: Host, box: Box, lump: Lump) -> tuple[Floats, Floats, Floats]:
    """Vectors from a lump's centre, their lengths and the distances from its surface."""
    z, y, x = host.points_mm(box)
    distance = lump.distance_mm(z, y, x)
    vectors = np.stack(np.broadcast_arrays(z, y, x)).astype(np.float32)
    vectors -= lump.centre_mm.astype(np.float32)[:, None, None, None]
    length: Floats = np.sqrt((vectors**2).sum(axis=0))
    return vectors, length, distance


def _mass_effect(host: Host, box: Box, lump: Lump, *, share: float) -> Floats:
    """How far a clot pushes the tissue around it; ``share`` of its volume finds room so."""
    vectors, length, distance = _radial(host, box, lump)
    surface = np.maximum(length - distance, 0.3 * float(lump.radii_mm.min()))
    outside = np.maximum(length, surface)
    push = outside - np.cbrt(np.maximum(outside**3 - share * surface**3, 0.0))
    push *= np.minimum(length / surface, 1.0)
    edge = float(lump.radii_mm.max()) * 1.15
    push *= 1.0 - _smoothstep((length - edge) / (0.8 * edge))
    push *= _smoothstep(host.depth_mm[box] / _RIGID_MM)
    shift = vectors / np.maximum(length, 0.5) * push
    if host.spacing_mm[0] > _MOVE_ACROSS_MM:
        shift[0] = 0.0
    # Nothing may move at the box's border, beyond which nothing does.
    for axis in (1, 2):
        size = shift.shape[axis + 1]
        ramp = np.minimum(np.arange(size), np.arange(size)[::-1]) / 6.0
        shape = [1, 1, 1, 1]
        shape[axis + 1] = size
        shift *= np.clip(ramp, 0.0, 1.0).reshape(shape)
    out: Floats = shift.astype(np.float32)
    return out


def _oedema(
    host: Host,
    box: Box,
    lump: Lump,
    *,
    rim_mm: float,
    strength: float,
    side: float,
    rng: np.random.Generator,
) -> Edit:
    """The dark rim around a clot, wider here and narrower there; not in fluid."""
    _, _, distance = _radial(host, box, lump)
    uneven = 1.0 + 0.45 * smooth_field(rng, host, box, 14.0)
    fade = 1.0 - _smoothstep(distance / (rim_mm * np.clip(uneven, 0.25, 2.0)))
    brain = ndimage.gaussian_filter(
        (host.tissue[box] == Tissue.BRAIN).astype(np.float32), (0, 1.0, 1.0)
    )
    occupancy = strength * fade * brain * _room(host, box, side, depth_mm=3.0)
    return Edit(
        kind="oedema",
        bleed=False,
        box=box,
        occupancy=occupancy.astype(np.float32),
        target_hu=brain_hu(host) - _OEDEMA_BELOW_BRAIN_HU,
    )


def _smoothstep(t: Floats) -> Floats:
    t = np.clip(t, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _box_of(mask: NDArray[np.bool_], host: Host, *, margin_mm: float) -> Box | None:
    if not mask.any():
        return None
    bounds = []
    for axis in range(3):
        others = tuple(each for each in range(3) if each != axis)
        hit = np.flatnonzero(mask.any(axis=others))
        margin = 0 if axis == 0 else round(margin_mm / host.pixel_mm[axis - 1])
        bounds.append(
            slice(max(0, int(hit[0]) - margin), min(mask.shape[axis], int(hit[-1]) + 1 + margin))
        )
    return bounds[0], bounds[1], bounds[2]


def _levels(
    host: Host,
    rng: np.random.Generator,
    box: Box,
    fluid: Floats,
    amount: float,
    sides: tuple[int, ...],
) -> Floats:
    """0..1 where blood has settled: by side below a level, that fills a share of the room."""
    x = host.place[(0, *box)]
    back_mm = host.points_mm(box)[1]
    level = np.zeros(fluid.shape, np.float32)
    sharp = float(rng.uniform(0.7, 2.5))
    for side in sides:
        here = (x * side > -0.01) & (fluid > 0.3)
        if not here.any():
            continue
        depth = np.broadcast_to(back_mm, fluid.shape)[here]
        height = float(np.quantile(depth, 1.0 - amount * rng.uniform(0.6, 1.0)))
        level = np.maximum(
            level, np.where(x * side > -0.01, special.expit((back_mm - height) / sharp), 0.0)
        )
    return level.astype(np.float32)
