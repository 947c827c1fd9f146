"""The RSNA 2019 hemorrhage challenge: a table of labels by image, and a folder of 750,000 images.

A. E. Flanders et al., "Construction of a Machine Learning Dataset through Collaboration: The RSNA
2019 Brain CT Hemorrhage Challenge", Radiology: Artificial Intelligence 2(3), 2020.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
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
from sadmil_core.dicom import SkippedFile, read_identity
from sadmil_core.dicom.index import iter_headers
from sadmil_core.errors import ManifestError
from sadmil_core.progress import Progress, no_progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sadmil_core.dicom import SliceHeader

CORRUPT = "ID_6431af929"
"""Cut short in the published archive; the challenge's host said to pass it over."""
_KINDS = (*SUBTYPES, "any")
_ID = re.compile(rf"(.+)_({'|'.join(_KINDS)})")
_CODES = 1 << 2 * len(_KINDS)
_STEP = 200_000


@dataclass(slots=True)
class RsnaLabels:
    """The labels of the table.

    A label is one digit in base 4 of its image's number, 0 where it is unknown, 1 for no, 2 for
    yes and 3 where the table says both: one number an image keeps 750,000 of them small.

    Attributes:
        codes: By SOPInstanceUID.
        repeated: How many rows say again what another has said.
    """

    codes: dict[str, int] = field(default_factory=dict)
    repeated: int = 0

    def add(self, image: str, kind: str, label: bool) -> None:
        """Takes one row."""
        shift, said = 2 * _KINDS.index(kind), 2 if label else 1
        code = self.codes.get(image, 0)
        self.repeated += bool(code >> shift & said)
        self.codes[image] = code | said << shift

    def of(self, image: str) -> Mapping[str, bool]:
        """The labels of an image, those left out that are unknown or contradict."""
        return _decoded(self.codes.get(image, 0))

    @property
    def contradicting(self) -> list[str]:
        """The images of which the table says both, or a kind of hemorrhage but none of any."""
        return [image for image, code in self.codes.items() if _contradicts(code)]


def _contradicts(code: int) -> bool:
    digits = [code >> 2 * k & 3 for k in range(len(_KINDS))]
    return 3 in digits or (digits[-1] == 1 and 2 in digits)


@lru_cache(maxsize=_CODES)
def _decoded(code: int) -> Mapping[str, bool]:
    """Shared by all images of the same labels."""
    digits = [code >> 2 * k & 3 for k in range(len(_KINDS))]
    if digits[-1] == 1 and 2 in digits:  # which of the two is wrong, nobody can tell
        return MappingProxyType({})
    known = {
        kind: digit == 2 for kind, digit in zip(_KINDS, digits, strict=True) if digit in (1, 2)
    }
    return MappingProxyType(known)


@lru_cache(maxsize=_CODES)
def _subtypes(code: int) -> Mapping[str, bool | None]:
    return MappingProxyType({kind: _decoded(code).get(kind) for kind in SUBTYPES})


def read_rsna_labels(path: Path, progress: Progress = no_progress) -> RsnaLabels:
    """Reads ``stage_2_train.csv``.

    Args:
        path: The table, with the columns ``ID`` (``ID_<image>_<kind>``) and ``Label``.
        progress: Called now and then with the number of rows read.

    Returns:
        The labels.

    Raises:
        ManifestError: It is not such a table; all bad rows are listed.
    """
    labels, faults = RsnaLabels(), FaultyLabels(path)
    for line, (name, cell) in read_rows(path, ("ID", "Label")):
        if line % _STEP == 0:
            progress(line, 0, "reading labels")
        found = _ID.fullmatch(name)
        if found is None:
            faults.add(line, f"ID is {name[:40]!r}, not ID_<image>_<kind>")
            continue
        label = faults.label(line, "Label", cell)
        if label is not None:
            labels.add(found[1], found[2], label)
    faults.raise_if_any()
    if not labels.codes:
        raise ManifestError(f"{path} holds no label.", remedy="Give stage_2_train.csv.")
    return labels


@dataclass(slots=True)
class _Scan:
    """One series as its files come in; of a file only what a manifest needs is kept."""

    patient_id: str
    slices: dict[str, tuple[float, int, Path]] = field(default_factory=dict)


