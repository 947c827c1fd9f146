"""The metrics, each as a function of how much every scan weighs.

A metric takes (R, N) weights of the N scans and gives R values: with ones it is the metric, with
the counts of a resample it is that resample's. NaN where it is not defined.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.evaluation.ranking import Ranking, auroc, average_precision, top_hit
from sadmil_core.evaluation.shape import (
    crossings,
    logits,
    normalised_entropy,
    relative_attention,
    roughness,
    total_variation,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sadmil_core.evaluation.scorers import Cohort, Scorer
    from sadmil_core.evaluation.values import EvaluationSet

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

Evaluate = Callable[["Floats"], "Floats"]

ECE_BINS = 10
"""Equally wide bins of the probability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A metric's name.

    Attributes:
        key: In files.
        title: For people.
        about: ``scan``, ``slice`` or ``attention``.
        better: ``higher``, ``lower``, or empty where neither is better by itself.
    """

    key: str
    title: str
    about: str
    better: str = "higher"


MEASURES = (
    Measure(key="scan_auroc", title="AUROC", about="scan"),
    Measure(key="scan_auprc", title="AUPRC", about="scan"),
    Measure(key="sensitivity_at_90", title="sensitivity at 90 % specificity", about="scan"),
    Measure(key="specificity_at_90", title="specificity reached (90 %)", about="scan"),
    Measure(key="sensitivity_at_95", title="sensitivity at 95 % specificity", about="scan"),
    Measure(key="specificity_at_95", title="specificity reached (95 %)", about="scan"),
    Measure(key="scan_accuracy", title="accuracy", about="scan"),
    Measure(key="scan_sensitivity", title="sensitivity", about="scan"),
    Measure(key="scan_specificity", title="specificity", about="scan"),
    Measure(key="scan_f1", title="F1", about="scan"),
    Measure(key="brier", title="Brier score", about="scan", better="lower"),
    Measure(key="ece", title="expected calibration error", about="scan", better="lower"),
    Measure(key="within_auroc", title="AUROC within positive scans", about="slice"),
    Measure(key="within_auprc", title="AUPRC within positive scans", about="slice"),
    Measure(key="pooled_auroc", title="AUROC pooled", about="slice"),
    Measure(key="pooled_auprc", title="AUPRC pooled", about="slice"),
    Measure(key="top1_hit", title="top-1 hit", about="slice"),
    Measure(key="top3_hit", title="top-3 hit", about="slice"),
    Measure(key="slice_accuracy", title="accuracy", about="slice"),
    Measure(key="slice_precision", title="precision", about="slice"),
    Measure(key="slice_recall", title="recall", about="slice"),
    Measure(key="slice_f1", title="F1", about="slice"),
    Measure(key="attention_mass", title="attention on positive slices", about="attention"),
    Measure(key="roughness_sa", title="roughness of S·a", about="attention", better=""),
    Measure(key="roughness_f", title="roughness of f", about="attention", better=""),
    Measure(key="total_variation", title="total variation of S·a", about="attention", better=""),
    Measure(key="entropy", title="normalised entropy", about="attention", better=""),
    Measure(key="crossings", title="threshold crossings a scan", about="attention", better=""),
)
MEASURE_BY_KEY = {measure.key: measure for measure in MEASURES}

OPERATING_POINTS = (("90", 0.90), ("95", 0.95))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A metric of one scorer on one cohort, ready to be computed.

    Attributes:
        evaluate: (R, N) weights to (R,) values; None where it cannot be computed.
        support: (N,) how many scans or slices of each scan it rests on.
        unit: ``scans``, ``positive scans`` or ``slices``.
        reason: Why it cannot be computed, or would not be defined.
    """

    evaluate: Evaluate | None
    support: Floats
    unit: str
    reason: str

    @property
    def n(self) -> int:
        """On how many scans or slices it rests."""
        return int(self.support.sum())


def quantities(
    data: EvaluationSet,
    cohort: Cohort,
    scorer: Scorer,
    *,
    is_model: bool,
    frozen: Mapping[str, float] | None = None,
) -> dict[str, Quantity]:
    """All metrics of a scorer by key, in the order of :data:`MEASURES`.

    Args:
        data: The set, for the shape of attention.
        cohort: Its truth.
        scorer: The model or a baseline.
        is_model: Whether the attention of ``data`` is the scorer's own.
        frozen: Thresholds on the scan score chosen on validation, by operating point (``90``,
            ``95``); None to choose them on these very scans.
    """
    found = (
        _scan_ranking(cohort, scorer, frozen)
        | _scan_decisions(cohort, scorer)
        | _calibration(cohort, scorer)
        | _slice_ranking(cohort, scorer)
        | _slice_decisions(cohort, scorer)
    )
    if is_model:
        found |= _attention_shape(data, cohort)
    return {measure.key: found[measure.key] for measure in MEASURES if measure.key in found}


