"""Small DICOM studies with a bright spot in some slices, for tests of the whole program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom

from sadmil_core.synth.demo import write_phantom_study
from sadmil_core.synth.phantom import Phantom
from tests.bodies import BRAIN, PIXEL_MM, SIZE, SKIN, head


def write_spot_study(
    folder: Path,
    *,
    slices: int = 12,
    bleeding: tuple[int, ...] = (5, 6, 7),
    seed: int = 1,
    patient: bool = True,
) -> Path:
    """A brain of 20 HU; slice i holds the value i at its corner, and 70 HU spots where it bleeds.

    The left half of the patient (high columns) is 30 HU, so that sides can be told apart. The
    first and the last slice show bone only, as those of a whole head do.
    """
    hu = head(slices)
    hu[(hu == BRAIN) | (hu == SKIN)] = 20
    left = hu[:, :, SIZE // 2 :]
    left[left == 20] = 30
    hu[:, 0, 0] = np.arange(slices)
    for index in bleeding:
        hu[index, 20:28, 20:28] = 70
    phantom = Phantom(hu=hu, lesion=hu == 70, spacing=(5.0, PIXEL_MM, PIXEL_MM))
    write_phantom_study(phantom, folder, seed=seed)
    if patient:
        for path in folder.glob("*.dcm"):
            dataset = pydicom.dcmread(path)
            del dataset.QualityControlSubject
            dataset.save_as(path)
    return folder
