"""CT-ICH of PhysioNet: 75 NIfTI scans, a table of labels by slice, and masks.

M. Hssayeni et al., "Intracranial Hemorrhage Segmentation Using a Deep Convolutional Model",
Data 5(1), 2020.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sadmil_core.data.folder import ImportResult
from sadmil_core.data.importers.tables import (
    FaultyLabels,
    name_some,
    read_rows,
    require_folder,
    subtypes_of_slices,
)
from sadmil_core.data.scans import SUBTYPES, ManifestScan, SliceLabel, any_positive
from sadmil_core.dicom import SkippedFile
from sadmil_core.dicom.decode_pool import read_volume_file
from sadmil_core.dicom.volumefile import stored_slice_axis
from sadmil_core.errors import ManifestError
from sadmil_core.progress import Progress, no_progress

if TYPE_CHECKING:
    from pathlib import Path

    from sadmil_core.dicom import SliceHeader

TABLE = "hemorrhage_diagnosis_raw_ct.csv"
_ACROSS = 2  # the stored axis that SliceNumber counts along
_KINDS = tuple(kind.capitalize() for kind in SUBTYPES)


@dataclass(slots=True)
class _Labels:
    """The table, by patient and SliceNumber."""

    patients: dict[int, dict[int, SliceLabel]] = field(default_factory=dict)
    repeated: int = 0
    contradicting: list[str] = field(default_factory=list)


def import_ct_ich(root: Path, progress: Progress = no_progress) -> ImportResult:
    """The scans of CT-ICH.

    The table counts slices from 1 in the order in which the file stores them; here they are
    counted from the foot, as :mod:`sadmil_core.dicom` reads the file, whichever way it stores
    them.

    Args:
        root: The unpacked data set, with ``hemorrhage_diagnosis_raw_ct.csv``, ``ct_scans`` and,
            if need be, ``masks``.
        progress: Called with the number of scans read.

    Returns:
        One scan a file, all its slices with their labels; those that contradict are left blank.

    Raises:
        ManifestError: The table is none, or no scan is there.
        Cancelled: From ``progress``.
    """
    require_folder(root)
    labels = _read_labels(root / TABLE)
    paths = {patient: _volume(root / "ct_scans", patient) for patient in sorted(labels.patients)}
    found = {patient: path for patient, path in paths.items() if path is not None}
    if not found:
        raise ManifestError(
            f"{root / 'ct_scans'} holds no scan of the table, such as 049.nii.",
            remedy="Give the folder of the unpacked data set.",
        )
    scans: list[ManifestScan] = []
    notes = _notes_on_labels(labels)
    notes += name_some(
        "patients of the table have no scan", [_name(p) for p in paths if not paths[p]]
    )
    for done, (patient, path) in enumerate(found.items()):
        progress(done, len(found), "reading scans")
        headers = read_volume_file(path)
        if isinstance(headers, SkippedFile):
            notes.append(f"{path.name} is left out: {headers.message}")
            continue
        mask = _volume(root / "masks", patient)
        scan, more = _scan(patient, headers, labels.patients[patient], mask)
        scans.append(scan)
        notes += more
    progress(len(found), len(found), "reading scans")
    unmasked = [_name(int(scan.patient_id)) for scan in scans if scan.mask_path is None]
    notes += name_some("scans have no mask", unmasked)
    return ImportResult(scans=tuple(scans), notes=tuple(notes))


def _name(patient: int) -> str:
    return f"{patient:03d}"


def _volume(folder: Path, patient: int) -> Path | None:
    candidates = (folder / f"{_name(patient)}{suffix}" for suffix in (".nii", ".nii.gz"))
    return next((path for path in candidates if path.is_file()), None)


def _read_labels(path: Path) -> _Labels:
    labels, faults = _Labels(), FaultyLabels(path)
    torn: set[tuple[int, int]] = set()
    columns = ("PatientNumber", "SliceNumber", *_KINDS, "No_Hemorrhage")
    for line, (patient_cell, slice_cell, *cells) in read_rows(path, columns):
        if not (patient_cell.isdecimal() and slice_cell.isdecimal() and int(slice_cell)):
            faults.add(line, "PatientNumber and SliceNumber must be whole numbers from 1")
            continue
        patient, number = int(patient_cell), int(slice_cell)
        *kinds, none = (
            faults.label(line, c, cell) for c, cell in zip(columns[2:], cells, strict=True)
        )
        label = None if none is None else not none
        if label is False and any(kinds):
            torn.add((patient, number))
        said = SliceLabel(
            label=label,
            subtypes=dict(zip(SUBTYPES, kinds, strict=True)),
        )
        of_patient = labels.patients.setdefault(patient, {})
        first = of_patient.setdefault(number, said)
        if first is not said:
            labels.repeated += first == said
            if first != said:
                torn.add((patient, number))
    faults.raise_if_any()
    for patient, number in sorted(torn):
        labels.patients[patient][number] = SliceLabel()
        labels.contradicting.append(f"{_name(patient)} slice {number}")
    return labels


def _scan(
    patient: int,
    headers: tuple[SliceHeader, ...],
    labels: dict[int, SliceLabel],
    mask: Path | None,
) -> tuple[ManifestScan, list[str]]:
    path, count = headers[0].path, len(headers)
    axis, from_head = stored_slice_axis(path)
    notes = []
    beyond = sorted(number for number in labels if number > count)
    if axis != _ACROSS:
        notes.append(
            f"{path.name} does not store axial slices one after another; its slices stay unlabelled"
        )
        labels = {}
    elif beyond:
        notes.append(f"{path.name} has {count} slices; labels of slice {beyond[0]} on are left out")
    stored = [labels.get(number, SliceLabel()) for number in range(1, count + 1)]
    ordered = stored[::-1] if from_head else stored
    unlabelled = sum(each.label is None for each in ordered)
    if unlabelled and labels:
        notes.append(f"{path.name}: {unlabelled} of {count} slices have no label")
    slices = tuple(
        SliceLabel(slice_index=index, label=each.label, subtypes=each.subtypes)
        for index, each in enumerate(ordered)
    )
    scan = ManifestScan(
        scan_id=headers[0].study_instance_uid,
        patient_id=_name(patient),
        path=path,
        label=any_positive(each.label for each in slices),
        slices=slices,
        subtypes=subtypes_of_slices(slices),
        mask_path=mask,
    )
    return scan, notes


def _notes_on_labels(labels: _Labels) -> list[str]:
    notes = [f"{labels.repeated} rows repeat another"] if labels.repeated else []
    return notes + name_some(
        "slices have labels that contradict, which are left blank", labels.contradicting
    )
