"""``python -m viewer.bench.tilted FOLDER SLICES PIXELS``: a study of a tilted gantry."""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path

import pydicom

from sadmil_core.bench.series import THIN_MM, series_folder

_TILT_DEGREES = 15.0


def main(folder: Path, slices: int, pixels: int) -> None:
    """Writes a study, the rows of its slices turned about the left-right axis."""
    angle = math.radians(_TILT_DEGREES)
    orientation = [1, 0, 0, 0, math.cos(angle), -math.sin(angle)]
    with series_folder(slices, pixels, spacing_mm=THIN_MM) as made:
        for path in made.glob("*.dcm"):
            dataset = pydicom.dcmread(path)
            dataset.ImageOrientationPatient = [f"{value:.6f}" for value in orientation]
            dataset.save_as(path)
        shutil.copytree(made, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
