"""Real DICOM CT series whose every voxel tells where it belongs.

The Hounsfield value of a voxel is ``(z * rows + y) * columns + x - 1000`` with z counted foot to
head, so that a slice in the wrong place, a flipped row or a wrong rescale cannot go unnoticed.
"""

from __future__ import annotations

import random
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage

from sadmil_core.dicom import CTVolume, SeriesIndex, StackEntry, index_folder, load_volume
from tests.encoders import ENCODABLE, GE_PRIVATE, LOSSLESS, Encoding, set_pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

ROOT = "1.2.826.0.1.3680043.10.1"
STUDY = f"{ROOT}.1"
SERIES = f"{ROOT}.1.1"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SYNTAXES = LOSSLESS
"""Those that keep every value; :data:`tests.encoders.ENCODABLE` has the lossy ones, too."""


def encoded_hu(slices: int, rows: int = 6, columns: int = 8) -> NDArray[np.int16]:
    """(slices, rows, columns) of values that encode their own place."""
    return (np.arange(slices * rows * columns) - 1000).astype(np.int16).reshape(-1, rows, columns)


def tilted(angle_deg: float) -> tuple[float, ...]:
    """An axial orientation leant about the left-right axis, front towards the head if positive."""
    angle = np.deg2rad(angle_deg)
    return (1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(-np.sin(angle)))


def head_normal(orientation: Sequence[float]) -> NDArray[np.float64]:
    normal = np.cross(orientation[:3], orientation[3:])
    return normal if normal[2] >= 0 else -normal


