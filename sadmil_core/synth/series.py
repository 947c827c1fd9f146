"""Synthetic scans as files: a DICOM series without anyone's identity, and a mask volume."""

from __future__ import annotations

import gzip
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from sadmil_core import __version__
from sadmil_core.atomic import explain_refusal, make_folder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_DATE, _TIME = "20240101", "120000"
_INSERTED = "Synthetic lesions in a de-identified scan. For research use only, not for diagnosis."
_PHANTOM = "Synthetic phantom, not a patient. For research use only, not for diagnosis."
_LOWEST_HU = -1024
_SHEAR = 1e-3  # of the distance between slices; less is rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Where the slices of a scan lie (LPS, mm).

    Attributes:
        row_direction: Unit vector along a row, towards higher columns.
        column_direction: Unit vector along a column, towards higher rows.
        origins_mm: (S, 3) of the first pixel of every slice, foot to head.
        pixel_mm: Between rows, between columns.
        thickness_mm: Of a slice.
    """

    row_direction: tuple[float, float, float]
    column_direction: tuple[float, float, float]
    origins_mm: NDArray[np.float64]
    pixel_mm: tuple[float, float]
    thickness_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesIdentity:
    """What a written series is called.

    Attributes:
        key: Whatever its UIDs are to depend on; the same key gives the same UIDs.
        patient_id: At most 64 characters.
        description: At most 64 characters.
        phantom: Whether there is no patient at all.
    """

    key: str
    patient_id: str
    description: str
    phantom: bool = False

    def uid(self, *parts: object) -> str:
        """A UID that belongs to the key and these parts."""
        return str(generate_uid(entropy_srcs=["sadmil synth", self.key, *map(str, parts)]))

    @property
    def study_uid(self) -> str:
        """The StudyInstanceUID."""
        return self.uid("study")

    @property
    def series_uid(self) -> str:
        """The SeriesInstanceUID."""
        return self.uid("series")


def write_series(
    hu: NDArray[np.float32], frame: Frame, identity: SeriesIdentity, folder: Path
) -> list[str]:
    """Writes a CT series, one file a slice, numbered from the head end.

    Args:
        hu: (S, R, C) Hounsfield units, slice 0 at the foot end; stored as 12 bits from -1024.
        frame: Where the slices lie.
        identity: What it is called.
        folder: Made if it does not exist.

    Returns:
        The SOPInstanceUIDs, foot to head.

    Raises:
        WriteError: The system refused, for example because the disk is full.
    """
    make_folder(folder)
    uids = []
    for index in range(len(hu)):
        dataset = _slice_dataset(hu, index, frame, identity)
        encoded = io.BytesIO()  # pydicom would hide what the disk says of a write
        dcmwrite(encoded, dataset, enforce_file_format=True)
        write_bytes(folder / f"IM{len(hu) - index:04d}.dcm", encoded.getvalue())
        uids.append(str(dataset.SOPInstanceUID))
    return uids


def write_mask(mask: NDArray[np.bool_], frame: Frame, path: Path) -> None:
    """Writes a mask as a NRRD volume on the grid of its series.

    The stack of a tilted gantry is sheared, which most readers of volumes refuse: its mask has the
    same matrix and no place in the patient.

    Args:
        mask: (S, R, C).
        frame: Where the slices lie; NRRD knows even spacing only, so that of the whole is written.
        path: The file.

    Raises:
        WriteError: The system refused.
    """
    origins = frame.origins_mm
    between = (origins[-1] - origins[0]) / max(len(origins) - 1, 1)
    along, down = np.asarray(frame.row_direction), np.asarray(frame.column_direction)
    if max(abs(between @ along), abs(between @ down)) < _SHEAR * float(np.linalg.norm(between)):
        steps = (along * frame.pixel_mm[1], down * frame.pixel_mm[0], between)
        placed = [
            "space: left-posterior-superior",
            f"space directions: {' '.join(map(_vector, steps))}",
            f"space origin: {_vector(origins[0])}",
        ]
    else:
        apart = float(np.abs(between @ np.cross(along, down)))
        placed = [f"spacings: {frame.pixel_mm[1]:.8g} {frame.pixel_mm[0]:.8g} {apart:.8g}"]
    header = "\n".join(
        [
            "NRRD0005",
            "type: uint8",
            "dimension: 3",
            f"sizes: {mask.shape[2]} {mask.shape[1]} {mask.shape[0]}",
            *placed,
            "kinds: domain domain domain",
            "encoding: gzip",
            "\n",
        ]
    )
    voxels = np.ascontiguousarray(mask, np.uint8).tobytes()
    # No time in it: the same mask gives the same bytes.
    write_bytes(path, header.encode() + gzip.compress(voxels, compresslevel=4, mtime=0))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file of a folder that is not whole yet.

    Raises:
        WriteError: The system refused.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise explain_refusal(path, error) from error


def _vector(values: NDArray[np.float64]) -> str:
    return f"({','.join(f'{value:.8g}' for value in values)})"


def _slice_dataset(
    hu: NDArray[np.float32], index: int, frame: Frame, identity: SeriesIdentity
) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = identity.uid("image", index)
    dataset.StudyInstanceUID = identity.study_uid
    dataset.SeriesInstanceUID = identity.series_uid
    dataset.FrameOfReferenceUID = identity.uid("frame")
    dataset.InstanceNumber = len(hu) - index
    _add_labels(dataset, identity)
    _add_acquisition(dataset, frame)
    _add_place(dataset, frame, index)
    _add_pixels(dataset, hu[index])
    return dataset


def _add_labels(dataset: Dataset, identity: SeriesIdentity) -> None:
    dataset.PatientName = f"Synthetic^{identity.patient_id}"
    dataset.PatientID = identity.patient_id
    dataset.PatientBirthDate = dataset.PatientSex = ""
    if identity.phantom:
        dataset.QualityControlSubject = "YES"
    else:
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = "All attributes replaced; lesions inserted"
    for name in ("Study", "Series", "Acquisition", "Content"):
        setattr(dataset, f"{name}Date", _DATE)
        setattr(dataset, f"{name}Time", _TIME)
    dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.StudyID, dataset.SeriesNumber = "1", 1
    dataset.StudyDescription = "Synthetic head CT for research"
    dataset.SeriesDescription = identity.description
    dataset.ImageComments = _PHANTOM if identity.phantom else _INSERTED


def _add_acquisition(dataset: Dataset, frame: Frame) -> None:
    dataset.Modality = "CT"
    dataset.Manufacturer = "sadmil"
    dataset.ManufacturerModelName = "Synthetic hemorrhage"
    dataset.SoftwareVersions = __version__
    dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    dataset.BodyPartExamined = "HEAD"
    dataset.PatientPosition = "HFS"
    dataset.PositionReferenceIndicator = ""
    dataset.AcquisitionNumber = 1
    dataset.KVP = ""
    dataset.SliceThickness = f"{frame.thickness_mm:.6g}"
    dataset.BurnedInAnnotation = "NO"


def _add_place(dataset: Dataset, frame: Frame, index: int) -> None:
    directions = (*frame.row_direction, *frame.column_direction)
    dataset.ImageOrientationPatient = [f"{value:.9g}" for value in directions]
    dataset.ImagePositionPatient = [f"{value:.6f}" for value in frame.origins_mm[index]]
    dataset.PixelSpacing = [f"{value:.9g}" for value in frame.pixel_mm]


def _add_pixels(dataset: Dataset, plane: NDArray[np.float32]) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = plane.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept, dataset.RescaleSlope = str(_LOWEST_HU), "1"
    dataset.RescaleType = "HU"
    dataset.WindowCenter, dataset.WindowWidth = "40", "80"
    stored = np.clip(np.rint(plane) - _LOWEST_HU, 0, 4095)
    dataset.PixelData = stored.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
