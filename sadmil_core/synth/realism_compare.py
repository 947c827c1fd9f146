"""Real scans against synthetic ones: how far apart they lie, and whether a classifier can tell."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np
from scipy import spatial

from sadmil_core.synth.realism import EDGES_HU, FREQUENCIES_MM, TISSUES
from sadmil_core.synth.traces import auc_of, held_out_scores, host_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from sadmil_core.synth.realism import Measured

    Floats = NDArray[np.float64]
    _Distance = Callable[[Floats, Floats], float]

LEAST_OWNERS = 4
"""Heads on each side, below which no classifier is trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quartiles:
    """The distribution of a number over scans.

    Attributes:
        low: The first quartile.
        middle: The median.
        high: The third quartile.
        n: How many scans.
    """

    low: float
    middle: float
    high: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A number on both sides, each None where no scan has it."""

    real: Quartiles | None
    synthetic: Quartiles | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrimination:
    """Whether a classifier of small patches tells synthetic from real scans.

    Attributes:
        title: Which patches.
        auc: Of heads that it was not trained on; None where it could not be trained.
        low: Lower end of the 95 % interval, from a bootstrap over heads.
        high: Its upper end.
        heads: How many there are.
        patches: How many patches.
        reason: Why there is none.
    """

    title: str
    auc: float | None = None
    low: float | None = None
    high: float | None = None
    heads: int = 0
    patches: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All that is compared.

    Attributes:
        scans: How many real and synthetic ones.
        heads: Of how many people or phantoms they are.
        shared: On how many heads both sides have scans.
        numbers: By name.
        distances: By what is compared, how far each scan lies from the mean of the real scans of
            other heads.
        classifiers: By the patches that they see.
    """

    scans: tuple[int, int]
    heads: tuple[int, int]
    shared: int
    numbers: Mapping[str, Side]
    distances: Mapping[str, Side]
    classifiers: tuple[Discrimination, ...]


def compare(scans: Sequence[Measured], seed: int) -> Comparison:
    """Compares what was measured of real and synthetic scans.

    Args:
        scans: Both kinds.
        seed: Of the bootstrap, and of which patches are matched.
    """
    sides = [[scan for scan in scans if scan.real], [scan for scan in scans if not scan.real]]
    owners = [{scan.owner for scan in side} for side in sides]
    return Comparison(
        scans=(len(sides[0]), len(sides[1])),
        heads=(len(owners[0]), len(owners[1])),
        shared=len(_shared(scans)),
        numbers=_numbers(scans),
        distances=_distances(scans),
        classifiers=(
            _anywhere(scans, seed),
            _near_bleeds(scans, seed),
        ),
    )


def _side(real: Sequence[float], synthetic: Sequence[float]) -> Side:
    return Side(real=_quartiles(real), synthetic=_quartiles(synthetic))


def _quartiles(values: Sequence[float]) -> Quartiles | None:
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return None
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    return Quartiles(low=float(low), middle=float(middle), high=float(high), n=len(known))


def _numbers(scans: Sequence[Measured]) -> dict[str, Side]:
    names = dict.fromkeys(name for scan in scans for name in scan.numbers)
    return {
        name: _side(
            [s.numbers[name] for s in scans if s.real and name in s.numbers],
            [s.numbers[name] for s in scans if not s.real and name in s.numbers],
        )
        for name in names
    }


def _distances(scans: Sequence[Measured]) -> dict[str, Side]:
    """Of each scan from the real scans of other heads; real scans show what is to be expected."""
    found = {}
    for name in TISSUES:
        found[f"{name}: densities, HU"] = _apart(
            scans, [scan.histograms.get(name) for scan in scans], _earth_movers
        )
    found["noise: spectrum, dB"] = _apart(scans, [scan.power for scan in scans], _decibels)
    return found


def _apart(scans: Sequence[Measured], values: Sequence[Floats | None], distance: _Distance) -> Side:
    real: list[float] = []
    synthetic: list[float] = []
    for scan, value in zip(scans, values, strict=True):
        others = [
            other
            for each, other in zip(scans, values, strict=True)
            if each.real and each.owner != scan.owner and other is not None
        ]
        if value is None or not others:
            continue
        with np.errstate(invalid="ignore"):
            mean = _mean_of_known(others)
        (real if scan.real else synthetic).append(distance(value, mean))
    return _side(real, synthetic)


def _mean_of_known(values: Sequence[Floats]) -> Floats:
    stacked = np.stack(values)
    known = np.isfinite(stacked)
    total = np.where(known, stacked, 0.0).sum(axis=0)
    mean: Floats = total / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
    return mean


def _earth_movers(one: Floats, two: Floats) -> float:
    """How far, in HU, one distribution has to be moved on average to be the other."""
    return float(np.abs(np.cumsum(one - two)).sum() * (EDGES_HU[1] - EDGES_HU[0]))