def _absent(reason: str, unit: str = "scans") -> Quantity:
    return Quantity(evaluate=None, support=np.zeros(0), unit=unit, reason=reason)


def _ratio(above: Floats, below: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(above / np.where(below > 0, below, np.nan))


def mean_over_scans(values: Floats, unit: str, reason: str) -> Quantity:
    """The mean of a value by scan over those where it is not NaN."""
    known = ~np.isnan(values)
    filled, counted = np.where(known, values, 0.0), known.astype(np.float64)
    return Quantity(
        evaluate=(lambda w: _ratio(w @ filled, w @ counted)) if known.any() else None,
        support=counted,
        unit=unit,
        reason=reason,
    )


def _share(above: Floats, below: Floats, support: Floats, unit: str, reason: str) -> Quantity:
    """The sum of one value by scan over the sum of another."""
    return Quantity(
        evaluate=lambda w: _ratio(w @ above, w @ below), support=support, unit=unit, reason=reason
    )


_ONE_CLASS = "positive and negative scans are both needed"


def _scan_ranking(
    cohort: Cohort, scorer: Scorer, frozen: Mapping[str, float] | None
) -> dict[str, Quantity]:
    names = ["scan_auroc", "scan_auprc"]
    names += [f"{kind}_at_{at}" for at, _ in OPERATING_POINTS for kind in _AT]
    if scorer.scan_score is None:
        return dict.fromkeys(names, _absent(scorer.why_not("scan_score")))
    known = np.flatnonzero(~np.isnan(cohort.scan_label))
    labels = cohort.scan_label[known] == 1
    if labels.all() or not labels.any():
        return dict.fromkeys(names, _absent(_ONE_CLASS))
    score = scorer.scan_score[known]
    ranking, support = Ranking(score, labels), (~np.isnan(cohort.scan_label)).astype(np.float64)

    def of(evaluate: Evaluate) -> Quantity:
        return Quantity(
            evaluate=lambda w: evaluate(w[:, known]),
            support=support,
            unit="scans",
            reason=_ONE_CLASS,
        )

    found = {"scan_auroc": of(ranking.auroc), "scan_auprc": of(ranking.average_precision)}
    for at, specificity in OPERATING_POINTS:
        if frozen is None:
            found[f"sensitivity_at_{at}"] = of(_chosen_here(ranking, specificity))
            continue
        above = np.zeros(len(cohort))
        above[known] = score > frozen[at]
        positive = np.where(cohort.scan_label == 1, 1.0, 0.0)
        negative = np.where(cohort.scan_label == 0, 1.0, 0.0)
        for kind, called, group in (
            ("sensitivity", above, positive),
            ("specificity", 1 - above, negative),
        ):
            found[f"{kind}_at_{at}"] = _share(called * group, group, group, "scans", _ONE_CLASS)
    return found


_AT = ("sensitivity", "specificity")


def _chosen_here(ranking: Ranking, specificity: float) -> Evaluate:
    return lambda w: ranking.sensitivity_at(specificity, w)


def _table(cohort: Cohort, labels: Floats, called: Flags, by_scan: bool) -> tuple[Floats, ...]:
    """True and false positives, false and true negatives of each scan, (N,) each."""
    cells = [
        (called & (labels == 1)),
        (called & (labels == 0)),
        (~called & (labels == 1)),
        (~called & (labels == 0)),
    ]
    flat = [cell.astype(np.float64) for cell in cells]
    return tuple(flat if by_scan else map(cohort.sum_by_scan, flat))


def _scan_decisions(cohort: Cohort, scorer: Scorer) -> dict[str, Quantity]:
    names = ("scan_accuracy", "scan_sensitivity", "scan_specificity", "scan_f1")
    if scorer.scan_positive is None:
        return dict.fromkeys(names, _absent(scorer.why_not("scan_positive")))
    tp, fp, fn, tn = _table(cohort, cohort.scan_label, scorer.scan_positive, True)
    n, n_pos, n_neg = tp + fp + fn + tn, tp + fn, fp + tn
    no_scans, no_pos = "no scan has a label", "there are no positive scans"
    return {
        "scan_accuracy": _share(tp + tn, n, n, "scans", no_scans),
        "scan_sensitivity": _share(tp, n_pos, n_pos, "scans", no_pos),
        "scan_specificity": _share(tn, n_neg, n_neg, "scans", "there are no negative scans"),
        "scan_f1": _share(2 * tp, 2 * tp + fp + fn, n, "scans", no_pos),
    }


def _calibration(cohort: Cohort, scorer: Scorer) -> dict[str, Quantity]:
    if scorer.scan_probability is None:
        return dict.fromkeys(("brier", "ece"), _absent(scorer.why_not("scan_probability")))
    known = ~np.isnan(cohort.scan_label)
    gap = np.where(known, scorer.scan_probability - np.nan_to_num(cohort.scan_label), 0.0)
    counted = known.astype(np.float64)
    # One column a bin, so that a resample is a matrix product.
    member = np.eye(ECE_BINS)[bin_of(scorer.scan_probability)]

    def ece(weights: Floats) -> Floats:
        off = np.abs(weights @ (member * gap[:, None])).sum(axis=1)
        return _ratio(off, weights @ counted)

    reason = "no scan has a label"
    return {
        "brier": mean_over_scans(np.where(known, gap**2, np.nan), "scans", reason),
        "ece": Quantity(evaluate=ece, support=counted, unit="scans", reason=reason),
    }


def bin_of(probability: Floats) -> NDArray[np.int64]:
    """The bin of the reliability curve each probability falls in; 1 belongs to the last."""
    return np.minimum((probability * ECE_BINS).astype(np.int64), ECE_BINS - 1)


def _slice_ranking(cohort: Cohort, scorer: Scorer) -> dict[str, Quantity]:
    within: dict[str, Callable[[Floats, Flags], float]] = {
        "within_auroc": auroc,
        "within_auprc": average_precision,
        "top1_hit": lambda score, label: top_hit(score, label, 1),
        "top3_hit": lambda score, label: top_hit(score, label, 3),
    }
    if scorer.slice_score is None:
        why = scorer.why_not("slice_score")
        return dict.fromkeys((*within, "pooled_auroc", "pooled_auprc"), _absent(why, "slices"))
    values = {key: np.full(len(cohort), np.nan) for key in within}
    for at in np.flatnonzero(cohort.both):
        where = cohort.slices(int(at))
        label = cohort.slice_label[where]
        known = ~np.isnan(label)
        score, truth = scorer.slice_score[where][known], label[known] == 1
        for key, of in within.items():
            values[key][at] = of(score, truth)
    reason = "no scan holds positive and negative slices"
    found = {key: mean_over_scans(values[key], "positive scans", reason) for key in within}
    return found | _pooled_ranking(cohort, scorer)


def _pooled_ranking(cohort: Cohort, scorer: Scorer) -> dict[str, Quantity]:
    known = np.flatnonzero(~np.isnan(cohort.slice_label))
    labels, reason = cohort.slice_label[known] == 1, "positive and negative slices are both needed"
    if scorer.pooled_score is None or labels.all() or not labels.any():
        why = reason if scorer.pooled_score is not None else scorer.why_not("pooled_score")
        return dict.fromkeys(("pooled_auroc", "pooled_auprc"), _absent(why, "slices"))
    ranking = Ranking(scorer.pooled_score[known], labels)
    owner = cohort.scan_of_slice[known]
    support = np.bincount(owner, minlength=len(cohort)).astype(np.float64)

    def of(evaluate: Evaluate) -> Quantity:
        return Quantity(
            evaluate=lambda w: evaluate(w[:, owner]), support=support, unit="slices", reason=reason
        )

    return {"pooled_auroc": of(ranking.auroc), "pooled_auprc": of(ranking.average_precision)}


def _slice_decisions(cohort: Cohort, scorer: Scorer) -> dict[str, Quantity]:
    names = ("slice_accuracy", "slice_precision", "slice_recall", "slice_f1")
    if scorer.slice_positive is None:
        return dict.fromkeys(names, _absent(scorer.why_not("slice_positive"), "slices"))
    tp, fp, fn, tn = _table(cohort, cohort.slice_label, scorer.slice_positive, False)
    n, called, held = tp + fp + fn + tn, tp + fp, tp + fn
    no_slices, none = "no slice has a label", "no slice is positive or called so"
    uncalled = "no slice is called positive"
    return {
        "slice_accuracy": _share(tp + tn, n, n, "slices", no_slices),
        "slice_precision": _share(tp, called, called, "slices", uncalled),
        "slice_recall": _share(tp, held, held, "slices", "no slice is positive"),
        "slice_f1": _share(2 * tp, 2 * tp + fp + fn, n, "slices", none),
    }


def _attention_shape(data: EvaluationSet, cohort: Cohort) -> dict[str, Quantity]:
    names = [measure.key for measure in MEASURES if measure.about == "attention"]
    values = {name: np.full(len(cohort), np.nan) for name in names}
    for at, (scan, truth) in enumerate(zip(data.predictions, data.truths, strict=True)):
        if scan.slice_score is not None:
            limit = scan.rule.threshold(len(scan))
            values["crossings"][at] = crossings(scan.slice_score, limit)
        f = logits(scan)
        if f is not None:
            values["roughness_f"][at] = roughness(f)
        relative = None if scan.attention is None else relative_attention(scan.attention)
        if relative is None:
            continue
        values["roughness_sa"][at] = roughness(relative)
        values["total_variation"][at] = total_variation(relative)
        values["entropy"][at] = normalised_entropy(relative)
        if truth.holds_both:
            values["attention_mass"][at] = relative[truth.slice_labels == 1].sum() / len(relative)
    reason = "the table of predictions gives no attention"
    return {
        name: mean_over_scans(
            values[name], "positive scans" if name == "attention_mass" else "scans", reason
        )
        for name in names
    }
