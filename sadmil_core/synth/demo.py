"""The demo study: one phantom with a bleed, written as a DICOM series on first use."""

from __future__ import annotations

import errno
import io
import shutil
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from sadmil_core.atomic import replacing
from sadmil_core.errors import WriteError
from sadmil_core.progress import no_progress
from sadmil_core.synth.bleeds import Bleed, BleedKind
from sadmil_core.synth.phantom import Phantom, PhantomConfig, make_phantom

if TYPE_CHECKING:
    from sadmil_core.progress import Progress

DEMO_SEED = 20
"""Seed of the demo study."""

DEMO_VERSION = "v1"
"""Part of the folder name; a change of the study's content needs a new one."""

DEMO_CONFIG = PhantomConfig()
"""Size and sampling of the demo study."""

DEMO_BLEED = Bleed(
    kind=BleedKind.INTRAPARENCHYMAL,
    centre=(-29.0, 0.0, 24.0),
    radii=(14.0, 20.0, 15.0),
    turn=0.25,
    clot_hu=66.0,
    rough=2.4,
    rim_mm=4.5,
    level_mm=31.0,
)
"""A clot in the right basal ganglia that has broken into the right lateral ventricle."""

_DESCRIPTION = "Synthetic head phantom"
_COMMENT = "Synthetic phantom, not a patient. For research use only, not for diagnosis."
_STALE_SECONDS = 3600.0


