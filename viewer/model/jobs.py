"""Work off the GUI thread: progress, cancellation, and no stale answers.

A job belongs to a lane; a new job on a lane cancels the older one, and whatever the older one
still sends is dropped. All callbacks run on the GUI thread.
"""

from __future__ import annotations

import logging
import time
import traceback
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from sadmil_core.errors import SadmilError
from sadmil_core.progress import Cancelled, CancelToken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_log = logging.getLogger(__name__)
_REPORT_EVERY_S = 0.03
_PACE_KNOWN_AFTER_S = 0.5
_GLANCE_S = 0.05


class UnexpectedError(SadmilError):
    """A fault of the program, with its traceback as detail."""


def unexpected(error: BaseException) -> UnexpectedError:
    """Logs a fault and wraps it for the user.

    The log gets where it happened, but not its message: that may hold a patient's folder.
    """
    frames = "".join(traceback.format_tb(error.__traceback__))
    _log.error("%s\n%s", type(error).__name__, frames)
    return UnexpectedError(
        f"Something went wrong in the program ({type(error).__name__}: {error}).",
        remedy="Please report it with the details.",
        detail="".join(traceback.format_exception(error)),
    )


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Where a job stands: ``done`` of ``total`` steps of a phase, and the time it may yet take."""

    done: int
    total: int
    phase: str
    left_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Message:
    lane: str
    generation: int
    kind: str  # progress, published, done, failed, cancelled
    value: Any


@dataclass(slots=True)
class _Lane:
    generation: int
    token: CancelToken
    on_done: Callable[[Any], None]
    on_failed: Callable[[SadmilError], None]
    on_cancelled: Callable[[], None]
    on_published: Callable[[Any], None]


class JobContext:
    """What work is given: a :class:`~sadmil_core.progress.Progress` that can also publish."""

    def __init__(self, token: CancelToken, send: Callable[[str, Any], None]) -> None:
        self._token = token
        self._send = send
        self._last_report = 0.0
        self._phase, self._phase_start = "", 0.0

    def __call__(self, done: int, total: int, phase: str) -> None:
        """Reports progress, now and then; raises Cancelled once a stop was asked for."""
        self._token.raise_if_cancelled()
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._phase_start = phase, now
        if done >= total or now - self._last_report >= _REPORT_EVERY_S:
            self._last_report = now
            self._send("progress", JobProgress(done, total, phase, self._left(done, total, now)))

    def _left(self, done: int, total: int, now: float) -> float | None:
        """Seconds left at the pace of this phase; None before that means anything."""
        elapsed = now - self._phase_start
        if done < 1 or elapsed < _PACE_KNOWN_AFTER_S:
            return None
        return elapsed / done * (total - done)

    def raise_if_cancelled(self) -> None:
        """Raises Cancelled once a stop was asked for; reports nothing."""
        self._token.raise_if_cancelled()

    def publish(self, value: Any) -> None:
        """Sends an intermediate value to the GUI thread."""
        self._send("published", value)


class JobRunner(QObject):
    """Runs jobs on worker threads; lives on the GUI thread."""

    progressed = Signal(str, object)
    """Lane, JobProgress."""
    idled = Signal(str)
    """The lane has nothing running any more."""
    _arrived = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        # More threads than lanes: one that hangs must not keep the next folder from opening.
        self._pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="job")
        self._futures: set[Future[None]] = set()
        self._lanes: dict[str, _Lane] = {}
        self._generation = 0
        self._closed = False
        # A bound method of an object on the GUI thread: Qt queues the call to that thread.
        self._arrived.connect(self._deliver)

    def submit(
        self,
        lane: str,
        work: Callable[[JobContext], Any],
        *,
        on_done: Callable[[Any], None],
        on_failed: Callable[[SadmilError], None],
        on_cancelled: Callable[[], None] = lambda: None,
        on_published: Callable[[Any], None] = lambda _value: None,
    ) -> None:
        """Starts ``work`` on a worker thread, cancelling the lane's older job.

        Args:
            lane: Jobs of one lane replace each other.
            work: Gets a JobContext; its return value goes to ``on_done``.
            on_done: Called with the result.
            on_failed: Called with the error; a fault that is no SadmilError is wrapped.
            on_cancelled: Called when the job has stopped because of :meth:`cancel`.
            on_published: Called with each published value, in order.
        """
        self._drop(lane)
        self._generation += 1
        generation, token = self._generation, CancelToken()
        self._lanes[lane] = _Lane(generation, token, on_done, on_failed, on_cancelled, on_published)

        def send(kind: str, value: Any) -> None:
            if not self._closed:
                self._arrived.emit(_Message(lane, generation, kind, value))

        self._futures = {future for future in self._futures if not future.done()}
        self._futures.add(self._pool.submit(_run, work, JobContext(token, send), send))

    def cancel(self, lane: str) -> None:
        """Asks the lane's job to stop; ``on_cancelled`` follows once it has."""
        if lane in self._lanes:
            self._lanes[lane].token.cancel()

    def discard(self, lane: str) -> None:
        """Stops the lane's job and forgets it: none of its callbacks is called any more."""
        if lane in self._lanes:
            self._drop(lane)
            self.idled.emit(lane)

    def is_busy(self, lane: str) -> bool:
        """Whether the lane has a job whose end has not been delivered."""
        return lane in self._lanes

    def wait_for(self, lanes: Iterable[str], context: JobContext) -> None:
        """Lets more urgent work go first: returns when none of the lanes is busy.

        Args:
            lanes: Those of the urgent work.
            context: Of the job that waits, on whose thread it is called.

        Raises:
            Cancelled: From ``context``.
        """
        while any(map(self.is_busy, lanes)):
            context.raise_if_cancelled()
            time.sleep(_GLANCE_S)
        context.raise_if_cancelled()

    def is_any_busy(self) -> bool:
        """Whether any lane has a job whose end has not been delivered."""
        return bool(self._lanes)

    def close(self) -> None:
        """Cancels everything; does not wait, for a thread may hang on a dead network folder."""
        self._closed = True
        for lane in list(self._lanes):
            self._drop(lane)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def wait_closed(self, timeout_s: float) -> bool:
        """Waits for the threads of a closed runner; False if some still hang."""
        wait(self._futures, timeout=timeout_s)
        return all(future.done() for future in self._futures)

    def _drop(self, lane: str) -> None:
        old = self._lanes.pop(lane, None)
        if old is not None:
            old.token.cancel()

    def _deliver(self, message: _Message) -> None:
        lane = self._lanes.get(message.lane)
        if lane is None or lane.generation != message.generation:
            return
        if message.kind == "progress":
            self.progressed.emit(message.lane, message.value)
            return
        if message.kind == "published":
            lane.on_published(message.value)
            return
        del self._lanes[message.lane]
        self.idled.emit(message.lane)
        if message.kind == "done":
            lane.on_done(message.value)
        elif message.kind == "failed":
            lane.on_failed(message.value)
        else:
            lane.on_cancelled()


def _run(
    work: Callable[[JobContext], Any], context: JobContext, send: Callable[[str, Any], None]
) -> None:
    try:
        send("done", work(context))
    except Cancelled:
        send("cancelled", None)
    except SadmilError as error:
        send("failed", error)
    except Exception as error:  # noqa: BLE001 - the one place where faults become messages
        send("failed", unexpected(error))
