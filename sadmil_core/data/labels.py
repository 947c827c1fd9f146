"""A table of labels as people keep them: a row a scan or a slice, under their own column names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sadmil_core.data.importers.tables import FaultyLabels
from sadmil_core.data.scans import SUBTYPES, unknown_subtypes
from sadmil_core.data.tables import open_table
from sadmil_core.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sadmil_core.data.tables import Table

_SCAN_IDS = (
    "scan_id",
    "study_instance_uid",
    "StudyInstanceUID",
    "accession_number",
    "AccessionNumber",
    "patient_id",
    "PatientID",
    "folder",
    "study",
)
_SCAN_LABELS = ("scan_label", "scan_any", "label")
_SLICE_IDS = ("sop_instance_uid", "SOPInstanceUID", "file")
_SLICE_LABELS = ("slice_label", "slice_any")
_FRAME = "frame_number"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelColumns:
    """The columns of a table of labels; of each that is empty the first usual name is taken.

    Attributes:
        scan_id: Which scan: StudyInstanceUID, AccessionNumber, PatientID, or a folder's name.
        scan_label: 0, 1 or blank.
        slice_id: Which slice: SOPInstanceUID, or a file's name or path in the folder.
        slice_label: 0, 1 or blank.
    """

    scan_id: str = ""
    scan_label: str = ""
    slice_id: str = ""
    slice_label: str = ""

    def found_in(self, table: Table) -> LabelColumns:
        """The names that a table has; empty where it has none.

        Raises:
            ManifestError: A column that is asked for is not there, or too little is.
        """
        table.require(name for name in (self.scan_id, self.scan_label) if name)
        table.require(name for name in (self.slice_id, self.slice_label) if name)

        def first(asked: str, usual: tuple[str, ...]) -> str:
            return asked or next((name for name in usual if name in table.columns), "")

        found = LabelColumns(
            scan_id=first(self.scan_id, _SCAN_IDS),
            scan_label=first(self.scan_label, _SCAN_LABELS),
            slice_id=first(self.slice_id, _SLICE_IDS),
            slice_label=first(self.slice_label, _SLICE_LABELS),
        )
        labels_scans = found.scan_id and found.scan_label
        labels_slices = found.slice_id and found.slice_label
        if not labels_scans and not labels_slices:
            raise ManifestError(
                f"{table.path} labels neither scans nor slices: its columns are "
                f"{','.join(table.columns)[:200]!r}.",
                remedy="It needs scan_id and scan_label, or sop_instance_uid and slice_label; "
                "--id-column and its like name others.",
            )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What is said of one scan or slice; None is unknown.

    Attributes:
        label: Whether it shows hemorrhage; True where a subtype is.
        subtypes: The same by subtype.
    """

    label: bool | None = None
    subtypes: Mapping[str, bool | None] = field(default_factory=unknown_subtypes)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTable:
    """A table of labels.

    Attributes:
        scans: By the name of the scan.
        slices: By the name of its scan, empty where none is given; its own; and the frame.
    """

    scans: Mapping[str, Labels]
    slices: Mapping[tuple[str, str, int | None], Labels]


def read_label_table(path: Path, columns: LabelColumns) -> LabelTable:
    """Reads a table of labels.

    Args:
        path: CSV in UTF-8, or Parquet. The subtypes are taken from ``scan_<subtype>`` and
            ``slice_<subtype>``, and in a table of scans alone from ``<subtype>``.
        columns: Which of its columns say what.

    Raises:
        ManifestError: It is no such table, or rows are wrong or contradict: all are listed.
    """
    faults = FaultyLabels(path)
    with open_table(path) as table:
        found = columns.found_in(table)
        reader = _Reader(found, faults)
        for line, row in table.dicts():
            reader.take(line, row)
    faults.raise_if_any()
    if not reader.scans and not reader.slices:
        raise ManifestError(f"{path} holds no label.")
    return LabelTable(scans=reader.scans, slices=reader.slices)


class _Reader:
    def __init__(self, columns: LabelColumns, faults: FaultyLabels) -> None:
        self._columns, self._faults = columns, faults
        self.scans: dict[str, Labels] = {}
        self.slices: dict[tuple[str, str, int | None], Labels] = {}
        self._lines: dict[object, int] = {}

    def take(self, line: int, row: Mapping[str, str]) -> None:
        columns = self._columns
        scan = row.get(columns.scan_id, "")
        name = row.get(columns.slice_id, "") if columns.slice_label else ""
        if not scan and not name:
            self._faults.add(line, f"{columns.scan_id or columns.slice_id} is empty")
        if scan and columns.scan_label:
            bare = not columns.slice_label
            labels = self._labels(line, row, columns.scan_label, "scan_", bare=bare)
            self._keep(line, scan, self.scans, scan, labels)
        if name:
            labels = self._labels(line, row, columns.slice_label, "slice_")
            frame = self._frame(line, row.get(_FRAME, ""))
            shown = name if frame is None else f"{name} frame {frame}"
            self._keep(line, shown, self.slices, (scan, name, frame), labels)

    def _labels(
        self, line: int, row: Mapping[str, str], column: str, prefix: str, *, bare: bool = False
    ) -> Labels:
        subtypes: dict[str, bool | None] = {}
        for name in SUBTYPES:
            own = f"{prefix}{name}" if f"{prefix}{name}" in row or not bare else name
            subtypes[name] = self._faults.label(line, own, row.get(own, ""))
        label = self._faults.label(line, column, row[column])
        positive = next((name for name, value in subtypes.items() if value), None)
        if label is False and positive:
            self._faults.add(line, f"{column} is 0, but {prefix}{positive} is 1")
        return Labels(label=True if positive else label, subtypes=subtypes)

    def _frame(self, line: int, text: str) -> int | None:
        if text and not (text.isascii() and text.isdecimal() and int(text) > 0):
            self._faults.add(line, f"{_FRAME} is {text[:20]!r}, not a whole number from 1")
            return None
        return int(text) if text else None

    def _keep(
        self, line: int, shown: str, known: dict[Any, Labels], key: Any, said: Labels
    ) -> None:
        """Keeps what is said first; another row may say the same again, or leave it blank."""
        unknown = Labels()
        before = known.get(key, unknown)
        if unknown not in (before, said) and before != said:
            first = self._lines[key]
            self._faults.add(line, f"{shown[:80]} is labelled otherwise in line {first}")
        elif before == unknown:
            known[key] = said
            self._lines[key] = line
