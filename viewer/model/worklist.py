"""The worklist: studies of a folder tree, read in the background, the most suspicious first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, Signal

from sadmil_core.dicom import open_volume, read_identity
from sadmil_core.errors import CheckpointError, SadmilError
from sadmil_core.fitness import fitness_of_volume
from sadmil_core.progress import Cancelled
from sadmil_core.result import describe_runs
from sadmil_core.worklist import StudyQueue, StudyReading, read_studies
from viewer.model.jobs import JobContext, JobProgress, unexpected
from viewer.model.lanes import URGENT
from viewer.model.opening import Opened, opened_of
from viewer.model.predictors import load_predictor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from sadmil_core.batch.plan import StudyUnit
    from sadmil_core.dicom import CTVolume, StackEntry
    from sadmil_core.fitness import Fitness
    from sadmil_core.predict import Predictor
    from sadmil_core.report import ScanRecord
    from viewer.model.session import Session
    from viewer.model.state import ModelChoice

WORKLIST, PREFETCH = "worklist", "prefetch"
"""The lanes of this work."""


class WorkStatus(IntEnum):
    """Where a study stands, in the order of the list."""

    SCORED = 0
    READING = 1
    QUEUED = 2
    UNSCORED = 3
    FAILED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """A study of the list.

    Attributes:
        unit: What it is read with.
        number: Its place in the queue, from 1: what it is called while names are hidden.
        scan_id: StudyInstanceUID.
        status: Where it stands.
        name: Date and description; empty until it is read, or where its files have neither.
        slices: Of all its series; of the one that was scored, once it was.
        probability: The scan probability; None where there is none.
        is_positive: Whether it is above the threshold.
        marked: The marked slices, counted from 1.
        reason: Why it has no probability.
        read_at: When an earlier run read it; None where it was this one.
        series: SeriesInstanceUID and stack that were scored.
    """

    unit: StudyUnit
    number: int
    scan_id: str
    status: WorkStatus = WorkStatus.QUEUED
    name: str = ""
    slices: int = 0
    probability: float | None = None
    is_positive: bool = False
    marked: str = ""
    reason: str = ""
    read_at: datetime | None = None
    series: tuple[str, int] | None = None

    @property
    def rank(self) -> tuple[int, float, int]:
        """By probability, then what is still to be read, then what has none."""
        unscored = min(self.status, WorkStatus.UNSCORED)
        return unscored, -(self.probability or 0.0), self.number


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Ready:
    """A study that is loaded before it is asked for."""

    scan_id: str
    opened: Opened
    entry: StackEntry
    volume: CTVolume
    fitness: Fitness


class Worklist(QObject):
    """Reads a queue of studies one by one, opens them, and loads the next one ahead.

    What the reader waits for goes first: reading pauses while a series is opened or scored.

    Args:
        session: Which opens studies, and whose model reads them.
        parent: The owner.
    """

    changed = Signal()
    """The items, or which one is open."""
    progressed = Signal(object)
    """A JobProgress, or None once nothing is being read."""

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.queue: StudyQueue | None = None
        self.model: ModelChoice | None = None
        self.items: tuple[WorkItem, ...] = ()
        self.current = ""
        """StudyInstanceUID of the study of the list that was opened last."""
        self.message = ""
        self._ready: _Ready | None = None
        session.labels.released.connect(self._sort)
        session.prefetched = self._prefetched
        session.jobs.progressed.connect(self._on_progress)
        session.jobs.idled.connect(self._on_idle)
        session.changed.connect(self._follow, Qt.ConnectionType.QueuedConnection)

    # -- reading ------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether studies are being looked for or read."""
        return self._session.jobs.is_busy(WORKLIST)

    @property
    def can_resume(self) -> bool:
        """Whether there are studies left that nobody is reading."""
        queued = any(item.status is WorkStatus.QUEUED for item in self.items)
        return queued and not self.is_running

    def start(self, roots: Sequence[Path]) -> None:
        """Looks for studies below folders, and reads them with the chosen model.

        They take the place of what was queued before.
        """
        if self._session.state.model is None:
            self._session.failed.emit(
                CheckpointError("There is no model to read with.", remedy="Choose one first.")
            )
            return
        self.close()
        self.model = self._session.state.model
        self._submit(lambda context: StudyQueue(roots, context))

    def resume(self) -> None:
        """Goes on with what was left when reading was stopped."""
        queue = self.queue
        if queue is not None and self.can_resume:
            self._submit(lambda _context: queue)

    def cancel(self) -> None:
        """Stops reading; what has been read stays."""
        self._session.jobs.cancel(WORKLIST)

    def close(self) -> None:
        """Stops reading, and forgets the list."""
        for lane in (WORKLIST, PREFETCH):
            self._session.jobs.discard(lane)
        if self.queue is not None:
            self.queue.close()
        self.queue, self._ready = None, None
        self._show((), current="", message="")

    def _submit(self, find: Callable[[JobContext], StudyQueue]) -> None:
        model = self.model
        assert model is not None
        reader = _Reader(self._session, model)
        done = {item.unit.key for item in self.items if item.status is not WorkStatus.QUEUED}

        def work(context: JobContext) -> None:
            queue = find(context)
            if not done:
                context.publish(queue)
            for number, unit in enumerate(queue.units):
                if unit.key not in done:
                    context(number, len(queue.units), "reading studies")
                    context.publish(unit)
                    context.publish((unit, reader.read(queue, unit, context)))

        self._session.jobs.submit(
            WORKLIST,
            work,
            on_done=lambda _none: self._end("All studies are read"),
            on_failed=self._fail,
            on_cancelled=lambda: self._end("Stopped"),
            on_published=self._take,
        )
        self._show(self.items, message="")

    def _take(self, value: StudyQueue | StudyUnit | tuple[StudyUnit, list[WorkItem]]) -> None:
        """Shows what a worker has found: the queue, what it is reading, what it has read."""
        if isinstance(value, StudyQueue):
            self.queue = value
            lost = value.lost
            files = f"{lost} file{'s' if lost != 1 else ''}"
            told = f"{files} passed over may have held CT" if lost else ""
            items = (
                WorkItem(unit=unit, number=n, scan_id=unit.key, slices=unit.slices)
                for n, unit in enumerate(value.units, start=1)
            )
            self._show(tuple(items), message=told)
        elif isinstance(value, tuple):
            self._put(*value)
        else:
            mine = [item for item in self.items if item.unit is value]
            self._put(value, [replace(item, status=WorkStatus.READING) for item in mine])

    def _put(self, unit: StudyUnit, found: list[WorkItem]) -> None:
        mine = [item for item in self.items if item.unit is unit]
        rest = [item for item in self.items if item.unit is not unit]
        numbered = [replace(item, number=mine[0].number) for item in found]
        self._show((*rest, *numbered))

    def _fail(self, error: SadmilError) -> None:
        self._end(Exception.__str__(error))
        self._session.failed.emit(error)

    def _end(self, message: str) -> None:
        read = sum(
            item.status not in (WorkStatus.QUEUED, WorkStatus.READING) for item in self.items
        )
        count = f": {read} of {len(self.items)}" if message == "Stopped" else ""
        before = f"; {self.message}" if self.message else ""
        waiting = (
            replace(item, status=WorkStatus.QUEUED) if item.status is WorkStatus.READING else item
            for item in self.items
        )
        self._show(tuple(waiting), message=f"{message}{count}{before}")
        self._follow()

    def _show(
        self,
        items: tuple[WorkItem, ...],
        *,
        current: str | None = None,
        message: str | None = None,
    ) -> None:
        self.items = tuple(sorted(items, key=self._rank))
        self.current = self.current if current is None else current
        self.message = self.message if message is None else message
        self.changed.emit()

    def withholds(self, item: WorkItem) -> bool:
        """Whether what the model says of a study is hidden until the reader has marked it."""
        return self._session.labels.withholds_study(item.scan_id)

    def _rank(self, item: WorkItem) -> tuple[int, float, int]:
        """As items are ranked; hidden probabilities decide no order, for it would tell them."""
        if item.probability is not None and self.withholds(item):
            return WorkStatus.SCORED, 0.0, item.number
        return item.rank

    def _sort(self) -> None:
        """Sorts anew: the reader may see more, or less, than before."""
        self._show(self.items)

    def _on_progress(self, lane: str, progress: JobProgress) -> None:
        if lane == WORKLIST:
            self.progressed.emit(progress)

    def _on_idle(self, lane: str) -> None:
        if lane == WORKLIST:
            self.progressed.emit(None)

    # -- opening ------------------------------------------------------------------------------

    def open(self, scan_id: str) -> None:
        """Opens a study of the list; at once, if it has been loaded ahead."""
        queue, item = self.queue, self._item(scan_id)
        if queue is None or item is None:
            return
        ready = self._ready
        self._session.jobs.discard(PREFETCH)
        if ready is not None and ready.scan_id != scan_id:
            ready = self._ready = None
        self._session.asked_path = queue.roots[0]
        self._show(self.items, current=scan_id)
        self._session.open_by(lambda _context: ready.opened if ready else _opened(queue, item))

    def step(self, by: int) -> None:
        """Opens the next or an earlier study of the list, as it is sorted now."""
        item = self._beside(by)
        if item is not None:
            self.open(item.scan_id)

    def _item(self, scan_id: str) -> WorkItem | None:
        return next((item for item in self.items if item.scan_id == scan_id), None)

    def _beside(self, by: int) -> WorkItem | None:
        """The study before or after the open one; the first, where none is open."""
        places = [n for n, item in enumerate(self.items) if item.scan_id == self.current]
        place = places[0] + by if places else 0
        return self.items[place] if 0 <= place < len(self.items) else None

    def _prefetched(self, entry: StackEntry) -> tuple[CTVolume, Fitness] | None:
        """What was loaded ahead of a stack; called on a worker thread."""
        ready = self._ready
        return (ready.volume, ready.fitness) if ready and ready.entry is entry else None

    def _follow(self) -> None:
        """Loads the next study once the open one is there."""
        state, queue, jobs = self._session.state, self.queue, self._session.jobs
        entry = state.entry
        if queue is None or state.volume is None or entry is None or state.opening is not None:
            return
        following = self._beside(1)
        if entry.study_instance_uid != self.current or following is None:
            return
        wanted = following.scan_id
        if jobs.is_busy(PREFETCH) or (self._ready and self._ready.scan_id == wanted):
            return
        self._ready = None  # one scan ahead, never two

        def work(context: JobContext) -> _Ready:
            jobs.wait_for(URGENT, context)
            return _load_ahead(_opened(queue, following), wanted, context)

        jobs.submit(PREFETCH, work, on_done=self._keep_ready, on_failed=lambda _error: None)

    def _keep_ready(self, ready: _Ready) -> None:
        self._ready = ready


