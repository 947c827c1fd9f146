"""Scans to show, chosen by a stated rule and never by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.evaluation.ranking import auroc

if TYPE_CHECKING:
    from sadmil_core.evaluation.assessment import ModelAssessment


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenScan:
    """A scan to show.

    Attributes:
        index: Its place in the set.
        why: The rule that chose it, for people.
    """

    index: int
    why: str


def choose_scans(model: ModelAssessment) -> tuple[ChosenScan, ...]:
    """The best, the typical and the worst ranked positive scan, and the most suspected negative.

    Ranked by AUROC of the slices within the scan; typical is the median, the lower of two.
    Ties go to the first by name. The negative scan is that of the highest probability.
    """
    data, score = model.data, model.scorer.slice_score
    ranked = []
    start = 0
    for at, truth in enumerate(data.truths):
        stop = start + len(truth.slice_labels)
        if score is not None and truth.holds_both:
            known = ~np.isnan(truth.slice_labels)
            value = auroc(score[start:stop][known], truth.slice_labels[known] == 1)
            ranked.append((-value, truth.scan_id, at))
        start = stop
    ranked.sort()
    found: dict[int, str] = {}
    for title, place in (
        ("best ranked positive scan", 0),
        ("median positive scan", len(ranked) // 2),
        ("worst ranked positive scan", len(ranked) - 1),
    ):
        if ranked:
            value, _, at = ranked[place]
            found.setdefault(at, f"{title}, slice AUROC {-value:.2f}")
    negative = [
        (-scan.scan_probability, truth.scan_id, at)
        for at, (scan, truth) in enumerate(zip(data.predictions, data.truths, strict=True))
        if truth.label is False
    ]
    if negative:
        found.setdefault(min(negative)[2], "negative scan of the highest probability")
    return tuple(ChosenScan(index=at, why=why) for at, why in found.items())
