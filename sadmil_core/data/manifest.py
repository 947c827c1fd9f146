"""The manifest: one table that names the scans to learn from, and what is known of them.

One row is a slice or a scan; a blank cell is unknown. docs/manifest.md says what each column
means. A table is used whole or not at all: everything that is wrong is listed at once.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from sadmil_core.data.rows import RowReader, check_columns
from sadmil_core.data.scans import (
    COLUMNS,
    SCHEMA_VERSION,
    SPLITS,
    SUBTYPES,
    Manifest,
    ManifestScan,
    SliceLabel,
)
from sadmil_core.data.tables import open_table, write_table
from sadmil_core.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

__all__ = [
    "SCHEMA_VERSION",
    "SPLITS",
    "SUBTYPES",
    "Manifest",
    "ManifestError",
    "ManifestScan",
    "SliceLabel",
    "describe_scans",
    "missing_files",
    "read_manifest",
    "require_both_classes",
    "write_manifest",
]

_LISTED = 50


def read_manifest(path: Path) -> Manifest:
    """Reads a manifest and looks at every row.

    Args:
        path: A CSV file in UTF-8, or a Parquet file by its suffix. Paths in it are taken from
            its folder, and not looked for (see :func:`missing_files`).

    Raises:
        ManifestError: It cannot be read, or rows are wrong: all of them are listed in its
            ``problems``, the first 50 in its message.
    """
    with open_table(path) as table:
        warnings = check_columns(table)
        reader = RowReader(table)
        scans = reader.read()
    if reader.problems:
        raise _bad_rows(path, table.unit, reader.problems)
    return Manifest(path=path, scans=scans, warnings=(*warnings, *reader.warnings))


def _bad_rows(path: Path, unit: str, found: list[tuple[int, str]]) -> ManifestError:
    problems = tuple(f"{unit} {line}: {message}" for line, message in found)
    listed = "\n".join(f"  {problem}" for problem in problems[:_LISTED])
    more = f"\n  and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
    return ManifestError(
        f"{path} is not used before these {len(problems)} thing(s) are put right:\n{listed}{more}",
        problems=problems,
    )


def write_manifest(scans: Iterable[ManifestScan], path: Path) -> None:
    """Writes a manifest whole or not at all.

    A scan is one row, and so is each of its slices; what holds for the scan stands in its row
    alone. Paths below the manifest's folder are written relative to it.

    Args:
        scans: Read back they are the same but for their lines.
        path: CSV, or Parquet by its suffix.

    Raises:
        WriteError: The system refused.
        ManifestError: A path is no text in Unicode.
    """
    write_table(path, COLUMNS, _rows(scans, os.path.abspath(path.parent)))


def _rows(scans: Iterable[ManifestScan], folder: str) -> Iterator[list[str]]:
    for scan in scans:
        cells = {
            "path": _shown(scan.path, folder),
            "patient_id": "" if scan.patient_id == scan.scan_id else scan.patient_id,
            "split": scan.split,
            "series_instance_uid": scan.series_instance_uid,
            "stack_index": _text(scan.stack_index),
            "scan_label": _text(scan.label),
            "mask_path": _shown(scan.mask_path, folder),
            "features_path": _shown(scan.features_path, folder),
            "edges_path": _shown(scan.edges_path, folder),
            "site": scan.site,
            **_subtype_cells("scan", scan.subtypes),
        }
        yield _row(scan.scan_id, cells)
        for each in scan.slices:
            cells = {
                "path": _shown(each.path, folder),
                "sop_instance_uid": each.sop_instance_uid or "",
                "frame_number": _text(each.frame_number),
                "slice_index": _text(each.slice_index),
                "slice_label": _text(each.label),
                **_subtype_cells("slice", each.subtypes),
            }
            yield _row(scan.scan_id, cells)


def _row(scan_id: str, cells: Mapping[str, str]) -> list[str]:
    head = {"schema_version": str(SCHEMA_VERSION), "scan_id": scan_id}
    return [head.get(name) or cells.get(name, "") for name in COLUMNS]


def _subtype_cells(kind: str, subtypes: Mapping[str, bool | None]) -> dict[str, str]:
    return {f"{kind}_{name}": _text(value) for name, value in subtypes.items()}


def _text(value: int | None) -> str:
    return "" if value is None else str(int(value))


def _shown(path: Path | None, folder: str) -> str:
    if path is None:
        return ""
    text = os.path.abspath(path)
    if text == folder:
        return "."
    inside = os.path.join(folder, "")
    return text.removeprefix(inside).replace(os.sep, "/") if text.startswith(inside) else text


def require_both_classes(scans: Iterable[ManifestScan], split: str) -> None:
    """Refuses a split that has nothing to learn from or to measure on.

    Args:
        scans: Those of the split.
        split: Its name, for the message.

    Raises:
        ManifestError: It has no positive or no negative scan.
    """
    counts = Counter(scan.label for scan in scans)
    missing = [
        name for name, label in (("positive", True), ("negative", False)) if not counts[label]
    ]
    if missing:
        raise ManifestError(
            f"The split {split or '(none)'} has no {' and no '.join(missing)} scan: "
            f"{counts[True]} positive, {counts[False]} negative, {counts[None]} unknown.",
            remedy="Add such scans, or split anew with `sadmil manifest split`.",
        )


def missing_files(scans: Iterable[ManifestScan]) -> tuple[Path, ...]:
    """The files and folders that scans name and that are not there, each once."""
    named: dict[Path, None] = {}
    for scan in scans:
        extra = (scan.mask_path, scan.features_path, scan.edges_path)
        named.update(dict.fromkeys([*scan.sources, *(path for path in extra if path)]))
    return tuple(path for path in named if not os.path.lexists(path))


def describe_scans(scans: Iterable[ManifestScan]) -> list[tuple[str, ...]]:
    """Counts for people, one row a split and one for all.

    Returns:
        First the names of the columns, then the rows.
    """
    scans = list(scans)
    table: list[tuple[str, ...]] = [
        (
            "split",
            "scans",
            "positive",
            "negative",
            "unknown",
            "patients",
            "slices",
            "positive slices",
        )
    ]
    names = [name for name in (*SPLITS, "") if any(scan.split == name for scan in scans)]
    for name in names if len(names) > 1 else []:
        table.append(_counts(name or "(none)", [scan for scan in scans if scan.split == name]))
    return [*table, _counts("all" if len(names) > 1 else names[0] or "(none)", scans)]


def _counts(name: str, scans: list[ManifestScan]) -> tuple[str, ...]:
    labels = Counter(scan.label for scan in scans)
    slices = Counter(each.label for scan in scans for each in scan.slices)
    patients = len({scan.patient_id for scan in scans})
    numbers = (len(scans), labels[True], labels[False], labels[None], patients)
    return (name, *map(str, numbers), str(slices.total()), str(slices[True]))
