"""Pieces of work done one after another, or by several processes that end with this one.

Whatever ends a sweep, a finished run stays finished and an unfinished one goes on from its last
saved state when the same command is given again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Protocol

import torch

from sadmil_core.errors import ExperimentError
from sadmil_core.progress import Progress, no_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.synchronize import Event

    from sadmil_core.experiments.work import Outcome

_ASKED_EVERY_S = 0.2
_WATCHED_EVERY_S = 1.0


class Work(Protocol):
    """A piece of work that can be sent to another process."""

    def do(self, stop: Callable[[], bool]) -> Outcome:
        """Does it; asks from time to time whether to stop."""


def sweep(
    work: Sequence[Work],
    *,
    jobs: int = 1,
    threads: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = no_progress,
    phase: str = "training",
) -> list[Outcome]:
    """Does pieces of work; one that fails stops none of the others.

    Args:
        work: What to do, in this order.
        jobs: Processes; 1 works in this one.
        threads: Of torch in each process; None leaves it to torch, or shares the cores out.
        stop: Asked from time to time; then what is under way saves its state, and nothing new
            is begun.
        progress: Told after each piece.
        phase: For ``progress``.

    Returns:
        What became of each that was begun.

    Raises:
        ExperimentError: A process was killed.
    """
    progress(0, len(work), phase)
    if jobs == 1 or len(work) < 2:
        return _do_here(work, threads, stop, progress, phase)
    shared = threads or max(1, _cores() // jobs)
    context = multiprocessing.get_context("spawn")
    stopping = context.Event()
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor(
        min(jobs, len(work)), context, initializer=_begin, initargs=(shared, stopping, os.getpid())
    ) as pool:
        pending = {pool.submit(_do, each) for each in work}
        try:
            while pending:
                done, pending = wait(pending, _ASKED_EVERY_S, FIRST_COMPLETED)
                outcomes += [future.result() for future in done]
                if done:
                    progress(len(outcomes), len(work), phase)
                if stop() and not stopping.is_set():
                    stopping.set()
        except BrokenProcessPool as error:
            raise ExperimentError(
                "A process of the experiment was killed (often for want of memory).",
                remedy="Give the same command again, with fewer --jobs: what is finished is kept.",
            ) from error
        finally:
            # Whatever is raised here, the others must not train on for hours first.
            stopping.set()
    return outcomes


def _do_here(
    work: Sequence[Work],
    threads: int | None,
    stop: Callable[[], bool],
    progress: Progress,
    phase: str,
) -> list[Outcome]:
    if threads is not None:
        torch.set_num_threads(threads)
    outcomes = []
    for each in work:
        outcomes.append(each.do(stop))
        if outcomes[-1].kind == "stopped":
            break
        progress(len(outcomes), len(work), phase)
    return outcomes


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_stopping: Event | None = None


def _begin(threads: int, stopping: Event, parent: int) -> None:
    """Prepares a process of the pool."""
    global _stopping
    _stopping = stopping
    torch.set_num_threads(threads)
    # Ctrl+C reaches all processes of a terminal; the first one tells the others what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """Ends this process when the one that started it is gone, however that ended."""
    while os.getppid() == parent:
        time.sleep(_WATCHED_EVERY_S)
    os._exit(1)


def _do(work: Work) -> Outcome:
    stopping = _stopping
    assert stopping is not None  # set by _begin
    return work.do(stopping.is_set)
