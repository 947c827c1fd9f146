"""The report as JSON: the CSV's values by scan and slice, with messages and circumstances."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from sadmil_core import RESEARCH_USE_NOTICE, __version__
from sadmil_core.atomic import replacing
from sadmil_core.report.slices_csv import (
    COLUMNS,
    SCHEMA_VERSION,
    SLICE_COLUMNS,
    readouts_by_study,
    slice_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
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
    return "".join(
        json_pieces(
            (study_document(readout, records) for readout in of_study.values()),
            (scan_document(each, of_study[each.entry.study_instance_uid]) for each in records),
            skipped,
        )
    )


def json_pieces(
    studies: Iterable[Mapping[str, Any]],
    scans: Iterable[Mapping[str, Any]],
    skipped: Iterable[SkippedFile],
) -> Iterator[str]:
    """The text of the report piece by piece, so that it need not fit into memory.

    Args:
        studies: From :func:`study_document`, by StudyInstanceUID.
        scans: From :func:`scan_document`, in the order they are to stand in.
        skipped: Files that were passed over.
    """
    head = {
        "schema_version": SCHEMA_VERSION,
        "software_version": __version__,
        "research_use_only": True,
        "notice": RESEARCH_USE_NOTICE,
    }
    yield _dump(head).removesuffix("\n}")
    files = (
        {"path": str(file.path), "reason": str(file.reason), "message": file.message}
        for file in skipped
    )
    lists = {"studies": studies, "scans": scans, "skipped_files": files}
    for name, items in lists.items():
        yield f',\n "{name}": ['
        separator, end = "\n  ", "]"
        for item in items:
            # A line end within a text is escaped, so that these are the layout's own.
            yield separator + _dump(item).replace("\n", "\n  ")
            separator, end = ",\n  ", "\n ]"
        yield end
    yield "\n}\n"


def _dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)


def study_document(readout: StudyReadout, records: Iterable[ScanRecord]) -> dict[str, Any]:
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


def scan_document(record: ScanRecord, readout: StudyReadout) -> dict[str, Any]:
    """One stack with its slices, of values that JSON can hold."""
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


def document_rows(scan: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of the slice report from a stack's document: what makes the same CSV lines.

    Args:
        scan: From :func:`scan_document`.

    Yields:
        Rows by column name, foot to head; floats of single precision as the nearest Python
        float of their shortest decimal form.
    """
    shared = {column: scan.get(column) for column in COLUMNS} | {
        "schema_version": SCHEMA_VERSION,
        "software_version": __version__,
        "research_use_only": True,
        "fitness_reasons": _codes(scan["fitness_reasons"]),
        "warnings": _codes(scan["warnings"]),
    }
    for cells in scan["slices"]:
        yield shared | cells


def _codes(said: Iterable[Mapping[str, str]]) -> str:
    return ";".join(sorted({each["code"] for each in said}))


def _plain(value: Any) -> Any:
    """A value JSON can hold; a float32 by its shortest decimal form, as in the CSV."""
    if isinstance(value, np.floating):
        return float(str(value)) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
