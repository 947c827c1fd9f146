"""Predictions from tables: the slice report of ``sadmil predict``, and the authors' tables."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sadmil_core.errors import EvaluationError
from sadmil_core.evaluation.tables import Ledger, Table, read_table
from sadmil_core.evaluation.values import ScanPrediction, SliceRule

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_AUTHORS = ("instance_name", "bag_name", "bag_cnn_probability", "cnn_prediction")
_REPORT = ("scan_id", "series_instance_uid", "slice_index", "scan_probability", "attention")
PAD_NAME = "all_zeros"
"""How the authors' tables name the zero slices that pad a bag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionTable:
    """One model's predictions.

    Attributes:
        path: Where from.
        model_id: As the table names it; empty where it does not.
        scans: In the table's order.
        notes: In words: what was left out or assumed.
    """

    path: Path
    model_id: str
    scans: tuple[ScanPrediction, ...]
    notes: tuple[str, ...] = ()


def slice_key(sop_instance_uid: str, frame_number: int | str | None = None) -> str:
    """What a slice is joined by: its UID, and its frame where one file holds several."""
    frame = "" if frame_number in (None, "") else f"#{frame_number}"
    return f"{sop_instance_uid}{frame}" if sop_instance_uid else ""


def plain_text(cell: str) -> str:
    """A cell without the apostrophe that keeps spreadsheets from taking it for a formula."""
    cell = cell.strip()
    return cell[1:] if cell[:1] == "'" and cell[1:2] in tuple("=+-@") else cell


def read_predictions(path: Path) -> PredictionTable:
    """Reads predictions; what kind of table it is, its columns tell.

    Args:
        path: A slice report as CSV or Parquet, or a table of the paper's authors.

    Raises:
        EvaluationError: It cannot be read, is no such table, or has bad rows (all are named).
    """
    return predictions_of(read_table(path))


def predictions_of(table: Table) -> PredictionTable:
    """The predictions in a table; as :func:`read_predictions`."""
    path = table.path
    if table.has(*_AUTHORS):
        return _read_authors(table)
    if table.has(*_REPORT):
        return _read_report(table)
    raise EvaluationError(
        f"{path} is no table of predictions: its columns are {', '.join(table.columns)[:200]}.",
        remedy="Give a slice report of `sadmil predict --csv`, or a table with the columns "
        f"{', '.join(_AUTHORS)}.",
    )


def _groups(keys: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], list[int]]:
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        groups[key].append(row)
    return groups


def _read_authors(table: Table) -> PredictionTable:
    ledger = Ledger(table)
    names = table.column("instance_name")
    bags = [plain_text(cell) for cell in table.column("bag_name")]
    scans = []
    for (bag,), rows in _groups([(bag,) for bag in bags]).items():
        attention = [ledger.number(row, "cnn_prediction", low=0, high=1) for row in rows]
        chances = [ledger.number(row, "bag_cnn_probability", low=0, high=1) for row in rows]
        _require_all(ledger, rows, "cnn_prediction", "bag_cnn_probability", "bag_name")
        _require_same(ledger, rows, "bag_cnn_probability")
        real = [at for at, row in enumerate(rows) if names[row].strip() != PAD_NAME]
        keys = [names[rows[at]].strip().removesuffix(".dcm") for at in real]
        for at, key in zip(real, keys, strict=True):
            if not key or keys.count(key) > 1:
                ledger.add(rows[at], f"the instance {key!r} is not named once in the bag {bag}")
        # Pads take part in the authors' softmax, so the equal share is that of the padded bag.
        padding = len(rows) if len(real) < len(rows) else 0
        rule = SliceRule(padding=padding)
        weights = np.asarray(attention, np.float64)[real]
        positive = (weights > rule.threshold(len(real))) & (chances[0] > 0.5)
        if real:
            scans.append(
                ScanPrediction(
                    scan_id=bag,
                    slice_keys=tuple(keys),
                    slice_index=np.arange(len(real)),
                    scan_probability=chances[0],
                    scan_threshold=0.5,
                    rule=rule,
                    attention=weights,
                    slice_positive=positive,
                )
            )
    ledger.raise_if_any()
    scans = _one_padding(scans)
    pads = sum(name.strip() == PAD_NAME for name in names)
    notes = [f"decisions by the paper's rule: p > 0.5, then {scans[0].rule}"] if scans else []
    if pads:
        notes.append(f"{pads} rows of zero slices that pad the bags were left out")
    return PredictionTable(
        path=table.path, model_id="", scans=tuple(scans), notes=(*notes, *_hard_outputs(scans))
    )


def _one_padding(scans: list[ScanPrediction]) -> list[ScanPrediction]:
    """One rule for all: a bag that fills the padded size shows no pads, yet is of that size."""
    padding = max((scan.rule.padding for scan in scans), default=0)
    return [replace(scan, rule=replace(scan.rule, padding=padding)) for scan in scans]


