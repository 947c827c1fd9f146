"""An assessment in words: what was shown, and what was not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sadmil_core.evaluation.metrics import MEASURE_BY_KEY
from sadmil_core.evaluation.scorers import CENTRE
from sadmil_core.evaluation.subgroups import SMALL

if TYPE_CHECKING:
    from sadmil_core.evaluation.assessment import Assessment, ModelAssessment
    from sadmil_core.evaluation.bootstrap import Estimate

HEADLINES = ("scan_auroc", "within_auroc")
_NAMES = {"scan_auroc": "scan AUROC", "within_auroc": "slice AUROC within positive scans"}


def number_text(value: float) -> str:
    """A number as tables show it: four decimals, less where it is large."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def interval_text(estimate: Estimate, *, signed: bool = False) -> str:
    """The interval in brackets; empty where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    sign = "+" if signed else ""
    digits = 3 if max(abs(estimate.low), abs(estimate.high)) < 10 else 1
    return f"[{estimate.low:{sign}.{digits}f}, {estimate.high:{sign}.{digits}f}]"


def differs(estimate: Estimate) -> bool:
    """Whether the interval of a difference leaves 0 out."""
    if estimate.low is None or estimate.high is None:
        return False
    return estimate.low > 0 or estimate.high < 0


def facts(assessment: Assessment) -> str:
    """What was judged, in a line."""
    cohort = assessment.cohort
    positive, negative = (int((cohort.scan_label == each).sum()) for each in (1, 0))
    unknown = len(cohort) - positive - negative
    more = f", {unknown} without a scan label" if unknown else ""
    return (
        f"{len(cohort)} scans ({positive} positive, {negative} negative{more}) of "
        f"{int(cohort.patient.max()) + 1} patients, {len(cohort.slice_label)} slices. "
        f"{assessment.resamples} resamples of patients, seed {assessment.seed}."
    )


def shown(assessment: Assessment) -> tuple[str, ...]:
    """What the numbers show and do not show, for people."""
    cohort = assessment.cohort
    found: list[str] = []
    for model in assessment.models:
        found += [_over_centre(model), _over_chance(model), _hard(model)]
        found += [
            f"{model.name} shows {each.title}. {each.message}"
            for each in model.signatures
            if each.found
        ]
    hard = {model.name for model in assessment.models if _hard(model)}
    for pair in assessment.comparisons:
        for key in HEADLINES:
            unlike = key == "scan_auroc" and len(hard & {pair.first, pair.second}) == 1
            if key in pair.differences and not unlike:
                found.append(_compared(pair.first, pair.second, key, pair.differences[key]))
    found += [
        f"{group.name}: {len(group.members)} seeds; {_NAMES[key]} "
        f"{number_text(group.means[key].value or 0)} {interval_text(group.means[key])} by "
        f"sampling, standard deviation {group.spread[key]:.4f} by seed. The two are not added up."
        for group in assessment.seed_groups
        for key in HEADLINES
        if key in group.means and key in group.spread
    ]
    if not assessment.seed_groups:
        found.append(
            "Not shown: how much another training seed would change. The intervals hold for these "
            "weights; only patients were resampled."
        )
    out = len(cohort) - int(cohort.both.sum())
    if cohort.both.any():
        found.append(
            f"Within-scan numbers are of the {int(cohort.both.sum())} scans that hold positive and "
            f"negative slices; {out} were left out."
        )
    else:
        found.append("Not shown: anything about slices; no scan has positive and negative labels.")
    if not all(model.frozen for model in assessment.models):
        found.append(
            "Not shown: sensitivity at a threshold fixed beforehand. Without validation "
            "predictions the thresholds for 90 % and 95 % specificity were chosen on these very "
            "scans, and those sensitivities are optimistic."
        )
    classes = [int((cohort.scan_label == each).sum()) for each in (0, 1)]
    if min(classes) < SMALL:
        found.append(
            f"There are {classes[1]} positive and {classes[0]} negative scans: intervals from so "
            "few are themselves uncertain."
        )
    return tuple(filter(None, found))


def _over_centre(model: ModelAssessment) -> str:
    difference = model.over_baselines[CENTRE].get("within_auroc")
    own, rule = (
        each.get("within_auroc") for each in (model.estimates, model.baseline_estimates[CENTRE])
    )
    if difference is None or own is None or rule is None or difference.value is None:
        return ""
    text = (
        f"{number_text(own.value or 0)} against {number_text(rule.value or 0)}, difference "
        f"{difference.value:+.3f} {interval_text(difference, signed=True)}"
    )
    if not differs(difference):
        return (
            f"{model.name}: not shown that it ranks slices within positive scans otherwise than "
            f"the image-blind centre rule does ({text})."
        )
    better = "better" if difference.value > 0 else "worse"
    return (
        f"{model.name} ranks slices within positive scans {better} than the image-blind centre "
        f"rule ({text})."
    )


def _over_chance(model: ModelAssessment) -> str:
    own = model.estimates["scan_auroc"]
    if own.value is None:
        return f"{model.name}: scan AUROC could not be computed: {own.reason}."
    text = f"{number_text(own.value)} {interval_text(own)}"
    if own.low is not None and own.low > 0.5:
        return f"{model.name} tells positive from negative scans better than chance (AUROC {text})."
    return (
        f"{model.name}: not shown that it tells positive from negative scans better than chance "
        f"(AUROC {text})."
    )


def _hard(model: ModelAssessment) -> str:
    if any(scan.scan_probability not in (0.0, 1.0) for scan in model.data.predictions):
        return ""
    return (
        f"{model.name} gives hard scan outputs, 0 or 1: its scan AUROC is that of one operating "
        "point, and cannot be compared with that of probabilities."
    )


def _compared(first: str, second: str, key: str, difference: Estimate) -> str:
    if difference.value is None:
        return f"{first} and {second} could not be compared by {_NAMES[key]}: {difference.reason}."
    text = f"{difference.value:+.3f} {interval_text(difference, signed=True)}"
    if not differs(difference):
        return f"Not shown: any difference of {first} and {second} in {_NAMES[key]} ({text})."
    which = "higher" if difference.value > 0 else "lower"
    return f"{first} has a {which} {_NAMES[key]} than {second} ({text}, paired)."


def definitions() -> tuple[str, ...]:
    """How the numbers are defined, in short."""
    return (
        "AUROC counts ties half; AUPRC is average precision. Within positive scans: the mean over "
        "scans that hold both labels. Pooled: all slices in one list, attention in equal shares.",
        "Top-k hit: the chance that a positive slice is among the k highest, ties broken at "
        "random.",
        "Decisions are those of the stored rule. The slices of a negative scan are negative.",
        "Attention is renormalised over the real slices: S·a has mean 1. Roughness is the mean "
        "squared difference of neighbours; that of f is taken of log a where the table holds no "
        "logits, which is the same.",
        f"{MEASURE_BY_KEY['ece'].title.capitalize()}: ten equally wide bins.",
        "Mean and max pooling: of the model's own slice probability, else its evidence, else its "
        "attention (max only, ranks only).",
        "No correction for looking at many numbers: one interval in twenty misses by chance.",
    )
