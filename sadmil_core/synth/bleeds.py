"""Made-up intracranial bleeds, painted into a slab, each with its mask."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.synth.brain import CSF_HU, ventricle_shapes
from sadmil_core.synth.fields import Ball, Floats, occupancy

if TYPE_CHECKING:
    from sadmil_core.synth.anatomy import HeadTraits
    from sadmil_core.synth.fields import Point, Slab


class BleedKind(Enum):
    """The kinds of intracranial hemorrhage the phantom knows."""

    INTRAPARENCHYMAL = "intraparenchymal"
    SUBDURAL = "subdural"
    EPIDURAL = "epidural"
    INTRAVENTRICULAR = "intraventricular"
    SUBARACHNOID = "subarachnoid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bleed:
    """One bleed, fully determined.

    Attributes:
        kind: What it is.
        centre: Where it is, anatomical mm.
        radii: Half-axes of its extent, mm.
        turn: Rotation about z, radians.
        clot_hu: Density of the clot, HU.
        rough: How irregular its surface is, mm.
        rim_mm: Width of the oedema around it, mm; 0 for none.
        thick_mm: Greatest thickness of a subdural or epidural collection, mm.
        level_mm: Anatomical y of the blood-fluid level in the ventricles, mm; above (in front)
            there is clear fluid. Not a number where the ventricles hold no blood.
    """

    kind: BleedKind
    centre: Point
    radii: Point
    turn: float = 0.0
    clot_hu: float = 65.0
    rough: float = 1.5
    rim_mm: float = 0.0
    thick_mm: float = 0.0
    level_mm: float = float("nan")


_SITES: tuple[tuple[Point, float], ...] = (
    ((27, -8, 18), 0.32),  # basal ganglia
    ((14, 5, 18), 0.14),  # thalamus
    ((40, -42, 30), 0.12),  # frontal lobe
    ((44, 30, 42), 0.16),  # parietal lobe
    ((46, 2, -2), 0.12),  # temporal lobe
    ((26, 46, -14), 0.09),  # cerebellum
    ((28, 58, 22), 0.05),  # occipital lobe
)


def draw_bleed(rng: np.random.Generator, kind: BleedKind) -> Bleed:
    """Draws a bleed of a kind: where, how large, how dense."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    clot = float(rng.uniform(56.0, 74.0))
    if kind is BleedKind.INTRAPARENCHYMAL:
        return _draw_clot(rng, side, clot)
    if kind in (BleedKind.SUBDURAL, BleedKind.EPIDURAL):
        return _draw_collection(rng, kind, side, clot)
    if kind is BleedKind.INTRAVENTRICULAR:
        return Bleed(
            kind=kind,
            centre=(0.0, 30.0, 22.0),
            radii=(60.0, 60.0, 40.0),
            clot_hu=min(clot, 68.0),
            level_mm=float(rng.uniform(8.0, 34.0)),
        )
    centre = (side * rng.uniform(5, 45), float(rng.uniform(-30, 5)), float(rng.uniform(4, 28)))
    return Bleed(
        kind=kind,
        centre=centre,
        radii=(34.0, 34.0, float(rng.uniform(15, 26))),
        clot_hu=float(rng.uniform(50.0, 65.0)),
    )


def _draw_clot(rng: np.random.Generator, side: float, clot: float) -> Bleed:
    chances = np.array([chance for _, chance in _SITES])
    site = _SITES[int(rng.choice(len(_SITES), p=chances / chances.sum()))][0]
    millilitres = float(np.clip(np.exp(rng.normal(2.8, 0.6)), 5.0, 48.0))
    deep = site[0] < 20 or site[2] < -5
    r = (min(millilitres, 14.0) if deep else millilitres) * 1000.0 * 3.0 / (4.0 * np.pi)
    r = float(r ** (1 / 3))
    a, b = float(rng.uniform(0.75, 1.0)), float(rng.uniform(1.0, 1.3))
    centre = (
        side * (site[0] + float(rng.normal(0, 2.5))),
        site[1] + float(rng.normal(0, 4.0)),
        site[2] + float(rng.normal(0, 4.0)),
    )
    into_ventricles = deep and site[2] > 0 and rng.random() < 0.5
    return Bleed(
        kind=BleedKind.INTRAPARENCHYMAL,
        centre=centre,
        radii=(r * a, r * b, r / (a * b)),
        turn=-side * float(rng.uniform(-0.4, 0.4)),
        clot_hu=clot,
        rough=float(rng.uniform(0.10, 0.19)) * r,
        rim_mm=float(rng.uniform(2.0, 6.0)),
        level_mm=float(rng.uniform(26.0, 40.0)) if into_ventricles else float("nan"),
    )


def _draw_collection(rng: np.random.Generator, kind: BleedKind, side: float, clot: float) -> Bleed:
    angle = float(rng.uniform(-0.9, 0.9))
    lens = kind is BleedKind.EPIDURAL
    centre = (
        side * 64.0 * float(np.cos(angle)),
        82.0 * float(np.sin(angle)),
        float(rng.uniform(6.0, 58.0)),
    )
    wide = float(rng.uniform(24, 36) if lens else rng.uniform(50, 75))
    return Bleed(
        kind=kind,
        centre=centre,
        radii=(wide, wide, float(rng.uniform(16.0, 26.0))),
        clot_hu=clot,
        thick_mm=float(rng.uniform(9, 18) if lens else rng.uniform(4.5, 11)),
    )


