"""Choices among candidates, on the validation split and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.errors import ExperimentError
from sadmil_core.evaluation.bootstrap import point
from sadmil_core.evaluation.metrics import quantities
from sadmil_core.evaluation.scorers import Cohort, model_scorer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sadmil_core.experiments.config import Criterion
    from sadmil_core.experiments.readings import Readings

LOWER_IS_BETTER = ("scan_loss",)
TITLES = {
    "scan_loss": "validation cross-entropy",
    "scan_auroc": "validation scan AUROC",
    "within_auroc": "validation slice AUROC within positive scans",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One candidate chosen of several.

    Attributes:
        name: What it is called from then on.
        chosen: The candidate's own name.
        by: The criterion.
        values: The mean over seeds, by candidate.
    """

    name: str
    chosen: str
    by: Criterion
    values: dict[str, float]

    @property
    def sentence(self) -> str:
        """In words."""
        listed = ", ".join(f"{name}: {value:.4f}" for name, value in self.values.items())
        text = f"{self.name} is {self.chosen}, chosen by {TITLES[self.by]} ({listed})."
        if self.chosen in (next(iter(self.values)), next(reversed(self.values))):
            text += " It lies at an end of what was tried: beyond it may be better."
        return text


def choose(
    name: str,
    by: Criterion,
    candidates: Mapping[str, Sequence[Readings]],
    patients: Mapping[str, str],
) -> Choice:
    """Chooses by the mean over seeds; of equally good ones the first.

    Args:
        name: What the chosen one is called.
        by: The criterion.
        candidates: The validation readings of each, over its seeds.
        patients: Whose each scan is.

    Raises:
        ExperimentError: The validation split does not let the criterion be computed.
    """
    values = {
        each: float(np.mean([criterion_value(by, r, patients) for r in readings]))
        for each, readings in candidates.items()
    }
    if not all(np.isfinite(value) for value in values.values()):
        raise ExperimentError(
            f"Nothing can be chosen by {by}: the validation split lacks the labels.",
            remedy="Set choose_by = 'scan_loss', or label slices of validation scans.",
        )
    sign = 1 if by in LOWER_IS_BETTER else -1
    chosen = min(values, key=lambda each: sign * values[each])
    return Choice(name=name, chosen=chosen, by=by, values=values)


def criterion_value(by: Criterion, readings: Readings, patients: Mapping[str, str]) -> float:
    """The criterion on one network's readings; NaN where labels do not allow it."""
    if by == "scan_loss":
        known = ~np.isnan(readings.label)
        logit = readings.logit[known] / readings.verdict.temperature
        sign = np.where(readings.label[known] == 1, -1.0, 1.0)
        return float(np.logaddexp(0.0, sign * logit).mean())
    data = readings.evaluation_set("", patients)
    cohort = Cohort.of(data)
    found = quantities(data, cohort, model_scorer(data), is_model=True)
    return point(found[by], len(cohort))
