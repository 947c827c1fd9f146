"""Labels and files brought together: a manifest to train on, and the journal as a table."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sadmil_core.data.folder import path_of
from sadmil_core.data.scans import SUBTYPES, ManifestScan, SliceLabel, any_positive
from sadmil_core.data.tables import write_table
from sadmil_core.dicom import read_identity
from sadmil_core.labels.marks import marks_from
from sadmil_core.labels.names import SliceName, scan_name, slice_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from sadmil_core.dicom import StackEntry
    from sadmil_core.labels.journal import Journal, JournalRow
    from sadmil_core.labels.marks import FactKey, ScanMarks
    from sadmil_core.labels.names import ScanName
    from sadmil_core.report.pseudonyms import Pseudonyms

READING_COLUMNS = (
    "scan_id",
    "series_instance_uid",
    "stack_index",
    "sop_instance_uid",
    "frame_number",
    "item",
    "value",
    "reader",
    "at_utc",
    "model_in_sight",
)
"""The columns of :func:`write_readings`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledScans:
    """What could be brought together.

    Attributes:
        scans: For a manifest, each with the label of its scan or slices.
        absent: How many labelled scans are not among the files.
        disputed: How many labels are left blank because readers contradict each other.
    """

    scans: tuple[ManifestScan, ...]
    absent: int
    disputed: int

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, a sentence each."""
        notes = []
        if self.absent:
            notes.append(f"{self.absent} labelled scan(s) are not among these files")
        if self.disputed:
            notes.append(f"{self.disputed} label(s) are blank, for readers contradict each other")
        return tuple(notes)


def collect_scans(
    journal: Journal,
    hashes: Pseudonyms,
    entries: Iterable[StackEntry],
    reader: str | None = None,
) -> LabelledScans:
    """Finds the files of the scans that have labels.

    Patients are written as hashes: their scans stay together in splits. A study of which several
    stacks are labelled gives a scan each; all but the largest have a number after their scan_id.

    Args:
        journal: What was said.
        hashes: With the user's key.
        entries: Stacks that may be labelled, with the files they lie in.
        reader: Whose labels; None for all readers'. Where they contradict, a label is blank.

    Raises:
        LabelError, WriteError: The database cannot be used.
    """
    said: dict[ScanName, dict[FactKey, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in journal.rows(only_last=True, reader=reader):
        if row.item not in ("note", "agrees"):
            said[row.scan][_key(row)].add(row.value)
    disputed = sum(len(values) > 1 for facts in said.values() for values in facts.values())
    found: dict[ScanName, StackEntry] = {}
    for entry in sorted(entries, key=lambda entry: -len(entry.slices)):
        name = scan_name(entry, hashes)
        if name in said:
            found.setdefault(name, entry)
    scans, studies = [], Counter[str]()
    for name, entry in found.items():
        agreed = {key: min(values) for key, values in said[name].items() if len(values) == 1}
        marks = marks_from(agreed, slice_names(entry, hashes))
        scans.append(_scan(entry, marks, hashes, studies[entry.study_instance_uid]))
        studies[entry.study_instance_uid] += 1
    return LabelledScans(
        scans=tuple(sorted(scans, key=lambda scan: scan.scan_id)),
        absent=len(said.keys() - found.keys()),
        disputed=disputed,
    )


def _key(row: JournalRow) -> FactKey:
    place = row.slice or SliceName("", 0)
    return place.instance, place.frame, row.item


def _scan(entry: StackEntry, marks: ScanMarks, hashes: Pseudonyms, number: int) -> ManifestScan:
    slices = _slices(entry, marks)
    kinds = {name: any_positive(each.subtypes[name] for each in slices) for name in SUBTYPES}
    label = marks.label
    if label is False and (any(each.label for each in slices) or any(kinds.values())):
        label = None  # of two readers, one has marked the scan and the other slices
    study = entry.study_instance_uid
    return ManifestScan(
        scan_id=f"{study}#{number + 1}" if number else study,
        patient_id=hashes.of(read_identity(entry.slices[0].path).patient_id),
        path=path_of(entry),
        series_instance_uid=entry.series_instance_uid,
        stack_index=entry.stack_index,
        label=label if label is not None else any_positive(each.label for each in slices),
        slices=slices,
        subtypes=kinds,
    )


def _slices(entry: StackEntry, marks: ScanMarks) -> tuple[SliceLabel, ...]:
    """All slices where some are labelled, so that the others count as unknown."""
    if all(said.label is None and not said.subtypes for said in marks.slices.values()):
        return ()
    names = Counter((h.sop_instance_uid, h.frame_number) for h in entry.slices)
    by_index = max(names.values()) > 1 or not all(h.sop_instance_uid for h in entry.slices)
    slices = []
    for index, header in enumerate(entry.slices):
        label, kinds = marks.of(index).label, dict(marks.of(index).subtypes)
        if label is False and any(kinds.values()):
            label, kinds = None, {}  # of two readers, each has said one of these
        slices.append(
            SliceLabel(
                sop_instance_uid=None if by_index else header.sop_instance_uid,
                frame_number=None if by_index else header.frame_number,
                slice_index=index if by_index else None,
                label=label,
                subtypes=dict(kinds),
            )
        )
    return tuple(slices)


def write_readings(
    journal: Journal, hashes: Pseudonyms, entries: Iterable[StackEntry], path: Path
) -> int:
    """Writes every change of every label: who, when, and with which model in sight.

    Args:
        journal: What was said.
        hashes: With the user's key.
        entries: Stacks whose UIDs are written; those of all other scans stay hashes.
        path: CSV, or Parquet by its suffix.

    Returns:
        How many changes there are.

    Raises:
        LabelError, WriteError: The database cannot be used, or nothing could be written.
    """
    known = {}
    for entry in entries:
        uids = {
            name: header.sop_instance_uid
            for name, header in zip(slice_names(entry, hashes), entry.slices, strict=True)
        }
        known[scan_name(entry, hashes)] = entry, uids
    rows = journal.rows()
    write_table(path, READING_COLUMNS, [_reading(row, known) for row in rows])
    return len(rows)


def _reading(
    row: JournalRow, known: dict[ScanName, tuple[StackEntry, dict[SliceName, str]]]
) -> Sequence[str]:
    study, series, instance = row.scan.study, row.scan.series, ""
    if row.slice is not None:
        instance = row.slice.instance
    if row.scan in known:
        entry, uids = known[row.scan]
        study, series = entry.study_instance_uid, entry.series_instance_uid
        instance = uids.get(row.slice, instance) if row.slice else ""
    frame = str(row.slice.frame) if row.slice and row.slice.frame else ""
    return (
        study,
        series,
        str(row.scan.stack),
        instance,
        frame,
        row.item,
        row.value,
        row.reader,
        row.at.isoformat(timespec="milliseconds"),
        row.model,
    )
