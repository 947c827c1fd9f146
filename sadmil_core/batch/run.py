"""One process's part in the reading of an archive, from the index to the reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from sadmil_core.batch.documents import has_failed, unit_document
from sadmil_core.batch.index import ArchiveIndex
from sadmil_core.batch.merge import MergedReport, TableFormat, merge, write_shard
from sadmil_core.batch.plan import StudyUnit, make_units, share_of
from sadmil_core.batch.records import RecordWriter, StoredUnit, find_records
from sadmil_core.progress import Progress, no_progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sadmil_core.batch.folder import BatchFolder
    from sadmil_core.batch.ranks import Shard
    from sadmil_core.batch.settings import BatchSettings
    from sadmil_core.dicom import StackEntry
    from sadmil_core.errors import InputError
    from sadmil_core.named_series import NamedSeries
    from sadmil_core.report import ScanRecord

StackReader = Callable[["StackEntry"], "ScanRecord"]


class OnUnit(Protocol):
    """Told how far a process is."""

    def __call__(self, studies: int, of_studies: int, slices: int, of_slices: int) -> None:
        """So much of this process's part is read; may raise Cancelled, which loses nothing."""


def _silent(studies: int, of_studies: int, slices: int, of_slices: int) -> None:
    """An :class:`OnUnit` that tells nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """What is to be read, and how.

    Attributes:
        paths: The archive: files and folders, no zip archives.
        folder: Where the results go.
        settings: What they depend on.
        shard: The part of this process.
        named: The series a manifest names, by StudyInstanceUID.
        table_format: Of the shard's table.
        retry_failed: Read again what could not be read or scored.
    """

    paths: tuple[Path, ...]
    folder: BatchFolder
    settings: BatchSettings
    shard: Shard
    named: Mapping[str, NamedSeries] = field(default_factory=dict)
    table_format: TableFormat = "parquet"
    retry_failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOutcome:
    """What came of it.

    Attributes:
        problems: Paths without CT.
        share: How many units are this process's.
        read: How many of them it has read now; the others had been read before.
        remaining: Units of other processes that have not been read yet.
        absent: Studies that the manifest names and the archive does not hold; not looked for
            while units remain.
        report: Of the whole archive; None while units remain, or where there are none.
    """

    problems: tuple[InputError, ...]
    share: int
    read: int
    remaining: int
    absent: tuple[str, ...]
    report: MergedReport | None


def read_archive(
    request: BatchRequest,
    make_reader: Callable[[], StackReader],
    *,
    progress: Progress = no_progress,
    on_unit: OnUnit = _silent,
) -> BatchOutcome:
    """Reads this process's part of an archive, and merges the reports if it is the last.

    Whatever ends it, running it again goes on where it was.

    Args:
        request: What and how.
        make_reader: Gives what reads a stack; called only if there is something to read.
        progress: Called while the archive is indexed, or another process is waited for.
        on_unit: Called before the first unit and after each.

    Raises:
        BatchError: The folder belongs to another reading, or is damaged.
        InputError: The archive is not there.
        WriteError: The system refused, most often for want of space.
        Cancelled: From ``progress`` or ``on_unit``.
    """
    folder = request.folder
    folder.make()
    with folder.locked("settings"):
        request.settings.require(folder)
    index = ArchiveIndex(folder)
    problems = index.bring_up_to_date(request.paths, progress)
    units = make_units(index.planned_files())
    share = share_of(units, request.shard)
    pending, known = _pending(request, share)
    _read(request, index, pending, known, make_reader, on_unit)
    stored = find_records(folder, units)
    _write_own_table(request, share, stored)
    remaining = sum(unit.key not in stored for unit in units)
    report, absent = None, set[str]()
    if units and not remaining:
        # Whoever ends later merges again: the last report holds everything.
        with folder.locked("merge", progress):
            stored = find_records(folder, units)
            whole = [stored[unit.key] for unit in units]
            report = merge(folder, whole, index.skipped())
        absent = request.named.keys() - {scan_id for each in whole for scan_id in each.scan_ids}
    return BatchOutcome(
        problems=problems,
        share=len(share),
        read=len(pending),
        remaining=remaining,
        absent=tuple(sorted(absent)),
        report=report,
    )


def _pending(
    request: BatchRequest, share: Sequence[StudyUnit]
) -> tuple[list[StudyUnit], dict[str, StoredUnit]]:
    """What of a share has to be read, and the records there are of it."""
    known = find_records(request.folder, share)
    pending = [
        unit
        for unit in share
        if unit.key not in known or (request.retry_failed and known[unit.key].has_failed)
    ]
    return pending, known


def _read(
    request: BatchRequest,
    index: ArchiveIndex,
    pending: Sequence[StudyUnit],
    known: Mapping[str, StoredUnit],
    make_reader: Callable[[], StackReader],
    on_unit: OnUnit,
) -> None:
    """Reads units one after another; each is on the disk before the next is begun."""
    if not pending:
        return
    read_stack = make_reader()
    writer = RecordWriter(request.folder, request.shard.name)
    total = sum(unit.slices for unit in pending)
    done = 0
    on_unit(0, len(pending), 0, total)
    for number, unit in enumerate(pending, start=1):
        entries = index.stacks(unit.series)
        records = [read_stack(entry) for entry in entries]
        document = unit_document(records, request.named)
        before = known.get(unit.key)
        writer.append(
            unit,
            document,
            attempt=before.attempt + 1 if before else 0,
            scan_ids=[study["study"]["scan_id"] for study in document["studies"]],
            has_failed=has_failed(records, (f for entry in entries for f in entry.skipped)),
        )
        done += unit.slices
        on_unit(number, len(pending), done, total)


def _write_own_table(
    request: BatchRequest, share: Sequence[StudyUnit], stored: Mapping[str, StoredUnit]
) -> None:
    mine = [stored[unit.key] for unit in share if unit.key in stored]
    write_shard(request.folder, request.shard, mine, request.table_format)
