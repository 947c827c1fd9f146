"""Models judged on the same scans: metrics, baselines, differences, signatures, subgroups."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.errors import EvaluationError
from sadmil_core.evaluation.bootstrap import (
    Estimate,
    Replicates,
    difference,
    estimate,
    point,
    replicate,
    with_interval,
)
from sadmil_core.evaluation.metrics import (
    ECE_BINS,
    MEASURES,
    OPERATING_POINTS,
    Quantity,
    bin_of,
    quantities,
)
from sadmil_core.evaluation.ranking import Ranking
from sadmil_core.evaluation.scorers import (
    BASELINES,
    Cohort,
    Scorer,
    baseline_scorers,
    model_scorer,
)
from sadmil_core.evaluation.signatures import Signature, signatures
from sadmil_core.evaluation.subgroups import GROUP_MEASURES, Subgroup, restricted, subgroups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sadmil_core.evaluation.values import EvaluationSet

Estimates = dict[str, Estimate]

_SEED = re.compile(r"[-_. ]*(?:seed)?[-_. ]*\d+$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupNumbers:
    """A subgroup and its numbers."""

    group: Subgroup
    estimates: Estimates


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """Scans of about one predicted probability.

    Attributes:
        low: Lower edge of the bin; the upper is that of the next.
        n: Scans in it.
        predicted: Their mean probability.
        observed: The share of positives among them.
        observed_low: Lower end of its 95 % Wilson interval.
        observed_high: Upper end.
    """

    low: float
    n: int
    predicted: float
    observed: float
    observed_low: float
    observed_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAssessment:
    """One model.

    Attributes:
        data: What was judged.
        scorer: Its scores, flat.
        estimates: By metric.
        baselines: The baselines beside it, in order.
        baseline_estimates: Theirs, by baseline and metric.
        over_baselines: The model minus each baseline, by baseline and metric.
        signatures: Failures looked for.
        groups: Subgroups.
        absent_groups: Families of subgroups that could not be made, and why.
        reliability: The bins that hold a scan.
        frozen: Scan thresholds chosen on validation, by operating point; None where there was
            no validation table, and they were chosen on these very scans.
    """

    data: EvaluationSet
    scorer: Scorer
    estimates: Estimates
    baselines: tuple[Scorer, ...]
    baseline_estimates: dict[str, Estimates]
    over_baselines: dict[str, Estimates]
    signatures: tuple[Signature, ...]
    groups: tuple[GroupNumbers, ...]
    absent_groups: tuple[str, ...]
    reliability: tuple[ReliabilityBin, ...]
    frozen: Mapping[str, float] | None

    @property
    def name(self) -> str:
        """The model's name."""
        return self.data.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two models, or two groups of seeds: first minus second, on the same resamples."""

    first: str
    second: str
    differences: Estimates


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedGroup:
    """Several trainings of one model that differ in their seed.

    Attributes:
        name: What they have in common.
        members: The models' names.
        means: The mean over the seeds, with the interval of sampling patients.
        spread: The standard deviation over the seeds (n - 1), which is that of training and
            has no part in the interval.
    """

    name: str
    members: tuple[str, ...]
    means: Estimates
    spread: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """Everything that is known of some models on one set of scans.

    Attributes:
        cohort: The truth, the same for all.
        models: In the order given.
        comparisons: Of all pairs of models, or of groups of seeds where there are any.
        seed_groups: Models that differ in their seed only.
        notes: In words, of the set as a whole.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """

    cohort: Cohort
    models: tuple[ModelAssessment, ...]
    comparisons: tuple[Comparison, ...]
    seed_groups: tuple[SeedGroup, ...] = ()
    notes: tuple[str, ...] = field(default=())
    resamples: int
    seed: int


def assess(
    sets: Sequence[EvaluationSet],
    *,
    validation: Mapping[str, EvaluationSet] | None = None,
    seeds: bool = False,
    resamples: int = 2000,
    seed: int = 0,
) -> Assessment:
    """Judges models on the scans they have in common.

    Args:
        sets: One a model; their names must differ.
        validation: Sets to choose scan thresholds on, by model name.
        seeds: Models whose names differ in a number at the end only are seeds of one.
        resamples: Of the bootstrap.
        seed: Of the bootstrap and of shuffles.

    Raises:
        EvaluationError: The models have no scan in common.
    """
    names = [data.name for data in sets]
    if len(set(names)) < len(names):
        raise ValueError(f"the models' names must differ: {names}")
    sets, notes = _common(sets)
    cohorts = [Cohort.of(data) for data in sets]
    chosen = {name: _frozen_thresholds(data) for name, data in (validation or {}).items()}
    scorers: dict[str, Scorer] = {}
    asked: dict[str, dict[str, Quantity]] = {}
    groups = {}
    for data, cohort in zip(sets, cohorts, strict=True):
        frozen = chosen.get(data.name)
        for scorer in (model_scorer(data), *baseline_scorers(data, cohort)):
            is_model = scorer.name not in BASELINES
            key = _key(data.name, "" if is_model else scorer.name)
            scorers[key] = scorer
            asked[key] = quantities(
                data, cohort, scorer, is_model=is_model, frozen=frozen if is_model else None
            )
        groups[data.name] = subgroups(data, cohort)
        for number, group in enumerate(groups[data.name][0]):
            asked[_key(data.name, f"group {number}")] = {
                measure: restricted(asked[_key(data.name)][measure], group, cohort)
                for measure in GROUP_MEASURES
            }
    items = max(len(cohort.slice_label) for cohort in cohorts)
    drawn = replicate(asked, cohorts[0].patient, count=resamples, seed=seed, items=items)
    view = _View(asked=asked, drawn=drawn, scans=len(cohorts[0]))
    models = tuple(
        _model(view, data, cohort, scorers, groups[data.name], chosen.get(data.name), seed)
        for data, cohort in zip(sets, cohorts, strict=True)
    )
    seed_groups, comparisons = _compare(view, [data.name for data in sets], seeds)
    return Assessment(
        cohort=cohorts[0],
        models=models,
        comparisons=comparisons,
        seed_groups=seed_groups,
        notes=notes,
        resamples=resamples,
        seed=seed,
    )


def _key(model: str, part: str = "") -> str:
    return f"{model}\0{part}"


def _common(sets: Sequence[EvaluationSet]) -> tuple[list[EvaluationSet], tuple[str, ...]]:
    """The sets on the scans that all have, and what that leaves out."""
    everywhere = frozenset.intersection(
        *(frozenset(truth.scan_id for truth in data.truths) for data in sets)
    )
    if not everywhere:
        raise EvaluationError(
            "The models have no scan in common, so they cannot be compared.",
            remedy="Evaluate them apart.",
        )
    notes = tuple(
        f"{data.name}: {len(data) - len(everywhere)} scans that not all models have were left out"
        for data in sets
        if len(data) > len(everywhere)
    )
    return [data.restricted(everywhere) for data in sets], notes


def _frozen_thresholds(data: EvaluationSet) -> dict[str, float]:
    cohort, scorer = Cohort.of(data), model_scorer(data)
    known = ~np.isnan(cohort.scan_label)
    assert scorer.scan_score is not None  # a model always has one
    labels = cohort.scan_label[known] == 1
    if not (~labels).any():
        raise EvaluationError(
            f"The validation table of {data.name} holds no negative scan, so no threshold has a "
            "specificity.",
            remedy="Give validation predictions of negative scans too.",
        )
    ranking = Ranking(scorer.scan_score[known], labels)
    return {at: ranking.threshold_at(specificity) for at, specificity in OPERATING_POINTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """Quantities and their replicates, by scorer."""

    asked: dict[str, dict[str, Quantity]]
    drawn: Replicates
    scans: int

    def estimates(self, key: str) -> Estimates:
        return {
            name: estimate(quantity, self.scans, self.drawn[key].get(name))
            for name, quantity in self.asked[key].items()
        }

    def differences(self, first: str, second: str) -> Estimates:
        return {
            name: difference(
                (self.asked[first][name], self.drawn[first].get(name)),
                (self.asked[second][name], self.drawn[second].get(name)),
                self.scans,
            )
            for name in self.asked[first]
            if name in self.asked[second]
        }


def _model(
    view: _View,
    data: EvaluationSet,
    cohort: Cohort,
    scorers: Mapping[str, Scorer],
    groups: tuple[tuple[Subgroup, ...], tuple[str, ...]],
    frozen: Mapping[str, float] | None,
    seed: int,
) -> ModelAssessment:
    own = _key(data.name)
    return ModelAssessment(
        data=data,
        scorer=scorers[own],
        estimates=view.estimates(own),
        baselines=tuple(scorers[_key(data.name, name)] for name in BASELINES),
        baseline_estimates={n: view.estimates(_key(data.name, n)) for n in BASELINES},
        over_baselines={n: view.differences(own, _key(data.name, n)) for n in BASELINES},
        signatures=signatures(data, seed),
        groups=tuple(
            GroupNumbers(group=group, estimates=view.estimates(_key(data.name, f"group {number}")))
            for number, group in enumerate(groups[0])
        ),
        absent_groups=groups[1],
        reliability=_reliability(cohort, scorers[own]),
        frozen=frozen,
    )


def _compare(
    view: _View, names: list[str], seeds: bool
) -> tuple[tuple[SeedGroup, ...], tuple[Comparison, ...]]:
    members: dict[str, list[str]] = defaultdict(list)
    for name in names:
        members[(_SEED.sub("", name) or name) if seeds else name].append(name)
    if all(len(each) == 1 for each in members.values()):
        pairs = [(a, b) for at, a in enumerate(names) for b in names[at + 1 :]]
        return (), tuple(
            Comparison(first=a, second=b, differences=view.differences(_key(a), _key(b)))
            for a, b in pairs
        )
    means = {name: _SeedMean(view, each) for name, each in members.items()}
    found = tuple(
        SeedGroup(
            name=name,
            members=tuple(members[name]),
            means={
                key: with_interval(
                    mean.value(key), mean.drawn(key), n=mean.n(key), unit=mean.unit(key)
                )
                for key in mean.keys
            },
            spread={key: mean.spread(key) for key in mean.keys if len(members[name]) > 1},
        )
        for name, mean in means.items()
    )
    groups = list(means)
    return found, tuple(
        Comparison(first=a, second=b, differences=means[a].minus(means[b]))
        for at, a in enumerate(groups)
        for b in groups[at + 1 :]
    )


class _SeedMean:
    """The mean of several models, metric by metric, where all of them have the metric."""

    def __init__(self, view: _View, names: list[str]) -> None:
        self._view = view
        self._own = [_key(name) for name in names]
        self.keys = [
            measure.key
            for measure in MEASURES
            if all(np.isfinite(self._values(measure.key, own)).all() for own in self._own)
        ]

    def _values(self, key: str, own: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        quantity = self._view.asked[own].get(key)
        return np.array([np.nan if quantity is None else point(quantity, self._view.scans)])

    def value(self, key: str) -> float:
        return float(np.mean([self._values(key, own)[0] for own in self._own]))

    def spread(self, key: str) -> float:
        return float(np.std([self._values(key, own)[0] for own in self._own], ddof=1))

    def drawn(self, key: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        rows = [self._view.drawn[own][key] for own in self._own]
        return np.asarray(np.mean(rows, axis=0), np.float64)

    def n(self, key: str) -> int:
        return min(self._view.asked[own][key].n for own in self._own)

    def unit(self, key: str) -> str:
        return self._view.asked[self._own[0]][key].unit

    def minus(self, other: _SeedMean) -> Estimates:
        return {
            key: with_interval(
                self.value(key) - other.value(key),
                self.drawn(key) - other.drawn(key),
                n=min(self.n(key), other.n(key)),
                unit=self.unit(key),
            )
            for key in self.keys
            if key in other.keys
        }


def _reliability(cohort: Cohort, scorer: Scorer) -> tuple[ReliabilityBin, ...]:
    if scorer.scan_probability is None:
        return ()
    known = ~np.isnan(cohort.scan_label)
    chance, label = scorer.scan_probability[known], cohort.scan_label[known]
    bins = bin_of(chance)
    found = []
    for each in np.unique(bins):
        inside = bins == each
        n, observed = int(inside.sum()), float(label[inside].mean())
        low, high = wilson(observed, n)
        found.append(
            ReliabilityBin(
                low=int(each) / ECE_BINS,
                n=n,
                predicted=float(chance[inside].mean()),
                observed=observed,
                observed_low=low,
                observed_high=high,
            )
        )
    return tuple(found)


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share of n."""
    z = 1.959963984540054
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))