def write_series(
    folder: Path,
    *,
    slices: int = 6,
    rows: int = 6,
    columns: int = 8,
    hu: NDArray[Any] | None = None,
    spacing_mm: float = 5.0,
    pixel_spacing_mm: tuple[float, float] = (0.5, 0.75),
    offsets_mm: Sequence[float] | None = None,
    orientation: Sequence[float] = AXIAL,
    study_uid: str = STUDY,
    series_uid: str = SERIES,
    uid_start: int = 1,
    left_out: Iterable[int] = (),
    shuffle_names: bool = False,
    from_head: bool = False,
    name: str = "slice-{:03d}.dcm",
    syntax: str = "explicit",
    signed: bool = True,
    bits_stored: int = 16,
    slope: float = 1.0,
    intercept: float = 0.0,
    rsna_quirk: bool = False,
    bits_allocated: int = 16,
    encoding: Encoding = Encoding(),  # noqa: B008 - frozen
    padding: int | None = None,
    phantom: bool = False,
    change: Callable[[Dataset, int], None] | None = None,
) -> list[Path]:
    """Writes one series.

    Args:
        offsets_mm: Position of each slice along the normal; ``spacing_mm`` apart if None.
        left_out: Slices that are not written: gaps.
        shuffle_names: File names say nothing of the order.
        from_head: Names and InstanceNumbers run from the head to the foot.
        syntax: One of :data:`tests.encoders.ENCODABLE`.
        rsna_quirk: Values below 0 HU wrapped at 4096 and stored unsigned, as the RSNA files are.
        encoding: How compressed pixel data is written.
        change: Called with each dataset and its z before it is written; it may delete things.

    Returns:
        The files, foot to head.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hu = encoded_hu(slices, rows, columns) if hu is None else hu
    count = len(hu)
    offsets = offsets_mm or [z * spacing_mm for z in range(count)]
    order = list(range(count))
    if shuffle_names:
        random.Random(3).shuffle(order)
    elif from_head:
        order.reverse()
    if rsna_quirk:
        signed, bits_stored, slope, intercept = False, 12, 1.0, 0.0
    paths = []
    for z in sorted(set(range(count)) - set(left_out)):
        dataset = _ct_dataset(hu[z].shape, orientation, offsets[z])
        dataset.PixelSpacing = [f"{value:g}" for value in pixel_spacing_mm]
        dataset.StudyInstanceUID = study_uid
        dataset.SeriesInstanceUID = series_uid
        dataset.SOPInstanceUID = f"{series_uid}.{uid_start + z}"
        dataset.InstanceNumber = order[z] + 1
        dataset.BitsAllocated = bits_allocated
        dataset.BitsStored, dataset.HighBit = bits_stored, bits_stored - 1
        dataset.PixelRepresentation = int(signed)
        dataset.RescaleSlope, dataset.RescaleIntercept = f"{slope:g}", f"{intercept:g}"
        if padding is not None:
            dataset.add_new("PixelPaddingValue", "SS" if signed else "US", padding)
        if phantom:
            dataset.QualityControlSubject = "YES"
        values = np.rint((hu[z].astype(np.float64) - intercept) / slope).astype(np.int64)
        if rsna_quirk:
            values %= 4096
        stored = values.astype(f"{'i' if signed else 'u'}{bits_allocated // 8}")
        assert np.array_equal(stored, values), "the values do not fit the encoding"
        path = folder / name.format(order[z])
        write_slice(dataset, stored, path, syntax, encoding=encoding, change=change, z=z)
        paths.append(path)
    return paths


def _ct_dataset(shape: tuple[int, ...], orientation: Sequence[float], offset_mm: float) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientName, dataset.PatientID = "Secret^Name", "SECRET-ID"
    position = np.array([-120.0, -118.0, 40.0]) + offset_mm * head_normal(orientation)
    dataset.ImagePositionPatient = [f"{value:.10g}" for value in position]
    dataset.ImageOrientationPatient = [f"{value:.10g}" for value in orientation]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = shape
    dataset.BitsAllocated = 16
    return dataset


def write_slice(
    dataset: Dataset,
    stored: NDArray[Any],
    path: Path,
    syntax: str = "explicit",
    *,
    encoding: Encoding = Encoding(),  # noqa: B008 - frozen
    change: Callable[[Dataset, int], None] | None = None,
    z: int = 0,
) -> None:
    """Writes one file with these stored values, (rows, columns) or (frames, rows, columns)."""
    uid = ENCODABLE[syntax]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    set_pixels(dataset, stored.reshape(-1, *stored.shape[-2:]), uid, encoding)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of values that are wrong on purpose
        if change is not None:
            change(dataset, z)
        path.parent.mkdir(parents=True, exist_ok=True)
        # pydicom cannot know how data sets of a private syntax are encoded.
        private = {"implicit_vr": True, "little_endian": True} if uid == GE_PRIVATE else {}
        dataset.save_as(path, enforce_file_format=True, **private)


def truncate(path: Path, lost_bytes: int) -> None:
    """Cuts off the end of a file."""
    path.write_bytes(path.read_bytes()[:-lost_bytes])


def spoil(path: Path) -> None:
    """Garbage inside a compressed image; the structure of the file stays whole."""
    content = bytearray(path.read_bytes())
    start = content.rfind(b"\xe0\x7f\x10\x00") + 32  # past the element, offset table and item heads
    content[start : start + 60] = b"\xa5" * 60
    path.write_bytes(bytes(content))


def delete(*keywords: str) -> Callable[[Dataset, int], None]:
    """A change that takes elements out of every slice."""

    def change(dataset: Dataset, z: int) -> None:
        for keyword in keywords:
            del dataset[keyword]

    return change


def set_to(**values: Any) -> Callable[[Dataset, int], None]:
    """A change that sets elements of every slice; a callable value is given z."""

    def change(dataset: Dataset, z: int) -> None:
        for keyword, value in values.items():
            setattr(dataset, keyword, value(z) if callable(value) else value)

    return change


def only(z: int, change: Callable[[Dataset, int], None]) -> Callable[[Dataset, int], None]:
    """A change of one slice alone."""
    return lambda dataset, index: change(dataset, index) if index == z else None


def only_entry(index: SeriesIndex) -> StackEntry:
    (entry,) = index.entries
    return entry


def load(folder: Path, **options: Any) -> CTVolume:
    """The one stack below a folder, with its pixels."""
    return load_volume(only_entry(index_folder(folder)), **options)
