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


@contextmanager
def series_folder(slices: int, size: int = 512, seed: int = 0) -> Iterator[Path]:
    """A temporary folder with one uncompressed series of ``slices`` slices.

    Args:
        slices: How many.
        size: Rows and columns.
        seed: Of the pixels.
    """
    rng = np.random.default_rng(seed)
    hu = rng.integers(-1000, 1500, (slices, size, size), dtype=np.int16)
    phantom = Phantom(hu=hu, lesion=np.zeros((slices, 1, 1), dtype=bool), spacing=(2.5, 0.46, 0.46))
    with tempfile.TemporaryDirectory(prefix="sadmil-bench-") as folder:
        write_phantom_study(phantom, Path(folder), seed=seed)
        yield Path(folder)


def synthetic_volume(slices: int, size: int = 512) -> CTVolume:
    """A loaded volume of random Hounsfield units."""
    with series_folder(slices, size) as folder:
        return load_volume(index_folder(folder).entries[0])
