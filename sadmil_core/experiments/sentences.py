"""An experiment in words: what was shown, and what was not."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.evaluation.scorers import CENTRE
from sadmil_core.evaluation.sentences import interval_text, number_text
from sadmil_core.evaluation.subgroups import SMALL
from sadmil_core.experiments.analysis import BLIND_BASELINES, MEASURE_BY_KEY
from sadmil_core.experiments.arms import ATT_MIL, TRAINED_BASELINES
from sadmil_core.experiments.hard_cases import HARD_MEASURES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sadmil_core.experiments.analysis import ArmResult, Difference, Pair
    from sadmil_core.experiments.finish import Result

HEADLINES = ("within_auroc", "scan_auroc")
MECHANISMS = (
    *(measure.key for measure in HARD_MEASURES),
    "crossings",
    "slice_flips",
    "scan_flips",
    "gap_loss",
    "gap_auroc",
    "roughness_sa",
    "roughness_f",
    "edge_roughness_sa",
    "edge_roughness_f",
    "entropy",
    "top1_hit",
)
FEW_SEEDS = 5


def title_of(key: str, *, features: bool = False) -> str:
    """A metric's name with what it is about."""
    measure = MEASURE_BY_KEY[key]
    if measure.about == "noise" and features:
        return measure.title.replace("noise", "feature noise")
    if measure.about == "evidence":
        return f"slice {measure.title} by evidence"
    about = "" if measure.about in ("noise", "gap", "attention") else f"{measure.about} "
    return f"{about}{measure.title}"


def facts(result: Result) -> str:
    """What was judged, in a line."""
    cohort = result.analysis.cohort
    positive, negative = (int((cohort.scan_label == each).sum()) for each in (1, 0))
    seeds = ", ".join(map(str, result.plan.config.seeds))
    return (
        f"{len(result.plan.runs)} trainings, seeds {seeds}. Judged on {len(cohort)} test scans "
        f"({positive} positive, {negative} negative) of {int(cohort.patient.max()) + 1} patients, "
        f"{len(cohort.slice_label)} slices; {result.analysis.resamples} resamples of patients."
    )


def shown(result: Result) -> tuple[str, ...]:
    """What the numbers show and do not show, for people."""
    return (
        *(choice.sentence for choice in result.choices),
        *_headlines(result),
        *_baselines(result),
        *_mechanisms(result),
        *_signatures(result),
        *_alpha_sensitivity(result),
        *(f"Not run: {reason}." for reason in result.plan.not_run),
        *_cautions(result),
    )


def difference_text(difference: Difference) -> str:
    """A difference with both kinds of chance."""
    value = difference.sampling.value
    if value is None:
        return difference.sampling.reason
    text = f"{value:+.3f}, patients {interval_text(difference.sampling, signed=True) or '-'}"
    if difference.seed_low is not None and difference.seed_high is not None:
        text += f", seeds [{difference.seed_low:+.3f}, {difference.seed_high:+.3f}]"
    return text


def finding_text(pair: Pair, key: str, *, features: bool = False) -> str:
    """One difference as a sentence."""
    difference, title = pair.differences[key], title_of(key, features=features)
    text = difference_text(difference)
    a, b = pair.first, pair.second
    if difference.finding == "unknown":
        return f"{a} and {b} could not be compared by {title}: {text}."
    if difference.finding == "one seed":
        return f"Not shown: that {a} and {b} differ in {title} ({text}): there is one seed only."
    if difference.finding == "not shown":
        return f"Not shown: that {a} and {b} differ in {title} ({text}){_why(difference)}."
    return f"Shown: {a} has a {difference.finding} {title} than {b} ({text})."


def _why(difference: Difference) -> str:
    """Which kind of chance could have made a difference that was not shown."""
    estimate = difference.sampling
    if None in (estimate.low, estimate.high, difference.seed_low, difference.seed_high):
        return ""
    patients = not _contains(estimate.low, estimate.high)
    seeds = not _contains(difference.seed_low, difference.seed_high)
    if patients:
        return ": other seeds could turn it"
    return ": other patients could turn it" if seeds else ""


def _contains(low: float | None, high: float | None) -> bool:
    return low is None or high is None or low <= 0 <= high


def _rest(result: Result) -> list[str]:
    apart = (ATT_MIL, *TRAINED_BASELINES, *BLIND_BASELINES)
    return [arm.name for arm in result.analysis.arms if arm.name not in apart]


def _headlines(result: Result) -> Iterator[str]:
    baselines = (CENTRE, *TRAINED_BASELINES)
    for pair in result.analysis.pairs:
        if pair.second not in baselines:
            for key in HEADLINES:
                if key in pair.differences:
                    yield finding_text(pair, key)


def _baselines(result: Result) -> Iterator[str]:
    for pair in result.analysis.pairs:
        if pair.second == CENTRE:
            yield finding_text(pair, "within_auroc")
        elif pair.second in TRAINED_BASELINES:
            yield finding_text(pair, "scan_auroc")


