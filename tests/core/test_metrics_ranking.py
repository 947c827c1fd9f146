"""The rank metrics against scikit-learn, and what must hold of any scores."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from sadmil_core.evaluation.ranking import Ranking, auroc, average_precision, top_hit

Items = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]


@st.composite
def items(draw: st.DrawFn, least: int = 2) -> Items:
    """Scores with many ties, labels of both classes, weights as of a resample."""
    count = draw(st.integers(least, 30))
    scores = draw(st.lists(st.integers(-4, 4), min_size=count, max_size=count))
    labels = draw(st.lists(st.booleans(), min_size=count - 2, max_size=count - 2))
    weights = draw(st.lists(st.integers(0, 3), min_size=count - 2, max_size=count - 2))
    return (
        np.array(scores, np.float64) / 4,
        np.array([True, False, *labels]),
        np.array([1, 1, *weights], np.float64),
    )


@given(items())
def test_auroc_and_average_precision_are_those_of_scikit_learn(given_items: Items) -> None:
    scores, labels, weights = given_items
    ranking = Ranking(scores, labels)
    w = np.array([np.ones(len(scores)), weights])
    for at, weight in enumerate(w):
        assert ranking.auroc(w)[at] == pytest.approx(
            roc_auc_score(labels, scores, sample_weight=weight)
        )
        assert ranking.average_precision(w)[at] == pytest.approx(
            average_precision_score(labels, scores, sample_weight=weight)
        )


@given(items(), st.sampled_from([0.5, 0.9, 0.95]))
def test_sensitivity_at_a_specificity_is_the_best_point_of_the_roc_curve(
    given_items: Items, specificity: float
) -> None:
    scores, labels, weights = given_items
    found = Ranking(scores, labels).sensitivity_at(specificity, weights[None])[0]
    false, true, _ = roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
    assert found == pytest.approx(true[1 - false >= specificity - 1e-9].max())


@given(items(), st.sampled_from([0.5, 0.9]))
def test_a_frozen_threshold_reaches_on_its_own_scans_what_was_promised(
    given_items: Items, specificity: float
) -> None:
    scores, labels, _ = given_items
    ranking = Ranking(scores, labels)
    called = scores > ranking.threshold_at(specificity)
    assert (~called[~labels]).mean() >= specificity - 1e-9
    best = ranking.sensitivity_at(specificity, np.ones((1, len(scores))))[0]
    assert called[labels].mean() == pytest.approx(best)


@given(items())
def test_ranks_alone_matter(given_items: Items) -> None:
    scores, labels, _ = given_items
    assert auroc(np.exp(3 * scores), labels) == pytest.approx(auroc(scores, labels))
    assert auroc(-scores, labels) == pytest.approx(1 - auroc(scores, labels))
    assert auroc(scores, ~labels) == pytest.approx(1 - auroc(scores, labels))


@given(items(), st.integers(1, 4))
def test_a_top_hit_is_the_mean_over_all_ways_to_break_ties(given_items: Items, k: int) -> None:
    scores, labels, _ = (each[:7] for each in given_items)
    k = min(k, len(scores))
    best = max(sum(scores[list(chosen)]) for chosen in combinations(range(len(scores)), k))
    draws = [
        labels[list(chosen)].any()
        for chosen in combinations(range(len(scores)), k)
        if sum(scores[list(chosen)]) == best
    ]
    assert top_hit(scores, labels, k) == pytest.approx(np.mean(draws))


def test_one_class_only_has_no_rank_metric() -> None:
    scores = np.array([0.1, 0.2])
    for labels in (np.array([True, True]), np.array([False, False])):
        assert np.isnan(auroc(scores, labels))
        assert np.isnan(Ranking(scores, labels).sensitivity_at(0.9, np.ones((1, 2)))[0])
    assert np.isnan(average_precision(scores, np.array([False, False])))
    assert np.isnan(auroc(np.zeros(0), np.zeros(0, np.bool_)))
