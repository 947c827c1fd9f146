"""The result bar: the scan's probability and decision, apart from attention; always the notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QGridLayout,
    QLabel,
    QProgressBar,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from sadmil_core import RESEARCH_USE_NOTICE
from sadmil_core.fitness import FitnessLevel
from sadmil_core.result import describe_runs, positive_runs, slice_number
from viewer import theme
from viewer.model.attention_text import probability, time_text
from viewer.privacy import scrub
from viewer.widgets.elided_label import ElidedLabel

if TYPE_CHECKING:
    from sadmil_core.fitness import Fitness
    from sadmil_core.result import ScanResult
    from viewer.model.jobs import JobProgress
    from viewer.model.state import ViewState

_HEIGHT = 64
_RUNS_NAMED = 4


class ResultPanel(QWidget):
    """Says what the model made of the scan, which model it was, and that it is no diagnosis.

    While something runs, its progress stands where messages stand otherwise.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._decision = QLabel()
        self._decision.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._decision.setMinimumWidth(130)
        self._fitness = QLabel()
        self._fitness.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._fitness.setMinimumWidth(118)
        self._result, self._model = ElidedLabel(), ElidedLabel()
        self._model.setProperty("role", "muted")
        self._caution = ElidedLabel()
        self._caution.setProperty("role", "notice")
        self._notice = QLabel()
        self._notice.setProperty("role", "notice")
        self._notice.setWordWrap(True)
        self._notice.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._notice.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        for label in (
            self._fitness,
            self._decision,
            self._result,
            self._model,
            self._caution,
            self._notice,
        ):
            label.setFont(theme.tabular(self.font()))
        self._phase = ElidedLabel()
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(8)
        self._bar.setAccessibleName("Progress")
        self._side = QStackedWidget()
        # Takes the room it is given below, and asks for none.
        self._side.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self._side.addWidget(self._notice)
        self._side.addWidget(self._progress_page())
        self._lay_out()

    def _progress_page(self) -> QWidget:
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 4, 0, 4)
        column.addWidget(self._phase)
        column.addWidget(self._bar)
        return page

    def _lay_out(self) -> None:
        research = QLabel(RESEARCH_USE_NOTICE.replace(", ", ",\n"))
        research.setAccessibleName(RESEARCH_USE_NOTICE)
        research.setProperty("role", "research")
        research.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._layout = layout = QGridLayout(self)
        layout.setContentsMargins(10, 7, 12, 7)
        layout.setHorizontalSpacing(18)
        layout.setVerticalSpacing(3)
        layout.addWidget(self._fitness, 0, 0, 2, 1)
        layout.addWidget(self._decision, 0, 1, 2, 1)
        layout.addWidget(self._result, 0, 2, 1, 2)
        layout.addWidget(self._model, 1, 2)
        layout.addWidget(self._caution, 1, 3)
        layout.addWidget(self._side, 0, 4, 2, 1)
        layout.addWidget(research, 0, 5, 2, 1)
        layout.setColumnStretch(3, 3)
        layout.setColumnStretch(4, 2)
        # A fixed height: the image above must not jump when a message comes or goes.
        self.setFixedHeight(_HEIGHT)

    def render_state(self, state: ViewState) -> None:
        """Writes the state out."""
        result = state.result
        self._show_fitness(state.fitness)
        self._show_decision(state)
        self._result.setText(_result_text(result) if result else _no_result_text(state))
        self._model.setText(_model_text(state))
        self._caution.setText(_caution(state))
        said = state.message or state.notice or _doubts(state.fitness)
        hides = state.options.hides_identifiers
        self._notice.setText(scrub(said, state.root) if hides else said)
        self._notice.setToolTip(self._notice.text())
        self._show_progress(state.scoring or state.opening or state.asking)

    def _show_progress(self, progress: JobProgress | None) -> None:
        self._side.setCurrentIndex(0 if progress is None else 1)
        self._layout.setColumnStretch(4, 2 if progress or self._notice.text() else 0)
        if progress is None:
            return
        text = progress.phase
        if progress.total:
            text += f", {progress.done} of {progress.total}"
        if progress.left_s is not None:
            text += f", {progress.left_s:.0f} s left"
        self._phase.setText(text)
        self._bar.setRange(0, progress.total)
        self._bar.setValue(progress.done)

    def _show_fitness(self, fitness: Fitness | None) -> None:
        """The verdict stands before any probability, with what speaks against it."""
        self._fitness.setVisible(fitness is not None)
        if fitness is None:
            return
        self._fitness.setText(f"{_SIGNS[fitness.level]}fit: {fitness.level}")
        reasons = [reason.message for reason in fitness.reasons] or ["nothing speaks against it"]
        self._fitness.setToolTip("\n".join(["Fitness for the model", *reasons]))
        self._fitness.setAccessibleName(f"Fitness: {fitness.level}. {'; '.join(reasons)}")
        self._give_role(self._fitness, _ROLES[fitness.level])

    @staticmethod
    def _give_role(label: QLabel, role: str) -> None:
        if label.property("role") != role:
            label.setProperty("role", role)
            label.style().unpolish(label)
            label.style().polish(label)

    def _show_decision(self, state: ViewState) -> None:
        result = state.result
        if result is not None:
            text, role = ("POSITIVE", "signal") if result.scan_positive else ("negative", "clear")
        elif state.withholds and state.entry is not None:
            text, role = "hidden", "clear"
        elif state.scoring is not None:
            text, role = "reading", "clear"
        elif state.entry is not None:
            text, role = "not scored", "clear"
        else:
            text, role = "no scan", "clear"
        self._decision.setText(text)
        self._decision.setAccessibleName(f"Decision: {text}")
        self._give_role(self._decision, role)


