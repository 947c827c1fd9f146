"""Ways in which a model fails, detected by stated rules and named in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.evaluation.shape import (
    normalised_entropy,
    relative_attention,
    roughness,
    shuffled_roughness,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.evaluation.values import EvaluationSet, ScanPrediction

    Floats = NDArray[np.float64]

OVER_SMOOTH_ENTROPY = 0.98
THRESHOLD_CHANGE = 0.05
FLIPS_TOLERATED = 0.05
SHUFFLES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One way to fail, and whether the predictions show it.

    Attributes:
        key: In files.
        title: For people.
        found: Whether it shows; None where it could not be looked for.
        message: What was seen, in words, with the numbers and the rule.
        numbers: The same as values.
    """

    key: str
    title: str
    found: bool | None
    message: str
    numbers: dict[str, float]


def signatures(data: EvaluationSet, seed: int) -> tuple[Signature, ...]:
    """Looks for over-smoothing, under-regularisation and threshold sensitivity.

    Args:
        data: Predictions; labels are not looked at.
        seed: Of the shuffles.
    """
    relative = [
        values
        for scan in data.predictions
        if scan.attention is not None
        and len(scan) > 1
        and (values := relative_attention(scan.attention)) is not None
    ]
    return (
        _over_smoothing(relative),
        _under_regularisation(relative, seed),
        _threshold_sensitivity(data.predictions),
    )


def _unknown(key: str, title: str, why: str) -> Signature:
    return Signature(key=key, title=title, found=None, message=why, numbers={})


def _over_smoothing(relative: list[Floats]) -> Signature:
    key, title = "over_smoothing", "over-smoothing"
    if not relative:
        return _unknown(key, title, "The table gives no attention.")
    entropy = np.array([normalised_entropy(each) for each in relative])
    mean, flat = float(entropy.mean()), float((entropy > OVER_SMOOTH_ENTROPY).mean())
    found = mean > OVER_SMOOTH_ENTROPY
    verdict = (
        "Attention is nearly uniform, so that it hardly points at any slice"
        if found
        else "Attention is not uniform on the whole"
    )
    return Signature(
        key=key,
        title=title,
        found=found,
        message=f"{verdict}: mean normalised entropy {mean:.3f}, {flat:.0%} of scans above "
        f"{OVER_SMOOTH_ENTROPY:g}. (Found where the mean is above {OVER_SMOOTH_ENTROPY:g}.)",
        numbers={"mean_entropy": mean, "share_above": flat},
    )


def roughness_ratio(values: Floats) -> float:
    """Roughness over its mean in shuffled order: 1 for no order at all, 0 for a flat course."""
    expected = shuffled_roughness(values)
    return roughness(values) / expected if expected > 0 else float("nan")


def _under_regularisation(relative: list[Floats], seed: int) -> Signature:
    key, title = "under_regularisation", "under-regularisation"
    # A constant has no order to lose.
    varied = [each for each in relative if np.ptp(each) > 0]
    if not varied:
        return _unknown(key, title, "No scan has attention that varies.")
    ratio = float(np.mean([roughness_ratio(each) for each in varied]))
    generator = np.random.default_rng([seed, 1])
    shuffled = np.zeros(SHUFFLES)
    for each in varied:
        orders = generator.permuted(np.tile(each, (SHUFFLES, 1)), axis=1)
        shuffled += np.mean(np.diff(orders, axis=1) ** 2, axis=1) / shuffled_roughness(each)
    limit = float(np.percentile(shuffled / len(varied), 5))
    found = ratio >= limit
    verdict = (
        "Attention is as rough as if the slices were shuffled: neighbours tell nothing of each "
        "other"
        if found
        else "Attention is smoother than that of shuffled slices"
    )
    return Signature(
        key=key,
        title=title,
        found=found,
        message=f"{verdict}: mean roughness {ratio:.2f} of that of shuffled slices. (Found where "
        f"it is not below the lowest 5 % of {SHUFFLES} shuffles, here {limit:.2f}.)",
        numbers={"roughness_ratio": ratio, "shuffled_5_percent": limit},
    )


def _threshold_sensitivity(scans: tuple[ScanPrediction, ...]) -> Signature:
    key, title = "threshold_sensitivity", "threshold sensitivity"
    flips = live = scan_flips = 0
    for scan in scans:
        near = abs(scan.scan_probability - scan.scan_threshold)
        scan_flips += near <= THRESHOLD_CHANGE * scan.scan_threshold
        limit = scan.rule.threshold(len(scan))
        if (
            scan.slice_score is None
            or limit == 0
            or not (scan.scan_positive or not scan.rule.gated)
        ):
            continue
        live += len(scan)
        changed = THRESHOLD_CHANGE * abs(limit)
        moved = np.abs(scan.slice_score - limit) <= changed
        flips += int(moved.sum())
    if not live:
        return _unknown(
            key, title, "No slice score with a threshold other than 0 decides in any scan."
        )
    share = flips / live
    found = share > FLIPS_TOLERATED
    verdict = "Many decisions hang on the exact threshold" if found else "Few decisions are close"
    return Signature(
        key=key,
        title=title,
        found=found,
        message=f"{verdict}: {share:.1%} of {live} slices under decision, and {scan_flips} of "
        f"{len(scans)} scans, flip if their threshold moves by {THRESHOLD_CHANGE:.0%}. (Found "
        f"where more than {FLIPS_TOLERATED:.0%} of the slices do; noise is a question for "
        "sadmil evaluate --noise-hu.)",
        numbers={
            "slice_flips": float(flips),
            "slices": float(live),
            "scan_flips": float(scan_flips),
            "scans": float(len(scans)),
        },
    )