def write_phantom_study(
    phantom: Phantom,
    folder: Path,
    *,
    seed: int,
    description: str = _DESCRIPTION,
    progress: Progress = no_progress,
) -> list[Path]:
    """Writes a phantom as a CT series, one DICOM file a slice.

    The files are numbered from the head end, so that neither the file names nor the instance
    numbers follow the position. The same phantom and seed give the same bytes.

    Args:
        phantom: What to write.
        folder: Where to; made if it does not exist. Files of the same names are replaced.
        seed: Goes into all UIDs and the patient ID, with the shape of the phantom.
        description: Series description, at most 64 characters.
        progress: Called before every file; what it raises passes through.

    Returns:
        The files in the order of the slices, foot end first.

    Raises:
        WriteError: A file or the folder could not be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _write_error(folder, error) from error
    count = phantom.hu.shape[0]
    paths = []
    for index in range(count):
        progress(index, count, "Writing the study")
        path = folder / f"IM{count - index:04d}.dcm"
        dataset = _slice_dataset(phantom, index, seed=seed, description=description)
        encoded = io.BytesIO()  # pydicom would hide what the disk says of a write
        dcmwrite(encoded, dataset, enforce_file_format=True)
        with replacing(path) as stream:
            stream.write(encoded.getvalue())
        paths.append(path)
    return paths


def _uid(*parts: object) -> str:
    return str(generate_uid(entropy_srcs=["sadmil-viewer phantom", *map(str, parts)]))


def _slice_dataset(phantom: Phantom, index: int, *, seed: int, description: str) -> Dataset:
    """The DICOM object of one slice (index 0 at the foot end)."""
    count = phantom.hu.shape[0]
    key = (seed, phantom.hu.shape, phantom.spacing)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = _uid("image", key, index)
    dataset.StudyInstanceUID = _uid("study", key)
    dataset.SeriesInstanceUID = _uid("series", key)
    dataset.FrameOfReferenceUID = _uid("frame", key)
    dataset.InstanceNumber = count - index
    _add_labels(dataset, seed, description)
    _add_acquisition(dataset, phantom)
    _add_pixels(dataset, phantom, index)
    return dataset


def _add_labels(dataset: Dataset, seed: int, description: str) -> None:
    dataset.PatientName = "Phantom^Demo"
    dataset.PatientID = f"PHANTOM-{seed}"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "O"
    dataset.PatientComments = _COMMENT
    dataset.QualityControlSubject = "YES"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = "20240101"
    dataset.ContentDate = "20240101"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = "120000"
    dataset.ContentTime = "120000"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = "1"
    dataset.StudyDescription = "Synthetic head CT for research"
    dataset.SeriesDescription = description
    dataset.SeriesNumber = 1
    dataset.ImageComments = _COMMENT


def _add_acquisition(dataset: Dataset, phantom: Phantom) -> None:
    thickness, *_ = phantom.spacing
    dataset.Modality = "CT"
    dataset.Manufacturer = "sadmil-viewer"
    dataset.ManufacturerModelName = "Head phantom"
    dataset.SoftwareVersions = DEMO_VERSION
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.BodyPartExamined = "HEAD"
    dataset.PatientPosition = "HFS"
    dataset.PositionReferenceIndicator = ""
    dataset.AcquisitionNumber = 1
    dataset.KVP = "120"
    dataset.SliceThickness = f"{thickness:g}"
    dataset.SpacingBetweenSlices = f"{thickness:g}"
    dataset.BurnedInAnnotation = "NO"


def _add_pixels(dataset: Dataset, phantom: Phantom, index: int) -> None:
    between, row_mm, column_mm = phantom.spacing
    _, rows, columns = phantom.hu.shape
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [
        f"{-0.5 * (columns - 1) * column_mm:.4f}",
        f"{-0.5 * (rows - 1) * row_mm:.4f}",
        f"{index * between:.4f}",
    ]
    dataset.PixelSpacing = [f"{row_mm:g}", f"{column_mm:g}"]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept, dataset.RescaleSlope = "-1024", "1"
    dataset.RescaleType = "HU"
    dataset.WindowCenter, dataset.WindowWidth = "40", "80"
    stored = np.clip(phantom.hu[index].astype(np.int32) + 1024, 0, 4095)
    dataset.PixelData = stored.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"


def ensure_demo_study(cache: Path, progress: Progress = no_progress) -> Path:
    """The folder of the demo study, made on first use.

    It is written into a temporary folder beside its final place and renamed when whole, so
    that a run that fails, is cancelled or is killed leaves nothing that looks complete.

    Args:
        cache: Folder for things that can be made again; made if it does not exist.
        progress: Called through the work; what it raises passes through.

    Returns:
        The folder with one DICOM file a slice.

    Raises:
        WriteError: The disk is full or the cache cannot be written to.
    """
    cache = Path(cache)
    final = cache / f"demo-study-{DEMO_VERSION}"
    if _complete(final):
        return final
    temporary = cache / f".{final.name}.{uuid.uuid4().hex[:12]}.part"
    steps = 2 * DEMO_CONFIG.slices

    def second_half(done: int, total: int, phase: str) -> None:
        progress(total + done, 2 * total, phase)

    def first_half(done: int, total: int, phase: str) -> None:
        progress(done, 2 * total, phase)

    try:
        cache.mkdir(parents=True, exist_ok=True)
        _sweep(cache, final.name)
        temporary.mkdir()
        phantom = make_phantom(
            np.random.default_rng(DEMO_SEED),
            DEMO_CONFIG,
            bleed=DEMO_BLEED,
            progress=first_half,
            workers=2,
        )
        write_phantom_study(phantom, temporary, seed=DEMO_SEED, progress=second_half)
        _move(temporary, final)
    except OSError as error:
        raise _write_error(final, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    progress(steps, steps, "Writing the study")
    return final


def _complete(folder: Path) -> bool:
    """Whether the folder holds as many files as the study has slices."""
    return sum(1 for _ in folder.glob("IM*.dcm")) == DEMO_CONFIG.slices


def _move(temporary: Path, final: Path) -> None:
    """Renames the finished folder into place.

    Another process may have been faster (its study is as good), or files may have been deleted
    from an earlier study (what is left of it goes).
    """
    if final.exists() and not _complete(final):
        shutil.rmtree(final)
    try:
        temporary.rename(final)
    except OSError:
        if not _complete(final):
            raise


def _sweep(cache: Path, name: str) -> None:
    """Removes what killed runs left behind, but not what another run is writing just now."""
    for left in cache.glob(f".{name}.*.part"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _write_error(path: Path, error: OSError) -> WriteError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return WriteError(
        f"{path} could not be written: {error.strerror or error}.",
        remedy="The disk is full: free some space."
        if full
        else "Check that the folder can be written to, or choose another.",
    )
