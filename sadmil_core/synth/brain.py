"""The content of the cranial cavity: fluid, cortex, white matter, nuclei, cerebellum, membranes."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.synth.fields import Ball, Floats, Shape, Tube, occupancy, sheet_occupancy

if TYPE_CHECKING:
    from sadmil_core.synth.anatomy import HeadTraits
    from sadmil_core.synth.fields import Slab

CSF_HU = 7.0
_WHITE_HU = 28.5
_RIBBON_MM = 2.9

_DEEP_GREY: tuple[Shape, ...] = (
    Ball(c=(13, -25, 22), r=(5.5, 10, 9), turn=0.25),  # head of the caudate nucleus
    Tube(a=(15, -18, 31), b=(19, 8, 34), ra=3.0, rb=2.0),  # its body
    Ball(c=(11, 4, 19), r=(7.5, 14, 9), turn=-0.35),  # thalamus
    Ball(c=(25, -9, 16), r=(6.5, 16, 9.5), turn=-0.12),  # lentiform nucleus
    Ball(c=(36.5, -4, 16), r=(2.0, 20, 12), turn=0.05),  # insular cortex
    Ball(c=(24, -8, -7), r=(7, 9, 7)),  # amygdala and hippocampal head
)

# Basal cisterns; the brainstem is painted back into them.
_CISTERNS: tuple[tuple[Shape, bool], ...] = (
    (Ball(c=(0, -13, 5), r=(12, 8, 5.5)), False),
    (Tube(a=(8, -14, 5), b=(27, -21, 7), ra=2.6, rb=2.0, tall=1.5), True),
    (Tube(a=(0, -16, 5), b=(0, -34, 5), ra=1.7, rb=1.1, tall=2), False),
    (Ball(c=(0, 5, 7), r=(18.0, 15.5, 8)), False),
    (Ball(c=(0, 20.5, 10), r=(8, 3.5, 5)), False),
    (Tube(a=(0, 1, -8), b=(0, 8, -30), ra=5, rb=6), False),
    (Tube(a=(6, 4, -14), b=(20, 13, -14), ra=3, rb=2.5, tall=2), True),
    (Ball(c=(0, 24, -38), r=(12, 14, 6)), False),
    (Ball(c=(0, 44, -33), r=(7, 6, 5)), False),
    (Tube(a=(0, 26, -44), b=(0, 28, -80), ra=11, rb=10.5), False),
)

_BRAINSTEM: tuple[Shape, ...] = (
    Ball(c=(8.5, 1, 7), r=(8, 11, 11), turn=-0.45),
    Ball(c=(-8.5, 1, 7), r=(8, 11, 11), turn=0.45),
    Ball(c=(0, 9, 7), r=(12.5, 8.5, 11)),
    Ball(c=(0, 10, -11), r=(17, 12, 13)),
    Tube(a=(0, 14, -18), b=(0, 23, -38), ra=10.5, rb=8.0),
    Tube(a=(0, 23, -38), b=(0, 28, -80), ra=8.0, rb=6.0),
)

FOURTH_VENTRICLE: tuple[Shape, ...] = (
    Ball(c=(0, 25, -13), r=(7.5, 4.5, 8)),
    Tube(a=(0, 24, -20), b=(0, 29, -27), ra=2.2, rb=1.2),
)


def ventricle_shapes(traits: HeadTraits) -> list[Shape]:
    """The lateral and third ventricles and the aqueduct of a head, in mm."""
    shapes: list[Shape] = []
    for side in (-1.0, 1.0):
        k = traits.ventricles * (traits.asymmetry if side > 0 else 1.0)
        line = (
            ((17, -39, 22), 2.0, 5.0),
            ((12, -35, 24), 3.4, 6.0),
            ((6.5, -27, 26), 3.7, 6.0),
            ((4.2, -14, 29), 2.8, 4.5),
            ((7.5, 2, 35), 4.0, 2.5),
            ((13, 19, 35), 4.6, 2.5),
            ((22, 34, 26), 5.2, 4.0),
        )
        points = [((side * p[0], p[1], p[2]), r * k, t * k) for p, r, t in line]
        for (a, ra, t), (b, rb, _) in pairwise(points):
            shapes.append(Tube(a=a, b=b, ra=ra, rb=rb, tall=0.6 * t))
        atrium = points[-1][0]
        shapes.append(Tube(a=atrium, b=(side * 22, 58, 19), ra=4.6 * k, rb=1.3 * k, tall=1.5))
        bend = (side * 33, 24, 8.0)
        shapes.append(Tube(a=atrium, b=bend, ra=3.6 * k, rb=1.6 * k))
        shapes.append(Tube(a=bend, b=(side * 31, -4, -5), ra=1.6 * k, rb=1.3 * k))
    k = traits.ventricles
    shapes.append(Ball(c=(0, 2.5, 15), r=(2.3 * k, 13.5, 9)))
    shapes.append(Tube(a=(0, 14, 12), b=(0, 19, -4), ra=1.1, rb=1.1))
    return shapes


def _tentorium(x: Floats, y: Floats) -> Floats:
    """Height of the tentorium over the axial plane, mm."""
    slope = np.clip(1.05 - np.abs(y - 24.0) / 52.0, 0.0, 1.0)
    out: Floats = (3.0 + 18.0 * np.exp(-((np.abs(x) / 24.0) ** 1.4)) * slope).astype(np.float32)
    return out


def _petrous_line(x: Floats) -> Floats:
    out: Floats = np.interp(np.abs(x), (0, 10, 30, 62), (-1, 2, 12, 29)).astype(np.float32)
    return out


def prepare_cavity(slab: Slab, traits: HeadTraits) -> None:
    """Adds the fields that brain and bleeds share.

    ``depth`` is the distance (mm) into the cavity, ``brain`` the distance into the brain, and
    ``infra`` the share (0 to 1) that lies under the tentorium.
    """
    depth = np.minimum(-slab.extra["vault"], slab.extra["floor"])
    slab.extra["depth"] = depth
    front = np.clip(-slab.y / 80.0, 0.0, 1.0)
    gap = traits.atrophy * (0.35 + 1.1 * front * front) + 0.3 * slab.extra["open"]
    slab.extra["brain"] = (depth - np.clip(gap, 0.1, 6.0)).astype(np.float32)
    if float(slab.z.min()) > 30.0:
        slab.extra["infra"] = np.zeros_like(slab.x)
        slab.extra["tent"] = np.full_like(slab.x, 99.0)
        return
    tent = slab.z - _tentorium(slab.x, slab.y)
    behind = slab.y - _petrous_line(slab.x)
    under = np.minimum(-tent, behind + 1.0)
    slab.extra["tent"] = np.where(behind > 0, np.abs(tent) * 0.8, 99.0).astype(np.float32)
    slab.extra["infra"] = occupancy(-under, slab.edge)


def _falx_free(slab: Slab) -> Floats:
    """How far (mm) a point lies outside the corpus callosum, where the fissure is open."""
    y, z = (slab.y - 2.0) / 46.0, (slab.z - 12.0) / 32.0
    radius = np.sqrt(y * y + np.where(z > 0, z, 0.55 * z) ** 2)
    out: Floats = (radius - 1.0) * 34.0
    return out


def _fluid_sheets(slab: Slab, traits: HeadTraits) -> tuple[Floats, Floats]:
    """Distance to the cortical surface in mm, and the share of fluid in sulci and fissures."""
    sulcus = np.abs(slab.extra["sulcus"])
    wide = np.clip(0.45 + 0.75 * slab.extra["open"], 0.0, 2.0)
    reach = 13.0 + 4.0 * slab.extra["lumps"]
    depth = slab.extra["brain"]
    gate = np.clip((reach - depth) / 4.0, 0.0, 1.0)
    gate *= 1.0 - slab.extra["infra"]
    half = 0.8 * traits.atrophy * wide * gate * np.clip(1.25 - depth / 22.0, 0.3, 1.2)
    fluid = sheet_occupancy(sulcus, half, slab.edge)
    cortex = np.minimum(depth, np.where(gate > 0.3, sulcus, 99.0))
    free = _falx_free(slab)
    middle = np.abs(slab.x + 0.5 * slab.extra["lumps"] + 0.3 * slab.extra["grain"])
    front = np.clip((-slab.y - 15.0) / 30.0, 0.0, 1.0)
    half = (0.15 + traits.atrophy * (0.25 + 0.7 * front)) * np.clip(free / 3.0, 0.0, 1.0)
    half = half * (1.0 - slab.extra["infra"])
    fluid = np.maximum(fluid, sheet_occupancy(middle, half.astype(np.float32), slab.edge))
    cortex = np.minimum(cortex, np.where(free > 0, middle, 99.0))
    return cortex.astype(np.float32), fluid


def _paint_sylvian(slab: Slab, traits: HeadTraits) -> None:
    k = traits.atrophy
    for side in (-1.0, 1.0):
        line = ((27, -20, 8), (37, -25, 12), (40, -12, 15), (41, 4, 17), (44, 15, 20), (55, 25, 27))
        radius = (1.5, 1.3, 0.7, 0.8, 0.8, 0.5)
        tall = (2.0, 6.0, 9.0, 8.0, 5.0, 3.0)
        points = [(side * x, y, z) for x, y, z in line]
        for i in range(len(line) - 1):
            tube = Tube(
                a=points[i], b=points[i + 1], ra=radius[i] * k, rb=radius[i + 1] * k, tall=tall[i]
            )
            slab.paint(tube, CSF_HU, rough=0.5)
        mouth = Tube(
            a=(side * 39, -24, 13), b=(side * 60, -16, 13), ra=1.3 * k, rb=0.6 * k, tall=4.0
        )
        slab.paint(mouth, CSF_HU, share=0.85, rough=0.8)
        operculum = Tube(
            a=(side * 41, 2, 18), b=(side * 60, 10, 22), ra=0.6 * k, rb=0.4 * k, tall=2.0
        )
        slab.paint(operculum, CSF_HU, share=0.8, rough=0.6)


def paint_brain(slab: Slab, traits: HeadTraits) -> None:
    """Paints fluid and brain tissue into the cavity."""
    e = slab.edge
    inside = occupancy(-slab.extra["depth"], e)
    slab.blend(inside, CSF_HU + 4.0)
    white = _WHITE_HU + traits.brain_hu
    grey = white + traits.contrast_hu
    cortex, fluid = _fluid_sheets(slab, traits)
    ribbon = np.clip(0.5 - (cortex - _RIBBON_MM) / 1.4, 0.0, 1.0)
    infra = slab.extra["infra"]
    if infra.any():
        ribbon += infra * (_cerebellum(slab) - ribbon)
    tissue = white + traits.contrast_hu * ribbon + 0.5 * slab.extra["lumps"]
    slab.blend(occupancy(-slab.extra["brain"], e) * inside, tissue.astype(np.float32))
    for shape in _DEEP_GREY:
        slab.paint(shape, grey - 0.5, share=0.9, both=True, rough=0.5)
    # The posterior limb of the internal capsule separates thalamus and lentiform nucleus.
    slab.paint(Tube(a=(15, -9, 18), b=(25, 13, 18), ra=1.9, rb=1.9, tall=8), white, both=True)
    slab.paint(Tube(a=(15, -9, 18), b=(23, -27, 20), ra=1.5, rb=1.7, tall=7), white, both=True)
    slab.blend(fluid * inside, CSF_HU)
    if float(slab.z.min()) < 40.0:
        _paint_sylvian(slab, traits)
        _paint_cisterns(slab, traits, white)


def _cerebellum(slab: Slab) -> Floats:
    """Share of grey matter in the cerebellum: leaves around a white core."""
    depth = slab.extra["brain"]
    leaves = 0.5 + 0.5 * np.sin(depth * 1.75 + 1.2 * slab.extra["lumps"])
    core = np.clip((depth - 9.0) / 6.0, 0.0, 1.0) * np.clip((np.abs(slab.x) - 4.0) / 5.0, 0.0, 1.0)
    out: Floats = (0.95 - 0.35 * leaves * (1 - core) - 0.45 * core).astype(np.float32)
    return out


def _paint_cisterns(slab: Slab, traits: HeadTraits, white: float) -> None:
    bounded = np.clip(slab.extra["depth"] / slab.edge + 0.5, 0.0, 1.0)
    before = slab.hu.copy()
    for shape, both in _CISTERNS:
        slab.paint(shape, CSF_HU, both=both, rough=0.6)
    for shape in _BRAINSTEM:
        slab.paint(shape, white + 3.5, rough=0.4)
    for shape in FOURTH_VENTRICLE:
        slab.paint(shape, CSF_HU)
    slab.paint(Tube(a=(0.5, 0, -20), b=(0, -4, 2), ra=1.6, rb=1.4), 44.0)  # basilar artery
    slab.paint(Tube(a=(9, -13, 4), b=(24, -19, 6), ra=1.1, rb=0.9), 42.0, both=True)
    # None of this may spill into the bone around the cavity; the spinal canal is open below.
    canal = np.clip((-34.0 - slab.z) / 2.0, 0.0, 1.0)
    bounded = np.maximum(bounded, canal)
    slab.hu = before + bounded * (slab.hu - before)
    if float(slab.z.min()) < 6.0:  # pituitary gland in the sella
        slab.paint(Ball(c=(0, -9.5, -0.5), r=(6, 4, 3)), 40.0)


def paint_ventricles(slab: Slab, traits: HeadTraits) -> None:
    """Paints the ventricles."""
    if float(slab.z.min()) > 60.0:
        return
    for shape in ventricle_shapes(traits):
        slab.paint(shape, CSF_HU, rough=0.5)


def paint_membranes(slab: Slab, traits: HeadTraits) -> None:
    """Paints falx, tentorium and the dural sinuses."""
    falx, tentorium, *sinuses = membranes(slab)
    slab.blend(0.9 * falx, 52.0)
    slab.blend(0.8 * tentorium, 50.0)
    for sinus in sinuses:
        slab.blend(sinus, traits.venous_hu)
    slab.paint(STRAIGHT_SINUS, traits.venous_hu)


STRAIGHT_SINUS = Tube(a=(0, 28, 21), b=(0, 74, 5), ra=1.6, rb=2.2)
"""Where falx and tentorium meet."""


def membranes(slab: Slab) -> list[Floats]:
    """The shares (0 to 1) of falx and tentorium, then of the sinuses that lie at the skull."""
    e, x, y, z = slab.edge, slab.x, slab.y, slab.z
    inside = occupancy(-slab.extra["depth"], e)
    free = np.clip((_falx_free(slab) - 2.0) / 4.0, 0.0, 1.0)
    falx = sheet_occupancy(np.abs(x), (0.55 * free).astype(np.float32), e)
    falx = falx * inside * (1 - slab.extra["infra"]) * (z > 4.0)
    tentorium = sheet_occupancy(slab.extra["tent"], 0.6, e) * inside
    # The superior sagittal sinus is a wedge on the inner table, from the brow to the torcular.
    d = slab.extra["depth"]
    wedge = np.abs(x) - np.clip(0.62 * (6.5 - d), 0.0, 4.5) * np.clip((y + z + 60) / 90, 0.25, 1)
    path = np.clip((z - 2.0) / 4.0, 0.0, 1.0) * np.where(z > 45.0, 1.0, np.abs(y) > 45.0)
    shares = [falx, tentorium, occupancy(wedge, e) * inside * path * (d < 7.0)]
    if float(z.min()) < 12.0:
        shelf = np.maximum(np.abs(z - 2.5) - 2.4, d - 4.0)
        shelf = np.maximum(shelf, 32.0 - y)
        shares.append(occupancy(shelf.astype(np.float32), e) * inside)
    return shares


def paint_mimics(slab: Slab, traits: HeadTraits) -> None:
    """Paints what is bright or odd without being a bleed: calcifications, an old infarct."""
    if traits.pineal_mm:
        r = traits.pineal_mm
        slab.paint(Ball(c=(0.4, 19, 14), r=(r, 1.2 * r, r)), 210.0)
    for side, r in zip((-1.0, 1.0), traits.choroid_mm, strict=True):
        if r:
            slab.paint(Ball(c=(side * 22, 36, 23), r=(r, 1.6 * r, 1.4 * r)), 190.0)
    if traits.falx_calcified:
        slab.paint(Tube(a=(0, -55, 48), b=(0, -44, 55), ra=1.6, rb=1.2), 260.0)
    if traits.ganglia_calcified:
        slab.paint(Ball(c=(19, -7, 15), r=(2, 4, 3)), 110.0, both=True)
    if traits.infarct:
        d = Ball(c=(-44, 26, 40), r=(14, 17, 16)).distance(slab.x, slab.y, slab.z)
        rough = occupancy((d + 2.5 * slab.extra["lumps"]).astype(np.float32), 2.5)
        tissue = (slab.hu > 5.0) & (slab.hu < 60.0)
        slab.blend(0.75 * rough * tissue, 14.0)
