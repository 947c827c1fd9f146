"""CQ500: 491 scans of several series each, and the reads of three radiologists.

S. Chilamkurthy et al., "Deep learning algorithms for detection of critical findings in head CT
scans: a retrospective study", Lancet 392, 2018.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sadmil_core.data.folder import ImportResult
from sadmil_core.data.importers.tables import FaultyLabels, name_some, read_rows, require_folder
from sadmil_core.data.scans import ManifestScan, unknown_subtypes
from sadmil_core.dicom import index_folder
from sadmil_core.errors import ManifestError
from sadmil_core.fitness import FitnessLevel, fitness_of_entry
from sadmil_core.progress import Progress, no_progress
from sadmil_core.readout import Candidate, ReadoutReason, choose_readouts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_READERS = ("R1", "R2", "R3")
_MAJORITY = 2
_KINDS = {
    "EDH": "epidural",
    "SDH": "subdural",
    "SAH": "subarachnoid",
    "IPH": "intraparenchymal",
    "IVH": "intraventricular",
}
_FINDINGS = ("ICH", *_KINDS)
_WHY = {
    ReadoutReason.ONLY_SERIES: "the only one",
    ReadoutReason.ONLY_SCORABLE: "the only one fit for the model",
    ReadoutReason.FITTER: "fitter than the others",
    ReadoutReason.FEWER_REASONS: "one that less speaks against than against the others",
    ReadoutReason.PROTOCOL: "nearest to an ordinary head protocol (5 mm slices)",
    ReadoutReason.UID_ORDER: "first by UID of equally fit ones",
}
_COLUMNS = ("name", "Category", *(f"{r}:{f}" for r in _READERS for f in _FINDINGS))
_NAME = re.compile(r"CQ500[- ]?CT[- ]?0*(\d+)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cq500Reads:
    """What the majority of readers says of one scan.

    Attributes:
        name: As the table has it, for example CQ500-CT-0.
        category: B1 or B2: how the scan was collected.
        label: Whether it bleeds; None without a majority, or where that contradicts itself.
        subtypes: The same by kind of hemorrhage; None for those without a majority.
        contradicts: The majority names a kind of hemorrhage but none of any.
    """

    name: str
    category: str
    label: bool | None
    subtypes: Mapping[str, bool | None]
    contradicts: bool = False


def read_cq500_reads(path: Path) -> dict[int, Cq500Reads]:
    """Reads ``reads.csv``.

    Args:
        path: The table, with the columns ``name``, ``Category`` and ``R1:ICH`` to ``R3:SAH``.

    Returns:
        The majority of the three, by the number in the scan's name.

    Raises:
        ManifestError: It is not such a table; all bad rows are listed.
    """
    reads: dict[int, Cq500Reads] = {}
    faults = FaultyLabels(path)
    for line, (name, category, *cells) in read_rows(path, _COLUMNS):
        number = _number(name)
        if number is None or number in reads:
            why = "no name of the kind CQ500-CT-0" if number is None else "there twice"
            faults.add(line, f"{name[:40]!r} is {why}")
            continue
        columns = _COLUMNS[2:]
        votes = [faults.label(line, c, cell) for c, cell in zip(columns, cells, strict=True)]
        reads[number] = _majority_reads(name, category, votes)
    faults.raise_if_any()
    if not reads:
        raise ManifestError(f"{path} names no scan.", remedy="Give reads.csv of CQ500.")
    return reads


def _majority_reads(name: str, category: str, votes: list[bool | None]) -> Cq500Reads:
    by_finding = {f: _majority(votes[k :: len(_FINDINGS)]) for k, f in enumerate(_FINDINGS)}
    label = by_finding.pop("ICH")
    kinds = {_KINDS[finding]: said for finding, said in by_finding.items()}
    contradicts = label is False and any(kinds.values())
    return Cq500Reads(
        name=name,
        category=category,
        label=None if contradicts else label,
        subtypes=unknown_subtypes() if contradicts else kinds,
        contradicts=contradicts,
    )


def _majority(votes: Iterable[bool | None]) -> bool | None:
    said = list(votes)
    return next((label for label in (True, False) if said.count(label) >= _MAJORITY), None)


def _number(name: str) -> int | None:
    found = _NAME.match(name)
    return int(found[1]) if found else None


def import_cq500(reads_path: Path, folder: Path, progress: Progress = no_progress) -> ImportResult:
    """The scans of CQ500, each by the series that is fittest to speak for it.

    Args:
        reads_path: ``reads.csv``.
        folder: With the scans' folders, ``CQ500CT0 CQ500CT0`` and so on, at any depth.
        progress: Called with the number of scans read.

    Returns:
        One scan a folder that has reads; its site is the category of the table.

    Raises:
        ManifestError: The table is none, or no folder of a scan is there.
        InputError: A folder cannot be listed.
        Cancelled: From ``progress``.
    """
    require_folder(folder)
    reads = read_cq500_reads(reads_path)
    folders = _scan_folders(folder)
    if not folders:
        raise ManifestError(
            f"No folder below {folder} is named as a scan of CQ500 (CQ500CT0 CQ500CT0).",
            remedy="Unpack the archives of the scans there.",
        )
    unread = [path.name for number, (path, *_) in folders.items() if number not in reads]
    twice = [path.name for paths in folders.values() for path in paths[1:]]
    scans: list[ManifestScan] = []
    notes: list[str] = []
    chosen: dict[str, list[str]] = defaultdict(list)
    wanted = sorted(folders.keys() & reads.keys())
    for done, number in enumerate(wanted):
        progress(done, len(wanted), "reading scans")
        scan, why = _scan(reads[number], folders[number][0], _quietly(progress, done, len(wanted)))
        if scan is None:
            notes.append(f"{reads[number].name} is left out: {why}")
            continue
        scans.append(scan)
        chosen[why].append(reads[number].name)
    progress(len(wanted), len(wanted), "reading scans")
    _refuse_repeated(scans)
    absent = [each.name for number, each in sorted(reads.items()) if number not in folders]
    return ImportResult(
        scans=tuple(scans),
        notes=(
            *_notes_on_reads(reads),
            *name_some("folders are not named in the table, and left out", unread),
            *name_some("folders are those of a scan found before, and left out", twice),
            *name_some("scans of the table are not in the folder", absent),
            *notes,
            *(f"{len(names)} scans by the series that is {why}" for why, names in chosen.items()),
        ),
    )


def _refuse_repeated(scans: list[ManifestScan]) -> None:
    """Two scans of one study would be one in a manifest."""
    counts = Counter(scan.scan_id for scan in scans)
    repeated = sorted(scan_id for scan_id, count in counts.items() if count > 1)
    if repeated:
        raise ManifestError(
            f"Several folders hold the study {', '.join(repeated[:5])}.",
            remedy="Keep one copy of each scan.",
        )


def _quietly(progress: Progress, number: int, count: int) -> Progress:
    """The steps within a scan: they may be cancelled, and do not show."""

    def report(done: int, total: int, phase: str) -> None:
        progress(number, count, "reading scans")

    return report


def _scan_folders(root: Path) -> dict[int, list[Path]]:
    """The folders named as scans, the outermost where one holds another, by number."""
    found: dict[int, list[Path]] = {}
    for parent, names, _ in os.walk(root, followlinks=True):
        names.sort()
        scans = [name for name in names if _number(name) is not None]
        for name in scans:
            found.setdefault(_number(name) or 0, []).append(Path(parent, name))
        names[:] = [name for name in names if name not in scans]
    return found


def _scan(reads: Cq500Reads, folder: Path, progress: Progress) -> tuple[ManifestScan | None, str]:
    """The scan of a folder and why it is this series; or None, and why there is none."""
    index = index_folder(folder, progress)
    candidates = [
        Candidate(entry=entry, fitness=fitness, scorable=fitness.level is not FitnessLevel.UNFIT)
        for entry, fitness in ((entry, fitness_of_entry(entry)) for entry in index.entries)
    ]
    readouts = choose_readouts(candidates)
    if len(readouts) != 1:
        what = "no CT slice that can be read" if not readouts else f"{len(readouts)} studies"
        return None, f"its folder holds {what}"
    (readout,) = readouts
    entry = next((each for each in index.entries if readout.is_of(each)), None)
    if entry is None:
        return None, readout.message
    scan = ManifestScan(
        scan_id=entry.study_instance_uid,
        patient_id=reads.name,
        path=Path(os.path.commonpath([header.path.parent for header in entry.slices])),
        series_instance_uid=entry.series_instance_uid,
        stack_index=entry.stack_index,
        label=reads.label,
        subtypes=reads.subtypes,
        site=reads.category,
    )
    return scan, _WHY[readout.reason]


def _notes_on_reads(reads: Mapping[int, Cq500Reads]) -> list[str]:
    torn = [each.name for each in reads.values() if each.contradicts]
    none = [each.name for each in reads.values() if each.label is None and not each.contradicts]
    return [
        *name_some(
            "scans of which the majority names a kind of hemorrhage but no hemorrhage; their "
            "labels are left blank",
            torn,
        ),
        *name_some("scans have no majority on hemorrhage; their label is left blank", none),
    ]
