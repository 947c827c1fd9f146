"""Who gives scores: a model, and the four baselines that stand beside any model.

- **all-negative** calls every scan and every slice negative.
- **centre rule** ranks slices by -|z - 1/2|, z running from 0 to 1 along the scan. It sees no
  pixel.
- **mean pooling** and **max pooling** make the mean and the largest of the model's own slice
  values its scan score: what the slices say without the attention that weighs them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.evaluation.shape import relative_attention

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from sadmil_core.evaluation.values import EvaluationSet, ScanPrediction

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

ALL_NEGATIVE, CENTRE = "all-negative", "centre rule"
MEAN_POOLING, MAX_POOLING = "mean pooling", "max pooling"
BASELINES = (ALL_NEGATIVE, CENTRE, MEAN_POOLING, MAX_POOLING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """The truth of N scans with M slices, flat.

    Attributes:
        scan_label: (N,) float64, NaN where unknown.
        patient: (N,) int, from 0.
        slice_label: (M,) float64, NaN where unknown; scan after scan.
        bounds: (N + 1,) where each scan starts in it.
        scan_of_slice: (M,) int.
        both: (N,) bool, scans in which positive and negative slices are known.
    """

    scan_label: Floats
    patient: NDArray[np.int64]
    slice_label: Floats
    bounds: NDArray[np.int64]
    scan_of_slice: NDArray[np.int64]
    both: Flags

    @classmethod
    def of(cls, data: EvaluationSet) -> Cohort:
        """The truth of an evaluation set."""
        truths = data.truths
        lengths = [len(truth.slice_labels) for truth in truths]
        patients = [truth.patient_id for truth in truths]
        return cls(
            scan_label=np.array(
                [np.nan if truth.label is None else float(truth.label) for truth in truths]
            ),
            patient=np.unique(patients, return_inverse=True)[1].astype(np.int64),
            slice_label=np.concatenate([truth.slice_labels for truth in truths]),
            bounds=np.r_[0, np.cumsum(lengths)].astype(np.int64),
            scan_of_slice=np.repeat(np.arange(len(truths)), lengths).astype(np.int64),
            both=np.array([truth.holds_both for truth in truths], np.bool_),
        )

    def __len__(self) -> int:
        return len(self.scan_label)

    def slices(self, scan: int) -> slice:
        """Where the slices of a scan lie among all."""
        return slice(int(self.bounds[scan]), int(self.bounds[scan + 1]))

    def sum_by_scan(self, values: Floats) -> Floats:
        """(M,) to (N,)."""
        return np.asarray(np.bincount(self.scan_of_slice, values, len(self)), np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """Scores and decisions of one model or baseline; None for what it does not give.

    Attributes:
        name: What to call it.
        origin: What the numbers are computed from, in words.
        scan_score: (N,) ranks scans.
        scan_probability: (N,) in [0, 1].
        scan_positive: (N,) bool.
        slice_score: (M,) ranks the slices of a scan.
        pooled_score: (M,) ranks the slices of all scans.
        slice_positive: (M,) bool.
        missing: Why something is not given, by the name of the attribute.
    """

    name: str
    origin: str
    scan_score: Floats | None = None
    scan_probability: Floats | None = None
    scan_positive: Flags | None = None
    slice_score: Floats | None = None
    pooled_score: Floats | None = None
    slice_positive: Flags | None = None
    missing: Mapping[str, str] = field(default_factory=dict)

    def why_not(self, attribute: str) -> str:
        """Why an attribute is None."""
        return self.missing.get(attribute, "not in the table of predictions")


def model_scorer(data: EvaluationSet) -> Scorer:
    """The model itself, judged by its stored rule."""
    scans = data.predictions
    chance = np.array([scan.scan_probability for scan in scans])
    rules = sorted({str(scan.rule) for scan in scans})
    return Scorer(
        name=data.name,
        origin=f"slices by {', '.join(rules)}",
        scan_score=chance,
        scan_probability=chance,
        scan_positive=np.array([scan.scan_positive for scan in scans], np.bool_),
        slice_score=_flat(scans, lambda scan: scan.slice_score),
        pooled_score=_flat(scans, _comparable_score),
        slice_positive=np.concatenate([scan.slice_positive for scan in scans]),
    )


def _comparable_score(scan: ScanPrediction) -> Floats | None:
    """The slice score, in equal shares where the rule is relative to one."""
    score = scan.slice_score
    if score is None or not scan.rule.relative_to_uniform:
        return score
    return score * max(len(scan), scan.rule.padding)


def _flat(
    scans: tuple[ScanPrediction, ...], of: Callable[[ScanPrediction], Floats | None]
) -> Floats | None:
    """A value of all slices, scan after scan; None where a scan lacks it."""
    parts = [of(scan) for scan in scans]
    return None if any(part is None for part in parts) else np.concatenate(parts)  # type: ignore[arg-type]


def baseline_scorers(data: EvaluationSet, cohort: Cohort) -> tuple[Scorer, ...]:
    """The four baselines, in the order of :data:`BASELINES`."""
    return (
        _all_negative(cohort),
        _centre_rule(cohort),
        *(_pooling(data, cohort, name) for name in (MEAN_POOLING, MAX_POOLING)),
    )


def _all_negative(cohort: Cohort) -> Scorer:
    scans, slices = len(cohort), len(cohort.slice_label)
    return Scorer(
        name=ALL_NEGATIVE,
        origin="nothing: every scan and every slice is called negative",
        scan_score=np.zeros(scans),
        scan_probability=np.zeros(scans),
        scan_positive=np.zeros(scans, np.bool_),
        slice_score=np.zeros(slices),
        pooled_score=np.zeros(slices),
        slice_positive=np.zeros(slices, np.bool_),
    )


def centre_score(slices: int) -> Floats:
    """-|z - 1/2| for z from 0 to 1 along the slices."""
    z = np.linspace(0, 1, slices) if slices > 1 else np.full(slices, 0.5)
    # Slices as far above the middle as below it are ties, whatever the rounding.
    return np.asarray(np.round(-np.abs(z - 0.5), 12), np.float64)


def _centre_rule(cohort: Cohort) -> Scorer:
    lengths = np.diff(cohort.bounds)
    score = np.concatenate([centre_score(int(length)) for length in lengths])
    blind = "the rule sees the order of slices only, which tells scans not apart"
    none = "the rule ranks slices and decides nothing"
    return Scorer(
        name=CENTRE,
        origin="the order of the slices: -|z - 1/2|, no pixel seen",
        slice_score=score,
        pooled_score=score,
        missing={
            "scan_score": blind,
            "scan_probability": blind,
            "scan_positive": blind,
            "slice_positive": none,
        },
    )


def _pooling(data: EvaluationSet, cohort: Cohort, name: str) -> Scorer:
    """Mean or max of the slices' own values: probability, else evidence, else attention."""
    scans = data.predictions
    reduce = np.mean if name == MEAN_POOLING else np.max
    for title, values, to_probability, limit in (
        ("slice probability", _flat(scans, lambda s: s.slice_probability), _same, 0.5),
        ("evidence", _flat(scans, lambda s: s.evidence), _sigmoid, 0.0),
    ):
        if values is None:
            continue
        score = np.array([reduce(values[cohort.slices(at)]) for at in range(len(cohort))])
        positive = score > limit
        return Scorer(
            name=name,
            origin=f"the {name[:4].strip()} of the model's {title}, positive above {limit:g}, "
            "not calibrated",
            scan_score=score,
            scan_probability=to_probability(score),
            scan_positive=positive,
            slice_score=values,
            pooled_score=values,
            slice_positive=(values > limit) & positive[cohort.scan_of_slice],
        )
    return _pooled_attention(data, name)


