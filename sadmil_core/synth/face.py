"""What lies below and in front of the brain: scalp, orbits, nose, sinuses, ears, jaw, neck."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.synth.fields import Ball, Floats, Prism, Shape, Tube, occupancy

if TYPE_CHECKING:
    from sadmil_core.synth.anatomy import HeadTraits
    from sadmil_core.synth.fields import Slab

FACE_TOP_MM = 30.0
"""Above this anatomical height there is no face, mm."""

_AIR = -990.0
_MUSCLE = 55.0
_FAT = -95.0
_FLUID = 8.0

_NOSE: tuple[Shape, ...] = (
    Tube(a=(0, -82, 4), b=(0, -89, -26), ra=8.0, rb=12.0),
    Prism(corners=((15, -80), (-15, -80), (-4, -106), (4, -106)), z=-29.0, half=14.0, dome=4.0),
    Prism(corners=((11, -80), (-11, -80), (-2, -99), (2, -99)), z=-12.0, half=16.0, dome=5.0),
)
_LIDS: Shape = Ball(c=(32, -80, -7), r=(17, 13.5, 13))
_BULGES: tuple[Shape, ...] = (
    Ball(c=(55, -36, -2), r=(12, 29, 30), turn=0.12),  # over the temporalis
    Ball(c=(54, -30, -46), r=(14, 28, 36), turn=0.2),  # over the masseter
)
_EARS: tuple[Shape, ...] = (
    Tube(a=(71, 10, -14), b=(80, 22, -12), ra=2.2, rb=1.8, tall=15),
    Tube(a=(80, 22, -12), b=(83, 29, -8), ra=1.8, rb=2.2, tall=16),
    Tube(a=(70, 8, -16), b=(73, 2, -16), ra=3.0, rb=2.0, tall=4),
)

_MUSCLES: tuple[Shape, ...] = (
    Ball(c=(56, -36, -2), r=(6, 22, 24), turn=0.12),  # temporalis
    Ball(c=(56, -28, -46), r=(6, 17, 24), turn=0.2),  # masseter
    Ball(c=(40, -30, -34), r=(9, 15, 12), turn=-0.6),  # lateral pterygoid
    Ball(c=(32, -24, -50), r=(6, 14, 16), turn=-0.3),  # medial pterygoid
    Ball(c=(12, -4, -44), r=(10, 6, 22)),  # longus capitis
    Ball(c=(14, 54, -48), r=(11, 8, 18), turn=-0.2),  # semispinalis
    Ball(c=(38, 46, -46), r=(13, 10, 18), turn=-0.5),  # splenius, oblique
    Ball(c=(55, 30, -56), r=(8, 13, 26), turn=0.2),  # sternocleidomastoid
    Ball(c=(14, 66, -50), r=(12, 4, 20), turn=-0.2),  # trapezius
)

_BONES: tuple[tuple[Shape, float], ...] = (
    (Tube(a=(51, -64, 6), b=(52, -62, -18), ra=2.8, rb=3.8), 1150.0),  # lateral orbital rim
    (Tube(a=(12, -84, 3), b=(50, -70, 6), ra=3.6, rb=4.2), 1000.0),  # upper orbital rim
    (Tube(a=(13, -82, -24), b=(50, -66, -21), ra=1.8, rb=3.6), 950.0),  # lower orbital rim
    (Tube(a=(12, -83, 4), b=(10, -85, -24), ra=2.2, rb=1.8), 800.0),  # frontal process
    (Tube(a=(13.0, -80, -7), b=(13.5, -34, -6), ra=0.35, rb=0.5, tall=12), 700.0),  # papyracea
    (Tube(a=(16, -74, -21), b=(20, -40, -18), ra=0.8, rb=0.8), 600.0),  # orbital floor
    (Tube(a=(30, -70, -20), b=(28, -44, -19), ra=0.9, rb=0.9), 600.0),
    (Tube(a=(42, -66, -20), b=(36, -46, -18), ra=0.9, rb=0.9), 600.0),
    (Tube(a=(50, -65, -22), b=(64, -44, -21), ra=4.0, rb=2.2, tall=1.5), 1200.0),  # zygoma
    (Tube(a=(64, -44, -21), b=(67, -22, -20), ra=2.0, rb=1.7, tall=1.5), 1200.0),  # its arch
    (Tube(a=(67, -22, -20), b=(60, 2, -18), ra=1.7, rb=2.4, tall=1.0), 1200.0),
    (Tube(a=(50, -4, -22), b=(51, -8, -32), ra=4.2, rb=2.8), 1150.0),  # condyle of the jaw
    (Tube(a=(51, -6, -44), b=(50, -24, -44), ra=2.2, rb=1.8, tall=12), 1250.0),  # its ramus
    (Tube(a=(50, -24, -30), b=(49, -30, -44), ra=1.6, rb=2.2), 1100.0),  # coronoid process
    (Tube(a=(0, -88, 2), b=(3.0, -97, -18), ra=1.6, rb=1.0), 900.0),  # nasal bone
    (Tube(a=(12, -80, -48), b=(30, -58, -48), ra=3.0, rb=3.0, tall=2.0), 800.0),  # alveolus
)

# Corners as the sinus appears from below: the apex behind, the base at the cheek.
_SINUS_CORNERS = ((24.0, -35.0), (16.0, -45.0), (14.5, -68.0), (21.0, -74.0), (40.0, -66.0))
_SINUS = Prism(corners=_SINUS_CORNERS, z=-36.0, half=15.0, dome=5.0)
_SINUS_WALL = Prism(corners=_SINUS_CORNERS, z=-36.0, half=15.0, dome=5.0, grow=1.3)

_TURBINATES = (
    Tube(a=(9, -76, -34), b=(8, -38, -33), ra=3.0, rb=3.2, tall=2.5),
    Tube(a=(7, -70, -21), b=(7, -40, -20), ra=1.8, rb=2.0, tall=3.0),
)

_ORBIT = Tube(a=(16, -32, -4), b=(33, -78, -7), ra=2.5, rb=17.5)
_GLOBE = Ball(c=(32.5, -77, -7), r=(12, 12, 12))
_VITREOUS = Ball(c=(32.5, -77, -7), r=(10.9, 10.9, 10.9))
_LENS = Ball(c=(32.8, -86.0, -7), r=(4.6, 2.0, 4.6))
_IN_ORBIT = (
    (Tube(a=(17, -34, -4), b=(31.5, -66, -7), ra=2.0, rb=2.2), 32.0),  # optic nerve
    (Tube(a=(17, -36, -5), b=(18, -66, -7), ra=1.4, rb=1.9, tall=3.0), 55.0),  # medial rectus
    (Tube(a=(19, -36, -5), b=(45, -68, -7), ra=1.4, rb=1.8, tall=3.0), 55.0),  # lateral rectus
    (Tube(a=(19, -38, 0), b=(31, -70, 5), ra=1.6, rb=2.0), 55.0),  # superior rectus
    (Tube(a=(19, -38, -10), b=(31, -70, -18), ra=1.6, rb=2.0), 55.0),  # inferior rectus
    (Ball(c=(44, -78, 3), r=(4, 6, 6)), 40.0),  # lacrimal gland
)


def paint_soft_tissue(slab: Slab, traits: HeadTraits) -> None:
    """Paints skin, fat and muscle of the scalp, the face and the neck."""
    deep = -slab.extra["skin"]
    low = float(slab.z.min()) < FACE_TOP_MM
    if low:
        for shape in _NOSE:
            _bulge(slab, deep, shape)
        for shape in (_LIDS, *_BULGES):
            _bulge(slab, deep, shape)
            _bulge(slab, deep, shape.mirrored())
    body = occupancy(-deep, slab.edge)
    lumps, grain = slab.extra["lumps"], slab.extra["grain"]
    fat_mm = np.clip(0.52 * traits.scalp_mm + 0.5 * lumps, 1.0, 8.0)
    if low:
        neck = np.clip((-10.0 - slab.z) / 25.0, 0.0, 1.0)
        fat_mm = fat_mm + neck * (4.0 + np.clip(slab.y / 15.0, -1.0, 4.0))
    in_fat = np.clip(0.5 + (deep - 1.7) / 0.9, 0.0, 1.0)
    below = np.clip(0.5 + (deep - 1.7 - fat_mm) / 0.9, 0.0, 1.0)
    inner: Floats = np.full_like(deep, 42.0)
    if low:
        # Below the skull, loose fat with strands carries the muscles.
        strands = np.clip(1.6 * (lumps + 0.6 * grain) - 0.1, 0.0, 1.0)
        loose = np.clip((6.0 - slab.z) / 10.0, 0.0, 1.0)
        inner = inner + loose * (_FAT + 130.0 * strands - inner)
    hu = 38.0 + in_fat * (_FAT + 12.0 * grain - 38.0)
    hu = hu + below * (inner - hu)
    slab.blend(body, hu.astype(np.float32))
    if low:
        for shape in _MUSCLES:
            slab.paint(shape, _MUSCLE, both=True, rough=1.6)
        for shape in _EARS:
            slab.paint(shape, 20.0, both=True)


def _bulge(slab: Slab, deep: Floats, shape: Shape) -> None:
    """Raises the depth below the skin (mm), in place, where a shape stands out from it."""
    window = slab.window(*shape.bounds())
    if window is not None:
        d = shape.distance(slab.x[window], slab.y[window], slab.z[window])
        np.maximum(deep[window], -d, out=deep[window])


def paint_orbits(slab: Slab) -> None:
    """Paints both orbits: fat, globe with lens, optic nerve and eye muscles."""
    slab.paint(_ORBIT, _FAT, both=True)
    for shape, hu in _IN_ORBIT:
        slab.paint(shape, hu, both=True)
    slab.paint(_GLOBE, 55.0, both=True)
    slab.paint(_VITREOUS, _FLUID, both=True)
    slab.paint(_LENS, 85.0, both=True)


def paint_face_bones(slab: Slab) -> None:
    """Paints the bones of the face."""
    slab.paint(_SINUS_WALL, 750.0, both=True, rough=0.5)
    for shape, hu in _BONES:
        slab.paint(shape, hu, both=True, rough=0.4)
    slab.paint(Tube(a=(0, -76, -44), b=(0, -36, -43), ra=1.4, rb=1.2), 500.0)  # hard palate
    slab.paint(Tube(a=(0, -70, -45), b=(14, -60, -45), ra=1.6, rb=1.6), 500.0, both=True)


def paint_air(slab: Slab, traits: HeadTraits) -> None:
    """Paints the air spaces of the face and of the temporal bone, and what stands in them."""
    if float(slab.z.min()) > FACE_TOP_MM:
        return
    slab.paint(_SINUS, _AIR, both=True, rough=0.5)
    slab.paint(Tube(a=(7, -78, -32), b=(7, -32, -32), ra=5.5, rb=6.0, tall=6.5), _AIR, both=True)
    slab.paint(Tube(a=(5, -97, -36), b=(5, -84, -37), ra=2.6, rb=3.6), _AIR, both=True)
    slab.paint(Ball(c=(0, -16, -44), r=(11, 9, 15)), _AIR)
    for shape in _TURBINATES:
        slab.paint(shape, 45.0, both=True, rough=0.5)
    slab.paint(Tube(a=(0.6, -86, -24), b=(-0.4, -30, -22), ra=1.0, rb=1.0, tall=18), 150.0)
    slab.paint(Ball(c=(9, -20, -11), r=(8, 10, 8.5)), _AIR)
    slab.paint(Ball(c=(-9.5, -19, -11), r=(8.2, 9, 8)), _AIR)
    _paint_cells(slab, _ETHMOID, _ethmoid_seeds(), both=False, hu=330.0)
    slab.paint(Tube(a=(0, -82, -4), b=(0, -34, -4), ra=0.7, rb=0.7, tall=9), 600.0)
    # Ear canal, middle ear and mastoid cells.
    slab.paint(Tube(a=(76, 9, -14), b=(47, 8, -13), ra=3.4, rb=3.0), _AIR, both=True)
    slab.paint(Ball(c=(43, 10, -11), r=(3, 5, 6)), _AIR, both=True)
    grown = 0.65 + 0.35 * traits.air
    mastoid = Ball(c=(54, 25, -18), r=(8.5 * grown, 13 * grown, 17 * grown), turn=0.35)
    _paint_cells(slab, mastoid, _mastoid_seeds(), both=True, hu=650.0)
    if traits.air > 0.4:
        for x, r in ((8.0, 7.0), (-9.0, 7.0), (21.0, 6.0), (-20.0, 4.0)):
            size = (r * traits.air + 2, 3.2, 11 * traits.air + 1)
            slab.paint(Ball(c=(x, -84.0, 12), r=size, turn=-0.012 * x), _AIR, rough=0.7)


_ETHMOID = Ball(c=(0, -58, -8), r=(12.5, 27, 13))


@lru_cache(maxsize=1)
def _ethmoid_seeds() -> Floats:
    return _scatter((0, -58, -8), (13, 28, 14), 6.0)


@lru_cache(maxsize=1)
def _mastoid_seeds() -> Floats:
    return _scatter((54, 25, -18), (12, 15, 18), 4.6)


def _scatter(c: tuple[float, float, float], r: tuple[float, float, float], pitch: float) -> Floats:
    """Centres of air cells, mm: a lattice shaken by a fixed amount; (cells, 3)."""
    counts = [max(2, int(2 * half / pitch)) for half in r]
    lattice = np.stack(
        np.meshgrid(
            *[np.linspace(m - h, m + h, n) for m, h, n in zip(c, r, counts, strict=True)],
            indexing="ij",
        ),
        axis=-1,
    ).reshape(-1, 3)
    # A fixed shake: the cells of every head then differ by the head's own warp alone.
    shake = np.random.default_rng(5).uniform(-0.42, 0.42, lattice.shape) * pitch
    return (lattice + shake).astype(np.float32)


def _paint_cells(slab: Slab, outline: Ball, seeds: Floats, *, both: bool, hu: float) -> None:
    """Paints air cells with thin bony walls: walls lie where two nearest seeds tie."""
    window = slab.window(*outline.bounds())
    if window is not None:
        x, y, z = slab.x[window], slab.y[window], slab.z[window]
        near: Floats = np.full(x.shape, 1e6, dtype=np.float32)
        next_near = near.copy()
        level, thick = float(z.mean()), float(np.ptp(z)) / 2
        for sx, sy, sz in seeds[np.abs(seeds[:, 2] - level) < thick + 8.0]:
            d = (x - sx) ** 2 + (y - sy) ** 2 + (z - sz) ** 2
            next_near = np.minimum(next_near, np.maximum(near, d))
            near = np.minimum(near, d)
        wall = np.clip(1.25 - 0.5 * (np.sqrt(next_near) - np.sqrt(near)), 0.0, 1.0)
        fill = np.float32(_AIR) + wall * np.float32(hu - _AIR) * 0.8
        target = slab.hu[window]
        target += occupancy(outline.distance(x, y, z), slab.edge) * (fill - target)
    if both:
        _paint_cells(slab, outline.mirrored(), seeds * [-1, 1, 1], both=False, hu=hu)
