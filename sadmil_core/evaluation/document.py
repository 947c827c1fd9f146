"""The assessment as a document of values: ``metrics.json``."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from sadmil_core import RESEARCH_USE_NOTICE, __version__
from sadmil_core.atomic import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sadmil_core.evaluation.assessment import Assessment, GroupNumbers, ModelAssessment
    from sadmil_core.evaluation.bootstrap import Estimate
    from sadmil_core.evaluation.noise import NoiseFlips

SCHEMA_VERSION = 1


def write_metrics(
    assessment: Assessment, path: Path, *, noise: Mapping[str, NoiseFlips] | None = None
) -> None:
    """Writes the document as JSON, whole or not at all.

    Args:
        assessment: What to write.
        path: The file; an older one is replaced.
        noise: What noise changed, by model.

    Raises:
        WriteError: The system refused.
    """
    document = metrics_document(assessment, noise=noise)
    text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    with replacing(path) as stream:
        stream.write(text.encode("utf-8", "backslashreplace"))


def metrics_document(
    assessment: Assessment, *, noise: Mapping[str, NoiseFlips] | None = None
) -> dict[str, Any]:
    """The document as values JSON can hold; no NaN: null, with the reason beside it."""
    cohort = assessment.cohort
    return {
        "schema_version": SCHEMA_VERSION,
        "software_version": __version__,
        "research_use_only": True,
        "notice": RESEARCH_USE_NOTICE,
        "bootstrap": {
            "resamples": assessment.resamples,
            "seed": assessment.seed,
            "unit": "patient",
            "interval": "95 % percentile",
        },
        "scans": {
            "n": len(cohort),
            "positive": int((cohort.scan_label == 1).sum()),
            "negative": int((cohort.scan_label == 0).sum()),
            "with_positive_and_negative_slices": int(cohort.both.sum()),
            "patients": int(cohort.patient.max()) + 1,
        },
        "notes": list(assessment.notes),
        "models": [_model(model, (noise or {}).get(model.name)) for model in assessment.models],
        "comparisons": [
            {
                "first": each.first,
                "second": each.second,
                "first_minus_second": _estimates(each.differences),
            }
            for each in assessment.comparisons
        ],
        "seed_groups": [
            {
                "name": group.name,
                "members": list(group.members),
                "mean_over_seeds": _estimates(group.means),
                "standard_deviation_over_seeds": group.spread,
            }
            for group in assessment.seed_groups
        ],
    }


def _model(model: ModelAssessment, noise: NoiseFlips | None) -> dict[str, Any]:
    return {
        "name": model.name,
        "computed_from": model.scorer.origin,
        "notes": list(model.data.notes),
        "thresholds_from_validation": None
        if model.frozen is None
        else {at: _finite(limit) for at, limit in model.frozen.items()},
        "metrics": _estimates(model.estimates),
        "baselines": [
            {
                "name": baseline.name,
                "computed_from": baseline.origin,
                "metrics": _estimates(model.baseline_estimates[baseline.name]),
                "model_minus_baseline": _estimates(model.over_baselines[baseline.name]),
            }
            for baseline in model.baselines
        ],
        "signatures": [
            {
                "key": each.key,
                "found": each.found,
                "message": each.message,
                "numbers": each.numbers,
            }
            for each in model.signatures
        ],
        "noise": None if noise is None else noise.as_mapping(),
        "subgroups": [_group(each) for each in model.groups],
        "subgroups_not_made": list(model.absent_groups),
        "reliability": [
            {
                "low": each.low,
                "n": each.n,
                "predicted": each.predicted,
                "observed": each.observed,
                "observed_interval": [each.observed_low, each.observed_high],
            }
            for each in model.reliability
        ],
    }


def _group(each: GroupNumbers) -> dict[str, Any]:
    return {
        "family": each.group.family,
        "group": each.group.title,
        "positive_scans": each.group.positives,
        "negative_scans": each.group.negatives,
        "small": each.group.is_small,
        "metrics": _estimates(each.estimates),
    }


def _estimates(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {key: estimate_document(each) for key, each in estimates.items()}


def estimate_document(each: Estimate) -> dict[str, Any]:
    """A number, its interval, what both rest on, and why there is none."""
    found: dict[str, Any] = {
        "value": each.value,
        "low": each.low,
        "high": each.high,
        "n": each.n,
        "unit": each.unit,
    }
    if each.reason:
        found["reason"] = each.reason
    if each.undefined:
        found["undefined_resamples"] = each.undefined
    return found


def _finite(limit: float) -> float | str:
    """JSON knows no infinity: a threshold that nothing passes is said in words."""
    return limit if math.isfinite(limit) else "none passes" if limit > 0 else "all pass"
