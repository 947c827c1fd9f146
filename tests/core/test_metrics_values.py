"""The metrics of a set by hand and by scikit-learn, their intervals, differences and groups."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from sadmil_core.errors import EvaluationError
from sadmil_core.evaluation import shape
from sadmil_core.evaluation.assessment import Assessment, assess, wilson
from sadmil_core.evaluation.bootstrap import resamples
from sadmil_core.evaluation.document import metrics_document
from sadmil_core.evaluation.scorers import BASELINES, CENTRE, centre_score
from sadmil_core.evaluation.values import EvaluationSet, SliceRule
from tests.evaluations import make_set


def judged(data: EvaluationSet, **options: Any) -> Assessment:
    return assess([data], **{"resamples": 50, **options})


@pytest.fixture(scope="module")
def assessment() -> Assessment:
    return judged(make_set(), resamples=400)


def value(assessment: Assessment, key: str, baseline: str = "") -> float | None:
    model = assessment.models[0]
    return (model.baseline_estimates[baseline] if baseline else model.estimates)[key].value


def test_scan_metrics_are_those_of_scikit_learn(assessment: Assessment) -> None:
    data = assessment.models[0].data
    truth = [truth.label for truth in data.truths]
    chance = np.array([scan.scan_probability for scan in data.predictions])
    assert value(assessment, "scan_auroc") == pytest.approx(roc_auc_score(truth, chance))
    assert value(assessment, "scan_accuracy") == pytest.approx(accuracy_score(truth, chance > 0.5))
    assert value(assessment, "scan_f1") == pytest.approx(f1_score(truth, chance > 0.5))
    assert value(assessment, "brier") == pytest.approx(brier_score_loss(truth, chance))
    bins = np.digitize(chance, np.linspace(0, 1, 11)[1:-1])
    gaps = [abs((chance - np.array(truth))[bins == each].sum()) / len(chance) for each in range(10)]
    assert value(assessment, "ece") == pytest.approx(sum(gaps))


def test_slice_metrics_are_those_of_scikit_learn(assessment: Assessment) -> None:
    data = assessment.models[0].data
    truth = np.concatenate([t.slice_labels for t in data.truths])
    called = np.concatenate([p.slice_positive for p in data.predictions])
    for key, of in (
        ("accuracy", accuracy_score),
        ("precision", precision_score),
        ("recall", recall_score),
        ("f1", f1_score),
    ):
        assert value(assessment, f"slice_{key}") == pytest.approx(of(truth, called))
    pairs = list(zip(data.predictions, data.truths, strict=True))
    within = [roc_auc_score(t.slice_labels, p.attention) for p, t in pairs if t.holds_both]
    assert value(assessment, "within_auroc") == pytest.approx(np.mean(within))
    shares = np.concatenate(
        [p.attention * len(p) for p in data.predictions if p.attention is not None]
    )
    assert value(assessment, "pooled_auroc") == pytest.approx(roc_auc_score(truth, shares))


def test_attention_is_measured_by_hand() -> None:
    a = np.array([0.1, 0.4, 0.4, 0.1])
    relative = shape.relative_attention(a / 2)  # half of it on pads
    assert relative == pytest.approx(4 * a)
    assert relative is not None
    assert shape.roughness(relative) == pytest.approx((1.2**2 + 0 + 1.2**2) / 3)
    assert shape.total_variation(relative) == pytest.approx(2.4)
    assert shape.normalised_entropy(relative) == pytest.approx(entropy(a) / np.log(4))
    assert shape.crossings(a, 0.25) == 2
    assert shape.relative_attention(np.zeros(3)) is None


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6))
def test_shuffled_roughness_is_the_mean_over_all_orders(values: list[float]) -> None:
    from itertools import permutations

    orders = [shape.roughness(np.array(order)) for order in permutations(values)]
    assert shape.shuffled_roughness(np.array(values)) == pytest.approx(np.mean(orders), abs=1e-12)


@given(st.lists(st.floats(0.01, 1), min_size=14, max_size=40))
def test_the_spectrum_keeps_the_variance(values: list[float]) -> None:
    relative = shape.relative_attention(np.array(values))
    assert relative is not None
    power = shape.spectrum(relative, 1)
    assert power[0] == pytest.approx(np.var(relative, ddof=1), abs=1e-9)


def test_roughness_of_log_attention_is_that_of_the_logits(assessment: Assessment) -> None:
    data = make_set()
    bare = replace(
        data, predictions=tuple(replace(p, attention_logit=None) for p in data.predictions)
    )
    found = value(judged(bare), "roughness_f")
    assert found == pytest.approx(value(assessment, "roughness_f"))


def test_the_four_baselines_stand_beside_the_model(assessment: Assessment) -> None:
    model = assessment.models[0]
    assert tuple(model.baseline_estimates) == BASELINES
    data = model.data
    truth = np.concatenate([t.slice_labels for t in data.truths])
    assert value(assessment, "slice_accuracy", "all-negative") == pytest.approx(1 - truth.mean())
    assert value(assessment, "within_auroc", "all-negative") == 0.5
    centre = [
        roc_auc_score(t.slice_labels, centre_score(len(t.slice_labels)))
        for t in data.truths
        if t.holds_both
    ]
    assert value(assessment, "within_auroc", CENTRE) == pytest.approx(np.mean(centre))
    labels = [t.label for t in data.truths]
    for name, of in (("mean pooling", np.mean), ("max pooling", np.max)):
        score = [of(p.evidence) for p in data.predictions]
        assert value(assessment, "scan_auroc", name) == pytest.approx(roc_auc_score(labels, score))
    blind = model.baseline_estimates[CENTRE]["scan_auroc"]
    assert blind.value is None
    assert "order of slices" in blind.reason


def test_pooling_without_evidence_says_what_it_is_made_of() -> None:
    data = make_set(evidence=None)
    by_name = {scorer.name: scorer for scorer in judged(data).models[0].baselines}
    assert by_name["mean pooling"].scan_score is None
    assert "the same mean" in by_name["mean pooling"].why_not("scan_score")
    assert "S·a" in by_name["max pooling"].origin
    assert by_name["max pooling"].scan_score is not None


@pytest.mark.parametrize("label", [True, False])
def test_one_class_only_is_said_and_never_nan(label: bool) -> None:
    data = make_set()
    kept = frozenset(t.scan_id for t in data.truths if t.label is label)
    document = metrics_document(judged(data.restricted(kept)))
    found = document["models"][0]["metrics"]
    assert found["scan_auroc"]["value"] is None
    assert found["scan_auroc"]["reason"] == "positive and negative scans are both needed"
    assert (found["within_auroc"]["value"] is None) is not label
    import json

    json.dumps(document, allow_nan=False)


def test_unknown_labels_take_no_part() -> None:
    data = make_set()
    unknown = [
        replace(t, label=None, slice_labels=np.full(len(t.slice_labels), np.nan))
        for t in data.truths[:10]
    ]
    mixed = judged(replace(data, truths=(*unknown, *data.truths[10:])))
    rest = judged(data.restricted(frozenset(t.scan_id for t in data.truths[10:])))
    for key in ("scan_auroc", "brier", "ece", "within_auroc", "pooled_auprc", "slice_f1"):
        assert value(mixed, key) == pytest.approx(value(rest, key))


def test_resamples_draw_patients_and_do_not_depend_on_chunks() -> None:
    patient = np.array([0, 0, 1, 2, 2, 2])
    whole = np.concatenate(list(resamples(patient, 7, 3, items=6)))
    cut = np.concatenate(list(resamples(patient, 7, 3, items=10**6)))
    assert np.array_equal(whole, cut)
    assert np.array_equal(whole[:, 0], whole[:, 1])  # scans of one patient come together
    assert np.array_equal(whole[:, [0, 2, 3]].sum(axis=1), np.full(7, 3))


def test_intervals_are_seeded_and_widen_with_fewer_patients() -> None:
    many, few = judged(make_set(200), resamples=300), judged(make_set(20), resamples=300)
    again = judged(make_set(20), resamples=300)
    a, b, c = (each.models[0].estimates["within_auroc"] for each in (many, few, again))
    assert b == c
    assert None not in (a.low, a.high, b.low, b.high)
    assert b.high - b.low > 1.5 * (a.high - a.low)  # type: ignore[operator]
    assert a.low < a.value < a.high  # type: ignore[operator]


def test_the_interval_of_a_mean_is_that_of_normal_theory() -> None:
    data = make_set(300)
    alone = replace(data, truths=tuple(replace(t, patient_id=t.scan_id) for t in data.truths))
    found = judged(alone, resamples=2000).models[0].estimates["entropy"]
    values = [
        shape.normalised_entropy(p.attention * len(p))
        for p in alone.predictions
        if p.attention is not None
    ]
    half = 1.96 * np.std(values) / np.sqrt(len(values))
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)  # type: ignore[operator]


def test_differences_are_paired() -> None:
    first = make_set(60)
    # A model that is a little worse in every scan: unpaired intervals would overlap widely.
    noise = np.random.default_rng(9)
    second = replace(
        first,
        name="other",
        predictions=tuple(
            replace(p, attention=np.exp(np.log(p.attention) * 0.5 + noise.normal(0, 0.3, len(p))))
            for p in first.predictions
            if p.attention is not None
        ),
    )
    found = assess([first, second], resamples=300)
    (pair,) = found.comparisons
    difference = pair.differences["within_auroc"]
    a, b = (model.estimates["within_auroc"] for model in found.models)
    assert difference.value == pytest.approx(a.value - b.value)  # type: ignore[operator]
    width = (a.high - a.low) + (b.high - b.low)  # type: ignore[operator]
    assert difference.high - difference.low < 0.5 * width  # type: ignore[operator]
    same = assess([first, replace(first, name="same")], resamples=50).comparisons[0]
    for key, each in same.differences.items():
        assert (each.value, each.low, each.high) == (0, 0, 0) or each.value is None, key


def test_models_are_compared_on_the_scans_they_share() -> None:
    first, second = make_set(40), make_set(40, seed=1, name="b")
    part = second.restricted(frozenset(t.scan_id for t in second.truths[:30]))
    found = assess([first, part], resamples=20)
    assert len(found.cohort) == 30
    assert found.notes == ("model: 10 scans that not all models have were left out",)
    other = replace(part, truths=tuple(replace(t, scan_id=f"x{t.scan_id}") for t in part.truths))
    with pytest.raises(EvaluationError, match="no scan in common"):
        assess([first, other], resamples=20)


def test_thresholds_are_frozen_on_validation() -> None:
    validation, test = make_set(60, seed=5), make_set(60)
    found = judged(test, validation={"model": validation}).models[0]
    assert found.frozen is not None
    negatives = [
        p.scan_probability
        for p, t in zip(validation.predictions, validation.truths, strict=True)
        if not t.label
    ]
    limit = found.frozen["90"]
    assert np.mean(np.array(negatives) <= limit) >= 0.9
    chance = np.array([p.scan_probability for p in test.predictions])
    truth = np.array([t.label for t in test.truths])
    sensitivity = found.estimates["sensitivity_at_90"]
    assert sensitivity.value == pytest.approx((chance[truth] > limit).mean())
    assert found.estimates["specificity_at_90"].value == pytest.approx(
        (chance[~truth] <= limit).mean()
    )
    assert "specificity_at_90" not in judged(test).models[0].estimates


def test_seed_variance_stands_apart_from_sampling_variance() -> None:
    sets = [make_set(40, seed=each, name=f"a-seed{each}") for each in range(3)]
    sets.append(make_set(40, seed=7, name="b-seed1"))
    found = assess(sets, seeds=True, resamples=100)
    first, second = found.seed_groups
    assert (first.name, first.members) == ("a", ("a-seed0", "a-seed1", "a-seed2"))
    values = [model.estimates["within_auroc"].value for model in found.models[:3]]
    assert first.means["within_auroc"].value == pytest.approx(np.mean(values))  # type: ignore[arg-type]
    assert first.spread["within_auroc"] == pytest.approx(np.std(values, ddof=1))  # type: ignore[arg-type]
    assert second.spread == {}
    (pair,) = found.comparisons
    assert (pair.first, pair.second) == ("a", "b")


def signature(data: EvaluationSet, key: str) -> bool | None:
    found = {each.key: each.found for each in judged(data).models[0].signatures}
    return found[key]


def test_over_smoothing_is_found_where_attention_is_flat() -> None:
    data = make_set()
    flat = tuple(
        replace(p, attention=np.full(len(p), 1 / len(p)) * (1 + 0.01 * np.sin(np.arange(len(p)))))
        for p in data.predictions
    )
    assert signature(data, "over_smoothing") is False
    assert signature(replace(data, predictions=flat), "over_smoothing") is True
    assert signature(make_set(attention=None, rule=SliceRule(score="evidence", limit=0.0,
        relative_to_uniform=False)), "over_smoothing") is None  # fmt: skip


def test_under_regularisation_is_found_where_order_tells_nothing() -> None:
    rough = make_set(60, strength=0.0)
    smooth = tuple(
        replace(p, attention=np.exp(-(np.linspace(-1, 1, len(p)) ** 2))) for p in rough.predictions
    )
    assert signature(rough, "under_regularisation") is True
    assert signature(replace(rough, predictions=smooth), "under_regularisation") is False


def test_threshold_sensitivity_counts_what_flips() -> None:
    data = make_set(20, scan_probability=0.9)
    edge = tuple(replace(p, attention=np.full(len(p), 1.01 / len(p))) for p in data.predictions)
    far = tuple(replace(p, attention=np.full(len(p), 1.2 / len(p))) for p in data.predictions)
    assert signature(replace(data, predictions=edge), "threshold_sensitivity") is True
    assert signature(replace(data, predictions=far), "threshold_sensitivity") is False
    negative = make_set(20, scan_probability=0.1)
    assert signature(negative, "threshold_sensitivity") is None


def test_subgroups_have_their_counts_and_numbers(assessment: Assessment) -> None:
    model = assessment.models[0]
    groups = {(each.group.family, each.group.title): each for each in model.groups}
    site = groups["site", "a"]
    kept = frozenset(t.scan_id for t in model.data.truths if t.site == "a")
    alone = judged(model.data.restricted(kept)).models[0]
    for key, estimate in site.estimates.items():
        assert estimate.value == pytest.approx(alone.estimates[key].value), key
        assert estimate.n == alone.estimates[key].n, key
    subdural = groups["subtype", "subdural"].group
    assert subdural.negatives == 20  # all negatives, what its positives are told from
    assert subdural.positives == sum(bool(t.subtypes["subdural"]) for t in model.data.truths)
    assert subdural.is_small
    assert ("slice spacing", "under 2 mm") in groups
    assert ("positive slices", "1 to 3") in groups
    assert any("thickness" in each for each in model.absent_groups)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_shares_lie_between_0_and_1_whatever_the_scans(seed: int) -> None:
    found = judged(make_set(12, seed=seed, strength=0.5), resamples=20).models[0]
    for key, estimate in found.estimates.items():
        if key.startswith(("roughness", "total", "crossings")):
            continue
        for number in (estimate.value, estimate.low, estimate.high):
            assert number is None or -1e-12 <= number <= 1 + 1e-12, key


def test_a_wilson_interval_is_the_textbooks() -> None:
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    low, high = wilson(0.0, 10)
    assert (low, high) == pytest.approx((0.0, 0.2775), abs=1e-4)
