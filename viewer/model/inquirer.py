"""Asks the model what the reader wants to know beyond its answer, on worker threads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QObject, Qt

from sadmil_core.checkpoint import read_header
from sadmil_core.errors import CheckpointError
from sadmil_core.modelstore import resolve_model
from viewer.model.state import ModelChoice

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from sadmil_core.dicom import CTVolume
    from sadmil_core.explain import Explainer, Explanation, Method
    from sadmil_core.predict import Predictor
    from sadmil_core.report import ScanRecord
    from sadmil_core.result import ScanResult
    from viewer.model.jobs import JobContext, JobProgress
    from viewer.model.session import Session

COMPARING, LEAVING_OUT, EXPLAINING = "comparing", "leaving out", "explaining"
ASKING = (COMPARING, LEAVING_OUT, EXPLAINING)
"""The lanes of this work."""
_STEP = 1.05


class Inquirer(QObject):
    """Carries out what is asked about a result; a part of the session.

    Args:
        session: Whose state it is.
        change: Makes a new state.
        keep: Keeps a record.
        predictor: The session's model, as far as it is loaded, and its file.
        make_predictor: Loads a model; called on worker threads.
    """

    def __init__(
        self,
        session: Session,
        *,
        change: Callable[..., None],
        keep: Callable[[ScanRecord], None],
        predictor: Callable[[], tuple[Path, Predictor] | None],
        make_predictor: Callable[[Path], Predictor],
    ) -> None:
        super().__init__(session)
        self._session, self._change, self._keep = session, change, keep
        self._predictor, self._make_predictor = predictor, make_predictor
        self._explainer: tuple[CTVolume, str, Explainer] | None = None
        self._result: ScanResult | None = None
        session.jobs.progressed.connect(self._on_progress)
        session.jobs.idled.connect(self._on_idle)
        # Queued: a state that is made while another is being passed on would be overtaken by it.
        session.changed.connect(self._follow, Qt.ConnectionType.QueuedConnection)

    def _follow(self) -> None:
        """Gives up what was asked about an older result."""
        state = self._session.state
        if state.result is self._result:
            return
        self._result = state.result
        for lane in ASKING:
            self._session.jobs.discard(lane)
        if self._explainer is not None and self._explainer[0] is not state.volume:
            self._explainer = None
        self._compare()

    def _answer(self, result: ScanResult, **answers: Any) -> None:
        """Keeps answers, unless another result has come since."""
        inquiry = self._session.state.inquiry
        if inquiry.result is result:
            self._change(asked=replace(inquiry, **answers))

    def _set_options(self, **options: Any) -> None:
        self._change(attention=replace(self._session.state.attention, **options))

    # -- the threshold ------------------------------------------------------------------------

    def try_threshold(self, value: float | None) -> None:
        """Tries another slice threshold out, on the slice score; None for the stored one alone."""
        state = self._session.state
        if state.result is not None and value != state.inquiry.trial_threshold:
            self._answer(state.result, trial_threshold=value)

    def step_threshold(self, direction: int) -> None:
        """Tries the next higher (+1) or lower (-1) threshold."""
        state = self._session.state
        result = state.result
        if result is None:
            return
        tried = state.inquiry.trial_threshold
        now = result.slice_threshold if tried is None else tried
        if result.rule.slice_score == "evidence":
            now += direction * 0.02 * max(float(np.ptp(result.slice_score)), 1e-6)
        else:
            now = min(max(now, 1e-6) * _STEP**direction, 1.0)
        self.try_threshold(now)

    # -- what is shown ------------------------------------------------------------------------

    def toggle_evidence(self) -> None:
        """Shows the evidence curve, or hides it."""
        self._set_options(shows_evidence=not self._session.state.attention.shows_evidence)

    def toggle_explanation(self) -> None:
        """Lays explanations over their slices, or takes them away."""
        self._set_options(shows_explanation=not self._session.state.attention.shows_explanation)

    def set_opacity(self, opacity: float) -> None:
        """How strongly an explanation covers the slice, 0 to 1."""
        self._set_options(opacity=min(max(opacity, 0.0), 1.0))

    # -- another model ------------------------------------------------------------------------

    def compare_with(self, name_or_file: str | None) -> None:
        """Lays another model's curve over that of the chosen one; None for no other."""
        self._session.jobs.discard(COMPARING)
        if name_or_file is None:
            self._set_options(other=None)
            return
        try:
            path = resolve_model(name_or_file)
            self._set_options(other=ModelChoice(path, read_header(path)))
        except CheckpointError as error:
            self._session.failed.emit(error)
            return
        self._compare()

    def _compare(self) -> None:
        state = self._session.state
        other, volume, record = state.attention.other, state.volume, state.record
        if other is None or volume is None or record is None or state.result is None:
            return
        if state.other_record is not None:
            return
        path, insist = other.path, record.scored_though_unfit

        def work(context: JobContext) -> ScanRecord:
            context(0, 0, "starting the other model")
            from sadmil_core.reading import score_volume

            return score_volume(volume, self._make_predictor(path), context, score_unfit=insist)

        def done(read: ScanRecord) -> None:
            self._keep(read)
            if read.failure is not None:
                self._change(message=f"The other model: {read.failure.message}")

        self._submit(COMPARING, work, done)

    # -- without a slice ----------------------------------------------------------------------

    def leave_out(self) -> None:
        """Asks the network for the scan probability without each slice.

        Only where it does not follow from the evidence.
        """
        result, model = self._session.state.result, self._session.state.model
        if result is None or model is None or result.features is None:
            return

        def work(context: JobContext) -> NDArray[np.float64]:
            predictor = self._ready(model)
            count = len(result.attention)
            without = np.full(count, np.nan)
            if predictor.model.header.identity != result.model:
                return without  # the file was replaced since
            for index in range(count):
                context(index, count, "leaving out one slice after another")
                probability = predictor.probability_without(result, index)
                without[index] = np.nan if probability is None else probability
            return without

        self._submit(LEAVING_OUT, work, lambda found: self._answer(result, without=found))

    # -- within a slice -----------------------------------------------------------------------

    def explain(self, method: Method) -> None:
        """Asks which places of the current slice moved the score."""
        state = self._session.state
        result, model, volume = state.result, state.model, state.volume
        if result is None or model is None or volume is None:
            return
        index, known = state.slice_index, self._explainer

        def work(context: JobContext) -> tuple[Explainer, Explanation]:
            from sadmil_core.explain import Explainer

            explainer = None
            if known is not None and known[0] is volume and known[1] == result.model.sha256:
                explainer = known[2]
            if explainer is None:
                context(0, 0, "starting the model")
                explainer = Explainer(self._ready(model), volume)
            return explainer, explainer.explain(index, method, context)

        def done(answer: tuple[Explainer, Explanation]) -> None:
            explainer, found = answer
            self._explainer = (volume, found.model.sha256, explainer)
            if found.model != result.model:
                return  # the file was replaced since: these are another model's reasons
            shown = {**self._session.state.inquiry.explanations, index: found}
            self._answer(result, explanations=shown)
            if not self._session.state.attention.shows_explanation:
                self.toggle_explanation()

        self._submit(EXPLAINING, work, done)

    # -- inside -------------------------------------------------------------------------------

    def _ready(self, model: ModelChoice) -> Predictor:
        known = self._predictor()
        if known is not None and known[0] == model.path:
            return known[1]
        return self._make_predictor(model.path)

    def _submit(
        self, lane: str, work: Callable[[JobContext], Any], done: Callable[[Any], None]
    ) -> None:
        self._follow()  # what is still to be given up must not take the new question with it
        self._session.jobs.submit(lane, work, on_done=done, on_failed=self._session.failed.emit)

    def _on_progress(self, lane: str, progress: JobProgress) -> None:
        if lane in ASKING:
            self._change(asking=progress)

    def _on_idle(self, lane: str) -> None:
        if lane in ASKING and not any(map(self._session.jobs.is_busy, ASKING)):
            self._change(asking=None)
