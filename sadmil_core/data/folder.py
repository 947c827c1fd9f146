"""A folder of DICOM and a table of labels become a manifest: the hospital's case."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sadmil_core.data.importers.tables import name_some
from sadmil_core.data.labels import LabelColumns, Labels, LabelTable, read_label_table
from sadmil_core.data.scans import (
    SUBTYPES,
    ManifestScan,
    SliceLabel,
    any_positive,
    unknown_subtypes,
)
from sadmil_core.dicom import index_folder, read_identity, require_entries
from sadmil_core.fitness import fitness_of_entry
from sadmil_core.progress import Progress, no_progress
from sadmil_core.readout import Candidate, choose_readouts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sadmil_core.dicom import SeriesIndex, SliceHeader, StackEntry

_HASH_LETTERS = 16
_Key = tuple[str, int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """What an importer has found.

    Attributes:
        scans: For a manifest.
        notes: What was left out or did not match, a sentence each.
    """

    scans: tuple[ManifestScan, ...]
    notes: tuple[str, ...] = ()


def import_folder(
    folder: Path,
    labels_path: Path,
    columns: LabelColumns,
    progress: Progress = no_progress,
    *,
    site: str = "",
    hash_patients: bool = False,
) -> ImportResult:
    """One scan for each study below a folder, of the series that speaks for it.

    A study whose slices are labelled is read in the series of these slices; any other in the
    one that :func:`sadmil_core.readout.choose_readouts` takes.

    Args:
        folder: With DICOM or volume files, in any subfolders; or a zip archive.
        labels_path: A table with a row for each scan, each slice, or both.
        columns: Which of its columns say what.
        progress: Called with the number of headers read.
        site: Written for every scan.
        hash_patients: Write, in place of PatientID, a hash with a key that is thrown away: the
            scans of a patient stay together, and nothing leads back to the patient.

    Returns:
        The scans by StudyInstanceUID; notes on labels and studies without each other.

    Raises:
        ManifestError: The table is none, or rows of it are wrong: all are listed.
        InputError: The folder cannot be listed, or holds no CT.
        Cancelled: From ``progress``.
    """
    table = read_label_table(labels_path, columns)
    index = require_entries(index_folder(folder, progress))
    names = _Names(index, folder)
    matched = _Matched(table, names)
    patient_name = _hashed(secrets.token_bytes(32)) if hash_patients else str
    studies: dict[str, list[StackEntry]] = defaultdict(list)
    for entry in index.entries:
        studies[entry.study_instance_uid].append(entry)
    scans, unfit, several = [], [], []
    for study, entries in sorted(studies.items()):
        chosen, why_not = _choose(entries, matched)
        if chosen is None:
            unfit.append(f"{study} ({why_not})")
            continue
        if len(entries) > 1:
            several.append(study)
        patient = names.patients[study]
        scans.append(_scan(chosen, matched, patient_name(patient) if patient else "", site))
    notes = [
        *name_some("studies are left out, for none of their series is fit to be read", unfit),
        *name_some("studies hold several series; the one that speaks for each is named", several),
        *name_some("studies have no label", [s.scan_id for s in scans if s.label is None]),
        *matched.notes(),
        *name_some("files could not be read", [str(file.path) for file in index.failures]),
    ]
    return ImportResult(scans=tuple(scans), notes=tuple(notes))


def _hashed(key: bytes) -> Callable[[str], str]:
    def name(patient: str) -> str:
        digest = hashlib.blake2b(patient.encode("utf-8", "surrogateescape"), key=key)
        return digest.hexdigest()[:_HASH_LETTERS]

    return name


class _Names:
    """What the studies and slices of a folder may be called in a table.

    Attributes:
        patients: PatientID by study; empty where there is none.
    """

    def __init__(self, index: SeriesIndex, root: Path) -> None:
        """Takes the names from the headers and the paths."""
        self._studies: tuple[dict[str, set[str]], ...] = tuple(defaultdict(set) for _ in range(4))
        self._instances: dict[str, list[SliceHeader]] = defaultdict(list)
        self._files: dict[str, list[SliceHeader]] = defaultdict(list)
        self.patients: dict[str, str] = {}
        for entry in index.entries:
            self._add_study(entry.slices[0])
            for header in entry.slices:
                self._add(header, _inside(entry.shown(header.path), root))

    def _add_study(self, header: SliceHeader) -> None:
        study = header.study_instance_uid
        if study in self.patients:
            return
        uids, accessions, patients, _ = self._studies
        # One file is asked: PatientID and AccessionNumber are the study's (PS3.3 A.1.2).
        identity = read_identity(header.path)
        self.patients[study] = identity.patient_id
        uids[study].add(study)
        accessions[identity.accession_number].add(study)
        patients[identity.patient_id].add(study)

    def _add(self, header: SliceHeader, inside: Path) -> None:
        study, folders = header.study_instance_uid, self._studies[-1]
        for above in inside.parents:
            folders[above.name].add(study)
            folders[above.as_posix()].add(study)
        if header.is_volume:  # a volume file is a scan by its own name
            folders[inside.name].add(study)
        self._instances[header.sop_instance_uid].append(header)
        for name in {inside.as_posix(), inside.name, inside.stem}:
            self._files[name].append(header)

    def study(self, name: str) -> set[str]:
        """The studies of that UID; else accession number; else patient; else folder."""
        return next((kind[name] for kind in self._studies if name in kind), set())

    def slices(self, name: str, frame: int | None, studies: set[str]) -> list[SliceHeader]:
        """The slices of that UID; else file; of these studies, if any are given."""
        found = self._instances.get(name) or self._files.get(name) or []
        return [
            header
            for header in found
            if (not studies or header.study_instance_uid in studies)
            and (frame is None or (header.frame_number or 1) == frame)
        ]


def _key(header: SliceHeader) -> _Key:
    """What tells slices apart, UIDs being repeated in some archives."""
    return str(header.path), header.frame_number


def _keys(entry: StackEntry) -> set[_Key]:
    return {_key(header) for header in entry.slices}


def _inside(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path != root and path.is_relative_to(root) else Path(path.name)


@dataclass(slots=True)
class _Said:
    """What the table says of one study."""

    scan: Labels | None = None
    slices: dict[_Key, Labels] = field(default_factory=dict)


class _Matched:
    """Rows of a table, brought to the studies and slices that they name."""

    def __init__(self, table: LabelTable, names: _Names) -> None:
        """Looks for every row's partner."""
        self.studies: dict[str, _Said] = defaultdict(_Said)
        self._absent: list[str] = []
        self._unclear: list[str] = []
        self.contradicting: list[str] = []
        self.elsewhere = 0
        for name, labels in table.scans.items():
            studies = names.study(name)
            if self._is_one(name, studies, "studies"):
                self._add_scan(min(studies), labels)
        for (scan, name, frame), labels in table.slices.items():
            studies = names.study(scan) if scan else set()
            found = names.slices(name, frame, studies)
            if self._is_one(name, found, "slices"):
                (header,) = found
                self.studies[header.study_instance_uid].slices[_key(header)] = labels

    def _is_one(self, name: str, found: Collection[object], what: str) -> bool:
        count = len(found)
        if not count:
            self._absent.append(name)
        elif count > 1:
            self._unclear.append(f"{name} ({count} {what})")
        return count == 1

    def _add_scan(self, study: str, labels: Labels) -> None:
        said = self.studies[study]
        if said.scan is not None and said.scan != labels:
            self.contradicting.append(study)  # two names of it, which the table labels apart
            labels = Labels()
        said.scan = labels

    def notes(self) -> list[str]:
        """What was not used, and why."""
        notes = name_some("labels are of nothing in the folder", self._absent)
        notes += name_some("labels are left out, for they fit more than one", self._unclear)
        notes += name_some(
            "studies have labels that contradict, which are left blank",
            self.contradicting,
        )
        if self.elsewhere:
            notes.append(f"{self.elsewhere} labels are of slices in other series of their study")
        return notes


