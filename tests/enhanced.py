"""Enhanced (multi-frame) CT files whose every voxel tells where it belongs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage

from tests.encoders import Encoding
from tests.synthetic import AXIAL, SERIES, STUDY, encoded_hu, head_normal, write_slice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


def write_enhanced(
    path: Path,
    *,
    slices: int = 6,
    rows: int = 6,
    columns: int = 8,
    hu: NDArray[Any] | None = None,
    frames: Sequence[int] | None = None,
    spacing_mm: float = 5.0,
    offsets_mm: Sequence[float] | None = None,
    orientation: Sequence[float] = AXIAL,
    study_uid: str = STUDY,
    series_uid: str = SERIES,
    sop_uid: str = f"{SERIES}.1000",
    syntax: str = "explicit",
    encoding: Encoding = Encoding(),  # noqa: B008 - frozen
    intercepts: Sequence[float] = (),
    change: Callable[[Dataset, int], None] | None = None,
) -> Path:
    """Writes slices of a series as the frames of one file.

    Args:
        hu: (slices, rows, columns), foot to head.
        offsets_mm: Position of each slice along the normal; ``spacing_mm`` apart if None.
        frames: Which slice each frame shows; all in order if None. A slice may come twice.
        intercepts: RescaleIntercept of each frame; one shared by all, 0, if empty.
        change: Called with the dataset (and 0) before it is written.
    """
    hu = encoded_hu(slices, rows, columns) if hu is None else hu
    shown = list(range(len(hu))) if frames is None else list(frames)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.Modality = EnhancedCTImageStorage, "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
    dataset.SOPInstanceUID, dataset.InstanceNumber = sop_uid, 1
    dataset.PatientName, dataset.PatientID = "Secret^Name", "SECRET-ID"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.NumberOfFrames = len(shown)
    dataset.Rows, dataset.Columns = hu.shape[1:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 1
    shared = Dataset()
    shared.PixelMeasuresSequence = [_item(PixelSpacing=["0.5", "0.75"], SliceThickness="5")]
    shared.PlaneOrientationSequence = [
        _item(ImageOrientationPatient=[f"{value:.10g}" for value in orientation])
    ]
    if not intercepts:
        shared.PixelValueTransformationSequence = [_rescale(0)]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for number, z in enumerate(shown):
        offset_mm = offsets_mm[z] if offsets_mm else z * spacing_mm
        place = np.array([-120.0, -118.0, 40.0]) + offset_mm * head_normal(orientation)
        group = Dataset()
        group.PlanePositionSequence = [
            _item(ImagePositionPatient=[f"{value:.10g}" for value in place])
        ]
        group.FrameContentSequence = [_item(StackID="1", InStackPositionNumber=z + 1)]
        if intercepts:
            group.PixelValueTransformationSequence = [_rescale(intercepts[number])]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    stored = np.stack([hu[z] - (intercepts[k] if intercepts else 0) for k, z in enumerate(shown)])
    write_slice(dataset, stored.astype(np.int16), path, syntax, encoding=encoding, change=change)
    return path


def _rescale(intercept: float) -> Dataset:
    return _item(RescaleSlope="1", RescaleIntercept=f"{intercept:g}", RescaleType="HU")


def _item(**values: Any) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item
