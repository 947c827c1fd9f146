"""Scans as files to scans in a store: in parallel, resumable, safe to kill.

What a scan is made from is fingerprinted by names, sizes and times, so that a second run takes
up only what is missing or has changed. One bad scan, or the death of the process that reads
it, stops none of the others.
"""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

from sadmil_core.data.prepare_process import PrepareProcess
from sadmil_core.data.prepare_scan import ScanSource, prepare_scan
from sadmil_core.data.store import StoreWriter
from sadmil_core.errors import InputError, WriteError
from sadmil_core.progress import Progress, no_progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sadmil_core.data.prepare_scan import Outcome
    from sadmil_core.preprocess import PreprocessConfig

__all__ = ["PrepareReport", "ScanSource", "prepare"]

_MAX_WORKERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareReport:
    """What became of each scan.

    Attributes:
        prepared: The scan_ids that were written.
        unchanged: Those that were in the store, and whose files are what they were.
        failed: The reason, by scan_id; an older version of such a scan stays in the store.
        warnings: Codes and sentences, by scan_id; of the scans that were written.
    """

    prepared: tuple[str, ...]
    unchanged: tuple[str, ...]
    failed: dict[str, str]
    warnings: dict[str, tuple[str, ...]]


def prepare(
    scans: Sequence[ScanSource],
    store: Path,
    preprocess: PreprocessConfig,
    workers: int | None = None,
    progress: Progress = no_progress,
) -> PrepareReport:
    """Puts scans into a store, those that are not yet there as they are now.

    Args:
        scans: Each scan_id once.
        store: The store's folder; made where it is not there.
        preprocess: Of it only the grid counts.
        workers: Processes; None for one for two cores, 0 to work in this process.
        progress: Called after each scan.

    Returns:
        What became of each, in the order of ``scans``.

    Raises:
        InputError: A scan_id stands there twice.
        StoreError: The folder is something else, or has another grid.
        WriteError: The store cannot be written to; what is in it stays.
        Cancelled: From ``progress``; what is in the store stays.
    """
    twice = [name for name, n in Counter(scan.scan_id for scan in scans).items() if n > 1]
    if twice:
        raise InputError(f"The scan {twice[0]} is given twice.", remedy="Give each scan once.")
    writer = StoreWriter(store, preprocess.grid)
    writer.sweep()
    count = min(_default_workers() if workers is None else workers, len(scans))
    try:
        if count == 0:
            outcomes = _prepare_here(scans, writer, progress)
        else:
            outcomes = _prepare_in_processes(scans, writer, count, progress)
    finally:
        writer.sweep()
    return _report(scans, outcomes)


def _prepare_here(
    scans: Sequence[ScanSource], writer: StoreWriter, progress: Progress
) -> dict[str, Outcome]:
    outcomes = {}
    progress(0, len(scans), "preparing scans")
    for done, scan in enumerate(scans, start=1):
        outcomes[scan.scan_id] = _checked(prepare_scan(scan, writer))
        progress(done, len(scans), "preparing scans")
    return outcomes


def _prepare_in_processes(
    scans: Sequence[ScanSource], writer: StoreWriter, count: int, progress: Progress
) -> dict[str, Outcome]:
    """Each of ``count`` threads takes an idle process and waits for it to do a scan."""
    outcomes: dict[str, Outcome] = {}
    processes = [PrepareProcess(writer) for _ in range(count)]
    idle: SimpleQueue[PrepareProcess] = SimpleQueue()
    for process in processes:
        idle.put(process)

    def work(scan: ScanSource) -> Outcome:
        process = idle.get()
        try:
            return process.prepare(scan)
        finally:
            idle.put(process)

    progress(0, len(scans), "preparing scans")
    pool = ThreadPoolExecutor(count, thread_name_prefix="prepare")
    try:
        pending = {pool.submit(work, scan): scan for scan in scans}
        for done, future in enumerate(as_completed(pending), start=1):
            outcomes[pending[future].scan_id] = _checked(future.result())
            progress(done, len(scans), "preparing scans")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.end()
        pool.shutdown(wait=True)
        for process in processes:
            process.close()
    return outcomes


def _default_workers() -> int:
    """Half as many as there are cores: decoding compressed slices takes processes of its own."""
    return max(1, min((os.cpu_count() or 1) // 2, _MAX_WORKERS))


def _checked(outcome: Outcome) -> Outcome:
    if outcome.kind == "refused":
        raise WriteError(
            outcome.message, remedy="Then run the command again; it goes on from there."
        )
    return outcome


def _report(scans: Sequence[ScanSource], outcomes: dict[str, Outcome]) -> PrepareReport:
    names = [scan.scan_id for scan in scans]
    return PrepareReport(
        prepared=tuple(name for name in names if outcomes[name].kind == "prepared"),
        unchanged=tuple(name for name in names if outcomes[name].kind == "unchanged"),
        failed={n: outcomes[n].message for n in names if outcomes[n].kind == "failed"},
        warnings={n: outcomes[n].warnings for n in names if outcomes[n].warnings},
    )