def _mechanisms(result: Result) -> Iterator[str]:
    """What the paper says smoothness does, against what it did here."""
    for pair in result.analysis.pairs:
        if pair.second != ATT_MIL or not pair.first.startswith(("S1", "S2")):
            continue
        shown_here, open_here = [], []
        for key in MECHANISMS:
            difference = pair.differences.get(key)
            if difference is None or difference.finding == "unknown":
                continue
            title = title_of(key, features=result.features)
            if difference.finding in ("higher", "lower"):
                shown_here.append(f"{difference.finding} {title} ({difference_text(difference)})")
            else:
                open_here.append(title)
        if shown_here:
            yield f"Mechanism, shown: {pair.first} against {ATT_MIL}: {'; '.join(shown_here)}."
        if open_here:
            yield (
                f"Mechanism, not shown: that {pair.first} changes {', '.join(open_here)} "
                f"against {ATT_MIL}."
            )


def _signatures(result: Result) -> Iterator[str]:
    for arm in result.analysis.arms:
        keys = [each.key for each in arm.signatures[0]] if arm.signatures else []
        for at, _ in enumerate(keys):
            each = [signatures[at] for signatures in arm.signatures]
            found = sum(bool(signature.found) for signature in each)
            if found:
                yield (
                    f"{arm.name} shows {each[0].title} in {found} of {len(each)} seeds "
                    f"(for example: {next(s.message for s in each if s.found)})"
                )


def _alpha_sensitivity(result: Result) -> Iterator[str]:
    """Whether a step along alpha swings a headline beyond the spread of its seeds."""
    if result.plan.kind != "alpha":
        return
    for order in result.plan.config.orders:
        arms = [arm for arm in result.arms if arm.order in (0, order)]
        ladder = sorted(
            (arm for arm in arms if arm.name == ATT_MIL or arm.order), key=lambda arm: arm.alpha
        )
        for key in HEADLINES:
            yield _ladder_sentence(
                f"S{order}", key, [(a.alpha, result.analysis.arm(a.name)) for a in ladder]
            )


def _ladder_sentence(name: str, key: str, ladder: list[tuple[float, ArmResult]]) -> str:
    swings = alpha_swings(key, ladder)
    title = title_of(key)
    if swings is None:
        return (
            f"Alpha sensitivity of {name} in {title} could not be looked for: the number or its "
            "spread over seeds is missing."
        )
    if not swings:
        return (
            f"Alpha sensitivity was not found: no step of {name} along alpha changes {title} by "
            "more than twice the pooled standard deviation over seeds."
        )
    steps = "; ".join(f"{a:g} to {b:g}: {d:+.3f}, spread {sd:.3f}" for a, b, d, sd in swings)
    return f"{name} shows alpha sensitivity in {title} ({steps})."


def alpha_swings(
    key: str, ladder: list[tuple[float, ArmResult]]
) -> list[tuple[float, float, float, float]] | None:
    """Steps along alpha that change a metric by more than twice the spread over seeds.

    Args:
        key: The metric.
        ladder: Alphas, ascending, and their arms.

    Returns:
        Alpha before, alpha after, the change of the mean, the pooled standard deviation over
        seeds of the two; None where a number or its spread is missing.
    """
    numbers = [(alpha, arm.numbers[key]) for alpha, arm in ladder]
    found = []
    for (a, before), (b, after) in itertools.pairwise(numbers):
        values, spreads = (before.mean.value, after.mean.value), (before.seed_sd, after.seed_sd)
        if None in values or None in spreads:
            return None
        change = (after.mean.value or 0.0) - (before.mean.value or 0.0)
        spread = float(np.sqrt(((before.seed_sd or 0.0) ** 2 + (after.seed_sd or 0.0) ** 2) / 2))
        if abs(change) > 2 * spread:
            found.append((a, b, change, spread))
    return found


def _cautions(result: Result) -> Iterator[str]:
    cohort, seeds = result.analysis.cohort, len(result.plan.config.seeds)
    if seeds < FEW_SEEDS:
        yield (
            f"There are {seeds} seeds: fewer than {FEW_SEEDS} say little of how much training "
            "varies."
        )
    classes = [int((cohort.scan_label == each).sum()) for each in (0, 1)]
    if min(classes) < SMALL:
        yield (
            f"There are {classes[1]} positive and {classes[0]} negative test scans: intervals "
            "from so few are themselves uncertain."
        )
    both = int(cohort.both.sum())
    yield (
        f"Within-scan numbers are of the {both} test scans that hold positive and negative "
        f"slices; {len(cohort) - both} were left out."
        if both
        else "Not shown: anything about slices; no test scan has positive and negative labels."
    )
    yield (
        "A difference is called shown where the interval of resampled patients and the t interval "
        "of the seeds both leave 0 out. Many differences were looked at and none was corrected "
        "for: of those that are nothing, a few will look like something."
    )
    yield (
        "Choices were made on the validation split; the test split was read after all runs "
        "were finished."
    )


def arm_lines(result: Result) -> Iterator[str]:
    """The headline of each arm, beside the baselines, a line each."""
    for arm in result.analysis.arms:
        parts = []
        for key in HEADLINES:
            number = arm.numbers[key]
            if number.mean.value is None:
                continue
            spread = "" if number.seed_sd is None else f", seed SD {number.seed_sd:.3f}"
            parts.append(
                f"{title_of(key)} {number_text(number.mean.value)} "
                f"{interval_text(number.mean)}{spread}"
            )
        yield f"{arm.name}: {'; '.join(parts) or 'gives neither'}"
