"""Small DICOM studies with a bright spot in some slices, for tests of the whole program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom

from sadmil_core.synth.demo import write_phantom_study
from sadmil_core.synth.phantom import Phantom

SIZE = 64


def write_spot_study(
    folder: Path,
    *,
    slices: int = 12,
    bleeding: tuple[int, ...] = (5, 6, 7),
    seed: int = 1,
    patient: bool = True,
) -> Path:
    """A head of 20 HU; slice i holds the value i at its corner, and 70 HU spots where it bleeds.

    The left half of the patient (high columns) is 30 HU, so that sides can be told apart.
    """
    hu = np.full((slices, SIZE, SIZE), 20, np.int16)
    hu[:, :, SIZE // 2 :] = 30
    hu[:, 0, 0] = np.arange(slices)
    for index in bleeding:
        hu[index, 20:28, 20:28] = 70
    phantom = Phantom(hu=hu, lesion=hu > 60, spacing=(5.0, 3.6, 3.6))
    write_phantom_study(phantom, folder, seed=seed)
    if patient:
        for path in folder.glob("*.dcm"):
            dataset = pydicom.dcmread(path)
            del dataset.QualityControlSubject
            dataset.save_as(path)
    return folder
