"""The report as JSON: the CSV's values by scan and slice, with messages and circumstances."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from sadmil_core import RESEARCH_USE_NOTICE, __version__
from sadmil_core.atomic import replacing
from sadmil_core.report.slices_csv import (
    SCHEMA_VERSION,
    SLICE_COLUMNS,
    readouts_by_study,
    slice_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sadmil_core.dicom import SkippedFile
    from sadmil_core.readout import StudyReadout
    from sadmil_core.report.record import ScanRecord

_SHARED_KEYS = ("schema_version", "software_version", "warnings", "research_use_only")


def write_json(
    records: Iterable[ScanRecord],
    path: Path,
    *,
    skipped: Iterable[SkippedFile] = (),
    readouts: Iterable[StudyReadout] | None = None,
) -> None:
    """Writes the JSON report, whole or not at all.

    Args:
        records: The stacks.
        path: The file; an older one is replaced.
        skipped: Files that were passed over.
        readouts: Which series speaks for each study; chosen among the records if None.

    Raises:
        WriteError: The system refused; nothing is left behind.
    """
    text = json_text(records, skipped=skipped, readouts=readouts)
    # A file name may hold bytes that are no text; the escape is JSON's own.
    with replacing(path) as stream:
        stream.write(text.encode("utf-8", "backslashreplace"))


def json_text(
    records: Iterable[ScanRecord],
    *,
    skipped: Iterable[SkippedFile] = (),
    readouts: Iterable[StudyReadout] | None = None,
) -> str:
    """The JSON report as text."""
    records = list(records)
    of_study = readouts_by_study(records, readouts)
    document = {
        "schema_version": SCHEMA_VERSION,
        "software_version": __version__,
        "research_use_only": True,
        "notice": RESEARCH_USE_NOTICE,
        "studies": [_study(readout, records) for readout in of_study.values()],
        "scans": [_scan(each, of_study[each.entry.study_instance_uid]) for each in records],
        "skipped_files": [
            {"path": str(file.path), "reason": str(file.reason), "message": file.message}
            for file in skipped
        ],
    }
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _study(readout: StudyReadout, records: list[ScanRecord]) -> dict[str, Any]:
    """What a study comes to: the chosen series' answer, never a maximum over series."""
    chosen = (each.result for each in records if readout.is_of(each.entry))
    result = next(chosen, None)
    return {
        "scan_id": readout.scan_id,
        "series_count": readout.series_count,
        "series_instance_uid": readout.series_instance_uid,
        "stack_index": readout.stack_index,
        "reason": str(readout.reason),
        "message": readout.message,
        "scan_probability": result.scan_probability if result else None,
        "scan_positive": result.scan_positive if result else None,
    }


def _scan(record: ScanRecord, readout: StudyReadout) -> dict[str, Any]:
    rows = [
        {key: _plain(value) for key, value in row.items()} for row in slice_rows(record, readout)
    ]
    per_scan = (key for key in rows[0] if key not in (*SLICE_COLUMNS, *_SHARED_KEYS))
    scan: dict[str, Any] = {key: rows[0][key] for key in per_scan}
    scan["warnings"] = [
        {"code": str(warning.code), "message": warning.message} for warning in record.warnings
    ]
    scan["fitness_reasons"] = [
        {"code": str(reason.code), "level": str(reason.level), "message": reason.message}
        for reason in record.fitness.reasons
    ]
    scan["scored_though_unfit"] = record.scored_though_unfit
    result = record.result
    if result is not None:
        scan |= {
            "scan_logit": result.scan_logit,
            "temperature": result.rule.temperature,
            "bag_size": result.bag_size,
            "padding_contribution": result.padding_contribution,
            "device": result.execution.device,
            "precision": result.execution.precision,
            "threads": result.execution.threads,
            "chunk": result.execution.chunk,
            "seconds": {k: round(v, 4) for k, v in result.execution.seconds.items()},
        }
    scan["slices"] = [{key: row[key] for key in SLICE_COLUMNS} for row in rows]
    return scan


def _plain(value: Any) -> Any:
    """A value JSON can hold; a float32 by its shortest decimal form, as in the CSV."""
    if isinstance(value, np.floating):
        return float(str(value)) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
