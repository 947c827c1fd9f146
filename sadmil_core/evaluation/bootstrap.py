"""Intervals by resampling patients, the same resamples for everything that is compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from sadmil_core.evaluation.metrics import Quantity

    Floats = NDArray[np.float64]

MIN_RESAMPLES = 2000
_CELLS = 2_000_000  # weights held at once: 16 MB for each array of a step
_LEVEL = (2.5, 97.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number, its 95 % interval, and what both rest on.

    Attributes:
        value: None where it is not defined.
        low: Lower end of the interval; None where there is none.
        high: Upper end.
        n: Scans or slices.
        unit: Of ``n``.
        reason: Why ``value`` is None; empty where it is not.
        undefined: In how many resamples the number was not defined (one class only).
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int
    unit: str
    reason: str = ""
    undefined: int = 0


def resamples(patient: NDArray[np.int64], count: int, seed: int, *, items: int) -> Iterator[Floats]:
    """Weights of the scans in each resample of the patients, in chunks of rows.

    A resample draws as many patients as there are, with replacement, and takes all scans of
    each. Resample r depends on (seed, r) only, not on the chunks.

    Args:
        patient: (N,) whose each scan is, numbered from 0.
        count: Resamples.
        seed: Of the draws.
        items: The longest row a metric will spread the weights to, which bounds the chunks.

    Yields:
        (R, N) float64; the chunks' R sum to ``count``.
    """
    patients = int(patient.max()) + 1
    step = max(1, _CELLS // max(items, 1))
    for start in range(0, count, step):
        rows = range(start, min(start + step, count))
        drawn = np.empty((len(rows), patients))
        for at, row in enumerate(rows):
            draw = np.random.default_rng([seed, row]).integers(patients, size=patients)
            drawn[at] = np.bincount(draw, minlength=patients)
        yield drawn[:, patient]


Replicates = dict[str, dict[str, "Floats"]]


def replicate(
    scorers: Mapping[str, Mapping[str, Quantity]],
    patient: NDArray[np.int64],
    *,
    count: int,
    seed: int,
    items: int,
) -> Replicates:
    """Every quantity of every scorer on the same resamples.

    Returns:
        (count,) values by scorer and metric; metrics that cannot be computed are left out.
    """
    parts: dict[str, dict[str, list[Floats]]] = {
        name: {key: [] for key, each in quantities.items() if each.evaluate is not None}
        for name, quantities in scorers.items()
    }
    for weights in resamples(patient, count, seed, items=items):
        for name, lists in parts.items():
            for key, values in lists.items():
                evaluate = scorers[name][key].evaluate
                if evaluate is not None:
                    values.append(evaluate(weights))
    return {
        name: {key: np.concatenate(values) for key, values in lists.items()}
        for name, lists in parts.items()
    }


def point(quantity: Quantity, scans: int) -> float:
    """The number itself, of the scans as they are; NaN where it is not defined."""
    if quantity.evaluate is None:
        return float("nan")
    return float(quantity.evaluate(np.ones((1, scans)))[0])


def estimate(quantity: Quantity, scans: int, replicates: Floats | None) -> Estimate:
    """A quantity with its percentile interval."""
    value = point(quantity, scans)
    if not np.isfinite(value) or replicates is None:
        return Estimate(value=None, n=quantity.n, unit=quantity.unit, reason=quantity.reason)
    return with_interval(value, replicates, n=quantity.n, unit=quantity.unit)


def with_interval(value: float, replicates: Floats, *, n: int, unit: str) -> Estimate:
    """A number with the percentile interval of its replicates, where there are enough."""
    defined = replicates[np.isfinite(replicates)]
    undefined = len(replicates) - len(defined)
    low = high = None
    # An interval of the few resamples that happen to be defined would look too certain.
    if len(defined) and undefined <= len(replicates) // 2:
        low, high = (float(each) for each in np.percentile(defined, _LEVEL))
    return Estimate(value=value, low=low, high=high, n=n, unit=unit, undefined=undefined)


def difference(
    first: tuple[Quantity, Floats | None], second: tuple[Quantity, Floats | None], scans: int
) -> Estimate:
    """First minus second on the same scans and resamples."""
    (a, a_replicates), (b, b_replicates) = first, second
    value = point(a, scans) - point(b, scans)
    n, unit = min(a.n, b.n), a.unit
    if not np.isfinite(value) or a_replicates is None or b_replicates is None:
        reason = a.reason if not np.isfinite(point(a, scans)) else b.reason
        return Estimate(value=None, n=n, unit=unit, reason=reason)
    return with_interval(value, a_replicates - b_replicates, n=n, unit=unit)
