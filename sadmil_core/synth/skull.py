"""The skull: vault with diploe and sutures, and the base as a landscape seen from inside.

The floor of the cranial cavity is a height map over the axial plane. Where the map is high it
cuts through a slice as bone (petrous ridges, sphenoid wings, orbital roofs); where it is low
the slice shows brain (middle and posterior fossae). That is what makes a skull base look like
one at every level.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from sadmil_core.synth.fields import Ball, Floats, Tube, occupancy

if TYPE_CHECKING:
    from sadmil_core.synth.anatomy import HeadTraits
    from sadmil_core.synth.fields import Slab

BASE_TOP_MM = 24.0
"""Above this anatomical height the base of the skull plays no part, mm."""

_HALF = 100.0  # the height map covers -100..100 mm in x and y
_CELL = 0.5  # and is fine enough, in mm, to be looked up without interpolation


def _smooth(t: Floats) -> Floats:
    t = np.clip(t, 0.0, 1.0)
    out: Floats = t * t * (3.0 - 2.0 * t)
    return out


@lru_cache(maxsize=1)
def base_map() -> tuple[Floats, Floats, Floats]:
    """The floor of the cranial cavity over the axial plane.

    Returns:
        Height in mm, thickness of the bone below it in mm, and the factor that turns a vertical
        distance into one at right angles to the floor; each (401, 401), indexed [y, x].
    """
    axis = np.arange(-_HALF, _HALF + _CELL, _CELL, dtype=np.float32)
    x, y = np.abs(axis)[None, :] + 0 * axis[:, None], axis[:, None] + 0 * axis[None, :]
    sphenoid = np.interp(x, (0, 7, 13, 30, 45, 60), (-20, -19, -19, -31, -41, -47))
    sphenoid_top = np.interp(x, (0, 7, 11, 15, 30, 50, 62), (3, 4, 9, 8, 9, 12, 12))
    petrous = np.interp(x, (0, 8, 14, 28, 45, 62), (-2, -1, 3, 11, 21, 29))
    petrous_top = np.interp(x, (0, 6, 10, 14, 26, 40, 62), (8, 8, 1, -1, 2, 5, 3))
    roof = np.interp(x, (0, 6, 12, 28, 42, 56), (1, 1, 4, 9, 8, 5))
    roof -= 6.0 * _smooth((-62.0 - y) / 18.0) + 2.0 * _smooth((y + 40.0) / 12.0)
    middle = np.interp(x, (0, 7, 12, 20, 32, 48, 62), (-3, -3, -3, -14, -18, -17, -11))
    back = np.interp(x, (0, 16, 30, 48, 62), (-37, -35, -30, -22, -14))
    back = back + 9.0 * _smooth((y - 48.0) / 28.0)
    clivus = 8.0 - (y + 2.0) * (46.0 / 13.0)
    weight = _smooth((x - 9.0) / 8.0)
    back = np.where(y < 12.0, weight * back + (1 - weight) * np.maximum(clivus, -46.0), back)
    foramen = np.hypot(x / 15.0, (y - 27.0) / 18.0)
    back = np.where(foramen < 1.0, -90.0, back)

    height = np.where(y < sphenoid, roof, middle)
    height = np.where(y > petrous, back, height)
    crest = 1.0 - _smooth(np.abs(y - sphenoid) / np.where(y < sphenoid, 9.0, 7.0))
    height = np.where(y <= petrous, height + (sphenoid_top - height) * crest, height)
    flat = np.abs(y - petrous) - 2.0
    crest = 1.0 - _smooth(flat / np.where(y < petrous, np.where(x < 9.0, 3.0, 15.0), 10.0))
    crest = np.where((x < 9.0) & (y > petrous), 0.0, crest)
    height = height + np.maximum(petrous_top - height, 0.0) * crest

    thick = np.full_like(height, 6.0)
    thick = np.where(y < sphenoid, 4.5, thick)
    thick = np.where(y > petrous + 6.0, 9.0, thick)
    thick = np.maximum(thick, 9.0 * (1.0 - _smooth((np.abs(y - sphenoid) - 2.0) / 5.0)))
    pyramid = 1.0 - _smooth((np.abs(y - petrous) - 9.0) / 9.0)
    thick = np.maximum(thick, 26.0 * pyramid * (x > 7.0))
    thick = np.maximum(thick, np.where((x < 13) & (np.abs(y + 8) < 20), 26.0, 0.0))
    height = ndimage.gaussian_filter(height.astype(np.float32), 0.8 / _CELL)
    thick = ndimage.gaussian_filter(thick.astype(np.float32), 1.2 / _CELL)
    gy, gx = np.gradient(height, _CELL)
    tilt = 1.0 / np.sqrt(1.0 + gx**2 + gy**2)
    return height, thick, tilt.astype(np.float32)


def add_floor(slab: Slab) -> None:
    """Adds the field ``floor`` (mm above the floor of the cavity) and its bone to the fields.

    Above the base both are constants, so that the rest of the code need not ask.
    """
    if float(slab.z.min()) > BASE_TOP_MM:
        slab.extra["floor"] = np.full_like(slab.x, 99.0)
        slab.extra["floor_bone"] = np.zeros_like(slab.x)
        return
    side = base_map()[0].shape[0]
    row, column = (
        np.clip((p + _HALF) * (1.0 / _CELL) + 0.5, 0, side - 1).astype(np.intp)
        for p in (slab.y, slab.x)
    )
    row *= side
    row += column
    height, thick, tilt = (part.ravel().take(row) for part in base_map())
    above = slab.z - height
    slab.extra["floor"] = above * tilt
    bone = np.maximum(above, -above - thick) * np.maximum(tilt, 0.35)
    # The lower side of the bone counts as much as the upper one.
    bone = np.where(thick > 0.5, bone, 99.0)
    slab.extra["floor_bone"] = occupancy(bone, slab.edge)


# Where the vault ends below: anatomical height over anatomical y, both mm.
_LOWEST = ((-90, -62, -48, -36, -8, 10, 26, 90), (4, 4, 5, 0, -16, -20, -42, -46))


def paint_vault(slab: Slab, traits: HeadTraits) -> None:
    """Paints the cranial vault: two tables of compact bone, diploe between, sutures."""
    d, thick, grain = slab.extra["vault"], slab.extra["bone"], slab.extra["grain"]
    y, z = slab.y, slab.z
    edge = max(slab.edge, 1.0)
    shell = occupancy(np.maximum(-d, d - thick), slab.edge)
    if float(z.min()) < 10.0:
        lowest = np.interp(y, *_LOWEST).astype(np.float32)
        shell *= np.clip((z - lowest) / 3.0 + 0.5, 0.0, 1.0)
    # A thin temple has no room for diploe.
    table = np.clip(0.28 * thick, 1.2, 2.4)
    deep = np.minimum(d, thick - d) - table
    spongy = np.clip(0.5 + deep / (1.3 * edge), 0.0, 1.0) * np.clip((thick - 3.4) / 1.5, 0.0, 1.0)
    density = 1350.0 - spongy * (560.0 - 110.0 * grain)
    slab.blend(shell, density.astype(np.float32))
    wiggle = 1.6 * grain
    side = np.abs(slab.x)
    coronal = np.abs(y - (-22.0 - 0.28 * (z - 75.0)) - wiggle)
    lambdoid = np.abs(y - (58.0 + 0.35 * (30.0 - z) - 0.30 * side) - wiggle)
    sagittal = np.where((y > -20.0) & (y < 52.0), np.abs(slab.x - wiggle), 99.0)
    gap = np.minimum(np.minimum(coronal, np.where(y > 30, lambdoid, 99.0)), sagittal)
    slab.blend(0.6 * shell * np.clip(1.2 - gap, 0.0, 1.0) * (z > 5.0), 250.0)


_COMPACT = (
    # Greater wing of the sphenoid: the wall between the orbit and the middle fossa.
    (Tube(a=(17, -26, -7), b=(36, -43, -7), ra=2.4, rb=4.2, tall=7), 900.0),
    (Tube(a=(36, -43, -7), b=(51, -63, -7), ra=4.2, rb=1.8, tall=8), 1000.0),
    (Tube(a=(37, -42, -6), b=(54, -33, -6), ra=3.6, rb=1.8, tall=9), 950.0),
    (Ball(c=(38, -43, -2), r=(7, 5, 11), turn=0.8), 700.0),
    # Pterygoid plates below the body of the sphenoid.
    (Tube(a=(11, -26, -34), b=(15, -14, -34), ra=1.1, rb=1.0, tall=14), 800.0),
    (Tube(a=(10, -27, -34), b=(9, -16, -34), ra=1.0, rb=0.9, tall=13), 700.0),
    # Dense labyrinth inside the petrous pyramid.
    (Ball(c=(24, 13, -6), r=(7, 5, 5.5), turn=0.6), 1750.0),
    (Ball(c=(33, 18, -6), r=(6, 5, 6), turn=0.6), 1650.0),
    # Mastoid process, occipital condyle, articular eminence.
    (Ball(c=(54, 24, -22), r=(12, 16, 20), turn=0.5), 800.0),
    (Ball(c=(40, 8, -16), r=(14, 8, 8), turn=0.5), 800.0),
    (Ball(c=(17, 14, -40), r=(6, 11, 5), turn=-0.5), 900.0),
    (Tube(a=(46, -2, -18), b=(60, 0, -18), ra=3.5, rb=3.0), 850.0),
)


def paint_base(slab: Slab) -> None:
    """Paints the floor of the cavity and the thick bone of the base below it."""
    if float(slab.z.min()) > BASE_TOP_MM:
        return
    outside = occupancy(slab.extra["vault"] - 3.0, slab.edge)
    bone = slab.extra["floor_bone"] * outside
    depth = np.clip(-slab.extra["floor"] / 3.0, 0.0, 1.0)
    density = 1150.0 - 500.0 * depth + 110.0 * slab.extra["grain"]
    slab.blend(bone, density.astype(np.float32))
    for shape, hu in _COMPACT:
        slab.paint(shape, hu, both=True, rough=0.6)
    # Body of the sphenoid and the clivus, spongy inside.
    slab.paint(Tube(a=(0, -8, -8), b=(0, 2, -34), ra=9.0, rb=7.0), 620.0)
    slab.paint(Tube(a=(0, -8, -10), b=(0, 1, -32), ra=6.0, rb=4.0), 330.0)
    _paint_atlas(slab)


def _paint_atlas(slab: Slab) -> None:
    """Paints the first cervical vertebra and the dens, which a low scan still meets."""
    for low, high in (((16, 12, -50), (20, 24, -50)), ((20, 24, -50), (9, 44, -50))):
        slab.paint(Tube(a=low, b=high, ra=4.5, rb=2.6, tall=3.5), 820.0, both=True)
    slab.paint(Tube(a=(9, 44, -50), b=(-9, 44, -50), ra=2.6, rb=2.6, tall=3), 820.0)
    slab.paint(Tube(a=(-16, 9, -51), b=(16, 9, -51), ra=2.4, rb=2.4, tall=4), 850.0)
    slab.paint(Tube(a=(0, 15, -47), b=(0, 16, -70), ra=4.0, rb=5.0), 900.0)
