"""Arms judged on the same test scans: means over seeds, paired differences, what they rest on.

Two kinds of chance are kept apart throughout. **Sampling**: other patients would give other
numbers; intervals resample patients, with the networks as they are. **Training**: other seeds
would give other networks; the standard deviation over seeds, and for differences the 95 % t
interval of the pairs with equal seeds. A difference is called shown where both leave 0 out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import stats

from sadmil_core.evaluation.bootstrap import Estimate, point, replicate, resamples, with_interval
from sadmil_core.evaluation.metrics import MEASURES, Measure, mean_over_scans, quantities
from sadmil_core.evaluation.ranking import Ranking, auroc
from sadmil_core.evaluation.scorers import (
    ALL_NEGATIVE,
    CENTRE,
    Cohort,
    baseline_scorers,
    model_scorer,
)
from sadmil_core.evaluation.signatures import Signature, signatures
from sadmil_core.experiments.hard_cases import HARD_MEASURES, hard_cases

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from sadmil_core.evaluation.metrics import Quantity
    from sadmil_core.evaluation.values import EvaluationSet
    from sadmil_core.experiments.readings import Readings

    Floats = NDArray[np.float64]

BLIND_BASELINES = (ALL_NEGATIVE, CENTRE)
EXTRA_MEASURES = (
    *HARD_MEASURES,
    Measure(key="within_auroc_evidence", title="AUROC within positive scans", about="evidence"),
    Measure(
        key="edge_roughness_sa",
        title="roughness of S·a over the bags' edges",
        about="attention",
        better="",
    ),
    Measure(
        key="edge_roughness_f",
        title="roughness of f over the bags' edges",
        about="attention",
        better="",
    ),
    Measure(
        key="slice_flips", title="slice decisions flipped by noise", about="noise", better="lower"
    ),
    Measure(
        key="scan_flips", title="scan decisions flipped by noise", about="noise", better="lower"
    ),
)
ROW_MEASURES = ("roughness_sa", "roughness_f", "total_variation", "crossings")
"""What looks at neighbouring rows, which means nothing where rows have no order."""
GAP_MEASURES = (
    Measure(key="gap_loss", title="cross-entropy, val minus train", about="gap", better="lower"),
    Measure(key="gap_auroc", title="scan AUROC, train minus val", about="gap", better="lower"),
)
_LEFT_OUT = ("pooled_auroc", "pooled_auprc")
TEST_MEASURES = (
    *(measure for measure in MEASURES if measure.key not in _LEFT_OUT),
    *EXTRA_MEASURES,
)
MEASURE_BY_KEY = {measure.key: measure for measure in (*TEST_MEASURES, *GAP_MEASURES)}
Finding = Literal["higher", "lower", "not shown", "one seed", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmReadings:
    """What the networks of one arm say.

    Attributes:
        name: Of the arm.
        seeds: Of its networks.
        test: Of each, on the same scans in the same order.
        train: Of each, on its own training split.
        validation: Of each, on its own validation split.
    """

    name: str
    seeds: tuple[int, ...]
    test: tuple[Readings, ...]
    train: tuple[Readings, ...]
    validation: tuple[Readings, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A metric of an arm.

    Attributes:
        mean: Over the seeds, with the interval of sampling patients.
        by_seed: Each network's own value; one for a baseline that is not trained.
        drawn: The mean over seeds in each resample; empty where there is none.
    """

    mean: Estimate
    by_seed: tuple[float, ...]
    drawn: Floats = field(repr=False)

    @property
    def seed_sd(self) -> float | None:
        """The standard deviation over the seeds (n - 1); None for fewer than two."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else None


Numbers = dict[str, Number]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """First minus second in one metric.

    Attributes:
        sampling: The difference of the means, with the interval of sampling patients.
        seed_sd: Standard deviation over the pairs of equal seeds; None for fewer than two.
        seed_low: Lower end of their 95 % t interval.
        seed_high: Upper end.
        pairs: How many there are.
    """

    sampling: Estimate
    seed_sd: float | None
    seed_low: float | None
    seed_high: float | None
    pairs: int

    @property
    def finding(self) -> Finding:
        """Whether a difference was shown: where sampling and seeds both leave 0 out."""
        low, high = self.sampling.low, self.sampling.high
        if self.sampling.value is None or low is None or high is None:
            return "unknown"
        if self.seed_low is None or self.seed_high is None:
            return "one seed"
        if low > 0 and self.seed_low > 0:
            return "higher"
        if high < 0 and self.seed_high < 0:
            return "lower"
        return "not shown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two arms: first minus second, on the same resamples."""

    first: str
    second: str
    differences: dict[str, Difference]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """One arm, or a baseline that is not trained.

    Attributes:
        name: In reports.
        seeds: Of its networks; none for such a baseline.
        numbers: By metric.
        signatures: Failures looked for in each network.
    """

    name: str
    seeds: tuple[int, ...]
    numbers: Numbers
    signatures: tuple[tuple[Signature, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """All arms on the test split.

    Attributes:
        cohort: The truth.
        arms: In order, then the baselines that see nothing.
        pairs: What was compared.
        resamples: Of the bootstrap.
    """

    cohort: Cohort
    arms: tuple[ArmResult, ...]
    pairs: tuple[Pair, ...]
    resamples: int

    def arm(self, name: str) -> ArmResult:
        """By name."""
        return next(arm for arm in self.arms if arm.name == name)


def analyse(
    arms: Sequence[ArmReadings],
    pairs: Sequence[tuple[str, str]],
    patients: Mapping[str, str],
    *,
    count: int,
    seed: int = 0,
    ordered: bool = True,
) -> Analysis:
    """Judges arms on the test split.

    Args:
        arms: Read on the same scans.
        pairs: Names of arms to compare, first minus second.
        patients: Whose each scan is.
        count: Resamples of patients.
        seed: Of resamples and shuffles.
        ordered: Whether the rows of a bag have an order; without one, nothing is said of
            neighbouring rows.
    """
    asked: dict[str, dict[str, Quantity]] = {}
    sets: dict[str, tuple[EvaluationSet, ...]] = {}
    for arm in arms:
        sets[arm.name] = tuple(each.evaluation_set(arm.name, patients) for each in arm.test)
        for number, (data, readings) in enumerate(zip(sets[arm.name], arm.test, strict=True)):
            cohort = Cohort.of(data)
            quantity = _asked(data, cohort, readings)
            if not ordered:
                quantity = {k: each for k, each in quantity.items() if k not in ROW_MEASURES}
            asked[f"{arm.name}\0{number}"] = quantity
    for scorer in baseline_scorers(data, cohort):
        if scorer.name in BLIND_BASELINES:
            blind = quantities(data, cohort, scorer, is_model=False)
            asked[f"{scorer.name}\0{0}"] = blind | hard_cases(blind["within_auroc"], cohort)
    drawn = replicate(asked, cohort.patient, count=count, seed=seed, items=len(cohort.slice_label))
    results = []
    for arm in arms:
        own = [f"{arm.name}\0{number}" for number in range(len(arm.seeds))]
        numbers = _mean_numbers([asked[o] for o in own], [drawn[o] for o in own], len(cohort))
        results.append(
            ArmResult(
                name=arm.name,
                seeds=arm.seeds,
                numbers=numbers | _gaps(arm, patients, count, seed),
                signatures=tuple(
                    tuple(
                        each
                        for each in signatures(data, seed)
                        if ordered or each.key != "under_regularisation"
                    )
                    for data in sets[arm.name]
                ),
            )
        )
    for name in BLIND_BASELINES:
        own_key = f"{name}\0{0}"
        numbers = _mean_numbers([asked[own_key]], [drawn[own_key]], len(cohort))
        results.append(ArmResult(name=name, seeds=(), numbers=numbers))
    by_name = {arm.name: arm for arm in results}
    return Analysis(
        cohort=cohort,
        arms=tuple(results),
        pairs=tuple(_pair(by_name[a], by_name[b]) for a, b in pairs),
        resamples=count,
    )


def _asked(data: EvaluationSet, cohort: Cohort, readings: Readings) -> dict[str, Quantity]:
    found = quantities(data, cohort, model_scorer(data), is_model=True)
    found = {key: each for key, each in found.items() if key not in _LEFT_OUT}
    found |= hard_cases(found["within_auroc"], cohort)
    evidence = np.full(len(cohort), np.nan)
    if "evidence" in readings.values:
        for at in np.flatnonzero(cohort.both):
            part = cohort.slices(int(at))
            label = cohort.slice_label[part]
            known = ~np.isnan(label)
            evidence[at] = auroc(readings.values["evidence"][part][known], label[known] == 1)
    found["within_auroc_evidence"] = mean_over_scans(
        evidence, "positive scans", "the network gives no evidence, or no scan has both labels"
    )
    reasons = {
        "edge_roughness_sa": "some bags have no edges of their own",
        "edge_roughness_f": "some bags have no edges of their own, or the network no attention",
        "slice_flips": "nothing was read with noise",
        "scan_flips": "nothing was read with noise",
    }
    for key, reason in reasons.items():
        values = readings.extras.get(key, np.full(len(cohort), np.nan))
        found[key] = mean_over_scans(values, "scans", reason)
    return found


def _mean_numbers(
    asked: Sequence[Mapping[str, Quantity]], drawn: Sequence[Mapping[str, Floats]], scans: int
) -> Numbers:
    """The mean over networks, metric by metric."""
    found: Numbers = {}
    for key, first in asked[0].items():
        values = tuple(point(each[key], scans) for each in asked)
        missing = [each[key].reason for each, v in zip(asked, values, strict=True) if np.isnan(v)]
        n, unit = min(each[key].n for each in asked), first.unit
        rows = [each[key] for each in drawn if key in each]
        if missing or len(rows) < len(asked):
            absent = Estimate(value=None, n=n, unit=unit, reason=(*missing, first.reason)[0])
            found[key] = Number(mean=absent, by_seed=(), drawn=np.zeros(0))
            continue
        mean: Floats = np.mean(rows, axis=0)
        found[key] = Number(
            mean=with_interval(float(np.mean(values)), mean, n=n, unit=unit),
            by_seed=values,
            drawn=mean,
        )
    return found


def _gaps(arm: ArmReadings, patients: Mapping[str, str], count: int, seed: int) -> Numbers:
    """How much worse the networks are on validation than on what they were trained on.

    Patients of the two splits are resampled apart; the cross-entropy is of the logits as they
    are, without class weights.
    """
    values: dict[str, list[float]] = {"gap_loss": [], "gap_auroc": []}
    rows: dict[str, list[Floats]] = {"gap_loss": [], "gap_auroc": []}
    n = 0
    for train, validation in zip(arm.train, arm.validation, strict=True):
        own = [
            _fit_numbers(r, patients, count, seed + k) for k, r in enumerate((train, validation))
        ]
        n = len(validation.scan_ids)
        for key, sign in (("gap_loss", -1.0), ("gap_auroc", 1.0)):
            (a, a_drawn), (b, b_drawn) = (part[key.removeprefix("gap_")] for part in own)
            values[key].append(sign * (a - b))
            rows[key].append(sign * (a_drawn - b_drawn))
    found = {}
    for key, each in values.items():
        drawn: Floats = np.mean(rows[key], axis=0)
        mean = with_interval(float(np.mean(each)), drawn, n=n, unit="validation scans")
        found[key] = Number(mean=mean, by_seed=tuple(each), drawn=drawn)
    return found


def _fit_numbers(
    readings: Readings, patients: Mapping[str, str], count: int, seed: int
) -> dict[str, tuple[float, Floats]]:
    """Cross-entropy and AUROC of one split: the value, and that of each resample."""
    known = ~np.isnan(readings.label)
    logit, label = readings.logit[known], readings.label[known] == 1
    loss = np.logaddexp(0.0, np.where(label, -1.0, 1.0) * logit)
    names = [patients.get(s, s) for s, k in zip(readings.scan_ids, known, strict=True) if k]
    owner = np.unique(names, return_inverse=True)[1].astype(np.int64)
    ranking, ones = Ranking(logit, label), np.ones((1, len(label)))
    losses, areas = [], []
    for weights in resamples(owner, count, seed, items=len(label)):
        losses.append(weights @ loss / weights.sum(axis=1))
        areas.append(ranking.auroc(weights))
    return {
        "loss": (float(loss.mean()), np.concatenate(losses)),
        "auroc": (float(ranking.auroc(ones)[0]), np.concatenate(areas)),
    }


def _pair(first: ArmResult, second: ArmResult) -> Pair:
    return Pair(
        first=first.name,
        second=second.name,
        differences={
            key: subtract(number, second.numbers[key])
            for key, number in first.numbers.items()
            if key in second.numbers
        },
    )


def subtract(first: Number, second: Number) -> Difference:
    """The difference of two numbers; seeds in pairs, or against a number that has none."""
    a, b = first.mean, second.mean
    n = min(a.n, b.n)
    if a.value is None or b.value is None:
        absent = Estimate(value=None, n=n, unit=a.unit, reason=a.reason or b.reason)
        return Difference(sampling=absent, seed_sd=None, seed_low=None, seed_high=None, pairs=0)
    sampling = with_interval(a.value - b.value, first.drawn - second.drawn, n=n, unit=a.unit)
    by_seed = np.subtract(*_paired(first.by_seed, second.by_seed))
    sd = low = high = None
    if len(by_seed) > 1:
        sd = float(np.std(by_seed, ddof=1))
        half = float(stats.t.ppf(0.975, len(by_seed) - 1)) * sd / np.sqrt(len(by_seed))
        low, high = float(by_seed.mean() - half), float(by_seed.mean() + half)
    return Difference(
        sampling=sampling, seed_sd=sd, seed_low=low, seed_high=high, pairs=len(by_seed)
    )


def _paired(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Values of equal seeds beside each other; a number without seeds stands beside each."""
    size = max(len(a), len(b))
    return np.broadcast_to(a, size).astype(float), np.broadcast_to(b, size).astype(float)