_GIVEN = (
    "scan_score",
    "scan_probability",
    "scan_positive",
    "slice_score",
    "pooled_score",
    "slice_positive",
)


def _pooled_attention(data: EvaluationSet, name: str) -> Scorer:
    scans = data.predictions
    missing = "the table gives attention only, neither evidence nor slice probability"
    if name == MEAN_POOLING or _flat(scans, lambda scan: scan.attention) is None:
        sums = f"{missing}, and attention has the same mean whatever a scan shows"
        return Scorer(name=name, origin="not computable", missing=dict.fromkeys(_GIVEN, sums))
    parts = [_share(scan) for scan in scans]
    flat = np.concatenate(parts)
    return Scorer(
        name=name,
        origin="the max of the model's attention in equal shares (S·a), which ranks only: "
        "the table gives neither evidence nor slice probability",
        scan_score=np.array([part.max() for part in parts]),
        slice_score=flat,
        pooled_score=flat,
        missing=dict.fromkeys(("scan_probability", "scan_positive", "slice_positive"), missing),
    )


def _share(scan: ScanPrediction) -> Floats:
    assert scan.attention is not None  # the caller has looked
    relative = relative_attention(scan.attention)
    return scan.attention if relative is None else relative


def _same(values: Floats) -> Floats:
    return values


def _sigmoid(values: Floats) -> Floats:
    from scipy.special import expit

    return np.asarray(expit(values), np.float64)