def _opened(queue: StudyQueue, item: WorkItem) -> Opened:
    return opened_of(queue.index(item.unit), item.scan_id, item.series)


def _load_ahead(opened: Opened, scan_id: str, context: JobContext) -> _Ready:
    entry = opened.index.entries[opened.chosen]
    volume = open_volume(entry).run(context)
    fitness = fitness_of_volume(volume)
    return _Ready(scan_id=scan_id, opened=opened, entry=entry, volume=volume, fitness=fitness)


class _Reader:
    """Reads studies on a worker thread, with a model of its own: the reader's never waits.

    Args:
        session: Whose kept results are used.
        model: What reads.
    """

    def __init__(self, session: Session, model: ModelChoice) -> None:
        self._jobs, self._kept, self._model = session.jobs, session.kept, model
        self._predictor: Predictor | None = None

    def read(self, queue: StudyQueue, unit: StudyUnit, context: JobContext) -> list[WorkItem]:
        """What becomes of a unit; whatever is wrong with it is said of it alone.

        Raises:
            SadmilError: The model cannot be used, or the queue is damaged: no study's fault.
            Cancelled: From ``context``.
        """
        self._jobs.wait_for(URGENT, context)
        try:
            readings = read_studies(
                queue.stacks(unit), lambda entry: self._read_stack(entry, context)
            )
            return [_item_of(unit, reading) for reading in readings]
        except Cancelled:
            raise
        except SadmilError as error:
            if self._predictor is None:
                raise
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - one study must not cost the others
            reason = str(unexpected(error))
        failed = WorkStatus.FAILED
        return [
            WorkItem(
                unit=unit,
                number=0,
                scan_id=unit.key,
                slices=unit.slices,
                status=failed,
                reason=reason,
            )
        ]

    def _read_stack(self, entry: StackEntry, context: JobContext) -> ScanRecord:
        def read(entry: StackEntry) -> ScanRecord:
            from sadmil_core.reading import read_stack  # imports torch

            if self._predictor is None:
                settings = self._kept.settings
                path = self._model.path
                self._predictor = load_predictor(path, settings.device, settings.precision)
            return read_stack(entry, self._predictor, polite)

        def polite(done: int, total: int, phase: str) -> None:
            self._jobs.wait_for(URGENT, context)

        return self._kept.read_through(entry, self._model.header.identity, read)


def _item_of(unit: StudyUnit, reading: StudyReading) -> WorkItem:
    record = reading.record
    result, entry = record.result, record.entry
    identity = read_identity(entry.slices[0].path)
    probability = reading.probability
    scored = probability is not None
    return WorkItem(
        unit=unit,
        number=0,
        scan_id=reading.readout.scan_id,
        status=WorkStatus.SCORED if scored else WorkStatus.UNSCORED,
        name="  ".join(filter(None, (identity.date_text, identity.study_description))),
        slices=len(entry.slices),
        probability=probability,
        is_positive=scored and result is not None and result.scan_positive,
        marked=describe_runs(result.slice_positive) if scored and result is not None else "",
        reason=reading.reason,
        read_at=record.read_at,
        series=(entry.series_instance_uid, entry.stack_index),
    )
