"""The attention panel in words: what its curve is, what a slice has, and a table to copy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core import RESEARCH_USE_NOTICE
from sadmil_core.result import describe_runs, slice_number

if TYPE_CHECKING:
    from sadmil_core.result import ScanResult
    from viewer.model.state import ViewState


@dataclass(frozen=True, slots=True)
class CurveName:
    """What the curve is called: over it, at its axis, of one slice, and in a sentence."""

    heading: str
    axis: str
    word: str
    meaning: str


_ATTENTION = CurveName(
    "Attention by slice",
    "a weight, not a probability",
    "attention",
    "How much each slice weighs in the model's answer. It is not the probability that the slice "
    "shows a hemorrhage: a slice can weigh much because it speaks against one.",
)
_NAMES = {
    "attention": _ATTENTION,
    "mean": CurveName(
        "Equal shares (no attention)",
        "1/S for every slice: says nothing",
        "share",
        "This model averages its slices and has no attention: each has the same share.",
    ),
    "max": CurveName(
        "Share of features by slice (no attention)",
        "part of the maxima, not a probability",
        "share",
        "This model takes the maximum of each feature and has no attention: shown is the part of "
        "the features whose maximum a slice holds.",
    ),
    "instance-max": CurveName(
        "The deciding slice (no attention)",
        "1 for the slice that decides",
        "share",
        "This model's answer is that of its most suspicious slice alone, which has all the share.",
    ),
    "noisy-or": CurveName(
        "Share of the answer by slice (no attention)",
        "part of -log(1 - p), not a probability",
        "share",
        "This model is positive unless every slice is negative: shown is each slice's part of "
        "-log(1 - p).",
    ),
}


def curve_name(state: ViewState) -> CurveName:
    """What the values that reports call attention are for the chosen model."""
    pooling = state.model.header.model.pooling if state.model else "attention"
    return _NAMES.get(pooling, _ATTENTION)


def probability(value: float) -> str:
    """Three decimals that never claim certainty."""
    if value > 0.999:
        return "> 0.999"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _equals(value: float) -> str:
    text = probability(value)
    return text if text[0] in "<>" else f"= {text}"


def probability_without(state: ViewState, index: int) -> float | None:
    """The scan probability without a slice, as far as it is known."""
    result, found = state.result, state.inquiry.without
    if result is None:
        return None
    if result.features is None:
        return result.probability_without(index)
    return None if found is None or math.isnan(found[index]) else float(found[index])


def readout(state: ViewState, index: int) -> tuple[str, ...]:
    """What the model says of one slice, line by line; nothing without a result."""
    result = state.result
    if result is None:
        return ()
    name, value = curve_name(state), float(result.attention[index])
    marked = "● marked" if result.slice_positive[index] else "not marked"
    first = f"{name.word} {value:.3f}"
    if result.attention_sd is not None:
        first += f" ± {float(result.attention_sd[index]):.3f}"
    times = value * result.bag_size
    lines = [f"Slice {slice_number(index)}: {marked}", f"{first}, {times:.1f} times an equal share"]
    if result.slice_probability is not None:
        lines.append(f"slice probability {float(result.slice_probability[index]):.3f}")
    if result.evidence is not None and result.contribution is not None:
        evidence, part = float(result.evidence[index]), float(result.contribution[index])
        lines.append(f"evidence {evidence:+.2f}, part of the logit {part:+.2f}")
    other = state.other_result
    if other is not None and state.attention.other is not None:
        lines.append(f"{state.attention.other.header.name}: {float(other.attention[index]):.3f}")
    without = probability_without(state, index)
    if without is not None:
        now = _equals(result.scan_probability)
        lines.append(f"without this slice the scan would read p {_equals(without)} (now {now})")
    elif result.features is not None and state.inquiry.without is None:
        lines.append("without this slice: press W to ask")
    return tuple(lines)


def trial_text(state: ViewState) -> str:
    """What a tried threshold would mark; empty where none is tried."""
    result, tried = state.result, state.inquiry.trial_threshold
    if result is None or tried is None:
        return ""
    marked = describe_runs(result.slice_score > np.float32(tried)) or "none"
    gate = "" if result.scan_positive or not result.rule.gated else ", were the scan positive"
    return (
        f"WHAT IF {result.rule.slice_score} > {tried:.3f}: slices {marked}{gate}. "
        f"Reports keep {result.slice_threshold:.3f}. Esc resets."
    )


def attention_table(state: ViewState) -> str:
    """The curve as tab-separated text, by the stored rule: never one that is tried out."""
    result = state.result
    if result is None:
        return ""
    lines = [
        f"{RESEARCH_USE_NOTICE}. {curve_name(state).meaning}",
        f"model {result.model.model_id}, {result.model.sha256}; rule: "
        f"{result.rule.describe(result.bag_padding)}; scan probability "
        f"{result.scan_probability:.6g}, threshold {result.rule.scan_threshold:g}",
    ]
    columns = _columns(state, result)
    lines.append("\t".join(columns))
    lines += ["\t".join(row) for row in zip(*columns.values(), strict=True)]
    return "\n".join(lines) + "\n"


def _columns(state: ViewState, result: ScanResult) -> dict[str, list[str]]:
    count, geometry = len(result.attention), result.entry.geometry
    columns = {
        "slice_number": [str(slice_number(index)) for index in range(count)],
        "slice_index": [str(index) for index in range(count)],
    }
    if geometry.has_positions:
        columns["position_mm"] = [f"{geometry.position_at(index):.3f}" for index in range(count)]
    values = {
        "attention": result.attention,
        "attention_sd": result.attention_sd,
        "evidence": result.evidence,
        "contribution": result.contribution,
        "slice_probability": result.slice_probability,
        "slice_score": result.slice_score,
    }
    for name, numbers in values.items():
        if numbers is not None:
            columns[name] = [f"{number:.6g}" for number in numbers]
    columns["slice_threshold"] = [f"{result.slice_threshold:.6g}"] * count
    columns["slice_positive"] = ["true" if each else "false" for each in result.slice_positive]
    other = state.other_result
    if other is not None:
        name = " ".join(other.model.model_id.split())
        columns[f"attention of {name}, {other.model.sha256[:12]}"] = [
            f"{number:.6g}" for number in other.attention
        ]
    return columns
