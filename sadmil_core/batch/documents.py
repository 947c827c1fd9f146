"""A unit's records as JSON: what reports are made of, whichever process makes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sadmil_core.dicom import SkippedFile, SkipReason
from sadmil_core.readout import choose_readouts
from sadmil_core.report.slices_json import scan_document, study_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sadmil_core.named_series import NamedSeries
    from sadmil_core.report import ScanRecord


def unit_document(
    records: Sequence[ScanRecord], named: Mapping[str, NamedSeries]
) -> dict[str, Any]:
    """The records of whole studies, the read-out rule applied.

    Args:
        records: All stacks of the studies, in the order of an index.
        named: The series to take, by StudyInstanceUID.
    """
    studies = []
    for readout in choose_readouts((record.candidate for record in records), named):
        mine = [each for each in records if each.entry.study_instance_uid == readout.scan_id]
        studies.append(
            {
                "study": study_document(readout, mine),
                "has_answer": readout.has_answer,
                "scans": [scan_document(record, readout) for record in mine],
                "failed_scans": sum(map(_has_failed, mine)),
            }
        )
    skipped = {file.path: file for record in records for file in record.entry.skipped}
    return {"studies": studies, "skipped": [_row(file) for file in skipped.values()]}


def _has_failed(record: ScanRecord) -> bool:
    return record.result is None and not record.passed_over


def has_failed(records: Iterable[ScanRecord], known: Iterable[SkippedFile]) -> bool:
    """Whether a second try may do better: a stack or a slice could not be read or scored.

    Args:
        records: Of one unit.
        known: Files that were lost before their pixels were asked for; only a change of the
            files would help those.
    """
    before = {file.path for file in known}
    return any(
        _has_failed(record) or any(file.path not in before for file in record.entry.skipped)
        for record in records
    )


def skipped_in(document: Mapping[str, Any]) -> Iterator[SkippedFile]:
    """The files of a unit that were passed over."""
    for path, reason, message, series in document["skipped"]:
        yield SkippedFile(Path(path), SkipReason(reason), message, series)


def _row(file: SkippedFile) -> tuple[str, str, str, str]:
    return str(file.path), str(file.reason), file.message, file.series_instance_uid
