"""What the model says of one scan: numbers by slice, the decision, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sadmil_core.dicom import CodedWarning, StackEntry


MIN_SLICES = 2
"""A bag of one slice gives it all the attention whatever it shows: such a stack is not scored."""

_LEAST_REMAINING = 1e-4  # the pads' share is a float32 difference, exact to about 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRule:
    """How probabilities and slice scores become yes or no; stored with the weights.

    Attributes:
        scan_threshold: A scan is positive when its probability is above this.
        temperature: The scan logit is divided by it before the sigmoid.
        slice_score: What a slice is judged by.
        slice_threshold: A slice is positive when its score is above this...
        relative_to_uniform: ...divided by the number of slices in the bag, pads included
            where the checkpoint pads: 1.0 then means "more attention than an equal share".
        gated: Slices can only be positive in a positive scan.

    The defaults are the paper's rule: p > 0.5, then a slice when a_s > 1/S.
    """

    scan_threshold: float = 0.5
    temperature: float = 1.0
    slice_score: Literal["attention", "evidence", "probability"] = "attention"
    slice_threshold: float = 1.0
    relative_to_uniform: bool = True
    gated: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.scan_threshold <= 1:
            raise ValueError(f"scan_threshold must lie in [0, 1], not {self.scan_threshold}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, not {self.temperature}")
        if self.relative_to_uniform and self.slice_score != "attention":
            raise ValueError("only attention has an equal share to be relative to")

    def absolute_slice_threshold(self, bag_size: int) -> float:
        """The threshold on the slice score in a bag of ``bag_size`` instances."""
        if self.relative_to_uniform:
            return self.slice_threshold / max(bag_size, 1)
        return self.slice_threshold

    def describe(self, bag_padding: int = 0) -> str:
        """The slice rule in words a report can carry, such as ``attention > 1/S; gated``."""
        if self.relative_to_uniform:
            size = f"max(S,{bag_padding})" if bag_padding else "S"
            limit = f"{self.slice_threshold:g}/{size}"
        else:
            limit = repr(self.slice_threshold)
        return f"{self.slice_score} > {limit}{'; gated' if self.gated else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """Which weights spoke: the checkpoint's name and the hash of its tensors and configs."""

    model_id: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a result was computed.

    Attributes:
        device: ``cpu``, ``cuda:0``, ``mps``...
        precision: ``fp32`` or ``bf16``.
        threads: CPU threads torch used.
        chunk: Slices encoded at once.
        seconds: Wall-clock time by phase.
    """

    device: str
    precision: str
    threads: int
    chunk: int
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """One stack read by one model. Arrays are (S,) float32 and read-only, foot to head.

    Attributes:
        entry: The stack, as it was read; its slices are those of the arrays.
        attention: Softmax weights a_s. They sum to 1 together with the pads' share, where
            the checkpoint pads its bags. Where the model pools without attention, the share of
            each slice in its answer: equal for a mean, the part of the features it holds for a
            maximum.
        attention_logit: f_s, before the softmax; NaN where the model has no attention.
        evidence: e_s = head(h_s), in uncalibrated scan-logit units; None where the head is
            not linear or slices are mixed before it.
        contribution: a_s e_s; None with ``evidence``.
        padding_contribution: The pads' part of the scan logit; None without pads or evidence.
        attention_sd: Standard deviation of the attention; None where a model gives none.
        slice_probability: Per-slice probability; None where a model gives none.
        bag_size: S, or the padded size.
        bag_padding: The size bags are padded to; 0 for none.
        scan_logit: Before the temperature.
        scan_probability: sigmoid(scan_logit / temperature).
        rule: The stored decision rule.
        model: Which weights.
        execution: How.
        warnings: Those of the prediction; the entry has those of reading.
        features: (S, D) of the encoder, for ``Predictor.probability_without``; None where
            :meth:`probability_without` needs no network.
    """

    entry: StackEntry
    attention: NDArray[np.float32]
    attention_logit: NDArray[np.float32]
    evidence: NDArray[np.float32] | None
    contribution: NDArray[np.float32] | None
    padding_contribution: float | None
    attention_sd: NDArray[np.float32] | None
    slice_probability: NDArray[np.float32] | None
    bag_size: int
    bag_padding: int
    scan_logit: float
    scan_probability: float
    rule: DecisionRule
    model: ModelIdentity
    execution: Execution
    warnings: tuple[CodedWarning, ...] = ()
    features: NDArray[np.float32] | None = None

    @property
    def scan_positive(self) -> bool:
        """Whether the scan probability is above its threshold."""
        return self.scan_probability > self.rule.scan_threshold

    @property
    def slice_threshold(self) -> float:
        """The absolute threshold on :attr:`slice_score`."""
        return self.rule.absolute_slice_threshold(self.bag_size)

    @property
    def slice_score(self) -> NDArray[np.float32]:
        """The values slices are judged by."""
        scores = {
            "attention": self.attention,
            "evidence": self.evidence,
            "probability": self.slice_probability,
        }[self.rule.slice_score]
        if scores is None:
            raise ValueError(f"the model gives no {self.rule.slice_score} for its own rule")
        return scores

    @property
    def slice_positive(self) -> NDArray[np.bool_]:
        """(S,) bool, the decision by slice."""
        above: NDArray[np.bool_] = self.slice_score > np.float32(self.slice_threshold)
        return above if self.scan_positive or not self.rule.gated else np.zeros_like(above)

    @property
    def peak(self) -> int:
        """The index of the slice with the highest score."""
        return int(np.argmax(self.slice_score))

    def probability_without(self, index: int) -> float | None:
        """The scan probability if one slice were not in the bag, all else unchanged.

        (logit - a_s e_s) / (1 - a_s), summed over what remains: the differences would lose
        all digits where one slice holds nearly all the attention. None where this does not
        follow from evidence (``Predictor.probability_without`` asks the network then), or where
        nothing measurable remains.

        Args:
            index: The slice, 0-based.
        """
        if self.contribution is None or self.features is not None or self.bag_size < 2:
            return None
        others = np.delete(self.attention.astype(np.float64), index)
        remaining = float(others.sum())
        logit = float(np.delete(self.contribution.astype(np.float64), index).sum())
        if self.padding_contribution is not None:
            pads = 1.0 - float(self.attention.sum(dtype=np.float64))
            if remaining + pads < _LEAST_REMAINING:
                return None
            remaining += pads
            logit += self.padding_contribution
        if remaining <= 0.0:
            return None
        return sigmoid(logit / remaining / self.rule.temperature)


def sigmoid(logit: float) -> float:
    """1 / (1 + exp(-logit)) without overflow."""
    if logit >= 0:
        return float(1.0 / (1.0 + np.exp(-logit)))
    return float(np.exp(logit) / (1.0 + np.exp(logit)))


def positive_runs(positive: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    """The runs of consecutive positive slices as (first, last), 0-based and inclusive."""
    edges = np.diff(np.concatenate([[False], positive, [False]]).astype(np.int8))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return tuple((int(a), int(b) - 1) for a, b in zip(starts, stops, strict=True))


def describe_runs(positive: NDArray[np.bool_]) -> str:
    """The runs of positive slices for people, counted from 1: ``11-25, 30``; empty for none."""
    return ", ".join(
        f"{slice_number(first)}-{slice_number(last)}" if first != last else f"{slice_number(first)}"
        for first, last in positive_runs(positive)
    )


def slice_number(index: int) -> int:
    """The number people see for a slice: counted from 1, foot to head. Files count from 0."""
    return index + 1
