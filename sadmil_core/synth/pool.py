"""Work on many scans in several processes, which stop soon when the run does."""

from __future__ import annotations

import signal
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing import get_context, parent_process
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from multiprocessing.synchronize import Event

_Key = TypeVar("_Key")
_Outcome = TypeVar("_Outcome")

_POLL_S = 0.5
_stop: Event | None = None


def run_jobs(
    call: Callable[..., _Outcome],
    jobs: Mapping[_Key, tuple[object, ...]],
    workers: int,
    tell: Callable[[], None],
) -> Iterator[tuple[_Key, _Outcome]]:
    """Calls a function for every job.

    Args:
        call: The function, of a module; it looks at :func:`stopped` between its steps.
        jobs: Its arguments, by whatever names a job.
        workers: Processes; with one, all is done in this one.
        tell: Called from time to time; what it raises ends the work, and passes through.

    Yields:
        Every job's name and outcome as it is done, in any order.
    """
    if workers <= 1 or len(jobs) <= 1:
        for key, arguments in jobs.items():
            yield key, call(*arguments)
        return
    context = get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=context, initializer=_begin, initargs=(stop,)
    ) as pool:
        try:
            waiting = {pool.submit(call, *arguments): key for key, arguments in jobs.items()}
            while waiting:
                done, _ = wait(waiting, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                tell()
                for future in done:
                    yield waiting.pop(future), future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def stopped() -> bool:
    """Whether the run that this process works for has ended, or was killed."""
    run = parent_process()
    return _stop is not None and (_stop.is_set() or (run is not None and not run.is_alive()))


def _begin(stop: Event) -> None:
    global _stop
    _stop = stop
    # Ctrl-C is for the run: it says when its processes stop, with all saved.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
