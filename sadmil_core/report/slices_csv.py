"""The slice report: tidy CSV, one row a slice, that pandas and Excel read alike.

Scan columns repeat in every row; the key is (series_instance_uid, stack_index, slice_index).
Cells are blank where a model gives no such value. Numbers are in their shortest form that
reads back the same.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from sadmil_core import __version__
from sadmil_core.atomic import replacing
from sadmil_core.readout import StudyReadout, choose_readouts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sadmil_core.report.record import ScanRecord
    from sadmil_core.result import ScanResult

SCHEMA_VERSION = 2

COLUMNS = (
    "schema_version",
    "scan_id",
    "series_instance_uid",
    "stack_index",
    "slice_index",
    "sop_instance_uid",
    "frame_number",
    "instance_number",
    "z_mm",
    "position_mm",
    "attention",
    "attention_logit",
    "attention_sd",
    "attention_threshold",
    "slice_score",
    "slice_probability",
    "slice_positive",
    "evidence",
    "contribution",
    "scan_probability",
    "scan_threshold",
    "scan_positive",
    "slice_rule",
    "fitness",
    "fitness_reasons",
    "study_readout",
    "study_readout_reason",
    "model_id",
    "model_sha256",
    "software_version",
    "warnings",
    "research_use_only",
)

SLICE_COLUMNS = tuple(
    column
    for first, last in (
        ("slice_index", "attention_sd"),
        ("slice_score", "slice_positive"),
        ("evidence", "contribution"),
    )
    for column in COLUMNS[COLUMNS.index(first) : COLUMNS.index(last) + 1]
)
"""Those that differ from slice to slice; the others repeat in each row of a scan."""


def write_csv(
    records: Iterable[ScanRecord], path: Path, *, readouts: Iterable[StudyReadout] | None = None
) -> None:
    """Writes the slice report, whole or not at all.

    Args:
        records: The stacks, in the order they are to stand in.
        path: The file; an older one is replaced.
        readouts: Which series speaks for each study; chosen among the records if None.

    Raises:
        WriteError: The system refused; nothing is left behind.
    """
    text = csv_text(records, readouts=readouts)
    with replacing(path) as stream:
        stream.write(text.encode("utf-8", "backslashreplace"))


def csv_text(
    records: Iterable[ScanRecord], *, readouts: Iterable[StudyReadout] | None = None
) -> str:
    """The slice report as text: UTF-8 without BOM, lines ended by LF."""
    records = list(records)
    of_study = readouts_by_study(records, readouts)
    lines = [csv_line(COLUMNS)]
    for record in records:
        rows = slice_rows(record, of_study[record.entry.study_instance_uid])
        lines += map(row_line, rows)
    return "".join(lines)


def row_line(row: Mapping[str, Any]) -> str:
    """One row, by column name, as a line of the report."""
    return csv_line([format_cell(row[column]) for column in COLUMNS])


def csv_line(cells: Sequence[str]) -> str:
    """One line, ended by LF. The writer is told of CR LF, or it would leave a CR unquoted."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def readouts_by_study(
    records: Iterable[ScanRecord], readouts: Iterable[StudyReadout] | None = None
) -> dict[str, StudyReadout]:
    """The given read-outs, or those chosen among the records, by StudyInstanceUID."""
    if readouts is None:
        readouts = choose_readouts(record.candidate for record in records)
    return {readout.scan_id: readout for readout in readouts}


def slice_rows(record: ScanRecord, readout: StudyReadout) -> Iterator[dict[str, Any]]:
    """The rows of one stack by column name, foot to head; None where a cell is blank."""
    entry, result = record.entry, record.result
    positions = entry.geometry.position_mm if entry.geometry.has_positions else None
    scan = dict.fromkeys(COLUMNS) | {
        "schema_version": SCHEMA_VERSION,
        "scan_id": entry.study_instance_uid,
        "series_instance_uid": entry.series_instance_uid,
        "stack_index": entry.stack_index,
        "fitness": str(record.fitness.level),
        "fitness_reasons": ";".join(record.fitness.codes),
        "study_readout": readout.is_of(entry),
        "study_readout_reason": str(readout.reason),
        "model_id": record.model.model_id,
        "model_sha256": record.model.sha256,
        "software_version": __version__,
        "warnings": ";".join(record.warning_codes),
        "research_use_only": True,
    }
    if result is not None:
        scan |= _scan_cells(result)
    for index, header in enumerate(entry.slices):
        row = scan | {
            "slice_index": index,
            "sop_instance_uid": header.sop_instance_uid,
            "frame_number": header.frame_number,
            "instance_number": header.instance_number,
            "z_mm": entry.geometry.z_mm[index] if positions else None,
            "position_mm": positions[index] if positions else None,
        }
        yield row if result is None else row | _slice_cells(result, index)


def _scan_cells(result: ScanResult) -> dict[str, Any]:
    by_attention = result.rule.slice_score == "attention"
    # In the precision of the attention, so that a reader who compares the two columns comes to
    # the same decision even where all slices have an equal share.
    threshold = np.float32(result.slice_threshold) if by_attention else None
    return {
        "attention_threshold": threshold,
        "scan_probability": result.scan_probability,
        "scan_threshold": result.rule.scan_threshold,
        "scan_positive": result.scan_positive,
        "slice_rule": result.rule.describe(result.bag_padding),
    }


def _slice_cells(result: ScanResult, index: int) -> dict[str, Any]:
    def at(values: NDArray[np.float32] | None) -> np.float32 | None:
        return None if values is None else values[index]

    return {
        "attention": at(result.attention),
        "attention_logit": at(result.attention_logit),
        "attention_sd": at(result.attention_sd),
        "slice_score": at(result.slice_score),
        "slice_probability": at(result.slice_probability),
        "slice_positive": bool(result.slice_positive[index]),
        "evidence": at(result.evidence),
        "contribution": at(result.contribution),
    }


def format_cell(value: Any) -> str:
    """A value as a CSV cell.

    Text that a spreadsheet would take for a formula is prefixed with an apostrophe; numbers
    never are.
    """
    if value is None:
        return ""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
    if isinstance(value, float | np.floating) and not np.isfinite(value):
        return ""
    # str() of a Python or NumPy float is its shortest form that reads back the same.
    return str(value)