def _read_report(table: Table) -> PredictionTable:
    ledger = Ledger(table)
    models = sorted(set(table.column("model_id")))
    if len(models) > 1:
        raise EvaluationError(
            f"{table.path} holds predictions of several models: {', '.join(models)}.",
            remedy="Give one table a model.",
        )
    keys = list(
        zip(
            map(plain_text, table.column("scan_id")),
            map(plain_text, table.column("series_instance_uid")),
            table.column("stack_index"),
            strict=True,
        )
    )
    scans, unscored, assumed = [], 0, 0
    for rows in _groups(keys).values():
        if not any(table.column("scan_probability")[row].strip() for row in rows):
            unscored += 1
            continue
        assumed += not table.column("slice_rule")[rows[0]].strip()
        scan = _report_scan(ledger, rows, keys[rows[0]])
        if scan is not None:
            scans.append(scan)
    ledger.raise_if_any()
    notes = []
    if unscored:
        notes.append(f"{unscored} series in the table were not scored")
    if assumed:
        notes.append(f"{assumed} series name no slice rule: taken as {SliceRule()}")
    return PredictionTable(
        path=table.path,
        model_id=models[0],
        scans=tuple(scans),
        notes=(*notes, *_hard_outputs(scans)),
    )


def _report_scan(ledger: Ledger, rows: list[int], key: tuple[str, ...]) -> ScanPrediction | None:
    table, before = ledger.table, len(ledger.problems)
    index = np.array([ledger.number(row, "slice_index", low=0) for row in rows])
    rows = [rows[at] for at in np.argsort(index, kind="stable")]
    index = np.sort(index)
    _require_all(ledger, rows, "scan_id", "slice_index", "scan_probability")
    _require_same(ledger, rows, "scan_probability")
    for row, repeated in zip(rows[1:], np.diff(index) == 0, strict=True):
        if repeated:
            ledger.add(row, f"the slice_index {table.column('slice_index')[row]} is there twice")
    chance = ledger.number(rows[0], "scan_probability", low=0, high=1)
    limit = ledger.number(rows[0], "scan_threshold", low=0, high=1)
    limit = 0.5 if np.isnan(limit) else limit
    rule = SliceRule()
    if text := table.column("slice_rule")[rows[0]].strip():
        try:
            rule = SliceRule.parse(text)
        except ValueError as error:
            ledger.add(rows[0], str(error))
    stack = ledger.number(rows[0], "stack_index", low=0)
    attention = _whole(ledger, rows, "attention", low=0, high=1)
    flags = [ledger.flag(row, "slice_positive") for row in rows]
    scores = {
        "attention": attention,
        "evidence": _whole(ledger, rows, "evidence"),
        "probability": _whole(ledger, rows, "slice_probability", low=0, high=1),
    }
    judged = scores[rule.score]
    if any(flag is None for flag in flags) and judged is None:
        ledger.add(rows[0], f"neither slice_positive nor the {rule.score} it follows from is given")
    if len(ledger.problems) > before:
        return None
    if judged is not None and any(flag is None for flag in flags):
        live = chance > limit or not rule.gated
        flags = [bool(flag) for flag in (judged > rule.threshold(len(rows))) & live]
    readout = ledger.flag(rows[0], "study_readout")
    return ScanPrediction(
        scan_id=key[0],
        series_instance_uid=key[1],
        stack_index=0 if np.isnan(stack) else int(stack),
        is_readout=readout is not False,
        slice_keys=tuple(
            slice_key(
                plain_text(table.column("sop_instance_uid")[row]),
                table.column("frame_number")[row].strip(),
            )
            for row in rows
        ),
        slice_index=index.astype(np.int64),
        position_mm=_whole(ledger, rows, "position_mm"),
        scan_probability=chance,
        scan_threshold=limit,
        rule=rule,
        attention=attention,
        attention_logit=_whole(ledger, rows, "attention_logit"),
        evidence=scores["evidence"],
        slice_probability=scores["probability"],
        slice_positive=np.array(flags, np.bool_),
    )


def _whole(
    ledger: Ledger, rows: list[int], name: str, *, low: float = -np.inf, high: float = np.inf
) -> NDArray[np.float64] | None:
    """A column of one scan, or None where it is blank; half a column is noted as bad."""
    before = len(ledger.problems)
    values = np.array([ledger.number(row, name, low=low, high=high) for row in rows])
    blank = np.isnan(values)
    if blank.all():
        return None
    if blank.any() and len(ledger.problems) == before:
        row = rows[int(np.argmax(blank))]
        ledger.add(row, f"{name} is blank, but other slices of the scan have it")
    return values


def _require_all(ledger: Ledger, rows: list[int], *names: str) -> None:
    for name in names:
        column = ledger.table.column(name)
        for row in rows:
            if not column[row].strip():
                ledger.add(row, f"{name} is blank")


def _require_same(ledger: Ledger, rows: list[int], name: str) -> None:
    column = ledger.table.column(name)
    for row in rows[1:]:
        if column[row].strip() != column[rows[0]].strip():
            ledger.add(row, f"{name} differs from that of the scan's other slices")


def _hard_outputs(scans: Sequence[ScanPrediction]) -> tuple[str, ...]:
    if scans and all(scan.scan_probability in (0.0, 1.0) for scan in scans):
        return (
            "the scan outputs are hard decisions (0 or 1), no probabilities: AUROC is that of a "
            "single operating point, and calibration says nothing",
        )
    return ()
