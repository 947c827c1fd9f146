"""Rows to scans: every row is looked at, and all that is wrong is found at once."""

from __future__ import annotations

import difflib
import os
from collections import defaultdict
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from sadmil_core.data.scans import (
    COLUMNS,
    SCAN_COLUMNS,
    SCHEMA_VERSION,
    SLICE_COLUMNS,
    SPLITS,
    SUBTYPES,
    ManifestScan,
    SliceLabel,
    any_positive,
)
from sadmil_core.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sadmil_core.data.tables import Table

_LABELS = {"": None, "0": False, "1": True, "0.0": False, "1.0": True}
"""With the decimals that table programs add where a column has blanks."""
_SCAN_LABELS = ("scan_label", *(f"scan_{name}" for name in SUBTYPES))
_LIKENESS = 0.8
_BLANK_SCAN = ("",) * len(SCAN_COLUMNS)
_BLANK_SLICE = ("",) * len(SLICE_COLUMNS)


def check_columns(table: Table) -> tuple[str, ...]:
    """Looks at the names of the columns.

    Returns:
        Warnings about columns that are passed over.

    Raises:
        ManifestError: scan_id is missing, or a name looks like a misspelt one.
    """
    passed_over = []
    for name in table.columns:
        if name in COLUMNS:
            continue
        near = difflib.get_close_matches(name.lower(), COLUMNS, n=1, cutoff=_LIKENESS)
        if near:
            raise ManifestError(
                f"{table.path} has a column {name!r}, which is none of a manifest's: "
                f"is {near[0]} meant?",
                remedy="Correct the name, or choose a less similar one if it is something else.",
            )
        passed_over.append(name)
    table.require(["scan_id"])
    if not passed_over:
        return ()
    return (f"columns that say nothing to a manifest are passed over: {', '.join(passed_over)}",)


