"""What ``sadmil predict`` says of each series, on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from sadmil_core import RESEARCH_USE_NOTICE
from sadmil_core.cli.console import complain, wide_console

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sadmil_core.dicom import SkippedFile
    from sadmil_core.named_series import NamedSeries
    from sadmil_core.readout import StudyReadout
    from sadmil_core.report import ScanRecord


def print_records(
    records: list[ScanRecord],
    readouts: tuple[StudyReadout, ...],
    failures: Iterable[SkippedFile],
) -> None:
    """Prints a table of the series, and complains of what is doubtful or lost."""
    from sadmil_core.dicom import WarningCode

    table = Table(box=SIMPLE_HEAD, caption=RESEARCH_USE_NOTICE, caption_justify="left")
    for name in (
        "series (study)",
        "slices",
        "fit",
        "p",
        "scan",
        "marked slices",
        "peak",
        "read-out",
    ):
        table.add_column(name, overflow="fold")
    for record in records:
        reasons = (each.reason for each in readouts if each.is_of(record.entry))
        table.add_row(*map(Text, (*_summary(record), next(reasons, "-"))))
    if records:
        wide_console().print(table)
    for record in records:
        _complain_of_series(record)
    if any(WarningCode.UNFIT in record.warning_codes for record in records):
        complain("Use --score-unfit to score what is unfit all the same.")
    for file in failures:
        complain(f"{file.path}: {file.reason}: {file.message}")


def _complain_of_series(record: ScanRecord) -> None:
    """Says the warnings of a series and, where it was scored, why to doubt its numbers."""
    from sadmil_core.fitness import FitnessLevel

    said = [(str(warning.code), warning.message) for warning in record.warnings]
    if record.result is not None:
        said += [
            (str(reason.code), reason.message)
            for reason in record.fitness.reasons
            # The warnings name what makes it unfit, and some of the doubts.
            if reason.level is FitnessLevel.CAUTION and reason.code not in record.warning_codes
        ]
    for code, message in said:
        complain(f"{record.entry.series_instance_uid}: {code}: {message}")


def complain_of_readouts(
    readouts: tuple[StudyReadout, ...], named: Mapping[str, NamedSeries]
) -> None:
    """Says which studies have no answer, and which the manifest names in vain."""
    for readout in readouts:
        if not readout.has_answer:
            complain(f"study {readout.scan_id}: {readout.reason}: {readout.message}")
    for scan_id in sorted(named.keys() - {readout.scan_id for readout in readouts}):
        complain(f"study {scan_id}: the manifest names {named[scan_id]}; the study is not here")


def _summary(record: ScanRecord) -> tuple[str, ...]:
    from sadmil_core.result import describe_runs, slice_number

    entry, result = record.entry, record.result
    stack = f" #{entry.stack_index}" if entry.stack_index else ""
    name = f"{entry.series_instance_uid}{stack} ({entry.study_instance_uid})"
    count, fit = str(len(entry.slices)), str(record.fitness.level)
    if result is None:
        return name, count, fit, "-", "not scored", "-", "-"
    sign = ">" if result.scan_positive else "<="
    return (
        name,
        count,
        fit,
        f"{result.scan_probability:.5f} {sign} {result.rule.scan_threshold:g}",
        "POSITIVE" if result.scan_positive else "negative",
        describe_runs(result.slice_positive) or "none",
        str(slice_number(result.peak)),
    )
