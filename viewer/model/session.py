"""The session: commands in, states out. The one owner of what is open and what is known."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from sadmil_core.checkpoint import read_header
from sadmil_core.dicom import (
    CTVolume,
    StackEntry,
    WarningCode,
    open_volume,
)
from sadmil_core.display import PRESETS, DisplayWindow
from sadmil_core.errors import (
    CheckpointError,
    DecodeError,
    SadmilError,
    UnscorableError,
)
from sadmil_core.fitness import Fitness, fitness_of_entry
from sadmil_core.modelstore import resolve_model
from sadmil_core.report.record import unscored
from sadmil_core.result import positive_runs
from viewer.model.annotations import Annotations
from viewer.model.choices import model_items
from viewer.model.drawing_keeper import DrawingKeeper
from viewer.model.exporting import Exporter
from viewer.model.inquirer import ASKING, Inquirer
from viewer.model.jobs import JobContext, JobProgress, JobRunner, unexpected
from viewer.model.kept import KeptResults
from viewer.model.label_desk import LabelDesk
from viewer.model.lanes import EXPORTING, INDEXING, LOADING, SCORING, THUMBNAILS
from viewer.model.opening import (
    Opened,
    load_judged,
    make_demo,
    make_thumbnails,
    open_paths,
)
from viewer.model.predictors import load_predictor
from viewer.model.readouts import readouts_of
from viewer.model.state import (
    MODEL_PRESET,
    ModelChoice,
    RecordKey,
    ViewState,
    record_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from sadmil_core.devices import DeviceChoice, Precision
    from sadmil_core.predict import Predictor
    from sadmil_core.readout import StudyReadout
    from sadmil_core.report import ScanRecord

_FINEST_WINDOW_HU = 1.0
_WIDEST_WINDOW_HU = 8000.0


class Session(QObject):
    """Holds the state of the window and carries out what its user asks for.

    Args:
        device: Where models run.
        precision: At which precision.
        parent: The owner.
    """

    changed = Signal(object)
    """The new ViewState."""
    failed = Signal(object)
    """A SadmilError that the user should see in a dialog."""

    def __init__(
        self,
        *,
        device: DeviceChoice = "auto",
        precision: Precision = "fp32",
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.state = ViewState(records={}, thumbnails={})
        self.jobs = JobRunner(self)
        self.annotations = Annotations(self)
        self.labels = LabelDesk(self, self._set)
        self.drawings = DrawingKeeper(self)
        self.kept = KeptResults(self.jobs, device, precision)
        # Gives a volume that was loaded before anybody asked for it; called on a worker thread.
        self.prefetched: Callable[[StackEntry], tuple[CTVolume, Fitness] | None] = lambda _: None
        self.reads_unasked = True  # starts the model as soon as a series is open
        self._load = partial(load_predictor, device=device, precision=precision)
        self._predictor: tuple[Path, Predictor] | None = None
        self.asked_path: Path | None = None  # what the user last wanted to open
        self.inquirer = Inquirer(
            self,
            change=self._set,
            keep=self._keep,
            predictor=lambda: self._predictor,
            make_predictor=self._load,
        )
        self.exporter = Exporter(self, lambda said: self._set(message=said))
        self.jobs.progressed.connect(self._on_progress)
        self.jobs.idled.connect(self._on_idle)

    # -- opening ------------------------------------------------------------------------------

    def open_path(self, path: Path) -> None:
        """Indexes a file or folder, then opens its largest series."""
        self.open_paths((path,))

    def open_paths(self, paths: Sequence[Path], study: str = "") -> None:
        """Indexes files and folders as one, then opens the largest series in them.

        Args:
            paths: The files and folders.
            study: StudyInstanceUID of the study whose series are meant, if it is there.
        """
        self.asked_path = paths[0] if len(paths) == 1 else paths[0].parent
        self.open_by(lambda context: open_paths(paths, context, study))

    def open_by(self, work: Callable[[JobContext], Opened]) -> None:
        """Opens what some work finds, on a worker thread.

        What is open now stays until the new index is there: a mistyped folder costs nothing.
        """
        self._set(preview=None, message="", opening=JobProgress(0, 0, "reading headers"))
        self.jobs.submit(
            INDEXING,
            work,
            on_done=self._indexed,
            on_failed=self._opening_failed,
            on_cancelled=lambda: self._set(preview=None, message="Opening cancelled"),
            on_published=lambda preview: self._set(preview=preview),
        )

    def open_demo(self) -> None:
        """Makes the synthetic demo study, the first time, and opens it."""
        self._set(opening=JobProgress(0, 0, "making the demo study"), message="")
        self.jobs.submit(
            INDEXING,
            make_demo,
            on_done=self.open_path,
            on_failed=self._opening_failed,
            on_cancelled=lambda: self._set(message="Opening cancelled"),
        )

    def _indexed(self, opened: Opened) -> None:
        self.labels.leaving.emit()
        self.jobs.discard(LOADING)
        self.jobs.discard(SCORING)
        entries = opened.index.entries
        self._set(
            root=opened.index.root,
            entries=entries,
            identities=opened.identities,
            verdicts=opened.verdicts,
            thumbnails={},
            skipped=opened.index.skipped,
            selected=None,
            load=None,
            volume=None,
            records={},
        )
        self.select_series(opened.chosen)
        self.jobs.submit(
            THUMBNAILS,
            lambda context: make_thumbnails(
                entries, context, lambda: self.jobs.wait_for((LOADING,), context)
            ),
            on_done=lambda _none: None,
            on_failed=self.failed.emit,
            on_published=self._keep_thumbnail,
        )

    def _keep_thumbnail(self, made: tuple[int, NDArray[np.uint8]]) -> None:
        index, thumbnail = made
        self._set(thumbnails={**self.state.thumbnails, index: thumbnail})

    def _opening_failed(self, error: SadmilError) -> None:
        self._set(preview=None, message=Exception.__str__(error))
        self.failed.emit(error)

    def select_series(self, index: int) -> None:
        """Loads one of the indexed stacks and shows its middle slice.

        The series that is already shown is only loaded again where its loading was stopped.
        """
        if not 0 <= index < len(self.state.entries):
            return
        if index == self.state.selected and (self.state.volume or self.jobs.is_busy(LOADING)):
            return
        self.labels.leaving.emit()
        self.jobs.discard(SCORING)
        entry = self.state.entries[index]
        middle = (len(entry.slices) - 1) // 2
        shown = self.state.preview
        try:
            load = open_volume(entry)
        except DecodeError as error:
            self._opening_failed(error)
            return
        self._set(
            selected=index,
            load=load,
            volume=None,
            arrived=0,
            slice_index=middle,
            options=self.state.options.upright(),
            # Another slice must not stand under this one's number, letters and name.
            preview=shown if shown and shown.header.path == entry.slices[middle].path else None,
            message="",
            opening=JobProgress(0, len(entry.slices), "loading slices"),
            **{"notice": "", **self.kept.recall(self.state, entry), **self.labels.recall(entry)},
        )
        self.drawings.recall(entry)
        if self.state.preset == "DICOM":
            self.set_preset("DICOM" if entry.slices[middle].window_hu else "Brain")
        self.jobs.submit(
            LOADING,
            lambda context: self.prefetched(entry) or load_judged(load, context),
            on_done=lambda loaded: self._loaded(index, *loaded),
            on_failed=self._load_failed,
            on_cancelled=lambda: self._set(
                notice="Loading cancelled: choose the series again to load it"
            ),
            on_published=lambda _first: self._set(preview=None, arrived=1),
        )

    def _loaded(self, index: int, volume: CTVolume, fitness: Fitness) -> None:
        entries, verdicts = list(self.state.entries), list(self.state.verdicts)
        entries[index], verdicts[index] = volume.entry, fitness
        last = len(volume.entry.slices) - 1
        self._set(
            entries=tuple(entries),
            verdicts=tuple(verdicts),
            load=None,
            volume=volume,
            preview=None,
            arrived=last + 1,
            slice_index=min(self.state.slice_index, last),
            # Again: slices that could not be decoded are gone, and with them their places.
            **self.labels.recall(volume.entry),
        )
        self.drawings.recall(volume.entry)
        if self.state.known_record is None:
            self._start_unasked(volume.entry)

    def _load_failed(self, error: SadmilError) -> None:
        entry, model = self.state.entry, self.state.model
        if entry is not None and model is not None:
            identity, fitness = model.header.identity, fitness_of_entry(entry)
            self._keep(unscored(entry, identity, fitness, WarningCode.READ_FAILED, error))
        self._set(load=None, notice=str(error))
        self._opening_failed(error)

    # -- moving -------------------------------------------------------------------------------

    def set_slice(self, index: int) -> None:
        """Shows a slice; clamped to the stack."""
        clamped = max(0, min(index, self.state.slice_count - 1))
        if self.state.slice_count and clamped != self.state.slice_index:
            self._set(slice_index=clamped, message="")

    def step_slice(self, step: int) -> None:
        """Moves by slices; positive is towards the head."""
        self.set_slice(self.state.slice_index + step)

    def step_series(self, step: int) -> None:
        """Selects the next or previous series."""
        if self.state.selected is not None:
            self.select_series(self.state.selected + step)

    def step_suspicious(self, direction: int) -> None:
        """Jumps to the peak of the next run of positive slices towards the head (+1) or foot."""
        result = self.state.result
        if result is None:
            return
        peaks = [
            first + int(result.slice_score[first : last + 1].argmax())
            for first, last in positive_runs(result.slice_positive)
        ]
        here = self.state.slice_index
        ahead = [peak for peak in peaks if (peak - here) * direction > 0]
        if ahead:
            self.set_slice(min(ahead, key=lambda peak: abs(peak - here)))

    # -- display ------------------------------------------------------------------------------

    def set_window(self, window: DisplayWindow, preset: str | None = None) -> None:
        """Changes the display window; level and width are kept within sensible limits."""
        width = min(max(window.width_hu, _FINEST_WINDOW_HU), _WIDEST_WINDOW_HU)
        level = min(max(window.level_hu, -4096.0), 8192.0)
        self._set(window=DisplayWindow(level, width), preset=preset)

    def set_options(self, **changes: Any) -> None:
        """Changes how things are shown: fields of :class:`~viewer.model.state.ViewOptions`."""
        self._set(options=replace(self.state.options, **changes))

    @property
    def own_window(self) -> DisplayWindow | None:
        """The selected series' own display window: its middle slice's, if that has one."""
        entry = self.state.entry
        own = entry.slices[(len(entry.slices) - 1) // 2].window_hu if entry else None
        return DisplayWindow(*own) if own else None

    def set_preset(self, name: str) -> None:
        """Applies a named window; ``DICOM`` is the series' own, where it has one."""
        if name == "DICOM":
            if self.own_window is not None:
                self.set_window(self.own_window, "DICOM")
            return
        if name == MODEL_PRESET:
            self._set(preset=name)
            return
        self.set_window(PRESETS[name], name)

    # -- the model ----------------------------------------------------------------------------

    def choose_model(self, name_or_file: str) -> None:
        """Chooses a model. What others said is kept, for when they are chosen again."""
        try:
            path = resolve_model(name_or_file)
            choice = ModelChoice(path, read_header(path))
        except CheckpointError as error:
            self.refresh_models()
            self.failed.emit(error)
            return
        if choice == self.state.model:
            return
        self.jobs.discard(SCORING)
        self._predictor = None
        self._set(model=choice, notice="", message="")
        self.refresh_models()
        self._set(**self.kept.recall(self.state, self.state.entry))
        if self.state.volume is not None and self.state.known_record is None:
            self._start_unasked(self.state.volume.entry)

    def refresh_models(self) -> None:
        """Looks again which models are installed."""
        items = model_items(self.state.model)
        if items != self.state.models:
            self._set(models=items)

    def _start_unasked(self, entry: StackEntry) -> None:
        """Starts the model by itself, unless its numbers could only mislead."""
        model = self.state.model
        if model is None:
            self._set(notice="No model is installed: choose Model > Choose a checkpoint file")
        elif model.header.provenance.phantoms_only and not entry.is_phantom:
            self._set(
                # Why stands beside the model's name.
                notice="Not scored: press Run to score it all the same."
            )
        elif self.reads_unasked:
            self.run_model()
        else:
            self._set(notice="Not scored: press Run to score it.")

    def run_model(self, *, asked: bool = False, insist: bool = False) -> None:
        """Scores the selected stack on a worker thread.

        Args:
            asked: The user asked for it, and so is told in a dialog if it cannot be scored.
            insist: The user has been told that the stack is unfit, and wants it scored all the
                same; the report says so.
        """
        volume, model = self.state.volume, self.state.model
        if volume is None or model is None:
            return
        known = self._predictor

        def work(context: JobContext) -> tuple[Predictor, ScanRecord]:
            # Here, and not at the top: the window must open before torch is loaded.
            context(0, 0, "starting the model")
            from sadmil_core.reading import score_volume

            same = known is not None and known[0] == model.path
            predictor = known[1] if known and same else self._load(model.path)
            return predictor, score_volume(volume, predictor, context, score_unfit=insist)

        self._set(scoring=JobProgress(0, 0, "starting the model"), notice="")
        self.jobs.submit(
            SCORING,
            work,
            on_done=lambda answer: self._scored(model.path, *answer, asked=asked),
            on_failed=self._scoring_failed,
            on_cancelled=lambda: self._set(notice="Scoring cancelled: press Run to start again"),
        )

    def _scored(self, path: Path, predictor: Predictor, record: ScanRecord, *, asked: bool) -> None:
        self._predictor = (path, predictor)
        model = self.state.model
        if model is not None and record.model != model.header.identity:
            # The file was replaced since it was chosen: what has read the scan is what counts.
            self._set(model=ModelChoice(path, predictor.model.header))
        self._keep(record)
        self.kept.keep(record)
        if record.failure is not None:
            self._set(notice=record.failure.message)
            if asked:
                self.failed.emit(UnscorableError(record.failure.message))

    def _scoring_failed(self, error: SadmilError) -> None:
        self._set(notice=str(error))
        self.failed.emit(error)

    def cancel(self) -> None:
        """Stops whatever is running."""
        for lane in (INDEXING, LOADING, SCORING, *ASKING):
            if self.jobs.is_busy(lane):
                self.jobs.cancel(lane)
                self._on_progress(lane, JobProgress(0, 0, "cancelling"))

    # -- the report ---------------------------------------------------------------------------

    @property
    def is_working(self) -> bool:
        """Whether anything runs that a reader would miss; thumbnails are not that."""
        return any(map(self.jobs.is_busy, (INDEXING, LOADING, SCORING, EXPORTING, *ASKING)))

    @property
    def records(self) -> tuple[ScanRecord, ...]:
        """What the chosen model said of the stacks so far, in the order of the index.

        Only of those of which the reader may see it.
        """
        model = self.state.model
        if model is None:
            return ()
        entries = (e for e in self.state.entries if not self.labels.withholds(e))
        keys = (record_key(entry, model.header.model_sha256) for entry in entries)
        return tuple(self.state.records[key] for key in keys if key in self.state.records)

    @property
    def readouts(self) -> tuple[StudyReadout, ...]:
        """Which series speaks for each study, among all: as read, or else by their headers."""
        return readouts_of(self.state)

    def report_fault(self, error: BaseException) -> None:
        """Tells the user of a fault that nothing else has caught."""
        self.failed.emit(error if isinstance(error, SadmilError) else unexpected(error))

    def close(self) -> None:
        """Stops all work, without waiting for it."""
        # Its destructor tells of an emptied stack, when whoever listened may be gone already.
        self.annotations.undo_stack.blockSignals(True)
        self.jobs.close()

    # -- inside -------------------------------------------------------------------------------

    def _keep(self, record: ScanRecord) -> None:
        kept: dict[RecordKey, ScanRecord] = dict(self.state.records)
        kept[record_key(record.entry, record.model.sha256)] = record
        self._set(records=kept)

    def _on_progress(self, lane: str, progress: JobProgress) -> None:
        if lane == SCORING:
            self._set(scoring=progress)
        if lane == INDEXING:
            self._set(opening=progress)
        if lane != LOADING or self.jobs.is_busy(INDEXING):
            return
        load = self.state.load
        self._set(opening=progress, arrived=int(load.arrived.sum()) if load else 0)

    def _on_idle(self, lane: str) -> None:
        if lane == SCORING:
            self._set(scoring=None)
        elif lane in (INDEXING, LOADING) and not self.jobs.is_busy(
            LOADING if lane == INDEXING else INDEXING
        ):
            self._set(opening=None)

    def _set(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)
        self.changed.emit(self.state)
