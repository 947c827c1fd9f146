"""Labels from tables, and their join to predictions."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.errors import EvaluationError
from sadmil_core.evaluation.predictions import plain_text, slice_key
from sadmil_core.evaluation.tables import Ledger, Table, read_table
from sadmil_core.evaluation.values import EvaluationSet, ScanPrediction, ScanTruth

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from sadmil_core.data.manifest import ManifestScan
    from sadmil_core.evaluation.predictions import PredictionTable

_AUTHORS = ("instance_label", "instance_name", "bag_name", "bag_label")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledScan:
    """What a table of labels says of one scan.

    Attributes:
        scan_id: Its name.
        patient_id: Whose it is; the scan's name where unknown.
        label: Of the scan; None where unknown.
        series_instance_uid: The series meant; empty for any.
        stack_index: The stack meant; None for any.
        by_key: Slice labels by SOPInstanceUID (and frame).
        by_index: Slice labels by number, for slices named so.
        order: Where a slice stands, foot to head, by key; empty where the table says nothing.
        subtypes: Of the scan.
        site: Where it comes from.
        split: ``train``, ``val``, ``test`` or empty.
    """

    scan_id: str
    patient_id: str
    label: bool | None
    series_instance_uid: str = ""
    stack_index: int | None = None
    by_key: Mapping[str, bool | None] = field(default_factory=dict)
    by_index: Mapping[int, bool | None] = field(default_factory=dict)
    order: Mapping[str, float] = field(default_factory=dict)
    subtypes: Mapping[str, bool | None] = field(default_factory=dict)
    site: str = ""
    split: str = ""


def read_labels(path: Path, *, split: str | None = None) -> tuple[LabelledScan, ...]:
    """Reads labels: a manifest, or the authors' table.

    Args:
        path: CSV or Parquet.
        split: Only the scans of this split, where the table has splits.

    Raises:
        EvaluationError: It is no such table, has bad rows, or no scan of the split.
        ManifestError: It is a manifest with bad rows.
    """
    table = read_table(path)
    if table.has(*_AUTHORS):
        scans = _read_authors(table)
    elif table.has("scan_id") and (table.has("scan_label") or table.has("slice_label")):
        from sadmil_core.data.manifest import read_manifest

        scans = tuple(map(labelled_scan, read_manifest(path).scans))
    else:
        raise EvaluationError(
            f"{path} is no table of labels: its columns are {', '.join(table.columns)[:200]}.",
            remedy="Give a manifest (scan_id, scan_label, slice_label...) or a table with the "
            f"columns {', '.join(_AUTHORS)}.",
        )
    if split is not None and any(scan.split for scan in scans):
        scans = tuple(scan for scan in scans if scan.split == split)
        if not scans:
            raise EvaluationError(f"{path} has no scan of the split {split!r}.")
    return scans


def labelled_scan(scan: ManifestScan) -> LabelledScan:
    """The labels of a scan of a manifest."""
    return LabelledScan(
        scan_id=scan.scan_id,
        patient_id=scan.patient_id,
        label=scan.label,
        series_instance_uid=scan.series_instance_uid,
        stack_index=scan.stack_index,
        by_key={
            slice_key(each.sop_instance_uid, each.frame_number): each.label
            for each in scan.slices
            if each.sop_instance_uid
        },
        by_index={
            each.slice_index: each.label for each in scan.slices if each.slice_index is not None
        },
        subtypes=scan.subtypes,
        site=scan.site,
        split=scan.split,
    )


def _read_authors(table: Table) -> tuple[LabelledScan, ...]:
    ledger = Ledger(table)
    groups: dict[str, list[int]] = defaultdict(list)
    for row, bag in enumerate(table.column("bag_name")):
        groups[plain_text(bag)].append(row)
    scans = []
    for bag, rows in groups.items():
        names = [table.column("instance_name")[row].strip().removesuffix(".dcm") for row in rows]
        slices: dict[str, bool | None] = {}
        for row, name in zip(rows, names, strict=True):
            if not name or name in slices:
                ledger.add(row, f"the instance {name!r} is not named once in the bag {bag}")
            slices[name] = ledger.flag(row, "instance_label")
        labels = {ledger.flag(row, "bag_label") for row in rows}
        if len(labels) > 1:
            ledger.add(rows[0], f"the bag {bag} has several labels")
        label = labels.pop()
        if label is False and any(slices.values()):
            ledger.add(rows[0], f"the bag {bag} is labelled 0 and has a positive slice")
        places = [ledger.number(row, "order") for row in rows]
        scans.append(
            LabelledScan(
                scan_id=bag,
                patient_id=bag,
                label=label if label is not None else _implied(slices.values()),
                by_key=slices,
                order={} if np.isnan(places).any() else dict(zip(names, places, strict=True)),
            )
        )
    ledger.raise_if_any()
    return tuple(scans)


def _implied(labels: Collection[bool | None]) -> bool | None:
    """The label of a scan by those of its slices; None where it is not decided."""
    if any(labels):
        return True
    return False if labels and all(label is False for label in labels) else None


def join(
    predictions: PredictionTable, labels: tuple[LabelledScan, ...], *, name: str = ""
) -> EvaluationSet:
    """Lays labels beside predictions.

    A scan is found by the SOPInstanceUIDs of its slices, else by its series, else by its name;
    where several series of a study are predicted, the one the labels name, else the one that
    speaks for the study. Slices are found by SOPInstanceUID, else by number.

    Args:
        predictions: One model's.
        labels: Of scans.
        name: What to call the model; as the table does if empty.

    Raises:
        EvaluationError: They have no scan in common.
    """
    finder = _Finder(predictions.scans)
    joined, lost_scans, lost_slices, unlabelled = [], [], 0, 0
    for scan in labels:
        found = finder.find(scan)
        if found is None:
            lost_scans.append(scan.scan_id)
            continue
        prediction, truth = lay(found, scan)
        joined.append((prediction, truth))
        lost_slices += len(scan.by_key.keys() - set(prediction.slice_keys))
        unlabelled += int(np.isnan(truth.slice_labels).sum())
    if not joined:
        raise EvaluationError(
            f"{predictions.path} and the labels have no scan in common.",
            remedy="They are joined by SOPInstanceUID, series_instance_uid or scan_id.",
        )
    studies = {prediction.scan_id for prediction, _ in joined}
    unasked = sum(scan.scan_id not in studies for scan in predictions.scans)
    notes = [
        _count(len(lost_scans), "labelled scan", "without a prediction", _some(lost_scans)),
        _count(unasked, "predicted scan", "without labels"),
        _count(lost_slices, "labelled slice", "without a prediction"),
        _count(unlabelled, "predicted slice", "without a label"),
    ]
    return EvaluationSet(
        name=name or predictions.model_id or predictions.path.stem,
        predictions=tuple(prediction for prediction, _ in joined),
        truths=tuple(truth for _, truth in joined),
        notes=(*predictions.notes, *filter(None, notes)),
    )


def _count(number: int, what: str, why: str, examples: str = "") -> str:
    return f"{number} {what}{'s' * (number > 1)} {why} left out{examples}" if number else ""


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f" ({', '.join(names[:3])}{more})" if names else ""


class _Finder:
    """Finds the prediction of a labelled scan."""

    def __init__(self, scans: tuple[ScanPrediction, ...]) -> None:
        self._by_key: dict[str, list[ScanPrediction]] = defaultdict(list)
        self._by_series: dict[str, list[ScanPrediction]] = defaultdict(list)
        self._by_scan: dict[str, list[ScanPrediction]] = defaultdict(list)
        for scan in scans:
            for key in filter(None, scan.slice_keys):
                self._by_key[key].append(scan)
            self._by_series[scan.series_instance_uid].append(scan)
            self._by_scan[scan.scan_id].append(scan)

    def find(self, scan: LabelledScan) -> ScanPrediction | None:
        """The prediction of the series meant; None where there is none."""
        shared: dict[int, int] = defaultdict(int)
        candidates: dict[int, ScanPrediction] = {}
        for key in scan.by_key:
            for found in self._by_key.get(key, ()):
                shared[id(found)] += 1
                candidates[id(found)] = found
        if scan.series_instance_uid:
            named = self._by_series.get(scan.series_instance_uid, ())
        else:
            named = [each for each in self._by_scan.get(scan.scan_id, ()) if each.is_readout]
        pool = list(candidates.values()) or list(named)
        meant = [each for each in pool if self._is_meant(each, scan)]
        # A UID that occurs in several series decides for the one that shares most of them.
        return max(
            meant,
            key=lambda each: (
                shared[id(each)],
                each.is_readout,
                [-ord(letter) for letter in each.series_instance_uid],
                -each.stack_index,
            ),
            default=None,
        )

    @staticmethod
    def _is_meant(prediction: ScanPrediction, scan: LabelledScan) -> bool:
        series = scan.series_instance_uid
        return (not series or prediction.series_instance_uid in ("", series)) and (
            scan.stack_index in (None, prediction.stack_index)
        )


def lay(prediction: ScanPrediction, scan: LabelledScan) -> tuple[ScanPrediction, ScanTruth]:
    """Lays the labels of a scan along the slices of its prediction.

    The slices of the prediction are put in the order of the labels, where these have one for
    all of them; labels are found by SOPInstanceUID, else by number.
    """
    if scan.order and all(key in scan.order for key in prediction.slice_keys):
        places = np.array([scan.order[key] for key in prediction.slice_keys])
        prediction = _reordered(prediction, places)
    labels = np.full(len(prediction), 0.0 if scan.label is False else np.nan)
    for at, (key, index) in enumerate(
        zip(prediction.slice_keys, prediction.slice_index, strict=True)
    ):
        label = scan.by_key.get(key)
        label = scan.by_index.get(int(index)) if label is None else label
        if label is not None:
            labels[at] = label
    truth = ScanTruth(
        scan_id=scan.scan_id,
        patient_id=scan.patient_id,
        label=scan.label,
        slice_labels=labels,
        subtypes=scan.subtypes,
        site=scan.site,
    )
    return prediction, truth


def _reordered(prediction: ScanPrediction, places: NDArray[np.float64]) -> ScanPrediction:
    """A prediction whose slices stand in the order of these places."""
    order = np.argsort(places, kind="stable")
    arrays = {
        name: values[order]
        for name in (
            "position_mm",
            "attention",
            "attention_logit",
            "evidence",
            "slice_probability",
            "slice_positive",
            "slice_index",
        )
        if (values := getattr(prediction, name)) is not None
    }
    return replace(
        prediction, slice_keys=tuple(prediction.slice_keys[at] for at in order), **arrays
    )
