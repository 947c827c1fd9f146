"""The reports, made of the records: those of a shard, and those of the whole archive."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from sadmil_core.atomic import replacing
from sadmil_core.batch.documents import skipped_in
from sadmil_core.report.slices_json import json_pieces

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sadmil_core.batch.folder import BatchFolder
    from sadmil_core.batch.ranks import Shard
    from sadmil_core.batch.records import StoredUnit
    from sadmil_core.dicom import SkippedFile

TableFormat = Literal["parquet", "csv"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedReport:
    """What the reports of the whole archive say, in numbers.

    Attributes:
        studies: How many.
        scans: How many stacks.
        positive: Studies whose read-out is positive.
        unanswered: Studies without an answer.
        failed_scans: Stacks that could not be read or scored, in vain.
        lost_files: How many files may have held CT and could not be used.
        complaints: A sentence for each study without an answer, each stack without a number
            and each lost file, as many as people may want to see.
    """

    studies: int = 0
    scans: int = 0
    positive: int = 0
    unanswered: int = 0
    failed_scans: int = 0
    lost_files: int = 0
    complaints: tuple[str, ...] = ()

    @property
    def failures(self) -> int:
        """What the exit status is decided by."""
        return self.unanswered + self.failed_scans + self.lost_files


_SHOWN = 20


def write_shard(
    folder: BatchFolder, shard: Shard, stored: Sequence[StoredUnit], table_format: TableFormat
) -> None:
    """Writes the table of one shard; those of other shardings or formats go.

    Args:
        folder: Of results.
        shard: Which.
        stored: Its units, all of them.
        table_format: ``parquet`` or ``csv``.

    Raises:
        WriteError: The system refused.
    """
    path = folder.shards / f"slices-{shard.name}.{table_format}"
    # They hold the same slices, and whoever reads all tables in the folder would count twice.
    for other in folder.shards.glob("slices-*-of-*.*"):
        if not other.match(f"slices-*-of-{shard.count:05d}.{table_format}"):
            with suppress(FileNotFoundError):  # another process does the same
                other.unlink()
    digest = _digest(stored)
    if _noted(folder, path.name, digest, [path]) is not None:
        return
    # Here: the viewer's worklist must not wait for pyarrow to open.
    from sadmil_core.batch.tables import csv_table, parquet_table

    open_table = parquet_table if table_format == "parquet" else csv_table
    with open_table(path) as table:
        for study in _studies(stored):
            for scan in study["scans"]:
                table.add(scan)
    _note(folder, path.name, digest, {})


def merge(
    folder: BatchFolder, stored: Sequence[StoredUnit], index_skipped: Iterable[SkippedFile]
) -> MergedReport:
    """Writes slices.csv, slices.parquet and scans.json of the whole archive.

    Args:
        folder: Of results.
        stored: All units.
        index_skipped: Files that were passed over while indexing.

    Raises:
        WriteError: The system refused; reports are whole, or the older ones.
    """
    skipped = _all_skipped(stored, index_skipped)
    digest = _digest(stored, skipped)
    noted = _noted(folder, "reports", digest, folder.reports)
    if noted is not None:
        return MergedReport(**(noted | {"complaints": tuple(noted["complaints"])}))
    counts: Counter[str] = Counter()
    documents: list[Mapping[str, Any]] = []
    complaints: list[str] = []
    csv_path, parquet_path, json_path = folder.reports
    from sadmil_core.batch.tables import csv_table, parquet_table

    with csv_table(csv_path) as as_csv, parquet_table(parquet_path) as as_parquet:
        for study in _studies(stored):
            documents.append(study["study"])
            for scan in study["scans"]:
                as_csv.add(scan)
                as_parquet.add(scan)
            counts["scans"] += len(study["scans"])
            counts["positive"] += study["study"]["scan_positive"] is True
            counts["unanswered"] += not study["has_answer"]
            counts["failed_scans"] += study["failed_scans"]
            if len(complaints) < _SHOWN:
                complaints += _complaints(study)
    scans = (scan for study in _studies(stored) for scan in study["scans"])
    with replacing(json_path) as stream:
        for piece in json_pieces(documents, scans, skipped):
            stream.write(piece.encode("utf-8", "backslashreplace"))
    lost = [file for file in skipped if file.reason.is_failure]
    complaints = complaints[:_SHOWN]
    complaints += [f"{file.path}: {file.reason}: {file.message}" for file in lost[:_SHOWN]]
    if max(len(complaints), len(lost)) >= _SHOWN:
        complaints.append("There may be more: scans.json names them all, with their reasons.")
    report = MergedReport(
        studies=len(documents),
        lost_files=len(lost),
        complaints=tuple(complaints),
        **counts,
    )
    _note(folder, "reports", digest, asdict(report))
    return report


def _complaints(study: Mapping[str, Any]) -> Iterator[str]:
    readout = study["study"]
    if not study["has_answer"]:
        yield f"study {readout['scan_id']}: {readout['reason']}: {readout['message']}"
    for scan in study["scans"]:
        if scan["scan_probability"] is None:
            last = scan["warnings"][-1]  # why there is no number
            yield f"{scan['series_instance_uid']}: {last['code']}: {last['message']}"


def _studies(stored: Sequence[StoredUnit]) -> Iterator[dict[str, Any]]:
    """The studies of some units by StudyInstanceUID, one at a time in memory."""
    places = sorted((scan_id, unit) for unit, ids in _ids(stored) for scan_id in ids)
    for scan_id, number in places:
        for study in stored[number].load()["studies"]:
            if study["study"]["scan_id"] == scan_id:
                yield study


def _ids(stored: Sequence[StoredUnit]) -> Iterator[tuple[int, tuple[str, ...]]]:
    return ((number, unit.scan_ids) for number, unit in enumerate(stored))


def _all_skipped(
    stored: Sequence[StoredUnit], index_skipped: Iterable[SkippedFile]
) -> list[SkippedFile]:
    """The files passed over while indexing, and those whose pixels could not be decoded."""
    found = {file.path: file for file in index_skipped}
    for unit in stored:
        if unit.has_skipped:
            found.update({file.path: file for file in skipped_in(unit.load())})
    return [found[path] for path in sorted(found)]


def _digest(stored: Iterable[StoredUnit], skipped: Iterable[SkippedFile] = ()) -> str:
    digest = hashlib.sha256()
    for each in (*(unit.identity for unit in stored), *map(repr, skipped)):
        digest.update(each.encode("utf-8", "backslashreplace") + b"\n")
    return digest.hexdigest()


def _noted(
    folder: BatchFolder, name: str, digest: str, paths: Iterable[Path]
) -> dict[str, Any] | None:
    """What was noted of files that are there still, made of the very same; None otherwise."""
    if not all(path.is_file() for path in paths):
        return None
    try:
        note = json.loads((folder.state / f"{name}.json").read_bytes())
        return note["said"] if note["digest"] == digest else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # then they are made anew


def _note(folder: BatchFolder, name: str, digest: str, said: dict[str, Any]) -> None:
    with replacing(folder.state / f"{name}.json") as stream:
        stream.write(json.dumps({"digest": digest, "said": said}).encode())