_SIGNS = {FitnessLevel.OK: "", FitnessLevel.CAUTION: "△ ", FitnessLevel.UNFIT: "✕ "}
_ROLES = {
    FitnessLevel.OK: "clear",
    FitnessLevel.CAUTION: "outlined",
    FitnessLevel.UNFIT: "signal",
}


def _doubts(fitness: Fitness | None) -> str:
    return "; ".join(reason.message for reason in fitness.reasons) if fitness else ""


def _result_text(result: ScanResult) -> str:
    return (
        f"scan probability of hemorrhage {probability(result.scan_probability)} "
        f"(threshold {result.rule.scan_threshold:.3g}),  {_slices_text(result)}"
    )


def _no_result_text(state: ViewState) -> str:
    if state.withholds and state.entry is not None:
        return "read first: what the model says is hidden until you have marked the scan"
    return "no scan probability"


def _slices_text(result: ScanResult) -> str:
    runs = positive_runs(result.slice_positive)
    if not runs:
        if result.rule.gated and not result.scan_positive:
            return "no slice marked: the scan is below its threshold"
        return "no slice marked"
    peak = f"peak {slice_number(result.peak)}"
    if len(runs) > _RUNS_NAMED:
        count = int(result.slice_positive.sum())
        return f"{count} marked slices in {len(runs)} runs, {peak}"
    return f"marked slices {describe_runs(result.slice_positive)}, {peak}"


def _model_text(state: ViewState) -> str:
    model, result, record = state.model, state.result, state.record
    if model is None:
        return "no model"
    text = f"model {model.header.name}, {model.header.model_sha256[:12]}"
    if result is not None:
        took = sum(result.execution.seconds.values())
        text += f", {result.execution.device} {result.execution.precision}, {took:.1f} s"
    if record is not None and record.read_at is not None:
        # First, so that it is not what is cut off: the number is not of just now.
        text = f"read {time_text(record.read_at)}: {text}"
    return text


def _caution(state: ViewState) -> str:
    """What must stand beside a number that is not to be trusted, whatever else is said."""
    if state.record is not None and state.record.scored_though_unfit:
        return "scored though unfit, as was asked: the number may mean nothing"
    if state.model is None or not state.model.header.provenance.phantoms_only:
        return ""
    if state.entry is not None and not state.entry.is_phantom:
        return "demonstration model: meaningless on a patient's scan"
    return "demonstration model, trained on synthetic heads only"
