"""Bleeds around the brain: epidural, subdural and subarachnoid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from sadmil_core.synth.host import HostUnfit, Tissue
from sadmil_core.synth.intraaxial import FLUID_HU, brain_hu
from sadmil_core.synth.shapes import smooth_field
from sadmil_core.synth.surface import (
    HEIGHT_MM,
    Shell,
    edit_on,
    push_across,
    push_inwards,
    shell_of,
    window,
)
from sadmil_core.synth.texture import smooth_keeping_edges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.synth.host import Host
    from sadmil_core.synth.lesions import Edit

    Floats = NDArray[np.float32]
    Range = tuple[float, float]

_FALX_MM = 2.5  # what lies nearer to the midplane belongs to the falx
_LEAST_ML = 0.3
_TIGHT_MM, _MOST_SHIFT_MM = 5.0, 11.0  # from this thickness on sulci close and the midline shifts
_RIM_MM = 0.6  # dura and partial volume stay between bone and blood


def draw_epidural(
    host: Host,
    rng: np.random.Generator,
    *,
    thick_mm: Range = (5.0, 25.0),
    hu: Range = (52.0, 78.0),
    extent_mm: float = 45.0,
) -> list[Edit]:
    """Draws a lens between bone and dura: biconvex, sharp, within one bone of the vault.

    Args:
        host: The head.
        rng: Source of randomness.
        thick_mm: Range of its greatest thickness.
        hu: Range of its density.
        extent_mm: About how high it is.

    Raises:
        HostUnfit: The head shows too little of the vault.
    """
    shell = shell_of(host)
    side = float(rng.choice([-1.0, 1.0]))
    # Temporal and parietal most often, then frontal, occipital and the posterior fossa.
    place = rng.choice(4, p=[0.62, 0.18, 0.12, 0.08])
    angle, z = (
        (rng.uniform(1.1, 2.0), rng.uniform(0.32, 0.68)),
        (rng.uniform(0.25, 0.8), rng.uniform(0.42, 0.75)),
        (rng.uniform(2.3, 2.8), rng.uniform(0.42, 0.75)),
        (rng.uniform(2.3, 2.8), rng.uniform(0.15, 0.28)),
    )[place]
    centre = _surface_point(host, rng, shell, side * angle, z)
    radius = float(np.clip(0.5 * extent_mm * rng.uniform(0.85, 1.2), 12.0, 42.0))
    thick = float(np.clip(rng.uniform(*thick_mm), thick_mm[0], 0.75 * radius))
    points = np.stack(np.broadcast_arrays(*host.points_mm(shell.box)))
    away2 = ((points - centre[:, None, None, None]) ** 2).sum(axis=0)
    along2 = np.maximum(away2 - shell.depth_mm**2, 0.0)
    layer = np.float32(thick) * (1.0 - along2 / np.float32(radius**2))
    layer = np.where(away2 < (1.6 * radius) ** 2, layer, 0.0)
    layer *= window(side * shell.across_mm, _FALX_MM, 200.0, 1.5)
    return _collection(
        host,
        rng,
        shell,
        np.maximum(layer, 0.0).astype(np.float32),
        kind="epidural",
        density=_mixed(host, rng, shell, hu, swirls=0.3),
        give=float(rng.uniform(0.4, 0.8)),
    )


def draw_subdural(
    host: Host,
    rng: np.random.Generator,
    *,
    thick_mm: Range = (3.0, 15.0),
    extent_mm: float = 60.0,
) -> list[Edit]:
    """Draws a crescent over a hemisphere, or a sheet along falx or tentorium.

    Acute ones (50 to 80 HU) are most frequent; subacute, mixed and chronic ones with a layer of
    fresh blood at the back occur. One that holds no fresh blood is a bleed all the same.

    Args:
        host: The head.
        rng: Source of randomness.
        thick_mm: Range of its greatest thickness.
        extent_mm: About how high it is.

    Raises:
        HostUnfit: The head shows too little of the vault.
    """
    where = rng.random()
    if where < 0.13:
        return draw_falcine(host, rng, extent_mm=extent_mm)
    if where < 0.22:
        return draw_tentorial(host, rng)
    shell = shell_of(host)
    side = float(rng.choice([-1.0, 1.0]))
    thick = float(np.exp(rng.uniform(*np.log(thick_mm))))
    middle = side * float(rng.uniform(0.9, 2.2))
    half_angle = float(rng.uniform(0.45, 1.25))
    half_height = 0.5 * float(np.clip(extent_mm, 10.0, 120.0)) / HEIGHT_MM
    z = float(rng.uniform(0.42 + 0.5 * half_height, 0.85))
    turn = np.abs(np.angle(np.exp(1j * (shell.angle - middle)))) / half_angle
    rise = np.abs(shell.z - z) / max(half_height, 0.03)
    # A crescent: flat over most of its length, pointed at its ends.
    profile = np.sqrt(np.clip(1.0 - turn**2, 0.0, 1.0) * np.clip(1.0 - rise**2, 0.0, 1.0))
    uneven = 1.0 + 0.18 * smooth_field(rng, host, shell.box, 25.0)
    layer = np.float32(thick) * profile * np.clip(uneven, 0.4, 1.6)
    layer *= window(side * shell.across_mm, _FALX_MM, 200.0, 3.0)
    layer *= window(shell.z, 0.3, 2.0, 0.04)  # above the tentorium
    return _collection(
        host,
        rng,
        shell,
        layer.astype(np.float32),
        kind="subdural",
        density=_aged(host, rng, shell),
        give=float(rng.uniform(0.3, 0.8)),
    )


def draw_falcine(
    host: Host, rng: np.random.Generator, *, extent_mm: float = 40.0, thick_mm: Range = (2.0, 6.0)
) -> list[Edit]:
    """Draws a subdural sheet along one side of the falx.

    Raises:
        HostUnfit: The head shows too little of the falx.
    """
    shell = shell_of(host)
    side = float(rng.choice([-1.0, 1.0]))
    thick = float(rng.uniform(*thick_mm))
    half_height = 0.5 * extent_mm / HEIGHT_MM
    z = float(rng.uniform(0.6, 0.85))
    behind = rng.random() < 0.65
    y = (-0.95, float(rng.uniform(-0.35, 0.1))) if behind else (float(rng.uniform(-0.1, 0.3)), 0.95)
    layer = np.float32(thick) * window(shell.y, *y, 0.15)
    layer *= window(shell.z, z - half_height, min(z + half_height, 1.1), 0.05)
    layer *= np.clip(1.0 + 0.25 * smooth_field(rng, host, shell.box, 18.0), 0.3, 1.7)
    free = window(shell.z, 0.5, 2.0, 0.04) + window(np.abs(shell.y), 0.55, 2.0, 0.08)
    layer *= np.clip(free, 0.0, 1.0)  # the corpus callosum lies between
    from_falx = side * shell.across_mm - np.float32(rng.uniform(0.0, 0.8))
    share = _between(host, from_falx, layer) * _inside(shell)
    hu = float(rng.uniform(52.0, 76.0))
    return [_edit(host, shell, "subdural", share, np.full(share.shape, hu, np.float32))]


def draw_tentorial(
    host: Host, rng: np.random.Generator, *, thick_mm: Range = (1.5, 4.0)
) -> list[Edit]:
    """Draws a subdural sheet on one side of the tentorium.

    Raises:
        HostUnfit: The head shows too little of it.
    """
    shell = shell_of(host)
    side = float(rng.choice([-1.0, 1.0]))
    # A tent: highest at the midline in front, falling to the sides and to the back.
    ridge = float(rng.uniform(0.38, 0.44))
    surface = (
        ridge - 0.15 * np.clip(np.abs(shell.x), 0.0, 1.0) - 0.10 * np.clip(-shell.y - 0.2, 0.0, 1.0)
    )
    height_mm = (shell.z - surface) * np.float32(HEIGHT_MM)
    thick = float(rng.uniform(*thick_mm))
    layer = np.float32(thick) * window(shell.y, -0.95, float(rng.uniform(-0.25, -0.05)), 0.1)
    layer *= window(side * shell.x, 0.03, float(rng.uniform(0.4, 0.9)), 0.1)
    layer *= np.clip(1.0 + 0.3 * smooth_field(rng, host, shell.box, 14.0), 0.2, 1.8)
    # Seen through a thick slice, the sloping sheet is as wide as the slice is thick.
    blur = max(host.thickness_mm, host.spacing_mm[0])
    share = np.clip((layer + blur - 2 * np.abs(height_mm)) / np.float32(blur), 0.0, 1.0)
    share *= np.clip(1.6 * layer / (layer + 0.5 * blur), 0.0, 1.0)  # mixed with brain
    share = (share * (layer > 0.3) * _inside(shell)).astype(np.float32)
    hu = float(rng.uniform(52.0, 74.0))
    return [_edit(host, shell, "subdural", share, np.full(share.shape, hu, np.float32))]


def draw_subarachnoid(
    host: Host,
    rng: np.random.Generator,
    *,
    hu: Range = (45.0, 68.0),
    thick_mm: Range = (1.0, 4.0),
    extent_mm: float = 40.0,
    beside: Edit | None = None,
) -> list[Edit]:
    """Draws blood in sulci and cisterns: in the fluid that is there, and in sulci drawn anew.

    Over the convexity, in one Sylvian fissure, or in the basal cisterns and both fissures; or
    around another bleed.

    Args:
        host: The head.
        rng: Source of randomness.
        hu: Range of its density.
        thick_mm: Range of the width of a filled sulcus.
        extent_mm: About how high it is, over the convexity.
        beside: Another bleed, about which it lies.

    Raises:
        HostUnfit: There is no room for it.
    """
    shell = shell_of(host)
    side = float(rng.choice([-1.0, 1.0]))
    form = rng.random()
    if beside is not None:
        region, sulci = _around(host, rng, shell, beside), True
    elif form < 0.55:
        region, sulci = _convexity(rng, shell, side, extent_mm), True
    elif form < 0.75:
        region, sulci = _sylvian(shell, side), True
    else:
        region = np.maximum(_cisterns(shell), _sylvian(shell, side))
        if rng.random() < 0.7:
            region = np.maximum(region, _sylvian(shell, -side))
        sulci = rng.random() < 0.5
    patchy = np.clip(0.75 + 0.6 * smooth_field(rng, host, shell.box, 14.0), 0.0, 1.0)
    smooth = smooth_keeping_edges(host.hu[shell.box], host.noise_sd_hu, radius=1)
    brain = brain_hu(host)
    not_ventricle = host.tissue[shell.box] != Tissue.VENTRICLE
    fluid = np.clip((brain - smooth - 4.0) / (brain - FLUID_HU), 0.0, 1.0) * not_ventricle
    share = fluid * np.clip(1.4 * region * patchy, 0.0, 1.0)
    if sulci:
        width = float(rng.uniform(*thick_mm)) * 0.7
        share = np.maximum(share, _sulci(host, rng, shell, width) * region * patchy)
    share = (share * _inside(shell) * not_ventricle).astype(np.float32)
    density = np.float32(rng.uniform(*hu)) + 3.0 * smooth_field(rng, host, shell.box, 8.0)
    # The fluid that is still in a mixed voxel has to go, too.
    clear = np.minimum(smooth, brain)
    share = np.clip(share * (density - FLUID_HU) / np.maximum(density - clear, 10.0), 0.0, 1.0)
    return [_edit(host, shell, "subarachnoid", share.astype(np.float32), density)]


def _surface_point(
    host: Host, rng: np.random.Generator, shell: Shell, angle: float, z: float
) -> NDArray[np.float32]:
    off = np.abs(np.angle(np.exp(1j * (shell.angle - angle))))
    near = shell.inside & (shell.depth_mm < 2.5) & (off < 0.15) & (np.abs(shell.z - z) < 0.08)
    found = np.flatnonzero(near)
    if not found.size:
        raise HostUnfit("the inner table is not in view where the lesion would lie")
    at = np.unravel_index(int(rng.choice(found)), near.shape)
    points = np.broadcast_arrays(*host.points_mm(shell.box))
    return np.array([axis[at] for axis in points], np.float32)


def _inside(shell: Shell) -> Floats:
    """Intracranial, and not in the dura next to the bone."""
    out: Floats = np.clip(shell.depth_mm / np.float32(_RIM_MM), 0.0, 1.0) * shell.inside
    return out


def _between(host: Host, distance_mm: Floats, thick_mm: Floats) -> Floats:
    """The share of a voxel that lies between 0 and a thickness."""
    edge = np.float32(max(host.pixel_mm))
    inner = np.clip((thick_mm - distance_mm) / edge + 0.5, 0.0, 1.0)
    outer = np.clip(distance_mm / edge + 0.5, 0.0, 1.0)
    out: Floats = (inner * outer * (thick_mm > 0.3)).astype(np.float32)
    return out


def _collection(
    host: Host,
    rng: np.random.Generator,
    shell: Shell,
    layer_mm: Floats,
    *,
    kind: str,
    density: Floats,
    give: float,
) -> list[Edit]:
    """A layer between bone and brain, which gives way: sulci close, and the midline shifts."""
    share = _between(host, shell.depth_mm, layer_mm) * shell.inside
    shift = None
    thickest = float(layer_mm.max())
    if thickest > 3.0:
        reach = float(max(1.8 * thickest, 14.0) * rng.uniform(0.9, 1.4))
        shift = push_inwards(host, shell, layer_mm, give, reach)
    edits = [_edit(host, shell, kind, share, density, shift)]
    if thickest > _TIGHT_MM:
        heavy = layer_mm * share
        side = float(np.sign((heavy * shell.x).sum()))
        height = float((heavy * shell.z).sum() / max(float(heavy.sum()), 1e-6))
        amount = min(float(rng.uniform(0.1, 0.9)) * (thickest - 3.0), _MOST_SHIFT_MM)
        below = np.maximum(shell.depth_mm - layer_mm, 0.0)
        shift = push_across(host, shell, below, side=side, amount_mm=amount, z=height)
        edits += _effaced(host, rng, shell, layer_mm, shift)
    return edits


def _effaced(
    host: Host, rng: np.random.Generator, shell: Shell, layer_mm: Floats, shift: Floats
) -> list[Edit]:
    """Sulci below a layer, closed, and the brain moved."""
    smooth = smooth_keeping_edges(host.hu[shell.box], host.noise_sd_hu, radius=1)
    brain = brain_hu(host)
    fluid = np.clip(2.0 * (brain - smooth - 4.0) / (brain - FLUID_HU), 0.0, 1.0)
    fluid *= host.tissue[shell.box] != Tissue.VENTRICLE
    reach = np.clip((layer_mm + 24.0 - shell.depth_mm) / 8.0, 0.0, 1.0)
    region = np.clip(layer_mm / 2.0, 0.0, 1.0) * reach * _inside(shell)
    share = (np.float32(rng.uniform(0.3, 1.0)) * fluid * region).astype(np.float32)
    try:
        return [edit_on(shell.box, share, brain, "effacement", shift_mm=shift)]
    except HostUnfit:
        return []


def _edit(
    host: Host,
    shell: Shell,
    kind: str,
    share: Floats,
    density: Floats,
    shift: Floats | None = None,
) -> Edit:
    voxel_ml = float(np.prod(host.spacing_mm)) / 1000
    if float(share[share >= 0.5].sum()) * voxel_ml < _LEAST_ML:
        raise HostUnfit("there is too little room for the lesion where it would lie")
    return edit_on(shell.box, share, density, kind, bleed=True, shift_mm=shift)


def _mixed(
    host: Host, rng: np.random.Generator, shell: Shell, hu: Range, *, swirls: float
) -> Floats:
    """Fresh blood, sometimes with swirls that have not clotted yet."""
    density = np.float32(rng.uniform(*hu)) + np.float32(2.5) * smooth_field(
        rng, host, shell.box, 9.0
    )
    if rng.random() < swirls:
        swirl = smooth_field(rng, host, shell.box, 7.0)
        density -= np.float32(rng.uniform(8.0, 22.0)) * np.clip(1.6 * swirl - 0.4, 0.0, 1.0)
    out: Floats = density.astype(np.float32)
    return out


def _aged(host: Host, rng: np.random.Generator, shell: Shell) -> Floats:
    """Acute, subacute, mixed or chronic with fresh blood that has settled at the back."""
    age = rng.random()
    if age < 0.62:
        return _mixed(host, rng, shell, (50.0, 78.0), swirls=0.2)
    if age < 0.74:  # subacute: hardly denser than brain
        return _mixed(host, rng, shell, (38.0, 48.0), swirls=0.2)
    old = float(rng.uniform(16.0, 30.0))
    fresh = float(rng.uniform(48.0, 70.0))
    if age < 0.88:  # settled: dense at the back, where the patient lies on it
        level = float(rng.uniform(-0.6, 0.0))
        part = 1.0 / (1.0 + np.exp((shell.y - level) / 0.07))
    else:  # rebled: patches
        part = np.clip(0.5 + 0.9 * smooth_field(rng, host, shell.box, 12.0), 0.0, 1.0)
    out: Floats = (old + (fresh - old) * part).astype(np.float32)
    return out


def _convexity(rng: np.random.Generator, shell: Shell, side: float, extent_mm: float) -> Floats:
    middle = side * float(rng.uniform(0.4, 2.6))
    half_angle = float(rng.uniform(0.25, 0.9))
    half_height = 0.5 * float(np.clip(extent_mm, 8.0, 90.0)) / HEIGHT_MM
    z = float(rng.uniform(0.5, 0.9))
    turn = np.abs(np.angle(np.exp(1j * (shell.angle - middle)))).astype(np.float32)
    region = window(turn, -1.0, half_angle, 0.15) * window(
        shell.z, z - half_height, z + half_height, 0.05
    )
    region *= window(side * shell.across_mm, 2.0, 200.0, 2.0)
    out: Floats = region * np.clip(1.6 - shell.depth_mm / 14.0, 0.0, 1.0)
    return out


def _around(host: Host, rng: np.random.Generator, shell: Shell, bleed: Edit) -> Floats:
    """Towards the surface next to another bleed."""
    blood = np.zeros(host.hu.shape, np.bool_)
    blood[bleed.box] = bleed.occupancy > 0.5
    away = ndimage.distance_transform_edt(~blood[shell.box], sampling=host.spacing_mm)
    region = np.exp(-away / np.float32(rng.uniform(6.0, 16.0)))
    out: Floats = (region * np.clip(1.8 - shell.depth_mm / 12.0, 0.0, 1.0)).astype(np.float32)
    return out


def _sylvian(shell: Shell, side: float) -> Floats:
    across = side * shell.x
    region = window(across, 0.42, 0.95, 0.1) * window(shell.y, -0.15, 0.45, 0.12)
    out: Floats = region * window(shell.z, 0.34, 0.54, 0.05)
    return out


def _cisterns(shell: Shell) -> Floats:
    region = window(np.abs(shell.x), -1.0, 0.36, 0.08) * window(shell.y, -0.4, 0.35, 0.1)
    out: Floats = region * window(shell.z, 0.18, 0.37, 0.05)
    return out


def _sulci(host: Host, rng: np.random.Generator, shell: Shell, width_mm: float) -> Floats:
    """Curved sheets from the surface inwards, as sulci are; and a film below the skull."""
    field = smooth_field(rng, host, shell.box, 17.0)
    # Sulci run inwards: the field is made to vary less with depth than along the surface.
    deep = np.clip(shell.depth_mm / 12.0, 0.0, 1.5)
    field = field + 0.35 * smooth_field(rng, host, shell.box, 7.0) * deep
    slope = np.sqrt(
        np.gradient(field, host.pixel_mm[0], axis=1) ** 2
        + np.gradient(field, host.pixel_mm[1], axis=2) ** 2
    )
    distance = np.abs(field) / np.maximum(slope, 0.015)
    edge = np.float32(max(host.pixel_mm))
    sheets = np.clip((0.5 * width_mm - distance) / edge + 0.5, 0.0, 1.0)
    sheets *= np.clip((rng.uniform(9.0, 16.0) - shell.depth_mm) / 3.0, 0.0, 1.0)
    film = np.clip((0.5 * width_mm - shell.depth_mm) / edge + 0.5, 0.0, 1.0)
    out: Floats = np.maximum(sheets, 0.8 * film).astype(np.float32)
    return out
