"""Temperature and thresholds, chosen on the validation split and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import add
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize_scalar

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sadmil_core.result import DecisionRule

_LEAST, _MOST = np.log(0.05), np.log(20.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationScan:
    """One scan of the validation split, read unpadded.

    Attributes:
        scan_id: Which.
        logit: Its scan logit.
        label: Its label.
        attention: (S,) float32.
        attention_logit: (S,) float32.
        slice_label: (S,) float32, NaN where unknown.
    """

    scan_id: str
    logit: float
    label: float
    attention: NDArray[np.float32]
    attention_logit: NDArray[np.float32]
    slice_label: NDArray[np.float32]


def calibrated(rule: DecisionRule, scans: list[ValidationScan]) -> DecisionRule:
    """The rule with temperature and scan threshold, and the slice threshold where labels allow.

    Args:
        rule: What else it says is kept.
        scans: With a label each; both classes must be there.

    Returns:
        The new rule; the slice threshold is left as it was (1/S for attention) where no
        positive scan has slices of both labels.
    """
    logits = np.array([scan.logit for scan in scans])
    labels = np.array([scan.label > 0.5 for scan in scans])
    temperature = fit_temperature(logits, labels)
    probability = 1 / (1 + np.exp(-np.clip(logits / temperature, -700, 700)))
    rule = replace(
        rule, temperature=temperature, scan_threshold=youden_threshold(probability, labels)
    )
    threshold = _slice_threshold(rule, scans)
    return rule if threshold is None else replace(rule, slice_threshold=threshold)


def fit_temperature(logits: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """The T of sigmoid(logit / T) with the least cross-entropy (Guo et al. 2017, 1706.04599).

    Searched from 0.05 to 20: where the classes are apart without an error, the cross-entropy
    falls as T goes to 0, and the bound keeps probabilities from being 0 and 1.
    """
    sign = np.where(labels, 1.0, -1.0)

    def cross_entropy(log_t: float) -> float:
        return float(np.logaddexp(0.0, -sign * logits / np.exp(log_t)).mean())

    found = minimize_scalar(cross_entropy, bounds=(_LEAST, _MOST), method="bounded")
    return float(np.exp(found.x))


def youden_threshold(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """The threshold with the highest sensitivity + specificity, "above" being positive.

    It lies midway between two neighbouring scores; of several equally good ones, the one that
    splits the widest gap.
    """
    return _best_threshold(scores, labels, add)


def even_threshold(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """The threshold at which the lower of sensitivity and specificity is highest (equal error).

    For scans whose negatives are harder than a reader meets: there the sum of both is flat, and
    its highest point may give up many bleeds to clear a few look-alikes more. Ties as above.
    """
    return _best_threshold(scores, labels, min)


def _best_threshold(
    scores: NDArray[np.float64],
    labels: NDArray[np.bool_],
    merit: Callable[[float, float], float],
) -> float:
    values, group = np.unique(scores, return_inverse=True)
    if len(values) < 2:
        return float(values[0])
    # How many of each class lie at or below each value but the last.
    positive = np.bincount(group, weights=labels, minlength=len(values)).cumsum()[:-1]
    negative = np.bincount(group, weights=~labels, minlength=len(values)).cumsum()[:-1]
    sensitivity = 1 - positive / max(labels.sum(), 1)
    specificity = negative / max((~labels).sum(), 1)
    quality = np.array([merit(*each) for each in zip(sensitivity, specificity, strict=True)])
    best = np.flatnonzero(quality >= quality.max() - 1e-12)
    widest = best[np.argmax(np.diff(values)[best])]
    return float((values[widest] + values[widest + 1]) / 2)


def _slice_threshold(rule: DecisionRule, scans: list[ValidationScan]) -> float | None:
    """In the rule's unit (shares of 1/S), over the labelled slices of positive scans."""
    if rule.slice_score != "attention":
        return None
    scores, labels = [], []
    for scan in scans:
        known = ~np.isnan(scan.slice_label)
        if scan.label > 0.5 and known.any():
            share = len(scan.attention) if rule.relative_to_uniform else 1
            scores.append(scan.attention[known].astype(np.float64) * share)
            labels.append(scan.slice_label[known] > 0.5)
    if not scores:
        return None
    score, label = np.concatenate(scores), np.concatenate(labels)
    return youden_threshold(score, label) if label.any() and not label.all() else None
