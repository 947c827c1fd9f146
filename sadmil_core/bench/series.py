"""Series to measure on: random Hounsfield units, written as real DICOM."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.dicom import CTVolume, index_folder, load_volume
from sadmil_core.synth.demo import write_phantom_study
from sadmil_core.synth.phantom import Phantom

if TYPE_CHECKING:
    from collections.abc import Iterator

THIN_MM = 0.46
"""The width of a pixel, and the distance of slices where voxels are to be cubes."""


@contextmanager
def series_folder(
    slices: int, size: int = 512, seed: int = 0, *, spacing_mm: float = 2.5
) -> Iterator[Path]:
    """A temporary folder with one uncompressed series of ``slices`` slices.

    Args:
        slices: How many.
        size: Rows and columns.
        seed: Of the pixels.
        spacing_mm: From slice to slice; pixels are 0.46 mm wide.
    """
    rng = np.random.default_rng(seed)
    hu = rng.integers(-1000, 1500, (slices, size, size), dtype=np.int16)
    spacing = (spacing_mm, THIN_MM, THIN_MM)
    phantom = Phantom(hu=hu, lesion=np.zeros((slices, 1, 1), dtype=bool), spacing=spacing)
    with tempfile.TemporaryDirectory(prefix="sadmil-bench-") as folder:
        write_phantom_study(phantom, Path(folder), seed=seed)
        yield Path(folder)


def synthetic_volume(slices: int, size: int = 512) -> CTVolume:
    """A loaded volume of random Hounsfield units."""
    with series_folder(slices, size) as folder:
        return load_volume(index_folder(folder).entries[0])
