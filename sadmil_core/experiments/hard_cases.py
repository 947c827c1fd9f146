"""Where smoothing may hurt: bleeds of a single slice, of few slices, and away from the centre."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.evaluation.metrics import Measure
from sadmil_core.evaluation.subgroups import CENTRAL, EXTENTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.evaluation.metrics import Quantity
    from sadmil_core.evaluation.scorers import Cohort

_FEW = EXTENTS[0]
HARD_MEASURES = tuple(
    Measure(key=f"within_auroc_{key}", title=f"AUROC within positive scans, {told}", about="slice")
    for key, told in (
        ("single", "one positive slice"),
        ("few", f"1 to {_FEW} positive slices"),
        ("off_centre", "bleed off-centre"),
    )
)
"""Of the scans named only; groups are those of :mod:`sadmil_core.evaluation.subgroups`."""


def hard_cases(within: Quantity, cohort: Cohort) -> dict[str, Quantity]:
    """The AUROC within positive scans, of hard ones only.

    Args:
        within: That of all.
        cohort: The truth.

    Returns:
        By the keys of :data:`HARD_MEASURES`.
    """
    counts, places = _extents(cohort)
    groups = (
        counts == 1,
        (counts >= 1) & (counts <= _FEW),
        (places < CENTRAL[0]) | (places > CENTRAL[1]),
    )
    return {
        measure.key: _among(within, group.astype(np.float64))
        for measure, group in zip(HARD_MEASURES, groups, strict=True)
    }


def _extents(cohort: Cohort) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(N,) positive slices, and their mean place along the scan, 0 to 1; NaN without any."""
    counts, places = np.zeros(len(cohort), np.int64), np.full(len(cohort), np.nan)
    for at in range(len(cohort)):
        positive = np.flatnonzero(cohort.slice_label[cohort.slices(at)] == 1)
        length = cohort.bounds[at + 1] - cohort.bounds[at]
        counts[at] = len(positive)
        if len(positive) and length > 1:
            places[at] = positive.mean() / (length - 1)
    return counts, places


def _among(quantity: Quantity, inside: NDArray[np.float64]) -> Quantity:
    evaluate, support = quantity.evaluate, quantity.support * inside
    if evaluate is None or not support.any():
        return replace(
            quantity, evaluate=None, support=support, reason=f"no such scan: {quantity.reason}"
        )
    return replace(quantity, evaluate=lambda w: evaluate(w * inside), support=support)
