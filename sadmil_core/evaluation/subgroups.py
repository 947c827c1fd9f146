"""Subgroups of scans: by subtype, spacing, thickness, extent and place of the bleed, site."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.evaluation.values import SUBTYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from sadmil_core.evaluation.metrics import Quantity
    from sadmil_core.evaluation.scorers import Cohort
    from sadmil_core.evaluation.values import EvaluationSet, ScanPrediction, ScanTruth

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

SMALL = 20
"""Fewer positive or fewer negative scans than this make a group small."""

GROUP_MEASURES = ("scan_auroc", "scan_sensitivity", "scan_specificity", "within_auroc", "slice_f1")

_SPACINGS_MM = (2.0, 4.0)
EXTENTS = (3, 9, 15)
CENTRAL = (0.25, 0.75)
"""Limits of the number of positive slices, and of the mean place of a central bleed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgroup:
    """Some of the scans.

    Attributes:
        family: What they are grouped by.
        title: The group.
        member: (N,) bool. Where a group is defined by the bleed, the negative scans belong to
            every group of the family, as what its positives are to be told from.
        positives: Positive scans in it.
        negatives: Negative scans in it.
    """

    family: str
    title: str
    member: Flags
    positives: int
    negatives: int

    @property
    def is_small(self) -> bool:
        """Whether it says little, whatever its numbers."""
        return min(self.positives, self.negatives) < SMALL


def subgroups(data: EvaluationSet, cohort: Cohort) -> tuple[tuple[Subgroup, ...], tuple[str, ...]]:
    """The groups that hold a scan, and the families that could not be made, with the reason."""
    groups: list[Subgroup] = []
    absent: list[str] = []
    negative = cohort.scan_label == 0
    for family, with_negatives, why, titles in _families(data):
        if not any(titles):
            absent.append(f"{family}: {why}")
        for title in _in_order(titles):
            member = np.array([title in each for each in titles], np.bool_)
            if with_negatives:
                member |= negative
            groups.append(
                Subgroup(
                    family=family,
                    title=title,
                    member=member,
                    positives=int((member & (cohort.scan_label == 1)).sum()),
                    negatives=int((member & negative).sum()),
                )
            )
    return tuple(groups), tuple(absent)


def restricted(quantity: Quantity, group: Subgroup, cohort: Cohort) -> Quantity:
    """A quantity of a group only: scans outside weigh nothing."""
    evaluate = quantity.evaluate
    if evaluate is None:
        return quantity
    inside = group.member.astype(np.float64)
    return replace(
        quantity,
        evaluate=lambda w: evaluate(w * inside),
        support=quantity.support * inside,
        reason=f"in this group: {quantity.reason}",
    )


def _families(data: EvaluationSet) -> Iterator[tuple[str, bool, str, list[frozenset[str]]]]:
    """Each family: its name, whether negatives join every group, why it may lack, the titles."""
    pairs = list(zip(data.predictions, data.truths, strict=True))

    def of(title: Callable[[ScanPrediction, ScanTruth], str]) -> list[frozenset[str]]:
        return [frozenset(filter(None, (title(*pair),))) for pair in pairs]

    subtypes = [
        frozenset(name for name in SUBTYPES if truth.subtypes.get(name)) for _, truth in pairs
    ]
    yield "subtype", True, "no label names one", subtypes
    yield (
        "slice spacing",
        False,
        "the predictions give no positions",
        of(lambda scan, _: _length(scan.spacing_mm)),
    )
    yield (
        "slice thickness",
        False,
        "the table of predictions does not give it; sadmil evaluate knows it",
        of(lambda scan, _: _length(scan.thickness_mm)),
    )
    yield "positive slices", True, "no slice is labelled positive", of(lambda _, t: _extent(t))
    yield "place of the bleed", True, "no slice is labelled positive", of(lambda _, t: _place(t))
    yield "site", False, "no label names one", of(lambda _, truth: truth.site)


def _length(length_mm: float | None) -> str:
    if length_mm is None:
        return ""
    thin, thick = _SPACINGS_MM
    if length_mm < thin:
        return f"under {thin:g} mm"
    return f"{thin:g} to {thick:g} mm" if length_mm <= thick else f"over {thick:g} mm"


def _extent(truth: ScanTruth) -> str:
    count, low = truth.positives, 1
    if not count:
        return ""
    for high in EXTENTS:
        if count <= high:
            return f"{low} to {high}"
        low = high + 1
    return f"{low} or more"


def _place(truth: ScanTruth) -> str:
    """Central or not, by the mean place of the positive slices along the scan."""
    if not truth.positives or len(truth.slice_labels) < 2:
        return ""
    z = np.linspace(0, 1, len(truth.slice_labels))
    centre = float(z[truth.slice_labels == 1].mean())
    low, high = CENTRAL
    return "central" if low <= centre <= high else "off-centre (outer quarters of the scan)"


_ORDER = ("under", "2 to 4 mm", "over", "1 to 3", "4 to 9", "10 to 15", "16 or more", "central")


def _in_order(titles: list[frozenset[str]]) -> list[str]:
    """The distinct titles, small before large, else by subtype and alphabet."""
    found = {title for each in titles for title in each}

    def place(title: str) -> tuple[int, int, str]:
        ranks = [at for at, start in enumerate(_ORDER) if title.startswith(start)]
        kind = SUBTYPES.index(title) if title in SUBTYPES else len(SUBTYPES)
        return (min(ranks, default=len(_ORDER)), kind, title)

    return sorted(found, key=place)
