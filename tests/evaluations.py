"""Tables of predictions and labels for tests, in the forms the program reads."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np

from sadmil_core.evaluation.values import EvaluationSet, ScanPrediction, ScanTruth, SliceRule
from sadmil_core.report import COLUMNS

if TYPE_CHECKING:
    from pathlib import Path

PADDED = 14


def make_set(
    scans: int = 40, *, seed: int = 0, name: str = "model", strength: float = 2.0, **changes: Any
) -> EvaluationSet:
    """Scans of 10 to 14 slices, every second with a run of positives, and a model that sees it."""
    rng = np.random.default_rng(seed)
    predictions, truths = [], []
    for at in range(scans):
        count = 10 + at % 5
        labels = np.zeros(count)
        if at % 2:
            start = int(np.random.default_rng(at).integers(0, count - 3))
            labels[start : start + 3] = 1
        logit = rng.normal(0, 1, count) + strength * labels
        attention = np.exp(logit) / np.exp(logit).sum()
        chance = float(1 / (1 + np.exp(-rng.normal(strength if at % 2 else -strength, 2))))
        values = {
            "scan_id": f"scan{at:03}",
            "slice_keys": tuple(f"s{at}.{k}" for k in range(count)),
            "slice_index": np.arange(count),
            "position_mm": np.arange(count) * (5.0 if at % 3 else 1.0),
            "scan_probability": chance,
            "scan_threshold": 0.5,
            "rule": SliceRule(),
            "attention": attention,
            "attention_logit": logit,
            "evidence": logit - 1,
            "slice_positive": (attention > 1 / count) & (chance > 0.5),
        }
        predictions.append(ScanPrediction(**(values | changes)))
        truths.append(
            ScanTruth(
                scan_id=f"scan{at:03}",
                patient_id=f"patient{at // 2:03}",
                label=bool(at % 2),
                slice_labels=labels,
                subtypes={"subdural": bool(at % 2 and at % 3)},
                site="a" if at % 4 < 2 else "b",
            )
        )
    return EvaluationSet(name=name, predictions=tuple(predictions), truths=tuple(truths))


def write_rows(path: Path, rows: list[dict[str, Any]], columns: tuple[str, ...] = ()) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns or tuple(rows[0]), restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_authors(folder: Path, data: EvaluationSet) -> tuple[Path, Path]:
    """The authors' two tables: predictions with pads, in disorder, and labels with an order."""
    predicted, labelled = [], []
    for scan, truth in zip(data.predictions, data.truths, strict=True):
        assert scan.attention is not None
        keys = [f"{key}.dcm" for key in scan.slice_keys]
        real = len(keys)
        shares = list(scan.attention * real / PADDED) + [1 / PADDED] * (PADDED - real)
        order = np.random.default_rng(real).permutation(real)
        names = [keys[at] for at in order] + ["all_zeros"] * (PADDED - real)
        for name, share in zip(names, [*(shares[at] for at in order), *shares[real:]], strict=True):
            predicted.append(
                {
                    "": len(predicted),
                    "instance_name": name,
                    "bag_name": truth.scan_id,
                    "bag_cnn_probability": repr(scan.scan_probability),
                    "cnn_prediction": repr(float(share)),
                }
            )
        labelled += [
            {
                "instance_label": int(label),
                "instance_name": key,
                "bag_name": truth.scan_id,
                "bag_label": int(bool(truth.label)),
                "order": at,
            }
            for at, (key, label) in enumerate(zip(keys, truth.slice_labels, strict=True))
        ]
    return (
        write_rows(folder / f"{data.name}.csv", predicted),
        write_rows(folder / "labels.csv", labelled),
    )


def report_rows(data: EvaluationSet) -> list[dict[str, Any]]:
    """A slice report, its cells as text."""
    rows = []
    for scan in data.predictions:
        for at in range(len(scan)):
            row: dict[str, Any] = {
                "schema_version": 2,
                "scan_id": scan.scan_id,
                "series_instance_uid": f"{scan.scan_id}.1",
                "stack_index": 0,
                "slice_index": int(scan.slice_index[at]),
                "sop_instance_uid": scan.slice_keys[at],
                "slice_positive": str(bool(scan.slice_positive[at])).lower(),
                "scan_probability": repr(scan.scan_probability),
                "scan_threshold": scan.scan_threshold,
                "slice_rule": str(scan.rule),
                "study_readout": "true",
                "model_id": data.name,
            }
            for name in ("position_mm", "attention", "attention_logit", "evidence"):
                values = getattr(scan, name)
                row[name] = "" if values is None else repr(float(values[at]))
            rows.append(row)
    return rows


def write_report(path: Path, data: EvaluationSet) -> Path:
    return write_rows(path, report_rows(data), COLUMNS)


def write_labels(path: Path, data: EvaluationSet, **cells: Any) -> Path:
    """A manifest of slice rows and scan rows."""
    rows: list[dict[str, Any]] = []
    for scan, truth in zip(data.predictions, data.truths, strict=True):
        common = {"schema_version": 1, "scan_id": truth.scan_id, "patient_id": truth.patient_id}
        common |= {"site": truth.site, **cells}
        rows.append(common | {"scan_label": int(bool(truth.label))})
        rows += [
            common | {"sop_instance_uid": key, "slice_label": int(label)}
            for key, label in zip(scan.slice_keys, truth.slice_labels, strict=True)
        ]
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return write_rows(path, rows, columns)
