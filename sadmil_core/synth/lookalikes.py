"""What looks like blood and is none, in heads of both classes, as often as it occurs.

Prevalences: pineal calcification 71 %, choroid plexus 66 %, habenula 20 %, falx or tentorium 7 %;
the others are set so that a network meets them often enough to learn them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.synth import extraaxial, intraaxial
from sadmil_core.synth.contrast import enhanced
from sadmil_core.synth.host import HostUnfit
from sadmil_core.synth.intraaxial import brain_hu
from sadmil_core.synth.lesions import Edit
from sadmil_core.synth.postoperative import draw_craniotomy
from sadmil_core.synth.shapes import box_around, draw_lump, occupancy_of, smooth_field
from sadmil_core.synth.surface import edit_on, shell_of, window
from sadmil_core.synth.texture import smooth_keeping_edges
from sadmil_core.synth.tubes import tube

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sadmil_core.synth.host import Host

    Floats = NDArray[np.float32]
    Range = tuple[float, float]

Draw = Callable[["Host", np.random.Generator], list[Edit]]


def draw_pineal(host: Host, rng: np.random.Generator) -> list[Edit]:
    """A calcified pineal gland."""
    return _calcified(host, rng, (0.0, 0.05), (-0.3, -0.08), (0.42, 0.54), (0.01, 0.25), "pineal")


def draw_habenula(host: Host, rng: np.random.Generator) -> list[Edit]:
    """A calcified habenula, just in front of the pineal gland."""
    return _calcified(host, rng, (0.0, 0.04), (-0.16, 0.0), (0.43, 0.54), (0.005, 0.04), "habenula")


def draw_choroid(host: Host, rng: np.random.Generator) -> list[Edit]:
    """Calcified choroid plexus in the atria, most often on both sides."""
    both = rng.random() < 0.8
    sides = (-1.0, 1.0) if both else (float(rng.choice([-1.0, 1.0])),)
    edits: list[Edit] = []
    for side in sides:
        x, y, z = (0.2, 0.36), (-0.55, -0.3), (0.44, 0.58)
        edits += _calcified(host, rng, x, y, z, (0.02, 0.4), "choroid", side=side)
    return edits


def draw_ganglia(host: Host, rng: np.random.Generator) -> list[Edit]:
    """Calcified basal ganglia: faint, punctate, on both sides."""
    edits: list[Edit] = []
    for side in (-1.0, 1.0):
        for _ in range(int(rng.integers(1, 4))):
            x, y, z = (0.17, 0.32), (0.0, 0.25), (0.44, 0.56)
            hu = (65.0, 150.0)
            edits += _calcified(host, rng, x, y, z, (0.02, 0.25), "ganglia", side=side, hu=hu)
    return edits


def draw_falx_plaque(host: Host, rng: np.random.Generator) -> list[Edit]:
    """A plaque of calcium in the falx."""
    shell = shell_of(host)
    z = float(rng.uniform(0.6, 0.92))
    y = float(rng.uniform(-0.3, 0.8))
    length, height = float(rng.uniform(0.04, 0.18)), float(rng.uniform(0.02, 0.1))
    layer = np.float32(rng.uniform(1.0, 4.0)) * window(shell.y, y - length, y + length, 0.04)
    layer *= window(shell.z, z - height, z + height, 0.03)
    edge = np.float32(max(host.pixel_mm))
    share = np.clip((0.5 * layer - np.abs(shell.across_mm)) / edge + 0.5, 0.0, 1.0)
    share *= (layer > 0.3) & shell.inside
    return [edit_on(shell.box, share, float(rng.uniform(120.0, 420.0)), "falx plaque")]


def draw_dense_falx(host: Host, rng: np.random.Generator) -> list[Edit]:
    """A falx that stands out, thin and all along the midline."""
    shell = shell_of(host)
    width = float(rng.uniform(1.0, 2.4))
    edge = np.float32(max(host.pixel_mm))
    wander = np.float32(0.8) * smooth_field(rng, host, shell.box, 40.0)
    share = np.clip((0.5 * width - np.abs(shell.across_mm + wander)) / edge + 0.5, 0.0, 1.0)
    free = window(shell.z, 0.52, 1.2, 0.04) + window(np.abs(shell.y), 0.6, 1.2, 0.08)
    share = share * np.clip(free, 0.0, 1.0) * window(shell.z, 0.42, 1.2, 0.05) * shell.inside
    return [edit_on(shell.box, share, float(rng.uniform(44.0, 66.0)), "dense falx")]


def draw_dense_sinus(host: Host, rng: np.random.Generator) -> list[Edit]:
    """Dense venous blood: the superior sagittal sinus, and the transverse sinuses."""
    shell = shell_of(host)
    hu = float(rng.uniform(52.0, 72.0))
    behind = window(shell.y, -1.2, float(rng.uniform(-0.3, 0.2)), 0.1)
    half = np.float32(rng.uniform(2.5, 5.0)) * np.clip(1.2 - shell.depth_mm / 9.0, 0.0, 1.0)
    edge = np.float32(max(host.pixel_mm))
    sagittal = np.clip((half - np.abs(shell.across_mm)) / edge + 0.5, 0.0, 1.0)
    sagittal *= (half > 0.3) * behind * window(shell.z, 0.4, 1.2, 0.05)
    side = float(rng.choice([-1.0, 1.0]))
    low = float(rng.uniform(0.2, 0.3))
    stronger = np.where(side * shell.x > 0, 1.0, rng.uniform(0.3, 1.0))
    thick = np.float32(rng.uniform(4.0, 8.0)) * stronger
    transverse = np.clip((thick - shell.depth_mm) / edge + 0.5, 0.0, 1.0)
    transverse *= window(shell.z, low, low + rng.uniform(0.04, 0.08), 0.03)
    transverse *= window(shell.y, -1.1, -0.35, 0.1)
    share = np.maximum(sagittal, transverse) * shell.inside
    return [edit_on(shell.box, share.astype(np.float32), hu, "dense sinus")]


def draw_infarct(host: Host, rng: np.random.Generator) -> list[Edit]:
    """A dark territory: fresh and faint, or old and nearly fluid."""
    old = rng.random() < 0.4
    drawn = intraaxial.draw_retouch(host, rng, volume_ml=(3.0, 60.0))[0]
    smooth = smooth_keeping_edges(host.hu[drawn.box], host.noise_sd_hu)
    change = float(rng.uniform(-24.0, -14.0) if old else rng.uniform(-11.0, -4.0))
    target = np.where(smooth > 60.0, smooth, np.maximum(smooth + np.float32(change), 4.0))
    return [replace(drawn, kind="infarct", target_hu=target.astype(np.float32), shift_mm=None)]


def draw_hygroma(host: Host, rng: np.random.Generator) -> list[Edit]:
    """A subdural collection of fluid without blood, or widened outer spaces."""
    return [
        replace(edit, kind="hygroma", bleed=False, target_hu=float(rng.uniform(4.0, 14.0)))
        if edit.bleed
        else edit
        for edit in extraaxial.draw_subdural(host, rng, thick_mm=(2.5, 10.0))
    ]


def draw_catheter(host: Host, rng: np.random.Generator) -> list[Edit]:
    """A ventricular catheter from the vault towards a frontal horn."""
    shell = shell_of(host)
    side = float(rng.choice([-1.0, 1.0]))
    tip = (side * 0.08, 0.2, 0.52)
    entry = (side * rng.uniform(0.3, 0.55), rng.uniform(0.2, 0.6), rng.uniform(0.85, 1.0))
    share = tube(host, shell, (tip, entry), float(rng.uniform(0.9, 1.5)))
    return [edit_on(shell.box, share, float(rng.uniform(130.0, 600.0)), "catheter")]


def draw_contrast(host: Host, rng: np.random.Generator) -> list[Edit]:
    """Contrast medium in arteries, sinuses and choroid plexus."""
    shell, share, hu = enhanced(host, rng)
    return [edit_on(shell.box, share, hu, "contrast")]


def draw_streaks(host: Host, rng: np.random.Generator) -> list[Edit]:
    """Beam hardening between the petrous bones: bands and streaks of 5 to 15 HU.

    The change is laid into the posterior fossa as a whole, with the host's own texture.
    """
    shell = shell_of(host)
    strength = float(rng.uniform(3.0, 9.0))
    angle = rng.normal(0.0, 0.12, 3)
    pattern = np.zeros(shell.x.shape, np.float32)
    for turn in angle:
        u = shell.y * np.cos(turn) + shell.x * np.sin(turn)
        wave = rng.uniform(9.0, 28.0)
        pattern += np.sin(u * wave + rng.uniform(0, 2 * np.pi)).astype(np.float32)
    pattern *= strength / 2.2
    bar_at = float(rng.uniform(-0.2, 0.05))
    pattern -= np.float32(strength) * np.exp(-(((shell.y - bar_at) / 0.08) ** 2))
    fade = window(shell.z, 0.02, 0.28, 0.1) * window(shell.y, -0.8, 0.35, 0.2)
    target = host.hu[shell.box] + pattern * fade
    share = (fade > 0.05).astype(np.float32) * shell.inside * (host.hu[shell.box] < 90.0)
    return [edit_on(shell.box, share, target, "streaks")]


def draw_bloodless(host: Host, rng: np.random.Generator) -> list[Edit]:
    """The outline of a bleed around the brain, filled with what was there: no blood at all.

    As :func:`~sadmil_core.synth.intraaxial.draw_retouch` for bleeds within it.
    """
    draw = (extraaxial.draw_subdural, extraaxial.draw_epidural)[int(rng.random() < 0.3)]
    edit = draw(host, rng)[0]
    level = brain_hu(host) + float(rng.uniform(-14.0, 4.0))
    smooth = smooth_keeping_edges(host.hu[edit.box], host.noise_sd_hu)
    target = np.minimum(smooth, np.float32(level + 4.0))
    return [replace(edit, kind="retouch", bleed=False, target_hu=target.astype(np.float32))]


LOOK_ALIKES: Mapping[str, tuple[float, Draw]] = {
    "pineal": (0.71, draw_pineal),
    "choroid": (0.66, draw_choroid),
    "habenula": (0.20, draw_habenula),
    "falx plaque": (0.07, draw_falx_plaque),
    "ganglia": (0.10, draw_ganglia),
    "dense falx": (0.20, draw_dense_falx),
    "dense sinus": (0.25, draw_dense_sinus),
    "infarct": (0.15, draw_infarct),
    "hygroma": (0.12, draw_hygroma),
    "catheter": (0.03, draw_catheter),
    "craniotomy": (0.08, draw_craniotomy),
    "contrast": (0.08, draw_contrast),
    "streaks": (0.30, draw_streaks),
    "bloodless": (0.25, draw_bloodless),
    "retouch": (0.35, intraaxial.draw_retouch),
}
"""By name, how often a head has it, and how it is drawn."""


def _calcified(
    host: Host,
    rng: np.random.Generator,
    x: Range,
    y: Range,
    z: Range,
    volume_ml: Range,
    kind: str,
    *,
    side: float = 0.0,
    hu: Range = (90.0, 380.0),
) -> list[Edit]:
    px, py, pz = host.place[:, :, ::2, ::2]
    across = np.abs(px) if side == 0 else side * px
    fit = host.intracranial[:, ::2, ::2] & (across >= x[0]) & (across <= x[1])
    fit &= (py >= y[0]) & (py <= y[1]) & (pz >= z[0]) & (pz <= z[1])
    found = np.flatnonzero(fit)
    if not found.size:
        raise HostUnfit(f"the place of the {kind} is not in view")
    at = np.unravel_index(int(rng.choice(found)), fit.shape)
    index = tuple(slice(int(i) * f, int(i) * f + 1) for i, f in zip(at, (1, 2, 2), strict=True))
    centre = np.array([axis.item() for axis in host.points_mm(index)])  # type: ignore[arg-type]
    volume = float(np.exp(rng.uniform(*np.log(volume_ml))))
    lump = draw_lump(rng, centre, volume_ml=volume, longest=2.0, rough=0.2)
    box = box_around(host, centre, lump.reach_mm + 1.0)
    share = occupancy_of(host, lump, box) * host.intracranial[box]
    return [
        Edit(
            kind=kind,
            bleed=False,
            box=box,
            occupancy=share.astype(np.float32),
            target_hu=float(rng.uniform(*hu)),
        )
    ]
