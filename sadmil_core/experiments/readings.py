"""What a trained network says of the bags of one split, kept in a file beside it."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import torch

from sadmil_core.atomic import replacing
from sadmil_core.configs import from_mapping
from sadmil_core.data.bags import collate
from sadmil_core.errors import ExperimentError
from sadmil_core.evaluation.shape import relative_attention
from sadmil_core.evaluation.values import EvaluationSet, ScanPrediction, ScanTruth, SliceRule
from sadmil_core.result import sigmoid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sadmil_core.checkpoint import CheckpointHeader
    from sadmil_core.data.bags import BagSample, BagSource
    from sadmil_core.model.sadmil import BagOutput
    from sadmil_core.model.trained import TrainedModel

    Floats = NDArray[np.float64]

_SLICES = ("attention", "attention_logit", "evidence", "slice_probability", "position_mm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How decisions are made; from a checkpoint's header.

    Attributes:
        temperature: Of the scan logit.
        scan_threshold: On its probability.
        rule: Of slices.
    """

    temperature: float
    scan_threshold: float
    rule: SliceRule

    @classmethod
    def of(cls, header: CheckpointHeader) -> Verdict:
        """The header's rule, or what a network without attention is judged by.

        The slices of such a network are judged by the probability of its instance head, or else
        by their evidence, positive above 0, or else by their share of the answer.
        """
        rule, model = header.rule, header.model
        by_attention = rule.slice_score == "attention" and not model.has_attention
        score, limit, relative = rule.slice_score, rule.slice_threshold, rule.relative_to_uniform
        if by_attention and model.instance is not None:
            score, limit, relative = "probability", 0.5, False
        elif by_attention and model.gives_evidence:
            score, limit, relative = "evidence", 0.0, False
        return cls(
            temperature=rule.temperature,
            scan_threshold=rule.scan_threshold,
            rule=SliceRule(
                score=score,
                limit=limit,
                relative_to_uniform=relative,
                padding=model.bag_padding,
                gated=rule.gated,
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """N scans with M slices, read by one network.

    Attributes:
        model_sha256: Of the network.
        verdict: How it decides.
        scan_ids: Of each scan.
        slices: Of each scan.
        logit: (N,) scan logits.
        label: (N,) NaN where unknown.
        slice_label: (M,) NaN where unknown; scan after scan.
        values: (M,) arrays by name: attention, and what else the network gives.
        extras: (N,) further values by name: roughness over the bags' own edges, where they have
            any; what noise changed.
    """

    model_sha256: str
    verdict: Verdict
    scan_ids: tuple[str, ...]
    slices: NDArray[np.int64]
    logit: Floats
    label: Floats
    slice_label: Floats
    values: Mapping[str, Floats]
    extras: Mapping[str, Floats]

    @property
    def probability(self) -> Floats:
        """(N,) calibrated."""
        return np.array([sigmoid(each / self.verdict.temperature) for each in self.logit])

    def evaluation_set(self, name: str, patients: Mapping[str, str]) -> EvaluationSet:
        """As evaluation takes it.

        Args:
            name: Of the model.
            patients: Whose each scan is.
        """
        bounds = np.r_[0, np.cumsum(self.slices)]
        parts = [slice(int(a), int(b)) for a, b in itertools.pairwise(bounds)]
        chances = self.probability
        predictions, truths = [], []
        for at, (scan_id, part) in enumerate(zip(self.scan_ids, parts, strict=True)):
            values = {key: each[part] for key, each in self.values.items()}
            predictions.append(_prediction(scan_id, self.verdict, float(chances[at]), values))
            label = None if np.isnan(self.label[at]) else bool(self.label[at])
            known = self.slice_label[part]
            truths.append(
                ScanTruth(
                    scan_id=scan_id,
                    patient_id=patients.get(scan_id, scan_id),
                    label=label,
                    slice_labels=np.zeros_like(known) if label is False else known,
                )
            )
        return EvaluationSet(name=name, predictions=tuple(predictions), truths=tuple(truths))


def _prediction(
    scan_id: str, verdict: Verdict, chance: float, values: Mapping[str, Floats]
) -> ScanPrediction:
    count, rule = len(values["attention"]), verdict.rule
    named = {"probability": "slice_probability"}.get(rule.score, rule.score)
    live = chance > verdict.scan_threshold or not rule.gated
    return ScanPrediction(
        scan_id=scan_id,
        slice_keys=("",) * count,
        slice_index=np.arange(count),
        scan_probability=chance,
        scan_threshold=verdict.scan_threshold,
        rule=rule,
        attention=values["attention"],
        attention_logit=values.get("attention_logit"),
        evidence=values.get("evidence"),
        slice_probability=values.get("slice_probability"),
        position_mm=values.get("position_mm"),
        slice_positive=(values[named] > rule.threshold(count)) & live,
    )


def read_bags(model: TrainedModel, bags: BagSource, device: torch.device) -> Readings:
    """Reads scans one by one, unpadded.

    Args:
        model: Moved to the device.
        bags: What to read; not augmented.
        device: Where to compute.
    """
    model.module.to(device).eval()
    return _gather(model, [_read(model, bags[index], device) for index in range(len(bags))])


@dataclass(frozen=True, slots=True, kw_only=True)
class _OneScan:
    sample: BagSample
    logit: float
    values: dict[str, Floats]

    @property
    def edge_roughness(self) -> dict[str, float]:
        """Mean squared difference over the bag's own edges, of S·a and f; none without edges."""
        edges = self.sample.edges
        if edges is None or not len(edges.weights_E):
            return {}
        pairs, weights = edges.pairs_E2.numpy(), edges.weights_E.double().numpy()
        shapes = {"sa": relative_attention(self.values["attention"])}
        shapes["f"] = self.values.get("attention_logit")
        return {
            f"edge_roughness_{name}": float(
                np.average((x[pairs[:, 0]] - x[pairs[:, 1]]) ** 2, weights=weights)
            )
            for name, x in shapes.items()
            if x is not None and weights.sum() > 0
        }


def _read(model: TrainedModel, sample: BagSample, device: torch.device) -> _OneScan:
    batch = collate([sample]).to(device)
    with torch.inference_mode():
        output = model.module(
            batch.instances,
            batch.mask_BS,
            edges=batch.edges,
            position_mm_BS=batch.position_mm_BS,
        )
    values = _slice_values(output, has_attention=model.header.model.has_attention)
    position = sample.position_mm_S.double().numpy()
    if not np.isnan(position).any():
        values["position_mm"] = position
    return _OneScan(sample=sample, logit=float(output.logit_B[0]), values=values)


def _slice_values(output: BagOutput, *, has_attention: bool) -> dict[str, Floats]:
    found = {
        "attention": output.attention_BS,
        "attention_logit": output.attention_logit_BS if has_attention else None,
        "evidence": output.evidence_BS,
        "slice_probability": None
        if output.slice_logit_BS is None
        else torch.sigmoid(output.slice_logit_BS.double()),
    }
    return {k: t[0].double().cpu().numpy() for k, t in found.items() if t is not None}


def _gather(model: TrainedModel, scans: Sequence[_OneScan]) -> Readings:
    keys = [key for key in _SLICES if all(key in scan.values for scan in scans)]
    rough = [scan.edge_roughness for scan in scans]
    return Readings(
        model_sha256=model.header.model_sha256,
        verdict=Verdict.of(model.header),
        scan_ids=tuple(scan.sample.scan_id for scan in scans),
        slices=np.array([len(scan.values["attention"]) for scan in scans]),
        logit=np.array([scan.logit for scan in scans]),
        label=np.array([scan.sample.label for scan in scans]),
        slice_label=np.concatenate([scan.sample.slice_labels_S.double().numpy() for scan in scans]),
        values={key: np.concatenate([scan.values[key] for scan in scans]) for key in keys},
        extras={
            key: np.array([each[key] for each in rough])
            for key in rough[0]
            if all(key in each for each in rough)
        },
    )


def decision_flips(clean: Readings, noisy: Sequence[Readings]) -> dict[str, Floats]:
    """The share of decisions of each scan that noise changes.

    Args:
        clean: Without noise.
        noisy: The same scans with it, once a repeat.

    Returns:
        (N,) ``slice_flips`` and ``scan_flips``.
    """
    names = dict.fromkeys(clean.scan_ids, "")
    before = clean.evaluation_set("", names).predictions
    slices, scans = np.zeros(len(before)), np.zeros(len(before))
    for each in noisy:
        after = each.evaluation_set("", names).predictions
        for at, (a, b) in enumerate(zip(before, after, strict=True)):
            slices[at] += np.mean(a.slice_positive != b.slice_positive)
            scans[at] += a.scan_positive != b.scan_positive
    return {"slice_flips": slices / len(noisy), "scan_flips": scans / len(noisy)}


def save_readings(readings: Readings, path: Path) -> None:
    """Writes them, whole or not at all.

    Raises:
        WriteError: The system refused.
    """
    head = {
        "model_sha256": readings.model_sha256,
        "verdict": asdict(readings.verdict),
        "scan_ids": list(readings.scan_ids),
    }
    arrays: dict[str, Any] = {
        "head": np.array(json.dumps(head)),
        "slices": readings.slices,
        "logit": readings.logit,
        "label": readings.label,
        "slice_label": readings.slice_label,
    }
    arrays |= {f"value.{key}": each for key, each in readings.values.items()}
    arrays |= {f"extra.{key}": each for key, each in readings.extras.items()}
    with replacing(path) as stream:
        np.savez(stream, **arrays)


def load_readings(path: Path) -> Readings:
    """Reads what :func:`save_readings` wrote.

    Raises:
        ExperimentError: The file is damaged, or none.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        head = json.loads(str(arrays.pop("head")))
        parts: dict[str, dict[str, Floats]] = {"value": {}, "extra": {}}
        for name in [name for name in arrays if "." in name]:
            kind, _, key = name.partition(".")
            parts[kind][key] = arrays.pop(name)
        return Readings(
            model_sha256=head["model_sha256"],
            verdict=from_mapping(Verdict, head["verdict"]),
            scan_ids=tuple(head["scan_ids"]),
            values=parts["value"],
            extras=parts["extra"],
            **arrays,
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise ExperimentError(
            f"{path} cannot be read.",
            remedy=f"Delete the folder {path.parent.name} and run the experiment again.",
            detail=str(error),
        ) from error