def _decibels(one: Floats, two: Floats) -> float:
    known = np.isfinite(one) & np.isfinite(two)
    if not known.any():
        return float("nan")
    ratio = 10 * np.log10(np.maximum(one[known], 1e-9) / np.maximum(two[known], 1e-9))
    return float(np.sqrt((ratio**2).mean()))


def _anywhere(scans: Sequence[Measured], seed: int) -> Discrimination:
    rows = [scan.patches for scan in scans]
    labels = [np.full(len(s.patches), int(not s.real)) for s in scans]
    return _tell_apart(
        "patches anywhere inside the skull, clear of bleeds", scans, rows, labels, seed
    )


def _near_bleeds(scans: Sequence[Measured], seed: int) -> Discrimination:
    """Patches next to synthetic bleeds, against real ones from the same places in the head."""
    title = "patches within 14 mm of a bleed, against real ones from the same places"
    rng = np.random.default_rng([seed, 11])
    real = [at for at, scan in enumerate(scans) if scan.real and len(scan.patches)]
    if not real:
        return Discrimination(title=title, reason="no real scan was measured")
    trees = {at: spatial.cKDTree(scans[at].places) for at in real}
    rows = [scan.near if not scan.real else scan.near[:0] for scan in scans]
    taken: dict[int, set[int]] = {at: set() for at in real}
    for scan in scans:
        if scan.real:
            continue
        for place in scan.near_places:
            at = real[int(rng.integers(len(real)))]
            _, nearest = trees[at].query(place, k=min(4, len(scans[at].patches)))
            taken[at].add(int(rng.choice(np.atleast_1d(nearest))))
    for at, picks in taken.items():
        rows[at] = scans[at].patches[sorted(picks)]
    labels = [np.full(len(row), int(not s.real)) for s, row in zip(scans, rows, strict=True)]
    return _tell_apart(title, scans, rows, labels, seed)


def _tell_apart(
    title: str,
    scans: Sequence[Measured],
    rows: Sequence[Floats],
    labels: Sequence[NDArray[np.int_]],
    seed: int,
) -> Discrimination:
    shared = _shared(scans)
    if len(shared) >= LEAST_OWNERS:
        # Other heads have other noise; who is on one side only would be told by that.
        kept = [at for at, scan in enumerate(scans) if scan.owner in shared]
        scans, rows = [scans[at] for at in kept], [rows[at] for at in kept]
        labels = [labels[at] for at in kept]
    names = sorted({scan.owner for scan in scans})
    of = [np.full(len(row), names.index(s.owner)) for s, row in zip(scans, rows, strict=True)]
    x, y, owners = np.concatenate(rows), np.concatenate(labels), np.concatenate(of)
    heads = len(set(owners))
    for real in (True, False):
        there = len(set(owners[y == int(not real)]))
        if there < LEAST_OWNERS:
            kind = "real" if real else "synthetic"
            return Discrimination(
                title=title,
                heads=heads,
                patches=len(y),
                reason=f"{there} {kind} head(s), of at least {LEAST_OWNERS}",
            )
    scores = held_out_scores(_with_products(x), y, _shuffled(owners, seed))
    low, high = host_interval(scores, y, owners, seed)
    return Discrimination(
        title=title, auc=auc_of(scores, y), low=low, high=high, heads=heads, patches=len(y)
    )


def _shared(scans: Sequence[Measured]) -> set[str]:
    """Heads that have scans of both kinds."""
    real, synthetic = ({s.owner for s in scans if s.real == kind} for kind in (True, False))
    return real & synthetic


def _shuffled(owners: NDArray[np.int_], seed: int) -> NDArray[np.int_]:
    """Owners in a drawn order: names sort real heads apart from made ones."""
    unique = np.unique(owners)
    order = np.random.default_rng([seed, 13]).permutation(len(unique))
    shuffled: NDArray[np.int_] = order[np.searchsorted(unique, owners)]
    return shuffled


def _with_products(x: Floats) -> Floats:
    """Features, their squares and products: what a line cannot part, a parabola may."""
    middle, spread = np.median(x, axis=0), np.subtract(*np.quantile(x, [0.75, 0.25], axis=0))
    normed = np.clip((x - middle) / np.maximum(spread, 1e-6), -5, 5)
    pairs = combinations_with_replacement(range(x.shape[1]), 2)
    return np.column_stack([normed, *(normed[:, i] * normed[:, j] for i, j in pairs)])


def mean_power(scans: Sequence[Measured]) -> Floats:
    """The mean spectrum over scans, NaN where none shows it."""
    if not scans:
        return np.full(len(FREQUENCIES_MM), np.nan)
    return _mean_of_known([scan.power for scan in scans])