def import_rsna(labels_path: Path, folder: Path, progress: Progress = no_progress) -> ImportResult:
    """The scans of the challenge.

    Headers are read one after another and forgotten, so that memory holds what the manifest
    will: some hundred bytes an image.

    Args:
        labels_path: ``stage_2_train.csv``.
        folder: With the .dcm files, or a part of them, in any subfolders.
        progress: Called with the number of rows, then of headers read.

    Returns:
        One scan a series, by StudyInstanceUID; its slices by place, foot to head, each with its
        labels. Labels that contradict are left blank.

    Raises:
        ManifestError: The table is none, or no image of the folder is in it.
        InputError: The folder cannot be listed.
        Cancelled: From ``progress``.
    """
    require_folder(folder)
    labels = read_rsna_labels(labels_path, progress)
    series, found, failures = _gather(labels, folder, progress)
    if not found:
        raise ManifestError(
            f"None of the images below {folder} is named in {labels_path}.",
            remedy="Give the folder that holds the images of this table.",
        )
    scans, notes = _scans(series)
    return ImportResult(scans=scans, notes=(*_notes_on_labels(labels, found), *notes, *failures))


def _gather(
    labels: RsnaLabels, folder: Path, progress: Progress
) -> tuple[dict[tuple[str, str], _Scan], set[str], list[str]]:
    """The series, the images of the table that were found, and notes on the others."""
    series: dict[tuple[str, str], _Scan] = {}
    found: set[str] = set()
    failures: list[str] = []
    unlabelled = 0
    for read in iter_headers(folder, progress):
        if isinstance(read, SkippedFile):
            if read.reason.is_failure and read.path.stem != CORRUPT:
                failures.append(f"{read.path.name} ({read.message})")
            continue
        for header in read:
            if CORRUPT in (header.sop_instance_uid, header.path.stem):
                continue
            if not (header.study_instance_uid and header.sop_instance_uid):
                failures.append(f"{header.path.name} (it names no study, or no image)")
                continue
            image = _image(header, labels)
            code = labels.codes.get(image, 0)
            if code:
                found.add(image)
            else:
                unlabelled += 1
            _add(series, header, code)
    notes = name_some("files could not be used", failures)
    notes += [f"{unlabelled} images have no label in the table"] if unlabelled else []
    return series, found, notes


def _image(header: SliceHeader, labels: RsnaLabels) -> str:
    """The name of a slice in the table: its UID, or its file's name where that was changed."""
    return header.sop_instance_uid if header.sop_instance_uid in labels.codes else header.path.stem


def _add(series: dict[tuple[str, str], _Scan], header: SliceHeader, code: int) -> None:
    key = (header.study_instance_uid, header.series_instance_uid)
    scan = series.get(key)
    if scan is None:  # a study is of one patient: one file tells whose
        scan = series[key] = _Scan(patient_id=read_identity(header.path).patient_id)
    place_mm = header.position_mm[2] if header.position_mm else 0.0
    # A second copy of an image is that image.
    scan.slices[header.sop_instance_uid] = place_mm, code, header.path


def _scans(
    series: Mapping[tuple[str, str], _Scan],
) -> tuple[tuple[ManifestScan, ...], list[str]]:
    counts = Counter(study for study, _ in series)
    several = sorted(study for study, count in counts.items() if count > 1)
    scans = tuple(
        _scan(f"{study}/{uid}" if counts[study] > 1 else study, uid, scan)
        for (study, uid), scan in sorted(series.items())
    )
    return scans, name_some("studies hold several series, each of which is a scan here", several)


def _scan(scan_id: str, series_uid: str, scan: _Scan) -> ManifestScan:
    ordered = sorted((place_mm, image) for image, (place_mm, _, _) in scan.slices.items())
    slices = tuple(_slice(image, *scan.slices[image][1:]) for _, image in ordered)
    return ManifestScan(
        scan_id=scan_id,
        patient_id=scan.patient_id,
        series_instance_uid=series_uid,
        path=Path(os.path.commonpath([path.parent for _, _, path in scan.slices.values()])),
        label=any_positive(each.label for each in slices),
        slices=slices,
        subtypes=subtypes_of_slices(slices),
    )


def _slice(image: str, code: int, path: Path) -> SliceLabel:
    # All published images lie in one folder: without its path a slice is a needle in it.
    return SliceLabel(
        sop_instance_uid=image,
        label=_decoded(code).get("any"),
        subtypes=_subtypes(code),
        path=path,
    )


def _notes_on_labels(labels: RsnaLabels, found: set[str]) -> list[str]:
    notes = []
    if labels.repeated:
        notes.append(f"{labels.repeated} rows repeat another of the same label")
    notes += name_some(
        "images have labels that contradict, which are left blank", labels.contradicting
    )
    if CORRUPT in labels.codes:
        notes.append(f"{CORRUPT} is left out: the published file is cut short")
    absent = len(labels.codes.keys() - found - {CORRUPT})
    if absent:
        notes.append(f"{absent} images of the table are not in the folder")
    return notes