def paint_bleed(slab: Slab, bleed: Bleed, traits: HeadTraits) -> Floats:
    """Paints a bleed over the finished brain.

    Args:
        slab: Thin samples with all anatomy painted and the cavity fields present.
        bleed: What to paint.
        traits: The head, for its ventricles.

    Returns:
        Share of blood in every sample, 0 to 1.
    """
    blood: Floats = np.zeros_like(slab.hu)
    if bleed.kind is BleedKind.INTRAPARENCHYMAL:
        _paint_clot(slab, bleed, blood)
    elif bleed.kind in (BleedKind.SUBDURAL, BleedKind.EPIDURAL):
        _paint_collection(slab, bleed, blood)
    elif bleed.kind is BleedKind.SUBARACHNOID:
        _paint_subarachnoid(slab, bleed, blood)
    if np.isfinite(bleed.level_mm):
        _paint_level(slab, bleed, traits, blood)
    return blood


def _cover(slab: Slab, blood: Floats, share: Floats, hu: Floats | float) -> None:
    slab.blend(share, hu)
    np.maximum(blood, share, out=blood)


def _paint_clot(slab: Slab, bleed: Bleed, blood: Floats) -> None:
    ball = Ball(c=bleed.centre, r=bleed.radii, turn=bleed.turn)
    reach = 3.0 * bleed.rough + bleed.rim_mm + 2.0
    low, high = ball.bounds()
    box = (
        (low[0] - reach, low[1] - reach, low[2] - reach),
        (high[0] + reach, high[1] + reach, high[2] + reach),
    )
    window = slab.window(*box)
    if window is None:
        return
    lumps, grain = slab.extra["lumps"][window], slab.extra["grain"][window]
    d = ball.distance(slab.x[window], slab.y[window], slab.z[window])
    d = d + bleed.rough * (lumps + 0.35 * grain)
    inside = np.clip(slab.extra["brain"][window] / slab.edge + 0.5, 0.0, 1.0)
    target = slab.hu[window]
    # Oedema spreads along the white matter, so its rim is uneven; it never lightens fluid.
    rim = np.clip(0.5 - (d - bleed.rim_mm * (1.0 + 0.5 * lumps)) / 2.0, 0.0, 1.0)
    target += 0.75 * rim * inside * np.minimum(15.0 - target, 0.0)
    share = occupancy(d.astype(np.float32), slab.edge) * inside
    layered = bleed.clot_hu + 3.5 * grain + 2.0 * np.clip(-d / 8.0, 0.0, 1.0)
    target += share * (layered - target)
    np.maximum(blood[window], share, out=blood[window])


def _paint_collection(slab: Slab, bleed: Bleed, blood: Floats) -> None:
    x, y, z = (p - c for p, c in zip((slab.x, slab.y, slab.z), bleed.centre, strict=True))
    along = np.sqrt(x * x + y * y) / bleed.radii[0]
    radius = np.sqrt(along**2 + (z / bleed.radii[2]) ** 2)
    if bleed.kind is BleedKind.EPIDURAL:
        profile = np.sqrt(np.clip(1.0 - radius**2, 0.0, 1.0))
    else:
        profile = np.clip(1.35 * (1.0 - radius**3), 0.0, 1.0)
    thick = bleed.thick_mm * profile + 0.4 * slab.extra["lumps"] * profile
    depth = -slab.extra["vault"]
    share = np.clip(0.5 + (thick - depth) / slab.edge, 0.0, 1.0) * (profile > 0.02)
    share *= np.clip(0.5 + slab.extra["depth"] / slab.edge, 0.0, 1.0)
    # Neither crosses the falx, nor does it pass under the tentorium.
    share = share * (np.sign(slab.x) == np.sign(bleed.centre[0])) * (1.0 - slab.extra["infra"])
    hu = bleed.clot_hu + 2.5 * slab.extra["grain"]
    _cover(slab, blood, share.astype(np.float32), hu.astype(np.float32))


def _paint_subarachnoid(slab: Slab, bleed: Bleed, blood: Floats) -> None:
    d = Ball(c=bleed.centre, r=bleed.radii).distance(slab.x, slab.y, slab.z)
    near = np.clip(0.5 - (d + 4.0 * slab.extra["lumps"]) / 10.0, 0.0, 1.0)
    fluid = np.clip((27.0 - slab.hu) / (27.0 - CSF_HU), 0.0, 1.0)
    fluid *= np.clip(0.5 + slab.extra["depth"] / slab.edge, 0.0, 1.0)
    share = near * np.minimum(1.0, 1.5 * fluid)
    _cover(slab, blood, share.astype(np.float32), bleed.clot_hu)


def _paint_level(slab: Slab, bleed: Bleed, traits: HeadTraits, blood: Floats) -> None:
    one_sided = bleed.kind is BleedKind.INTRAPARENCHYMAL
    for shape in ventricle_shapes(traits):
        low, high = shape.bounds()
        if high[1] < bleed.level_mm or (one_sided and high[0] * bleed.centre[0] < 0.0):
            continue
        window = slab.window(low, high)
        if window is None:
            continue
        sunk = np.clip(0.5 + (slab.y[window] - bleed.level_mm) / 1.5, 0.0, 1.0)
        share = slab.inside(shape, window) * sunk
        target = slab.hu[window]
        # Calcified choroid plexus stays what it is.
        target += share * np.maximum(np.float32(bleed.clot_hu) - target, 0.0)
        np.maximum(blood[window], share, out=blood[window])
