"""What an evaluation is about: predictions and truth by scan, slice by slice."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

SUBTYPES = ("epidural", "subdural", "subarachnoid", "intraparenchymal", "intraventricular")

_RULE = re.compile(
    r"(?P<score>attention|evidence|probability) > (?P<limit>[-+0-9.einfa]+)"
    r"(?P<uniform>/(?:S|max\(S,(?P<padding>\d+)\)))?(?P<gated>; gated)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceRule:
    """How slice scores became decisions, as a table of predictions tells it.

    Attributes:
        score: ``attention``, ``evidence`` or ``probability``.
        limit: A slice is positive when its score is above this...
        relative_to_uniform: ...divided by the number of slices of the bag, pads included.
        padding: The size bags are padded to; 0 for none.
        gated: Slices can only be positive in a positive scan.
    """

    score: str = "attention"
    limit: float = 1.0
    relative_to_uniform: bool = True
    padding: int = 0
    gated: bool = True

    @classmethod
    def parse(cls, text: str) -> SliceRule:
        """Reads a rule as reports write it, such as ``attention > 1/max(S,57); gated``.

        Raises:
            ValueError: It is not such a rule.
        """
        found = _RULE.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is no slice rule")
        return cls(
            score=found["score"],
            limit=float(found["limit"]),
            relative_to_uniform=found["uniform"] is not None,
            padding=int(found["padding"] or 0),
            gated=found["gated"] is not None,
        )

    def threshold(self, slices: int) -> float:
        """The absolute threshold in a scan of so many real slices."""
        if self.relative_to_uniform:
            return self.limit / max(slices, self.padding, 1)
        return self.limit

    def __str__(self) -> str:
        size = f"max(S,{self.padding})" if self.padding else "S"
        limit = f"{self.limit:g}/{size}" if self.relative_to_uniform else f"{self.limit:g}"
        return f"{self.score} > {limit}{'; gated' if self.gated else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPrediction:
    """What a model says of one scan. Arrays are (S,) over its real slices, foot to head.

    Attributes:
        scan_id: The study.
        series_instance_uid: The series; empty where the table names none.
        stack_index: The stack of it.
        is_readout: Whether this stack speaks for its study.
        slice_keys: SOPInstanceUIDs of the slices, with ``#frame`` for frames of one file; empty
            where unknown.
        slice_index: Their numbers in the table.
        position_mm: float64; None where unknown.
        scan_probability: In [0, 1].
        scan_threshold: A scan is positive above it.
        rule: How slices are judged.
        attention: float64, as in the table (pads' share not in it); None where not given.
        attention_logit: float64; None where not given.
        evidence: float64; None where not given.
        slice_probability: float64; None where not given.
        slice_positive: The stored decisions, bool.
        thickness_mm: Slice thickness; None where unknown.
    """

    scan_id: str
    series_instance_uid: str = ""
    stack_index: int = 0
    is_readout: bool = True
    slice_keys: tuple[str, ...]
    slice_index: NDArray[np.int64]
    position_mm: NDArray[np.float64] | None = None
    scan_probability: float
    scan_threshold: float
    rule: SliceRule
    attention: NDArray[np.float64] | None
    attention_logit: NDArray[np.float64] | None = None
    evidence: NDArray[np.float64] | None = None
    slice_probability: NDArray[np.float64] | None = None
    slice_positive: NDArray[np.bool_]
    thickness_mm: float | None = None

    def __len__(self) -> int:
        return len(self.slice_keys)

    @property
    def slice_score(self) -> NDArray[np.float64] | None:
        """The values slices are judged by; None where the table does not give them."""
        return {
            "attention": self.attention,
            "evidence": self.evidence,
            "probability": self.slice_probability,
        }[self.rule.score]

    @property
    def scan_positive(self) -> bool:
        """Whether the scan is called positive."""
        return self.scan_probability > self.scan_threshold

    @property
    def spacing_mm(self) -> float | None:
        """The median distance from slice to slice; None without positions."""
        if self.position_mm is None or len(self) < 2:
            return None
        return float(np.median(np.abs(np.diff(self.position_mm))))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanTruth:
    """What is known of one scan, laid along the slices of its prediction.

    Attributes:
        scan_id: As the labels name it.
        patient_id: Whom intervals resample; the scan where unknown.
        label: Whether it holds a hemorrhage; None where unknown.
        slice_labels: (S,) float64 of 0 and 1, NaN where unknown. Those of a negative scan are
            0: none of its slices can be positive.
        subtypes: Of the scan; None where unknown.
        site: Where it comes from; may be empty.
    """

    scan_id: str
    patient_id: str
    label: bool | None
    slice_labels: NDArray[np.float64]
    subtypes: Mapping[str, bool | None] = field(default_factory=dict)
    site: str = ""

    @property
    def positives(self) -> int:
        """How many slices are known to be positive."""
        return int(np.nansum(self.slice_labels))

    @property
    def holds_both(self) -> bool:
        """Whether positive and negative slices are known in it."""
        return bool((self.slice_labels == 1).any() and (self.slice_labels == 0).any())


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSet:
    """One model's predictions beside the truth.

    Attributes:
        name: The model's.
        predictions: By scan.
        truths: Of the same scans, in the same order.
        notes: In words: what did not match on either side, what was assumed.
    """

    name: str
    predictions: tuple[ScanPrediction, ...]
    truths: tuple[ScanTruth, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for prediction, truth in zip(self.predictions, self.truths, strict=True):
            if len(prediction) != len(truth.slice_labels):
                raise ValueError(f"labels of {truth.scan_id} do not lie along its slices")

    def __len__(self) -> int:
        return len(self.predictions)

    def restricted(self, scan_ids: frozenset[str]) -> EvaluationSet:
        """The same with only these scans, by the labels' names, in the order of their names."""
        kept = sorted(
            (
                (truth.scan_id, prediction, truth)
                for prediction, truth in zip(self.predictions, self.truths, strict=True)
                if truth.scan_id in scan_ids
            ),
            key=lambda each: each[0],
        )
        return EvaluationSet(
            name=self.name,
            predictions=tuple(each[1] for each in kept),
            truths=tuple(each[2] for each in kept),
            notes=self.notes,
        )