def _choose(entries: Sequence[StackEntry], matched: _Matched) -> tuple[StackEntry | None, str]:
    """The stack that speaks for a study, among those with labelled slices if there are any."""
    labelled = matched.studies[entries[0].study_instance_uid].slices.keys()
    able = [entry for entry in entries if not _keys(entry).isdisjoint(labelled)]
    verdicts = [(entry, fitness_of_entry(entry)) for entry in able or entries]
    (readout,) = choose_readouts(
        Candidate(entry=entry, fitness=fitness, scorable=bool(able) or not fitness.is_unfit)
        for entry, fitness in verdicts
    )
    return next((entry for entry in entries if readout.is_of(entry)), None), readout.message


def _scan(entry: StackEntry, matched: _Matched, patient_id: str, site: str) -> ManifestScan:
    said = matched.studies[entry.study_instance_uid]
    slices = _slices(entry, said.slices)
    matched.elsewhere += len(said.slices.keys() - _keys(entry))
    parts = {name: any_positive(each.subtypes[name] for each in slices) for name in SUBTYPES}
    of_slices = Labels(label=any_positive(each.label for each in slices), subtypes=parts)
    labels = _joined(said.scan or Labels(), of_slices)
    if labels is None:
        matched.contradicting.append(entry.study_instance_uid)
        labels, slices = Labels(), ()
    return ManifestScan(
        scan_id=entry.study_instance_uid,
        patient_id=patient_id,
        path=path_of(entry),
        series_instance_uid=entry.series_instance_uid,
        stack_index=entry.stack_index,
        label=labels.label,
        slices=slices,
        subtypes=labels.subtypes,
        site=site,
    )


def _joined(whole: Labels, parts: Labels) -> Labels | None:
    """What is said of a scan, else what follows from its slices; None for a contradiction."""
    pairs = [(whole.label, parts.label)]
    pairs += [(whole.subtypes[name], parts.subtypes[name]) for name in SUBTYPES]
    if (False, True) in pairs or (whole.label is False and any(parts.subtypes.values())):
        return None
    label, *kinds = (said if said is not None else derived for said, derived in pairs)
    return Labels(
        label=label or any(kinds) or label, subtypes=dict(zip(SUBTYPES, kinds, strict=True))
    )


def _slices(entry: StackEntry, said: dict[_Key, Labels]) -> tuple[SliceLabel, ...]:
    """All slices of a stack where some are labelled, so that the others count as unknown."""
    if _keys(entry).isdisjoint(said):
        return ()
    names = Counter((h.sop_instance_uid, h.frame_number) for h in entry.slices)
    by_index = max(names.values()) > 1 or not entry.slices[0].sop_instance_uid
    found = []
    for index, header in enumerate(entry.slices):
        labels = said.get(_key(header))
        found.append(
            SliceLabel(
                sop_instance_uid=None if by_index else header.sop_instance_uid,
                frame_number=None if by_index else header.frame_number,
                slice_index=index if by_index else None,
                label=labels.label if labels else None,
                subtypes=labels.subtypes if labels else unknown_subtypes(),
            )
        )
    return tuple(found)


def path_of(entry: StackEntry) -> Path:
    """The file or archive that a stack was read from, or the folder above its files."""
    sources = entry.sources
    if len(sources) == 1:
        return next(iter(sources))
    return Path(os.path.commonpath([source.parent for source in sources]))