class RowReader:
    """Takes the rows of a table one by one, and makes scans of them.

    Attributes:
        problems: What is wrong, by row.
        warnings: What is odd.
    """

    def __init__(self, table: Table) -> None:
        """Nothing is read yet."""
        self.problems: list[tuple[int, str]] = []
        self.warnings: list[str] = []
        self._table = table
        self._drafts: dict[str, _Draft] = {}
        self._instances: dict[tuple[str, str], tuple[int, str]] = {}
        self._folder = table.path.parent
        self._subtypes: dict[tuple[str, ...], dict[str, bool | None]] = {}
        # A cell of "" is put at the end of each row, for the columns that are not there.
        places = {name: place for place, name in enumerate(table.columns)}
        self._general = itemgetter(*(places.get(n, -1) for n in ("schema_version", "path")))
        self._of_scan = itemgetter(*(places.get(name, -1) for name in SCAN_COLUMNS))
        self._of_slice = itemgetter(*(places.get(name, -1) for name in SLICE_COLUMNS))
        self._scan_id = places["scan_id"]

    def read(self) -> tuple[ManifestScan, ...]:
        """Reads all rows.

        Returns:
            The scans in the order of their first rows; of no use where there are problems.

        Raises:
            ManifestError: The table is of another version, or has no rows.
        """
        width = len(self._table.columns)
        for line, cells in self._table.rows:
            if len(cells) != width:
                self._complain(line, f"{len(cells)} cells, where the columns are {width}")
                continue
            cells.append("")
            self._take(line, cells)
        if not self._drafts and not self.problems:
            raise ManifestError(f"{self._table.path} names no scan.")
        scans = tuple(self._finish(scan_id, draft) for scan_id, draft in self._drafts.items())
        self._find_leaks(scans)
        self.problems.sort()
        return scans

    def _complain(self, line: int, message: str) -> None:
        self.problems.append((line, message))

    def _take(self, line: int, cells: list[str]) -> None:
        version, path = self._general(cells)
        if version not in ("", str(SCHEMA_VERSION), f"{SCHEMA_VERSION}.0"):
            raise ManifestError(
                f"{self._table.path}, {self._table.unit} {line}: schema_version is "
                f"{version[:20]!r}; this program reads {SCHEMA_VERSION}.",
                remedy="Use a newer version of the program, or write the table anew.",
            )
        scan_id = cells[self._scan_id]
        if not scan_id:
            self._complain(line, "scan_id is empty")
            return
        draft = self._drafts.get(scan_id)
        if draft is None:
            draft = self._drafts[scan_id] = _Draft()
        draft.lines.append(line)
        of_scan = self._of_scan(cells)
        if of_scan != draft.last and of_scan != _BLANK_SCAN:
            self._take_scan_cells(line, of_scan, draft)
        of_slice = self._of_slice(cells)
        if of_slice[0] or of_slice[2]:
            self._take_slice(line, scan_id, of_slice, path, draft)
        else:
            self._take_scan_row(line, of_slice, path, draft)

    def _take_scan_cells(self, line: int, cells: tuple[str, ...], draft: _Draft) -> None:
        for name, value in zip(SCAN_COLUMNS, cells, strict=True):
            if not value:
                continue
            before, first = draft.cells.setdefault(name, (value, line))
            if before == value or _is_same_label(name, before, value):
                continue
            what = {"series_instance_uid": "mixed series", "split": "a leaking split"}
            if name in _SCAN_LABELS:
                what[name] = "contradicting labels"
            self._complain(
                line,
                f"{what.get(name, 'contradiction')}: {name} is {value[:80]!r}, but "
                f"{before[:80]!r} in {self._table.unit} {first} of the same scan",
            )
        draft.last = cells

    def _take_scan_row(
        self, line: int, of_slice: tuple[str, ...], path: str, draft: _Draft
    ) -> None:
        if of_slice != _BLANK_SLICE:
            given = [n for n, text in zip(SLICE_COLUMNS, of_slice, strict=True) if text]
            self._complain(
                line, f"{given[0]} is given, but no sop_instance_uid or slice_index to say of what"
            )
        elif draft.scan_line:
            self._complain(
                line,
                f"the scan stands in {self._table.unit} {draft.scan_line} too; rows of slices "
                "need a sop_instance_uid or slice_index",
            )
        else:
            draft.scan_line, draft.path = line, path

    def _take_slice(
        self, line: int, scan_id: str, cells: tuple[str, ...], path: str, draft: _Draft
    ) -> None:
        sop, frame_text, index_text, label_text = cells[:4]
        if frame_text and not sop:
            self._complain(line, "frame_number is given without a sop_instance_uid")
        frame = self._number(line, "frame_number", frame_text, 1)
        index = self._number(line, "slice_index", index_text, 0)
        label = self._label(line, "slice_label", label_text)
        subtypes = self._subtypes_of(line, "slice", cells[4:])
        if True in subtypes.values():
            if label is False:
                name = next(name for name, value in subtypes.items() if value)
                self._complain(
                    line, f"contradicting labels: slice_label is 0, but slice_{name} is 1"
                )
            label = True
        if sop:
            self._require_new(line, scan_id, (sop, frame_text), label)
        if index is not None:
            first, before = draft.indices.setdefault(index, (line, label))
            if first != line:
                self._complain(line, self._twice(f"slice_index {index}", first, before, label))
        draft.slices.append(
            SliceLabel(
                sop_instance_uid=sop or None,
                frame_number=frame,
                slice_index=index,
                label=label,
                subtypes=subtypes,
                path=self._resolve(path) if path else None,
                line=line,
            )
        )

    def _require_new(
        self, line: int, scan_id: str, instance: tuple[str, str], label: bool | None
    ) -> None:
        first, owner = self._instances.setdefault(instance, (line, scan_id))
        if first == line:
            return
        name = f"sop_instance_uid {instance[0][:80]}" + f" frame {instance[1]}" * bool(instance[1])
        before = label
        if owner == scan_id:
            slices = self._drafts[scan_id].slices
            before = next((each.label for each in slices if each.line == first), label)
        text = self._twice(name, first, before, label)
        self._complain(line, text if owner == scan_id else f"{text}, in another scan")

    def _twice(self, name: str, first: int, before: bool | None, label: bool | None) -> str:
        where = f"{self._table.unit} {first}"
        if before is not None and label is not None and before != label:
            return f"contradicting labels: {name} is {int(label)} here and {int(before)} in {where}"
        return f"duplicate: {name} stands in {where} too"

    def _number(self, line: int, name: str, text: str, least: int) -> int | None:
        if not text:
            return None
        digits = text.removesuffix(".0")
        if digits.isdecimal() and digits.isascii() and len(digits) < 10 and int(digits) >= least:
            return int(digits)
        self._complain(line, f"{name} is {text[:20]!r}, not a whole number from {least}")
        return None

    def _label(self, line: int, name: str, text: str) -> bool | None:
        if text not in _LABELS:
            self._complain(line, f"{name} is {text[:20]!r}, not 0, 1 or blank")
        return _LABELS.get(text)

    def _subtypes_of(self, line: int, kind: str, cells: tuple[str, ...]) -> dict[str, bool | None]:
        found = self._subtypes.get(cells)
        if found is None:
            names = zip(SUBTYPES, cells, strict=True)
            found = {name: self._label(line, f"{kind}_{name}", text) for name, text in names}
            if all(text in _LABELS for text in cells):
                self._subtypes[cells] = found
        return found

    def _resolve(self, text: str) -> Path:
        return self._folder / text

    def _finish(self, scan_id: str, draft: _Draft) -> ManifestScan:
        def cell(name: str) -> tuple[str, int]:
            return draft.cells.get(name, ("", 0))

        def path(name: str) -> Path | None:
            return self._resolve(cell(name)[0]) if cell(name)[0] else None

        split, split_line = cell("split")
        if split not in ("", *SPLITS):
            self._complain(split_line, f"split is {split[:20]!r}, not {', '.join(SPLITS)} or blank")
        stack, stack_line = cell("stack_index")
        label, subtypes = self._labels_of_scan(scan_id, draft)
        return ManifestScan(
            scan_id=scan_id,
            patient_id=cell("patient_id")[0],
            split=split,
            path=self._resolve(draft.path) if draft.path else common_folder(draft.slices),
            series_instance_uid=cell("series_instance_uid")[0],
            stack_index=self._number(stack_line, "stack_index", stack, 0),
            label=label,
            slices=tuple(draft.slices),
            subtypes=subtypes,
            mask_path=path("mask_path"),
            features_path=path("features_path"),
            edges_path=path("edges_path"),
            site=cell("site")[0],
            lines=tuple(draft.lines),
        )

    def _labels_of_scan(
        self, scan_id: str, draft: _Draft
    ) -> tuple[bool | None, dict[str, bool | None]]:
        """The scan's labels, said or derived; and what contradicts them."""
        subtypes = {
            name: self._label_of_scan(
                scan_id, draft, name, [s.subtypes[name] for s in draft.slices]
            )
            for name in SUBTYPES
        }
        label = self._label_of_scan(scan_id, draft, "label", [s.label for s in draft.slices])
        positive = next((name for name, value in subtypes.items() if value), None)
        if positive is None or label:
            return label, subtypes
        if label is False and "scan_label" in draft.cells:
            line = draft.cells["scan_label"][1]
            self._complain(line, f"contradicting labels: scan_label is 0, but scan_{positive} is 1")
        return True, subtypes

    def _label_of_scan(
        self, scan_id: str, draft: _Draft, name: str, parts: Sequence[bool | None]
    ) -> bool | None:
        text, line = draft.cells.get(f"scan_{name}", ("", 0))
        said = self._label(line, f"scan_{name}", text)
        derived = any_positive(parts)
        if said is False and derived:
            first = draft.slices[list(parts).index(True)].line
            self._complain(
                line,
                f"contradicting labels: scan_{name} is 0, but slice_{name} is 1 in "
                f"{self._table.unit} {first}",
            )
        if said and derived is False and name == "label":
            self.warnings.append(
                f"{self._table.unit} {line}: scan {scan_id[:80]} is positive, and none of its "
                f"{len(parts)} labelled slices"
            )
        return derived if said is None else said

    def _find_leaks(self, scans: Sequence[ManifestScan]) -> None:
        """Patients with scans in more than one split."""
        homes: dict[str, dict[str, ManifestScan]] = defaultdict(dict)
        for scan in scans:
            if scan.split:
                homes[scan.patient_id].setdefault(scan.split, scan)
        for patient, splits in homes.items():
            (first, home), *others = splits.items()
            for split, scan in others:
                self._complain(
                    scan.lines[0],
                    f"a leaking split: patient {patient[:80]} is in {split} here and in {first} "
                    f"in {self._table.unit} {home.lines[0]}",
                )


class _Draft:
    """One scan, as far as its rows have been read."""

    __slots__ = ("cells", "indices", "last", "lines", "path", "scan_line", "slices")

    def __init__(self) -> None:
        self.cells: dict[str, tuple[str, int]] = {}
        self.indices: dict[int, tuple[int, bool | None]] = {}
        self.last: tuple[str, ...] = ()
        self.lines: list[int] = []
        self.path = ""
        self.scan_line = 0
        self.slices: list[SliceLabel] = []


def _is_same_label(name: str, one: str, other: str) -> bool:
    """Whether two texts of a label or number differ in their decimals only."""
    if name not in _SCAN_LABELS and name != "stack_index":
        return False
    return one.removesuffix(".0") == other.removesuffix(".0")


def common_folder(slices: Sequence[SliceLabel]) -> Path | None:
    """What holds the files of slices: the one file or folder they all name, or one above them."""
    paths = {str(each.path) for each in slices if each.path is not None}
    if len(paths) < 2:
        return Path(paths.pop()) if paths else None
    folders = {os.path.dirname(path) for path in paths}
    try:
        return Path(os.path.commonpath(folders)) if all(folders) else Path()
    except ValueError:  # some absolute, others not; or on different drives
        return None
