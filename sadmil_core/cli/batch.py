"""``sadmil predict --out``: one process's part in reading an archive into a folder."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from sadmil_core import RESEARCH_USE_NOTICE
from sadmil_core.cli.console import complain, wide_console
from sadmil_core.cli.progress_bar import progress_bar
from sadmil_core.progress import no_progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sadmil_core.batch import BatchOutcome, BatchRequest, MergedReport, Shard
    from sadmil_core.batch.run import OnUnit, StackReader
    from sadmil_core.cli.predict_options import Scoring, TableFormat
    from sadmil_core.progress import Progress

_SAID_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderReading:
    """The options that only a reading into a folder has.

    Attributes:
        out: The folder.
        shard: ``I/N``, or None for what torchrun says.
        table_format: Of the shards' tables.
        retry_failed: Read again what failed.
        threads: Of this process; None for the default.
    """

    out: Path
    shard: str | None
    table_format: TableFormat
    retry_failed: bool
    threads: int | None


def read_into_folder(paths: list[Path], scoring: Scoring, reading: FolderReading) -> int:
    """Reads this process's part of an archive.

    Returns:
        How much failed in the whole archive, if this process was the last to end; 0 if not,
        since torchrun would stop the others.
    """
    from sadmil_core.batch import read_archive

    request = _request(paths, scoring, reading)
    with _bar(request.shard) as progress:
        outcome = read_archive(
            request,
            lambda: _reader(scoring, request.shard, reading.threads),
            progress=progress,
            on_unit=_on_unit(request.shard, progress),
        )
    _say(request, outcome)
    if outcome.remaining:
        return 0
    return len(outcome.problems) + (outcome.report.failures if outcome.report else 0)


def _request(paths: list[Path], scoring: Scoring, reading: FolderReading) -> BatchRequest:
    from sadmil_core.batch import BatchFolder, BatchRequest, shard_of
    from sadmil_core.batch.settings import settings_of
    from sadmil_core.checkpoint import read_header

    _require_apart(paths, reading.out)
    try:
        shard = shard_of(reading.shard, os.environ)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--shard") from error
    settings = settings_of(
        tuple(os.path.realpath(path) for path in paths),
        read_header(scoring.checkpoint),
        scoring.named,
        precision=scoring.precision.value,
        mend_quirk=scoring.mend_quirk,
        score_unfit=scoring.score_unfit,
    )
    return BatchRequest(
        paths=tuple(paths),
        folder=BatchFolder(reading.out),
        settings=settings,
        shard=shard,
        named=scoring.named,
        table_format=reading.table_format.value,
        retry_failed=reading.retry_failed,
    )


def _require_apart(paths: list[Path], out: Path) -> None:
    """Refuses zip archives, and a folder of results among what is read."""
    from sadmil_core.dicom.archive import is_archive

    if out.exists() and not out.is_dir():
        raise typer.BadParameter(f"{out} is not a folder", param_hint="--out")
    target = Path(os.path.realpath(out))
    for path in paths:
        if path.is_file() and is_archive(path):
            # Each process would have to unpack it anew each time.
            raise typer.BadParameter(
                f"{path} is a zip archive, which --out does not read: unpack it first",
                param_hint="PATH",
            )
        if target.is_relative_to(os.path.realpath(path)):
            raise typer.BadParameter(
                f"{out} lies in {path}, which is to be read: choose a folder elsewhere",
                param_hint="--out",
            )


def _reader(scoring: Scoring, shard: Shard, threads: int | None) -> StackReader:
    """Loads the model, on this process's card and with its share of the cores."""
    import torch

    from sadmil_core.batch import default_threads
    from sadmil_core.devices import device_of_rank

    threads = threads or default_threads(shard, os.environ)
    if threads is not None:
        torch.set_num_threads(threads)
    several = shard.local_count > 1
    device = device_of_rank(scoring.device.value, shard.local_index) if several else None
    predictor = scoring.predictor(device)
    return lambda entry: scoring.read(entry, predictor, no_progress)


@contextmanager
def _bar(shard: Shard) -> Iterator[Progress]:
    """A bar, on a terminal; of several processes only the first shows one."""
    if shard.index:
        yield no_progress
    else:
        with progress_bar("archive:") as progress:
            yield progress


class _Reports:
    """Says from time to time how far a process is, where nobody looks at a bar."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._start = self._said = time.monotonic()

    def __call__(self, studies: int, of_studies: int, slices: int, of_slices: int) -> None:
        now = time.monotonic()
        if now - self._said < _SAID_EVERY_S or not slices:
            return
        self._said = now
        left_min = (now - self._start) / slices * (of_slices - slices) / 60
        complain(f"{self._name}{studies} of {of_studies} studies, about {left_min:.0f} min left")


def _on_unit(shard: Shard, progress: Progress) -> OnUnit:
    """Moves the bar slice by slice, which tells the time left; writes lines into a log."""
    if not Console(stderr=True).is_terminal:
        return _Reports("" if shard.count == 1 else f"shard {shard.index}/{shard.count}: ")
    return lambda studies, of_studies, slices, of_slices: progress(
        slices, of_slices, "reading slices"
    )


def _say(request: BatchRequest, outcome: BatchOutcome) -> None:
    for problem in outcome.problems:
        complain(str(problem))
    for scan_id in outcome.absent:
        complain(
            f"study {scan_id}: the manifest names {request.named[scan_id]}; the study is not here"
        )
    console = wide_console()
    shard = request.shard
    if outcome.remaining:
        console.print(
            f"Shard {shard.index}/{shard.count}: all {outcome.share} studies are read "
            f"({outcome.read} of them now). {outcome.remaining} of other shards are not yet; the "
            "last process to end merges the reports.",
            soft_wrap=True,
        )
    elif outcome.report is not None:
        _say_report(request.folder.root, outcome.report)


def _say_report(root: Path, report: MergedReport) -> None:
    for line in report.complaints:
        complain(line)
    wide_console().print(
        f"{report.studies} studies ({report.scans} series): {report.positive} positive, "
        f"{report.unanswered} without an answer; {report.failed_scans} series failed, "
        f"{report.lost_files} files lost.\n"
        f"Reports: slices.csv, slices.parquet and scans.json in {root}\n{RESEARCH_USE_NOTICE}",
        soft_wrap=True,
        markup=False,
    )
