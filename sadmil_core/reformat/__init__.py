"""Reformats: a stack as an orthogonal, evenly spaced volume, and planes of the patient out of it.

Native slices stay what is read and what a model sees. All of this is for axial, coronal,
sagittal and slab views, which a tilted or unevenly spaced stack would show distorted.
"""

from sadmil_core.reformat.plane import Plane, PlaneImage, Projection, reformat_plane
from sadmil_core.reformat.slab import SlabImage, make_slab, slab_shares
from sadmil_core.reformat.volume import RegularVolume, make_regular

__all__ = [
    "Plane",
    "PlaneImage",
    "Projection",
    "RegularVolume",
    "SlabImage",
    "make_regular",
    "make_slab",
    "reformat_plane",
    "slab_shares",
]
