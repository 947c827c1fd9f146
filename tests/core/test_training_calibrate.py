"""Temperature and thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from sadmil_core.training.calibrate import even_threshold, fit_temperature, youden_threshold


def rates(scores, labels, threshold):
    found = scores > threshold
    return found[labels].mean(), (~found[~labels]).mean()


@pytest.fixture
def lopsided():
    """A third of the bleeds are as faint as many negatives; no negative is strong."""
    rng = np.random.default_rng(0)
    strong, faint = rng.uniform(0.7, 1.0, 200), rng.uniform(0.0, 0.6, 100)
    negative = rng.uniform(0.0, 0.6, 300)
    scores = np.concatenate([strong, faint, negative])
    return scores, np.arange(600) < 300


def test_the_sum_of_both_rates_is_highest_at_youdens_threshold(lopsided):
    scores, labels = lopsided
    best = sum(rates(scores, labels, youden_threshold(scores, labels)))
    assert best == pytest.approx(max(sum(rates(scores, labels, t)) for t in scores))


def test_both_rates_are_alike_at_the_even_threshold(lopsided):
    scores, labels = lopsided
    sensitivity, specificity = rates(scores, labels, even_threshold(scores, labels))
    assert sensitivity == pytest.approx(specificity, abs=0.02)
    # Youden's gives bleeds away here.
    assert rates(scores, labels, youden_threshold(scores, labels))[0] < sensitivity - 0.02


@pytest.mark.parametrize("threshold", [youden_threshold, even_threshold])
def test_classes_that_are_apart_are_split_in_the_middle_of_the_gap(threshold):
    scores, labels = np.array([0.1, 0.2, 0.6, 0.9]), np.array([False, False, True, True])
    assert threshold(scores, labels) == pytest.approx(0.4)
    assert threshold(np.array([0.5, 0.5]), np.array([True, False])) == 0.5


def test_the_temperature_undoes_overconfidence():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1.5, 20_000)
    labels = rng.random(20_000) < 1 / (1 + np.exp(-logits))
    assert fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.05)
