"""How well scores rank: weighted AUROC, average precision, sensitivity, top-k hits.

Everything is computed for many weightings of the same items at once, ``weights_RN`` of R
weightings by N items, which is what a bootstrap asks for: a resample is a weighting by counts.
Equal scores count as ties throughout; what is not defined (one class only) is NaN.
"""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]


class Ranking:
    """Items in the order of their scores, highest first, ties together.

    Args:
        scores: (N,) finite.
        labels: (N,) bool, whether an item is positive.
    """

    def __init__(self, scores: Floats, labels: Flags) -> None:
        self._order = np.argsort(-scores, kind="stable")
        ordered = scores[self._order]
        self.starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]][: len(ordered)])
        self.scores = ordered[self.starts]
        """(G,) the distinct scores, highest first."""
        self._positive = labels[self._order].astype(np.float64)

    def counts(self, weights_RN: Floats) -> tuple[Floats, Floats]:  # noqa: N803
        """The weight of positives and of negatives at each distinct score, both (R, G)."""
        ordered = weights_RN[:, self._order]
        everything = np.add.reduceat(ordered, self.starts, axis=1)
        ordered *= self._positive
        positive = np.add.reduceat(ordered, self.starts, axis=1)
        return positive, everything - positive

    def auroc(self, weights_RN: Floats) -> Floats:  # noqa: N803
        """(R,) the chance that a positive scores above a negative, ties half."""
        return auroc_of_counts(*self.counts(weights_RN))

    def average_precision(self, weights_RN: Floats) -> Floats:  # noqa: N803
        """(R,) the sum over distinct scores of (recall gained) x (precision there)."""
        return average_precision_of_counts(*self.counts(weights_RN))

    def sensitivity_at(self, specificity: float, weights_RN: Floats) -> Floats:  # noqa: N803
        """(R,) the highest sensitivity of a threshold that keeps at least this specificity."""
        positive, negative = self.counts(weights_RN)
        found = np.cumsum(positive, axis=1)
        false = np.cumsum(negative, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            # A whole number of negatives may be called positive; rounding must not cost one.
            kept = false <= (1 - specificity) * false[:, -1:] * (1 + 1e-12) + 1e-12
            best = np.max(np.where(kept, found, 0.0), axis=1) / found[:, -1]
        return np.where((found[:, -1] > 0) & (false[:, -1] > 0), best, np.nan)

    def threshold_at(self, specificity: float) -> float:
        """The threshold such that "score above it" has that sensitivity, of unweighted items.

        It lies half-way to the next score, so that scores of another set that fall between
        are shared; infinite where already the highest score costs too much specificity.
        """
        _, negative = self.counts(np.ones((1, len(self._order))))
        false = np.cumsum(negative[0])
        allowed = np.flatnonzero(false <= (1 - specificity) * false[-1] + 1e-12)
        if not len(allowed):
            return float("inf")
        last = allowed[-1]
        if last + 1 == len(self.scores):
            return float("-inf")
        return float((self.scores[last] + self.scores[last + 1]) / 2)


def auroc_of_counts(positive: Floats, negative: Floats) -> Floats:
    """AUROC of (R, G) weights at distinct scores, highest first."""
    above = np.cumsum(positive, axis=1) - 0.5 * positive
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((above * negative).sum(axis=1) / np.where(pairs > 0, pairs, np.nan))


def average_precision_of_counts(positive: Floats, negative: Floats) -> Floats:
    """Average precision of (R, G) weights at distinct scores, highest first."""
    found = np.cumsum(positive, axis=1)
    called = found + np.cumsum(negative, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(called > 0, found / called, 0.0)
        total = np.where(found[:, -1] > 0, found[:, -1], np.nan)
        return np.asarray((positive * precision).sum(axis=1) / total)


def auroc(scores: Floats, labels: Flags) -> float:
    """AUROC of one set; NaN where it lacks a class."""
    if not len(scores):
        return float("nan")
    return float(Ranking(scores, labels).auroc(np.ones((1, len(scores))))[0])


def average_precision(scores: Floats, labels: Flags) -> float:
    """Average precision (the area under the precision-recall steps) of one set."""
    if not len(scores):
        return float("nan")
    return float(Ranking(scores, labels).average_precision(np.ones((1, len(scores))))[0])


def top_hit(scores: Floats, labels: Flags, k: int) -> float:
    """The chance that a positive is among the k highest; ties are broken at random.

    Args:
        scores: (N,).
        labels: (N,) bool.
        k: How many are looked at; all of them where there are fewer.
    """
    order = np.argsort(-scores, kind="stable")
    limit = scores[order[min(k, len(order)) - 1]]
    if labels[scores > limit].any():
        return 1.0
    tied = scores == limit
    drawn = min(k, len(order)) - int((scores > limit).sum())
    size, hits = int(tied.sum()), int(labels[tied].sum())
    return 1.0 - comb(size - hits, drawn) / comb(size, drawn)
