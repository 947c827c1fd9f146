"""The shape of attention over the slices of one scan: rough or smooth, sharp or flat.

a is renormalised over the real slices, S of them, so that S·a has mean 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sadmil_core.evaluation.values import ScanPrediction

    Floats = NDArray[np.float64]


def relative_attention(attention: Floats) -> Floats | None:
    """S·a with a renormalised over the real slices; None where nothing is left of it."""
    total = attention.sum()
    return attention * (len(attention) / total) if total > 0 else None


def logits(prediction: ScanPrediction) -> Floats | None:
    """The attention logits f, or log a, which differs from f by a constant only.

    Differences and hence roughness are the same. None where neither is given, or where an
    attention is 0.
    """
    if prediction.attention_logit is not None:
        return prediction.attention_logit
    attention = prediction.attention
    if attention is None or not (attention > 0).all():
        return None
    return np.asarray(np.log(attention), np.float64)


def roughness(values: Floats) -> float:
    """The mean squared difference of adjacent slices; NaN for a single slice."""
    return float(np.mean(np.diff(values) ** 2)) if len(values) > 1 else float("nan")


def shuffled_roughness(values: Floats) -> float:
    """What :func:`roughness` is on average if the slices are shuffled: twice the variance.

    Over all orders E(x_i - x_j)^2 = 2 s^2, with s^2 the sample variance.
    """
    return float(2 * np.var(values, ddof=1)) if len(values) > 1 else float("nan")


def total_variation(values: Floats) -> float:
    """The sum of the absolute differences of adjacent slices."""
    return float(np.abs(np.diff(values)).sum())


def normalised_entropy(relative: Floats) -> float:
    """-sum a ln a / ln S: 1 for equal shares, 0 for all on one slice; NaN for one slice."""
    count = len(relative)
    if count < 2:
        return float("nan")
    a = relative[relative > 0] / count
    return float(-(a * np.log(a)).sum() / np.log(count))


def crossings(score: Floats, threshold: float) -> float:
    """How often the score passes its threshold from one slice to the next."""
    return float(np.count_nonzero(np.diff(score > threshold)))


def spectrum(relative: Floats, bins: int) -> Floats:
    """The power of S·a by frequency along the scan, averaged into bins; the mean is left out.

    The orthonormal DCT-II has S - 1 frequencies k / (2 S) cycles a slice, from one half-wave
    along the scan to alternation from slice to slice; scans of any length share the bins of
    [0, 1/2]. The orthonormal transform keeps the sum of squares, so that white order, as of
    shuffled slices, is flat at the sample variance.

    Returns:
        (bins,), NaN where the scan has no frequency in a bin.
    """
    from scipy.fft import dct

    count = len(relative)
    power = dct(relative, norm="ortho")[1:] ** 2
    place = np.minimum((np.arange(1, count) * bins) // count, bins - 1)
    total = np.bincount(place, power, bins)
    number = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / number)
